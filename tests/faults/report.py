"""What came of fault runs: the report of one, the sum of several, and what the sum is to reach."""

from __future__ import annotations

from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from statistics import quantiles
from typing import NamedTuple

import msgspec

from tests.faults.checker import RULES, Violation
from tests.faults.parts.player import LEASE_MS

HANDOVER_MS = LEASE_MS + 1_000


class Report(msgspec.Struct):
    """One run. `violations` must be empty."""

    plan: dict[str, float | bool]
    faults: dict[str, int]
    """By kind."""
    done: dict[str, int]
    """`kills` of workers, also while they start; `client_kills`; `pauses`: of workers and clients, longer than a lease;
    `two_owners`: a partition was taken on while its owner, frozen or cut off, knew nothing of it; `broker_restarts`;
    `stopped_at_unknown_rules`: how often a worker halted partitions whose rules it lacks."""
    fault_seconds: float
    """From the first fault to the end of the last."""
    fault_commands: int
    """Commands in that time, without ticks."""
    outage_ms: dict[str, list[int]]
    """Times without service, by kind of fault, of those that neither met an earlier outage nor were met by the next
    fault."""
    second_outage_ms: dict[str, list[int]]
    """Of those that met an earlier outage and were met by no fault."""
    met_ms: dict[str, list[int]]
    """Of those that were met by another fault: until service was back after whatever came."""
    handover_ms: list[int]
    """From the kill of a client to the next grant of a lock that it held, where somebody waited for it."""
    commands: int
    decisions: int
    grants: int
    emitted: int
    counted: int
    taken: int
    passed: int
    broken: int
    calls: int
    guarded_writes: int
    stale_writes: int
    """Writes and fenced reads with a token below the highest that the resource had seen."""
    stale_refused: int
    tasks: dict[str, int]
    failed: dict[str, int]
    skipped_records: int
    contests: int
    rebuilds: int
    verify: str
    load_average: float
    """Of the machine, over a minute, as a mean of what was seen at each fault."""
    cores: int
    seconds: float
    violations: list[Violation]


class Demand(NamedTuple):
    """What a sum is to reach."""

    name: str
    got: float
    wanted: float
    at_most: bool = False

    @property
    def holds(self) -> bool:
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted


class Sum(msgspec.Struct):
    """Several reports together. Of times, percentiles in ms over all of them."""

    runs: int
    seeds: list[int]
    hours: float
    faults: dict[str, int]
    done: dict[str, int]
    commands: int
    commands_per_s: float
    """Under faults, without ticks."""
    operations: dict[str, int]
    stale_writes: int
    stale_refused: int
    outage_ms: dict[str, dict[str, float]]
    recovery_ms: dict[str, float]
    """Over all faults that were over before the next one came."""
    met_ms: dict[str, float]
    """Over all others, until service was back after whatever came."""
    handover_ms: dict[str, float]
    skipped_records: int
    contests: int
    rebuilds: int
    identical: int
    """So many of the runs verify as identical."""
    load_average: float
    violations: dict[str, int]
    """By rule; also those that nothing broke."""

    def demands(self) -> list[Demand]:
        """What is to be reached, and how far it is."""
        broken, done = self.violations, self.done
        return [
            Demand("kill -9 of workers and clients", done.get("kills", 0) + done.get("client_kills", 0), 500),
            Demand("commands a second under faults", self.commands_per_s, 200),
            Demand("pauses longer than the lease", done.get("pauses", 0), 200),
            Demand("rebalances with two owners", done.get("two_owners", 0), 200),
            Demand("restarts of the broker", done.get("broker_restarts", 0), 20),
            Demand("violations of mutual exclusion", broken["one_holder"] + broken["linearizable"], 0, at_most=True),
            Demand("acknowledged events lost", broken["acknowledged"] + broken["chained"], 0, at_most=True),
            Demand("accepted duplicates", broken["once"], 0, at_most=True),
            Demand("other violations", sum(broken.values()) - sum(map(broken.get, _NAMED)), 0, at_most=True),  # type: ignore[arg-type]
            Demand("stale tokens refused, of 100", _share(self.stale_refused, self.stale_writes), 100),
            Demand("runs that verify as identical, of 100", _share(self.identical, self.runs), 100),
            Demand("recovery p99, ms", _p99(self.recovery_ms), 15_000, at_most=True),
            Demand("a killed holder's lock to who waits, p99, ms", _p99(self.handover_ms), HANDOVER_MS, at_most=True),
        ]


_NAMED = ("one_holder", "linearizable", "acknowledged", "chained", "once")


def _share(part: int, whole: int) -> float:
    """In percent, rounded down to hundredths; of nothing, none."""
    return part * 10_000 // whole / 100 if whole else 0.0


