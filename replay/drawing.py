"""The wait-for graph drawn: for Graphviz, and as a picture in SVG that needs nothing else.

The picture reads from left to right: who waits stands left of whom it waits for. Call chains are boxes; those that
have nothing to do with each other stand in groups, one below the other. An arrow leaves its box below the name of what
is wanted. That a request also comes after others is drawn (dashed) only where nothing else keeps it waiting. A ring is
red, and the youngest of its chains is marked: the one that has to give way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from accord.replay.layout import Layout
from accord.replay.waits import Edge

Rings = Sequence[Sequence[Edge]]

_WIDTH: Final = 150
_COLUMN: Final = 390
_LABEL: Final = 140
_LINE: Final = 20
_MARGIN: Final = 24
_STYLE: Final = """
svg{--ink:#1f2328;--dim:#656d76;--paper:#fff;--box:#f1f4f8;--line:#8c959f;--ring:#cf222e;
font:13px system-ui,"DejaVu Sans",sans-serif}
@media(prefers-color-scheme:dark){svg{
--ink:#e6edf3;--dim:#8d96a0;--paper:#0d1117;--box:#1c2430;--line:#6e7681;--ring:#ff6b63}}
.paper{fill:var(--paper)}text{fill:var(--ink)}.dim{fill:var(--dim);font-size:11px}
.box{fill:var(--box);stroke:var(--line)}.box.ring{stroke:var(--ring);stroke-width:2}.box.youngest{stroke-dasharray:6 3}
.arrow{fill:none;stroke:var(--line);stroke-width:1.3;marker-end:url(#tip)}.ahead{stroke-dasharray:5 4}
.arrow.ring{stroke:var(--ring);stroke-width:2.2;marker-end:url(#redtip)}text.ring{fill:var(--ring)}
.label{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round;font-size:12px}
#tip path{fill:var(--line)}#redtip path{fill:var(--ring)}
"""
_TIPS: Final = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" orient="auto" '
    'markerUnits="userSpaceOnUse"><path d="M0 0L10 5L0 10z"/></marker>'
    for name in ("tip", "redtip")
)


def dot(edges: Sequence[Edge], rings: Rings) -> str:
    """The graph for Graphviz; rings are red, the youngest of each has a double line around it."""
    red, victims = _marked(rings)
    lines = [
        f"  {_quoted(chain)} [label={_quoted(agent)}{', peripheries=2' if chain in victims else ''}];"
        for chain, agent in _agents(edges).items()
    ]
    for edge in edges:
        style = (", style=dashed" if edge.token is None else "") + (", color=red" if edge in red else "")
        lines.append(f"  {_quoted(edge.waiter)} -> {_quoted(edge.holder)} [label={_quoted(edge.lock)}{style}];")
    return "\n".join(["digraph waits {", "  rankdir=LR;", *lines, "}", ""])


def svg(edges: Sequence[Edge], rings: Rings) -> str:
    """The graph as a picture."""
    red, victims = _marked(rings)
    kept = {(edge.waiter_owner, edge.lock) for edge in edges if edge.token is not None}
    drawn = [e for e in edges if e.token is not None or (e.waiter_owner, e.lock) not in kept]
    drawn += [edge for ring in rings for edge in ring if edge not in edges]  # between tasks of one chain
    drawn.sort(key=lambda edge: edge not in red)  # the groups with rings come first
    parts, width, height = [], 2 * _MARGIN + _WIDTH, _MARGIN
    for group in _groups(drawn):
        picture = _Picture(group, height, red, victims)
        parts += [*map(picture.arrow, reversed(group)), *map(picture.box, picture.agents), *map(picture.label, group)]
        width, height = max(width, picture.right + _MARGIN), picture.bottom + _MARGIN
    if not drawn:
        parts, height = [f'<text x="{_MARGIN}" y="{_MARGIN + 14}">nobody waits</text>'], 2 * _MARGIN + _LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>Who waits for whom</title><style>{_STYLE}</style><defs>{_TIPS}</defs>'
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


class _Picture:
    """A group of chains that hang together, from `top` on."""

    def __init__(self, edges: Sequence[Edge], top: int, red: set[Edge], victims: set[str]) -> None:
        self.agents = _agents(edges)
        self._top, self._red, self._victims = top, red, victims
        self._in_ring = {edge.waiter for edge in red}
        self._wanted: dict[str, list[str]] = {chain: [] for chain in self.agents}
        for edge in edges:
            if edge.lock not in self._wanted[edge.waiter]:
                self._wanted[edge.waiter].append(edge.lock)
        heights = {chain: self._height(chain) for chain in self.agents}
        self._layout = Layout([(edge.waiter, edge.holder) for edge in edges], heights, _LINE // 2)
        self.right = _x(max(self._layout.column.values())) + _WIDTH
        self.bottom = top + round(self._layout.height)

    def box(self, chain: str) -> str:
        x, y, height = _x(self._layout.column[chain]), self._middle(chain), self._height(chain)
        victim = chain in self._victims
        kind = "box" + " ring" * (chain in self._in_ring) + " youngest" * victim
        note = "youngest" if victim else f"…{escape(chain[-6:])}" if len(chain) > 6 else escape(chain)
        agent = self.agents[chain]
        return (
            f'<g><title>{escape(agent)}, call chain {escape(chain)}</title><rect class="{kind}" x="{x}" '
            f'y="{y - height / 2:.0f}" width="{_WIDTH}" height="{height}" rx="6"/>'
            f'<text x="{x + 10}" y="{y - 2:.0f}">{_short(agent, 18)}</text>'
            f'<text class="dim{" ring" * victim}" x="{x + 10}" y="{y + 13:.0f}">{note}</text></g>'
        )

    def arrow(self, edge: Edge) -> str:
        x, y, side = self._start(edge)
        end = self._layout.column[edge.holder]
        path = f"M{x} {y:.0f}"
        if end == self._layout.column[edge.waiter]:
            ends_y = self._foot(edge.holder)
            path += f"C{x + 80} {y:.0f} {x + 80} {ends_y:.0f} {x} {ends_y:.0f}"
        else:
            x += side * _LABEL
            path += f"H{x}"  # straight on below its name
            for bend in self._layout.bends[edge.waiter, edge.holder]:
                bend_x, bend_y = _x(bend.column) + _WIDTH * (side < 0), self._top + self._layout.y[bend]
                path += _curve(x, y, bend_x, bend_y) + f"H{bend_x + side * _WIDTH}"
                x, y = bend_x + side * _WIDTH, bend_y
            ends_y = self._middle(edge.holder) if side > 0 else self._foot(edge.holder)
            path += _curve(x, y, _x(end) + _WIDTH * (side < 0), ends_y)
        kind = "arrow ring" if edge in self._red else "arrow ahead" if edge.token is None else "arrow"
        return f'<path class="{kind}" d="{path}"><title>{_sentence(edge)}</title></path>'

    def label(self, edge: Edge) -> str:
        x, y, side = self._start(edge)
        anchor, below = ("start", -5) if side > 0 else ("end", 14)
        place = f" · place {edge.place}" if edge.place > 1 else ""
        return (
            f'<text class="label{" ring" * (edge in self._red)}" x="{x + 10 * side}" y="{y + below:.0f}" '
            f'text-anchor="{anchor}">{_short(edge.lock, 20)}{place}<title>{_sentence(edge)}</title></text>'
        )

    def _height(self, chain: str) -> int:
        return max(2, len(self._wanted[chain])) * _LINE

    def _middle(self, chain: str) -> float:
        return self._top + self._layout.y[chain]

    def _foot(self, chain: str) -> float:
        """The height at which arrows from right to left leave and come, clear of the others."""
        return self._middle(chain) + self._height(chain) / 2 - 5

    def _start(self, edge: Edge) -> tuple[int, float, int]:
        """Where an arrow leaves its box, and to which side: 1 is right."""
        x, wanted = _x(self._layout.column[edge.waiter]), self._wanted[edge.waiter]
        if self._layout.column[edge.holder] < self._layout.column[edge.waiter]:
            return x, self._foot(edge.waiter), -1
        return x + _WIDTH, self._middle(edge.waiter) + (wanted.index(edge.lock) - (len(wanted) - 1) / 2) * _LINE, 1


def _x(column: int) -> int:
    return _MARGIN + column * _COLUMN


def _curve(x: float, y: float, end_x: float, end_y: float) -> str:
    half = (x + end_x) / 2
    return f"C{half:.0f} {y:.0f} {half:.0f} {end_y:.0f} {end_x:.0f} {end_y:.0f}"


def _groups(edges: Iterable[Edge]) -> list[list[Edge]]:
    """The arrows, in groups that have no chain in common; in the order in which they come."""
    group_of: dict[str, list[Edge]] = {}
    for edge in edges:
        one, other = group_of.setdefault(edge.waiter, []), group_of.setdefault(edge.holder, [])
        if one is not other:
            one += other
            group_of.update(dict.fromkeys([chain for chain, group in group_of.items() if group is other], one))
        one.append(edge)
    return list({id(group): group for group in group_of.values()}.values())


def _agents(edges: Iterable[Edge]) -> dict[str, str]:
    """The chains, and whose they are."""
    named: dict[str, str] = {}
    for edge in edges:
        named |= {edge.waiter: edge.waiter_agent, edge.holder: edge.holder_agent}
    return named


def _marked(rings: Rings) -> tuple[set[Edge], set[str]]:
    """The edges of rings, and the youngest chain of each: a ring begins with it."""
    return {edge for ring in rings for edge in ring}, {ring[0].waiter for ring in rings}


def _sentence(edge: Edge) -> str:
    why = "ahead in the queue" if edge.token is None else f"token {edge.token}"
    return escape(f"{edge.waiter_agent} waits for {edge.holder_agent}: {edge.lock} ({why})")


def _short(text: str, most: int) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
