"""The pictures of the report, in SVG that needs nothing else; their colours are those of the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from accord.replay.report.activity import Activity
from accord.replay.report.contention import Stay, Stays
from accord.replay.report.critical import Path

WIDTH: Final = 920
_NAME: Final = 170
_ROW: Final = 22
_AXIS: Final = 26
_COLOURS: Final = 8
"""Classes `c0` to `c7` of the page; more than eight series share them."""


def span(ms: float) -> str:
    """A duration for people."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 120_000:
        return f"{ms / 1_000:.1f} s"
    return f"{ms / 60_000:.1f} min" if ms < 7_200_000 else f"{ms / 3_600_000:.1f} h"


def over_time(activity: Activity) -> str:
    """Events by domain, one bar for each part of the time."""
    height, series = 150, sorted(activity.buckets.items(), key=lambda one: -sum(one[1]))
    count = max(len(buckets) for _, buckets in series)
    most = max(sum(buckets[i] for _, buckets in series) for i in range(count))
    step = WIDTH / count
    parts = []
    for i in range(count):
        y = float(height)
        for number, (domain, buckets) in enumerate(series):
            if buckets[i]:
                tall = buckets[i] / most * (height - 14)
                y -= tall
                parts.append(
                    f'<rect class="c{number % _COLOURS}" x="{i * step:.1f}" y="{y:.1f}" width="{step - 1:.1f}" '
                    f'height="{tall:.2f}"><title>{escape(domain)}: {buckets[i]:,}</title></rect>'
                )
    took_ms = activity.end_ms - activity.start_ms
    parts += _axis(0, WIDTH, height, took_ms)
    parts.append(f'<text class="dim" x="0" y="10">{most:,} events in {span(took_ms / count)}</text>')
    key = "".join(
        f'<span class="key"><i class="c{number % _COLOURS}"></i>{escape(domain)} {sum(buckets):,}</span>'
        for number, (domain, buckets) in enumerate(series)
    )
    return _svg(height + _AXIS, parts, "events over time") + f"<p>{key}</p>"


def bars(rows: Sequence[tuple[str, float, str]], label: str) -> str:
    """A bar a row: its name, its length, what is written beside it."""
    most = max((value for _, value, _ in rows), default=0) or 1
    parts = []
    for number, (name, value, text) in enumerate(rows):
        y, wide = number * _ROW, value / most * (WIDTH - _NAME - 230)
        parts += [
            _name(name, y),
            f'<rect class="c0" x="{_NAME}" y="{y + 4}" width="{max(wide, 1):.1f}" height="{_ROW - 8}"/>',
            f'<text class="dim" x="{_NAME + wide + 8:.1f}" y="{y + 15}">{escape(text)}</text>',
        ]
    return _svg(len(rows) * _ROW + 4, parts, label)


def holds_and_waits(found: Stays) -> str:
    """A line for each agent: when it held (full) and when it waited (pale)."""
    agents = list(dict.fromkeys(stay.agent for stay in found.stays))
    start_ms = min(stay.start_ms for stay in found.stays)
    end_ms = max(stay.end_ms or stay.start_ms for stay in found.stays) + 1
    scale = (WIDTH - _NAME) / (end_ms - start_ms)
    parts = [_name(agent, row * _ROW) for row, agent in enumerate(agents)]
    rows = {agent: row for row, agent in enumerate(agents)}
    for stay in sorted(found.stays, key=lambda stay: stay.is_hold):
        x, until_ms = _NAME + (stay.start_ms - start_ms) * scale, end_ms if stay.end_ms is None else stay.end_ms
        y = rows[stay.agent] * _ROW
        parts.append(
            f'<rect class="{"hold" if stay.is_hold else "wait"}" x="{x:.1f}" y="{y + (4 if stay.is_hold else 7)}" '
            f'width="{max(1.0, (until_ms - stay.start_ms) * scale):.1f}" height="{_ROW - (8 if stay.is_hold else 14)}">'
            f"<title>{escape(_said(stay, until_ms))}</title></rect>"
        )
    bottom = len(agents) * _ROW
    parts += _axis(_NAME, WIDTH, bottom, end_ms - start_ms)
    return _svg(bottom + _AXIS, parts, f"who held {found.name}, who waited")


def _said(stay: Stay, until_ms: int) -> str:
    lasted = f"{span(until_ms - stay.start_ms)}{'' if stay.end_ms is not None else ' and on'}"
    return f"{stay.agent} {'held' if stay.is_hold else 'waited'} {lasted}"


def critical_path(path: Path) -> str:
    """The legs of a path, one below the other: waiting, running, pausing."""
    scale = (WIDTH - _NAME) / max(1, path.took_ms)
    parts = []
    for row, leg in enumerate(path.legs):
        y, x = row * _ROW, _NAME + (leg.ready_ms - path.start_ms) * scale
        parts.append(_name(leg.step, y))
        for kind, ms in (("wait", leg.waited_ms), ("hold", leg.ran_ms), ("pause", leg.paused_ms)):
            if ms:
                title = {"wait": "waited for an agent", "hold": f"run by {leg.agent}", "pause": "pause between runs"}[
                    kind
                ]
                parts.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{y + 4}" width="{max(1.0, ms * scale):.1f}" '
                    f'height="{_ROW - 8}"><title>{escape(f"{leg.step}: {title}, {span(ms)}")}</title></rect>'
                )
                x += ms * scale
    bottom = len(path.legs) * _ROW
    parts += _axis(_NAME, WIDTH, bottom, path.took_ms)
    return _svg(bottom + _AXIS, parts, f"critical path of {path.task}")


def _axis(left: int, right: int, y: float, took_ms: int) -> list[str]:
    """The time, from nothing to what it took, in quarters."""
    parts = [f'<line class="axis" x1="{left}" x2="{right}" y1="{y + 2}" y2="{y + 2}"/>']
    for quarter in range(5):
        x = left + (right - left) * quarter / 4
        anchor = ("start", "middle", "middle", "middle", "end")[quarter]
        parts.append(
            f'<text class="dim" x="{x:.0f}" y="{y + 18}" text-anchor="{anchor}">{span(took_ms * quarter / 4)}</text>'
        )
    return parts


def _name(name: str, y: float) -> str:
    short = name if len(name) <= 24 else f"{name[:23]}…"
    return f'<text x="{_NAME - 8}" y="{y + 15}" text-anchor="end"><title>{escape(name)}</title>{escape(short)}</text>'


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}">'
        f"{''.join(parts)}</svg>"
    )
