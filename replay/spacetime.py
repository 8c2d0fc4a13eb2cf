"""The space-time diagram of a history, as a picture in SVG that needs nothing else.

One line, from top to bottom, for each agent and each partition; one row for each step, in an order that fits the causal
one: what stands above another is either before it, or has nothing to do with it. An arrow goes from a step to one of
another line that rests on it. What is explained has a band behind it; a hollow dot is a step that was concurrent with
what was asked.
"""

from __future__ import annotations

from html import escape
from typing import Final

from accord.replay.explain.explanation import Explanation, Step

_COLUMN: Final = 104
_ROW: Final = 30
_TOP: Final = 64
_MARGIN: Final = 24
_CHAR: Final = 7
_NAME_CHARS: Final = 13
_TEXT_CHARS: Final = 84
_STYLE: Final = """
svg{--ink:#1f2328;--dim:#656d76;--paper:#fff;--box:#eaeef2;--line:#c3cad2;--arrow:#57606a;--band:#fff3c4;
--agent:#0969da;--partition:#1a7f37;font:13px system-ui,"DejaVu Sans",sans-serif}
@media(prefers-color-scheme:dark){svg{
--ink:#e6edf3;--dim:#8d96a0;--paper:#0d1117;--box:#1c2430;--line:#30363d;--arrow:#8d96a0;--band:#3a3000;
--agent:#58a6ff;--partition:#56d364}}
.paper{fill:var(--paper)}text{fill:var(--ink)}.dim{fill:var(--dim);font-size:11px}.head{fill:var(--box)}
.life{stroke:var(--line);stroke-width:2}.band{fill:var(--band)}
.agent{fill:var(--agent);stroke:var(--agent)}.partition{fill:var(--partition);stroke:var(--partition)}
circle{stroke-width:2}circle.beside{fill:var(--paper)}
.arrow{fill:none;stroke:var(--arrow);stroke-width:1.4;marker-end:url(#tip)}#tip path{fill:var(--arrow)}
"""
_TIP: Final = (
    '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto" '
    'markerUnits="userSpaceOnUse"><path d="M0 0L10 5L0 10z"/></marker>'
)


def svg(explained: Explanation) -> str:
    """The history of what is explained, as a picture."""
    steps = in_order(explained)
    rows = {step.position: row for row, step in enumerate(steps)}
    agents_first = sorted(steps, key=lambda step: not _is_command(step))
    lanes = {process: lane for lane, process in enumerate(dict.fromkeys(step.process for step in agents_first))}
    bottom = _TOP + len(steps) * _ROW + _ROW // 2
    texts_x = _MARGIN + len(lanes) * _COLUMN
    width = texts_x + _CHAR * max(len(_label(step)) for step in steps) + 2 * _MARGIN
    parts = []
    for process, lane in lanes.items():
        parts += _lane(process, _x(lane), bottom)
    for step in steps:
        if step.order == "equal":
            y = _y(rows[step.position]) - _ROW / 2
            parts.insert(0, f'<rect class="band" x="0" y="{y:.0f}" width="{width}" height="{_ROW}"/>')
    by_position = {step.position: step for step in steps}
    for step in steps:
        for position in step.after:
            before = by_position.get(position)
            if before is not None and before.process != step.process:
                parts.append(_arrow(before, step, rows, lanes))
    parts += [_dot(step, _x(lanes[step.process]), _y(rows[step.position]), texts_x) for step in steps]
    height = bottom + _ROW
    note = "hollow: concurrent with what was asked; an arrow: rests on"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>The causal history of {escape(explained.position)}</title><style>{_STYLE}</style>'
        f'<defs>{_TIP}</defs><rect class="paper" width="{width}" height="{height}"/>\n'
        + "\n".join(parts)
        + f'\n<text class="dim" x="{_MARGIN}" y="{height - 10}">{note}</text>\n</svg>\n'
    )


def in_order(explained: Explanation) -> list[Step]:
    """All steps that are told, none before one that it rests on; each right before the first that rests on it."""
    steps = (*explained.history, *explained.concurrent)
    first: dict[str, float] = {}
    for step in steps:
        for position in step.after:
            first[position] = min(step.lamport - 0.5, first.get(position, step.lamport))
    return sorted(steps, key=lambda step: (first.get(step.position, step.lamport), step.lamport, step.process))


def _is_command(step: Step) -> bool:
    return ".commands/" in step.position


def _x(lane: int) -> int:
    return _MARGIN + lane * _COLUMN + _COLUMN // 2


def _y(row: int) -> float:
    return _TOP + row * _ROW + _ROW / 2


def _lane(process: str, x: int, bottom: int) -> list[str]:
    name, _, incarnation = process.partition("#")
    below = f"#{incarnation}" if incarnation else "partition"
    return [
        f'<line class="life" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{bottom}"/>',
        f'<g><title>{escape(process)}</title><rect class="head" x="{x - _COLUMN // 2 + 3}" y="14" '
        f'width="{_COLUMN - 6}" height="40" rx="6"/>'
        f'<text x="{x}" y="31" text-anchor="middle">{_short(name, _NAME_CHARS)}</text>'
        f'<text class="dim" x="{x}" y="46" text-anchor="middle">{_short(below, _NAME_CHARS)}</text></g>',
    ]


def _arrow(before: Step, step: Step, rows: dict[str, int], lanes: dict[str, int]) -> str:
    x, y = _x(lanes[before.process]), _y(rows[before.position])
    end_x, end_y = _x(lanes[step.process]), _y(rows[step.position])
    side = 6 if end_x > x else -6
    says = escape(f"{step.position} rests on {before.position}")
    half = (y + end_y) / 2
    bend = f"C{x + side * 6} {half:.0f} {end_x - side * 6} {half:.0f}"
    path = f"M{x + side} {y:.0f}{bend} {end_x - side * 1.3:.0f} {end_y:.0f}"
    return f'<path class="arrow" d="{path}"><title>{says}</title></path>'


def _dot(step: Step, x: int, y: float, texts_x: int) -> str:
    kind = "agent" if _is_command(step) else "partition"
    beside = " beside" if step.unseen else ""
    return (
        f"<g><title>{escape(f'{step.position} {step.time} {step.text}')}</title>"
        f'<circle class="{kind}{beside}" cx="{x}" cy="{y:.0f}" r="5"/>'
        f'<text x="{texts_x}" y="{y + 4:.0f}">{escape(_label(step))}</text></g>'
    )


def _label(step: Step) -> str:
    text = step.text if len(step.text) <= _TEXT_CHARS else step.text[: _TEXT_CHARS - 1] + "…"
    return f"{step.position}  {text}"


def _short(text: str, most: int) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + "…")
