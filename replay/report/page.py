"""The report as a page of HTML that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from accord.replay.report import charts
from accord.replay.report.charts import span
from accord.replay.report.contention import Contention
from accord.replay.report.critical import Path
from accord.replay.report.report import RunReport
from accord.replay.timeline import iso

ROWS_MAX: Final = 20
"""Rows of a table, and bars of a picture; the report as JSON has them all."""
_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--paper:#fff;--box:#f6f8fa;--line:#d0d7de;
--c0:#0969da;--c1:#1a7f37;--c2:#bf8700;--c3:#8250df;--c4:#cf222e;--c5:#1b7c83;--c6:#bc4c00;--c7:#57606a;--wait:#f0b37e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#8d96a0;--paper:#0d1117;--box:#161b22;--line:#30363d;
--c0:#58a6ff;--c1:#56d364;--c2:#e3b341;--c3:#bc8cff;--c4:#ff7b72;--c5:#39c5cf;--c6:#ffa657;--c7:#8d96a0;--wait:#8a5a2b}}
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:var(--ink);background:var(--paper);max-width:960px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
h3{margin-bottom:.3rem}.dim,p.dim{color:var(--dim)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin:.8rem 0}
th,td{text-align:right;white-space:nowrap;padding:.2rem .45rem;border-bottom:1px solid var(--line)}
td.text{white-space:normal}
th:first-child,td:first-child,td.text,th.text{text-align:left}th{color:var(--dim);font-weight:500}
tr.more td{color:var(--dim);border:0}
svg{max-width:100%;height:auto;font:12px system-ui,"DejaVu Sans",sans-serif}svg text{fill:var(--ink)}
svg .dim{fill:var(--dim);font-size:11px}.axis{stroke:var(--line)}
.hold{fill:var(--c0)}.wait{fill:var(--wait)}.pause{fill:var(--line)}
.key{margin-right:1rem;white-space:nowrap}.key i{display:inline-block;width:.8em;height:.8em;margin-right:.35em}
.facts{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}.facts div{background:var(--box);border:1px solid var(--line);
border-radius:6px;padding:.5rem .9rem}.facts b{display:block;font-size:1.3rem}
""" + "".join(f"svg .c{n}{{fill:var(--c{n})}}i.c{n}{{background:var(--c{n})}}" for n in range(8))
_STAYS_KEY: Final = (
    '<p class="dim"><span class="key"><i style="background:var(--c0)"></i>holds</span>'
    '<span class="key"><i style="background:var(--wait)"></i>waits</span>'
)
_PATH_KEY: Final = (
    '<p class="dim"><span class="key"><i style="background:var(--wait)"></i>waits for an agent</span>'
    '<span class="key"><i style="background:var(--c0)"></i>runs</span>'
    '<span class="key"><i style="background:var(--line)"></i>neither: it pauses</span></p>'
)

Row = Sequence[str | int]