def _p99(found: dict[str, float]) -> float:
    """Without bound if nothing was measured: that is no success."""
    return found["p99"] if found["count"] else inf


def add(reports: Sequence[Report]) -> Sum:
    """The sum of at least one report."""
    alone: defaultdict[str, list[int]] = defaultdict(list)
    over: list[int] = []
    met: list[int] = []
    for report in reports:
        for kind, times_ms in report.outage_ms.items():
            alone[kind] += times_ms
        for times in (*report.outage_ms.values(), *report.second_outage_ms.values()):
            over += times
        for times in report.met_ms.values():
            met += times
    seconds = sum(report.fault_seconds for report in reports)
    return Sum(
        runs=len(reports),
        seeds=[int(report.plan["seed"]) for report in reports],
        hours=round(sum(report.seconds for report in reports) / 3_600, 2),
        faults=_sum(report.faults for report in reports),
        done=_sum(report.done for report in reports),
        commands=sum(report.commands for report in reports),
        commands_per_s=round(sum(report.fault_commands for report in reports) / max(seconds, 0.001), 1),
        operations=_sum(
            {
                name: getattr(report, name)
                for name in ("grants", "emitted", "counted", "taken", "passed", "broken", "calls", "guarded_writes")
            }
            for report in reports
        ),
        stale_writes=_total(reports, lambda report: report.stale_writes),
        stale_refused=_total(reports, lambda report: report.stale_refused),
        outage_ms={kind: percentiles(times) for kind, times in sorted(alone.items())},
        recovery_ms=percentiles(over),
        met_ms=percentiles(met),
        handover_ms=percentiles([time_ms for report in reports for time_ms in report.handover_ms]),
        skipped_records=_total(reports, lambda report: report.skipped_records),
        contests=_total(reports, lambda report: report.contests),
        rebuilds=_total(reports, lambda report: report.rebuilds),
        identical=_total(reports, lambda report: int(report.verify == "identical")),
        load_average=round(sum(report.load_average for report in reports) / len(reports), 1),
        violations=dict.fromkeys(RULES, 0) | _sum(Counts(v.rule for v in report.violations) for report in reports),
    )


def percentiles(times_ms: Sequence[int]) -> dict[str, float]:
    """p50, p99 and the largest of some times, and how many there are; zeros of none."""
    found = sorted(times_ms)
    if not found:
        return {"p50": 0, "p99": 0, "max": 0, "count": 0}
    cuts = quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
    return {"p50": round(cuts[49]), "p99": round(cuts[98]), "max": found[-1], "count": len(found)}


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counts[str] = Counts()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))


def _total(reports: Sequence[Report], figure: Callable[[Report], int]) -> int:
    return sum(map(figure, reports))


def markdown(total: Sum) -> str:
    """The sum as tables for docs/reliability.md."""
    hours = f"{total.runs} runs, {total.hours} hours, seeds {', '.join(map(str, total.seeds))}"
    lines = [f"{hours}; load average of the machine {total.load_average}.", ""]
    lines += ["| demand | reached | wanted | |", "| --- | --- | --- | --- |"]
    for demand in total.demands():
        bound = f"{'at most' if demand.at_most else 'at least'} {demand.wanted:,.0f}"
        lines.append(f"| {demand.name} | {demand.got:,g} | {bound} | {'yes' if demand.holds else 'no'} |")
    lines += ["", "| fault | times | alone | p50 ms | p99 ms | max ms |", "| --- | --- | --- | --- | --- | --- |"]
    for kind, times in total.faults.items():
        found = total.outage_ms.get(kind, percentiles([]))
        figures = " | ".join(f"{found[name]:,.0f}" for name in ("count", "p50", "p99", "max"))
        lines.append(f"| {kind} | {times:,} | {figures} |")
    for name, found in (
        ("all that were over before the next one came", total.recovery_ms),
        ("all others, until all was over", total.met_ms),
        ("a killed holder's lock to who waits", total.handover_ms),
    ):
        figures = f"{found['count']:,} | | {found['p50']:,.0f} | {found['p99']:,.0f} | {found['max']:,.0f} |"
        lines.append(f"| {name} | {figures}")
    lines += ["", "| figure | |", "| --- | --- |"]
    figures_of = {"commands": total.commands, **total.operations, "stale writes refused": total.stale_refused}
    figures_of |= {"records that the chain skipped": total.skipped_records, "contests": total.contests}
    figures_of |= {"rebuilds after a contest": total.rebuilds}
    figures_of |= {"workers stopped at rules they lack": total.done.get("stopped_at_unknown_rules", 0)}
    lines += [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in figures_of.items()]
    return "\n".join(lines)
