"""The verdict on a fault run, from the clients' histories, the guarded resource, the API, and the raw log."""

from __future__ import annotations

from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from accord import replay
from tests.faults import checker, porcupine, rules, steps
from tests.faults.api import Api
from tests.faults.checker import Decided, Violation
from tests.faults.cluster import Cluster
from tests.faults.history import Operation
from tests.faults.outages import Fault, handovers_ms, outages
from tests.faults.parts import counting, store
from tests.faults.plan import FIRST, Plan
from tests.faults.report import Report
from tests.faults.resource import Counters


class Evidence(NamedTuple):
    """What a run leaves behind. Times ending in `_ns` are monotonic, in `_ms` since 1970."""

    plan: Plan
    cluster: Cluster
    counters: Counters
    api: Api
    operations: list[Operation]
    log: Mapping[str, Decided]
    faults: Sequence[Fault]
    done: Counts[str]
    killed: set[str]
    faults_ms: tuple[int, int]
    """When the first fault began and the last one had been done."""
    quiet_ns: int
    peace_ns: int
    bound_ms: int
    """Every operation ends in this time, once there are no more faults."""
    loads: Sequence[float]
    cores: int
    seconds: float


def judge(run: Evidence, violations: Sequence[Violation]) -> Report:
    """The report, with these violations and all that are found now."""
    operations, log, writes = run.operations, run.log, run.counters.writes
    tasks, found = steps.judged(log, run.bound_ms)
    found = [*violations, *found]
    found += checker.one_holder(operations)
    found += checker.in_turn(operations)
    found += checker.guarded(writes, operations)
    found += checker.acknowledged(operations, log)
    found += checker.chained(log)
    found += checker.once(log)
    found += checker.served(operations, run.quiet_ns, run.peace_ns, run.bound_ms, run.killed)
    found += porcupine.linearizable(operations)
    found += _reached(run)
    rules.have(run.cluster.rules)
    with replay.open(run.cluster.settings) as recorded:
        verified = recorded.verify()
    if not verified.ok:
        found.append(Violation("verify", f"{verified.divergences[:3]} {verified.gaps[:3]}"))
    printed = run.cluster.printed()
    done = Counts(o.kind for o in operations if o.ok)
    stale_writes, stale_refused = checker.stale(writes)
    times: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for outage in outages(run.faults, operations):
        which = "met" if not outage.over else "alone" if outage.alone else "after another"
        times[which][outage.kind].append(outage.ms)
    return Report(
        plan=run.plan._asdict(),
        faults=dict(Counts(fault.kind for fault in run.faults)),
        done=dict(run.done),
        fault_seconds=round((run.faults_ms[1] - run.faults_ms[0]) / 1_000, 1),
        fault_commands=_asked_between(log, *run.faults_ms),
        outage_ms=times["alone"],
        second_outage_ms=times["after another"],
        met_ms=times["met"],
        handover_ms=list(handovers_ms(run.faults, operations)),
        commands=sum(partition.commands for partition in log.values()),
        decisions=sum(len(partition.events.accepted) for partition in log.values()),
        grants=done["acquire"] + done["take"],
        emitted=done["emit"],
        counted=run.counters.value(counting.KEY),
        taken=run.counters.value(store.TAKEN),
        passed=done["wait"] // FIRST,
        broken=sum(o.error == "BrokenBarrier" for o in operations),
        calls=run.api.answered,
        guarded_writes=sum(w.accepted and w.value is not None for w in writes),
        stale_writes=stale_writes,
        stale_refused=stale_refused,
        tasks=tasks._asdict(),
        failed=dict(Counts(f"{o.kind} {o.error}" for o in operations if o.error)),
        skipped_records=sum(len(partition.events.skipped) for partition in log.values()),
        contests=printed.count(b"contested partition"),
        rebuilds=printed.count(b"contested partition differs"),
        verify="identical" if verified.ok else "different",
        load_average=round(sum(run.loads) / max(1, len(run.loads)), 1),
        cores=run.cores,
        seconds=run.seconds,
        violations=found,
    )


def _asked_between(log: Mapping[str, Decided], first_ms: int, last_ms: int) -> int:
    """How many commands, ticks left out, were decided by a clock of the log between two times."""
    return sum(
        first_ms <= int(record.headers["accord-chain"].split(b" ")[1]) <= last_ms
        and not record.command_id.startswith("tick-")
        for partition in log.values()
        for record in partition.events.accepted.values()
    )


def _reached(run: Evidence) -> Iterator[Violation]:
    """What was counted, put, taken, called and filled is what it should be in the end."""
    accepted = Counts(w.key for w in run.counters.writes if w.accepted and w.value is not None)
    goal, items = run.plan.increments * run.plan.clients, run.plan.items * FIRST
    for key, wanted in ((counting.KEY, goal), (store.PUT, items), (store.TAKEN, items)):
        if not wanted == accepted[key] == run.counters.value(key):
            text = f"{key} is {run.counters.value(key)} after {accepted[key]} accepted writes, not {wanted}"
            yield Violation("reached", text)
    for operation in run.operations:
        if operation.kind == "look" and operation.error:
            yield Violation("reached", f"a writer beside a reader: {operation}")
    if run.api.rejected or not run.api.answered:
        text = f"the API rejected {run.api.rejected} calls and answered {run.api.answered}"
        yield Violation("reached", text)
    if not any(o.kind == "fill" and o.ok for o in run.operations):
        yield Violation("reached", "nobody had all permits of the semaphore in the end")