def page(report: RunReport) -> str:
    """The report as HTML."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(report.source)}: what the run was like</title><style>{_STYLE}</style></head><body>",
        *_head(report),
        *_contention(report),
        *_tasks(report),
        *_agents(report),
        *_costs(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(report: RunReport) -> Iterable[str]:
    seen = report.activity
    yield f"<h1>{escape(report.source)}</h1>"
    if not seen.decisions:
        yield "<p>Nothing was decided.</p>"
        return
    yield f'<p class="dim">{iso(seen.start_ms)} to {iso(seen.end_ms)}, by the log\'s clock</p>'
    facts = {
        "lasted": span(seen.end_ms - seen.start_ms),
        "decisions": f"{seen.decisions:,}",
        "events": f"{sum(map(sum, seen.buckets.values())):,}",
        "agents": f"{len(seen.agents):,}",
    }
    if report.contention:
        facts["waited, all together"] = span(sum(one.waits.total_ms for one in report.contention))
    if report.tasks.ended:
        facts["tasks ended"] = f"{report.tasks.ended:,}"
    if report.costs:
        facts["models"] = _usd(sum(bill.cost_microusd for bill in report.costs))
    if seen.rejected:
        facts["rejected commands"] = f"{seen.rejected:,}"
    told = "".join(f"<div>{name}<b>{value}</b></div>" for name, value in facts.items())
    yield f'<div class="facts">{told}</div>'
    yield charts.over_time(seen)


def _contention(report: RunReport) -> Iterable[str]:
    if not report.contention:
        return
    yield "<h2>Contention</h2>"
    waited = [one for one in report.contention if one.waits.count]
    if waited:
        yield charts.bars([(one.name, one.waits.total_ms, _waits(one)) for one in waited[:ROWS_MAX]], "waits by name")
    else:
        yield "<p>Nobody waited.</p>"
    for found in report.stays:
        yield f"<h3>{escape(found.name)}</h3>"
        yield charts.holds_and_waits(found)
        left_out = f"{found.left_out:,} before these are left out." if found.left_out else ""
        yield f"{_STAYS_KEY} {left_out}</p>"
    heads = (
        "",
        "granted",
        "waited",
        "p50",
        "p95",
        "longest",
        "gave up",
        "denied",
        "held p50",
        "expired",
        "stale",
        "kept waiting by",
    )
    yield _table(heads, [_contended(one) for one in report.contention], text=(11,))


def _waits(one: Contention) -> str:
    return f"{span(one.waits.total_ms)} in {one.waits.count:,} waits, longest {span(one.waits.max_ms)}"


def _contended(one: Contention) -> Row:
    worst = ", ".join(f"{agent} ({span(ms)})" for agent, ms in one.kept_waiting[:2])
    waits = one.waits
    times = [span(ms) if waits.count else "" for ms in (waits.p50_ms, waits.p95_ms, waits.max_ms)]
    held = span(one.holds.p50_ms) if one.holds.count else ""
    return (one.name, one.granted, waits.count, *times, one.given_up, one.denied, held, one.expired, one.stale, worst)


def _tasks(report: RunReport) -> Iterable[str]:
    found = report.tasks
    if not found.ended:
        return
    took = found.took
    yield "<h2>Tasks</h2>"
    yield (
        f"<p>{found.ended:,} ended: half of them within {span(took.p50_ms)}, 95 of 100 within {span(took.p95_ms)}, the "
        f"slowest after {span(took.max_ms)}. What made them slow is their critical path: each step after the one that "
        "it had waited for.</p>"
    )
    yield "<h3>Where the time of the critical paths went</h3>"
    yield _table(
        ("step", "task", "paths", "waited", "p95", "ran", "p95", "paused"),
        [
            (share.step, share.type, share.paths, span(share.waited.total_ms), span(share.waited.p95_ms),
             span(share.ran.total_ms), span(share.ran.p95_ms), span(share.paused.total_ms))
            for share in found.shares
        ],
        text=(1,),
    )  # fmt: skip
    yield "<h3>The slowest</h3>"
    for path in found.slowest[:5]:
        said = f"{escape(path.type)}, {path.status} after {span(path.took_ms)}"
        yield f"<p><b>{escape(path.task)}</b> {said}{': ' * bool(path.legs)}{_legs(path)}</p>"
        if path.legs:
            yield charts.critical_path(path)
    yield _PATH_KEY


def _legs(path: Path) -> str:
    return escape(" → ".join(f"{leg.step} {span(leg.end_ms - leg.ready_ms)}" for leg in path.legs))


def _agents(report: RunReport) -> Iterable[str]:
    if not report.activity.agents:
        return
    yield "<h2>Agents</h2>"
    events = [(name, count, f"{count:,} events") for name, count in report.activity.agents[:ROWS_MAX]]
    yield charts.bars(events, "events by agent")
    if report.performance:
        yield "<h3>Runs of steps</h3>"
        failed = {one.name: one for one in report.failures}
        yield _table(
            ("agent", "runs", "completed", "average", "p95", "longest", "most frequent failure"),
            [
                (one.name, one.count, one.completed, span(one.avg_ms), span(one.p95_ms), span(one.max_ms),
                 failed[one.name].errors[0][0][:80] if one.name in failed else "")
                for one in report.performance
            ],
            text=(6,),
        )  # fmt: skip
    if report.activity.handovers:
        yield "<h3>Who handed to whom</h3>"
        yield _table(
            ("from", "to", "what", "times"),
            [(one.giver, one.taker, one.kind, one.count) for one in report.activity.handovers],
            text=(1, 2),
        )


def _costs(report: RunReport) -> Iterable[str]:
    if not report.costs:
        return
    yield "<h2>Models</h2>"
    rows = report.costs
    yield charts.bars([(b.name, b.cost_microusd, _usd(b.cost_microusd)) for b in rows[:ROWS_MAX]], "costs by agent")
    yield _table(
        ("agent", "calls", "answers kept", "failed", "tokens in", "tokens out", "cost", "unknown", "saved"),
        [
            (b.name, b.calls, b.cached, b.failed, b.input_tokens, b.output_tokens, _usd(b.cost_microusd), b.unpriced,
             _usd(b.saved_microusd))
            for b in rows
        ],
    )  # fmt: skip


def _usd(microusd: int) -> str:
    return f"${microusd / 1e6:,.4f}" if 0 < microusd < 10_000 else f"${microusd / 1e6:,.2f}"


def _table(heads: Sequence[str], rows: Sequence[Row], *, text: Sequence[int] = ()) -> str:
    """A table of the first rows; `text` are the columns, beside the first, that are no numbers."""

    def cell(tag: str, column: int, value: str | int) -> str:
        shown = f"{value:,}" if isinstance(value, int) else escape(value)
        return f"<{tag}{' class=text' if column in text else ''}>{shown}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", column, head) for column, head in enumerate(heads)) + "</tr>"]
    lines += [
        "<tr>" + "".join(cell("td", column, value) for column, value in enumerate(row)) + "</tr>"
        for row in rows[:ROWS_MAX]
    ]
    if len(rows) > ROWS_MAX:
        lines.append(f'<tr class=more><td colspan="{len(heads)}">and {len(rows) - ROWS_MAX:,} more</td></tr>')
    return f"<table>{''.join(lines)}</table>"
