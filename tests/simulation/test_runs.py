"""Runs of the simulator: what must hold does, whatever goes wrong; a seed brings its run back; a failing one shrinks.

A few runs are made every day, some hundred in the long run; `python -m tests.simulation` makes thousands.
"""

from __future__ import annotations

from collections import Counter

import pytest
from accord.streams.owner import Owner

from accord.errors import AccordError
from accord.testing.simulation import faults
from accord.testing.simulation.cluster import Cluster
from accord.testing.simulation.drivers import DRIVERS
from accord.testing.simulation.faults import KINDS, Fault
from accord.testing.simulation.runs import build, failure_of, first_failure, shrink, simulate, smallest
from tests.counts import only_long
from tests.simulation.bugs import BUGS, NEW, OLD, OPTIONS

EVERYDAY = 8
FAULTY = 9
"""A run with faults."""
SLICES, SLICE = 4, 100


def test_what_must_hold_does() -> None:
    failure = first_failure(range(1, EVERYDAY + 1), pace=1.0, minutes=1.0)
    assert failure is None, failure


@only_long
@pytest.mark.parametrize("number", range(SLICES))
def test_what_must_hold_does_in_many_runs(number: int) -> None:
    failure = first_failure(range(1 + number * SLICE, 1 + (number + 1) * SLICE))
    assert failure is None, failure


@only_long
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_kind_of_agents_by_itself(driver: str) -> None:
    failure = first_failure(range(1, 26), drivers=[driver])
    assert failure is None, failure


@only_long
def test_workers_of_two_releases() -> None:
    failure = first_failure(range(1, 41), drivers=["locks"], releases=(OLD, NEW), kinds=(*faults.USUAL, "switch"))
    assert failure is None, failure


@only_long
def test_half_an_hour_without_a_break() -> None:
    """Ids are forgotten, leases and tasks come and go."""
    failure = failure_of(1, minutes=30.0)
    assert failure is None, failure


def content(cluster: Cluster) -> list[object]:
    """Every record of a run."""
    log = cluster.log
    return [
        (topic, partition, record)
        for topic in log.topics
        for partition in range(log.partitions)
        for record in log.read(topic, partition, 0)
    ]


def test_a_seed_brings_its_run_back() -> None:
    one, two = simulate(3), simulate(3)
    assert content(one) == content(two)
    assert one.scheduler.events_count == two.scheduler.events_count
    assert one.history == two.history
    assert content(one) != content(simulate(4))


def test_a_schedule_is_text_and_back() -> None:
    drawn = build_faults(FAULTY, {})
    assert drawn
    assert faults.parse(faults.text_of(drawn)) == drawn
    assert content(simulate(FAULTY, faults=faults.parse(faults.text_of(drawn)))) == content(simulate(FAULTY))
    with pytest.raises(ValueError, match="flood is no fault"):
        Fault.parse("100 flood worker-0")


def test_the_smallest_part_that_fails() -> None:
    tries = []

    def fails(part: list[int]) -> bool:
        tries.append(part)
        return {3, 17} <= set(part)

    assert smallest(list(range(40)), fails) == [3, 17]
    assert len(tries) < 60
    assert smallest([1, 2, 3], lambda _: True) == []


@only_long
def test_what_can_go_wrong_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in which nothing happens proves nothing."""
    seen: Counter[str] = Counter()
    settle = Owner.settle

    def counted(self: Owner, accepted: object, end_offset: int) -> bool:
        decisions, pending = list(accepted), len(self.pending)  # type: ignore[call-overload]
        settled = settle(self, decisions, end_offset)
        seen["contest won" if settled else "contest lost"] += 1
        seen["others' decisions taken in"] += settled and len(decisions) > pending
        return settled

    monkeypatch.setattr(Owner, "settle", counted)
    for seed in range(1, 61):
        cluster = simulate(seed)
        seen.update(fault.kind for fault in cluster.faults)
        seen["rebalances"] += cluster.group.rebalances_count
        seen["restarts"] += sum(worker.starts - 1 for worker in cluster.workers)
        for truth in cluster.auditor.truths.values():
            seen["forks and repeats skipped"] += truth.chain.skipped
            for decision in truth.accepted:
                seen.update(decision.type.rpartition(b".")[2].decode().split("+"))
        seen["asked again"] += sum(one.tries > 1 for one in cluster.history.operations)
        seen["beliefs"] += len(cluster.history.beliefs)
    expected = {
        *(set(KINDS) - {"leap", "switch"}), "contest won", "contest lost", "others' decisions taken in", "rebalances",
        "restarts", "forks and repeats skipped", "asked again", "beliefs", "CommandRepeated", "CommandRejected",
        "LockGranted", "LeaseExpired", "LockQueued", "CapacityGranted", "StepCompleted", "StepLost", "TaskCompleted",
        "VoteCast", "ProposalDecided", "WorkAwarded", "AwardLost", "PreparedCommitted", "PreparedAborted",
        "SagaCompleted", "SagaCompensated", "SignalNumbered", "MemberLost", "IntentionAllowed", "ConflictResolved",
        "DecisionMade", "CallGranted", "AnswerReused", "TriggerMatched",
    }  # fmt: skip
    rare = {name: seen[name] for name in expected if seen[name] < 3}
    assert not rare, rare


def test_a_planted_bug_is_found_and_its_run_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS["any_offset_confirms"](monkeypatch)
    check_that_it_shrinks("any_offset_confirms", seeds_max=10, tries_max=40)


def check_that_it_shrinks(name: str, seeds_max: int, tries_max: int) -> None:
    options = OPTIONS[name]
    failure = first_failure(range(1, seeds_max + 1), **options)
    assert failure is not None, f"{seeds_max} runs without {name} and nobody noticed"
    shrunk = shrink(failure.seed, tries_max=tries_max, **options)
    again = failure_of(failure.seed, **{**options, "faults": shrunk.faults, "agents": shrunk.agents})
    assert again is not None
    assert isinstance(again.error, AssertionError | AccordError), "of what is left out nothing is asked"
    assert len(shrunk.faults) <= len(build_faults(failure.seed, options))


def build_faults(seed: int, options: dict[str, object]) -> list[Fault]:
    cluster = build(seed, **options)  # type: ignore[arg-type]
    cluster.begin()
    return cluster.faults


SEEDS_MAX = 150
"""Within so many runs a rule that is switched off must show."""


@only_long
@pytest.mark.parametrize("name", BUGS)
def test_a_rule_that_is_switched_off_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[name](monkeypatch)
    check_that_it_shrinks(name, SEEDS_MAX, tries_max=15)
