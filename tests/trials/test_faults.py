"""Faults: what befalls agents, how it is drawn, written and shrunk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.schemas.messages.locks import LeaseExpired, LockReleased

from accord.errors import AccordError, BadInput, LeaseLost
from accord.testing.trials.agent import Fault
from accord.testing.trials.faults import Faults, parsed, shrunk
from accord.testing.trials.happenings import Told
from accord.testing.trials.sim import AccordSim
from tests.trials.programs import counts, simulated


def ran(sim: AccordSim, *faults: str) -> list[tuple[float, str, str]]:
    """What happened under these faults."""
    sim.run(seed=4, faults=faults)
    assert sim.trial is not None
    return sim.trial.fingerprint()


def holding(sim: AccordSim, hold_s: float) -> None:
    """Declares an agent that holds a lock for some time and notes when, and whether, it got through."""

    async def holder(hub: Accord) -> None:
        try:
            async with hub.lock("room", lease_ms=5_000):
                sim.note("held")
                await asyncio.sleep(hold_s)
            sim.note("through")
        except LeaseLost:
            sim.note("lost")
            raise

    sim.agent(holder)


def notes(trace: list[tuple[float, str, str]]) -> list[str]:
    return [line.removeprefix("notes ") for _, _, line in trace if line.startswith("notes ")]


WHEN_HELD = "holder-1@2.1"
"""After two things that are told of the holder: that it was granted the lock, and its note of that."""


def test_who_crashes_releases_nothing() -> None:
    sim = AccordSim()
    holding(sim, 1.0)
    assert notes(ran(sim, f"crash {WHEN_HELD}")) == ["held"]
    assert sim.trial is not None
    (agent,) = sim.trial.agents
    assert agent.status == "crashed"
    assert not any(isinstance(one, Told) and isinstance(one.event, LockReleased) for one in sim.trial.trace)

    async def waits(hub: Accord) -> None:
        await asyncio.sleep(0.5)
        async with hub.lock("room"):
            sim.note("next")

    sim.agent(waits)
    trace = ran(sim, f"crash {WHEN_HELD}")
    assert notes(trace) == ["held", "next"]
    assert sim.trial is not None
    assert any(isinstance(one, Told) and isinstance(one.event, LeaseExpired) for one in sim.trial.trace)
    assert next(at_ms for at_ms, _, line in trace if line == "notes next") > 5_000


@pytest.mark.parametrize(("kind", "lasting_ms", "outcome"), [
    ("pause", 2_000, "through"),
    ("pause", 20_000, "lost"),
    ("cut", 1_000, "through"),
    ("cut", 20_000, "lost"),
])  # fmt: skip
def test_who_is_away_for_longer_than_his_lease_loses_it(kind: str, lasting_ms: int, outcome: str) -> None:
    sim = AccordSim()
    holding(sim, 8.0)
    assert notes(ran(sim, f"{kind} {WHEN_HELD}+{lasting_ms}")) == ["held", outcome]


def test_a_program_that_has_ended_cannot_crash() -> None:
    """It is started again once: a fault that comes in between befalls its next life."""
    sim = AccordSim()

    async def fails_once(hub: Accord) -> None:
        async with hub.lock("room"):
            sim.note("held")
        if sim.trial is not None and sim.trial.agents[0].starts == 1:
            raise AccordError("once")

    sim.agent(fails_once, restarts=True)
    for turn in range(1, 40, 3):
        trace = ran(sim, f"crash fails_once-1@3.{turn}")
        assert sim.trial is not None and sim.trial.agents[0].status == "done"
        lives = [line.split()[0] for _, _, line in trace if line.split()[0] in ("starts", "crashes", "ends:", "is")]
        assert lives[::2] == ["starts"] * (len(lives) // 2) and lives[-2:] == ["starts", "is"]


def test_who_is_cut_off_believes_no_longer_than_his_lease() -> None:
    sim = AccordSim()
    holding(sim, 60.0)
    trace = ran(sim, f"cut {WHEN_HELD}+40000")
    held_ms, lost_ms = [at_ms for at_ms, _, line in trace if line.startswith("notes ")]
    assert 3_000 < lost_ms - held_ms < 5_000


def test_who_is_cut_off_hears_nothing() -> None:
    sim = AccordSim()

    async def waits(hub: Accord, begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        async with hub.lock("room"):
            sim.note("mine")
            await asyncio.sleep(3)

    sim.agent(waits, 0.0, name="first")
    sim.agent(waits, 1.0, name="second")
    trace = ran(sim, "cut second-1@1.1+8000")  # once it is queued
    granted_ms = next(at_ms for at_ms, who, line in trace if who == "second-1" and "LockGranted" in line)
    heard_ms = next(at_ms for at_ms, who, line in trace if who == "second-1" and line == "notes mine")
    assert granted_ms < 4_000 and 9_000 < heard_ms < 9_500


def test_while_nobody_decides_agents_wait() -> None:
    trace = ran(simulated(counts, count=1), "outage@0+6000")
    assert next(at_ms for at_ms, _, line in trace if line.startswith("reads room")) > 6_000


def test_who_restarts_does_so_after_a_crash_and_may_do_things_twice() -> None:
    sim = simulated(counts, count=1, restarts=True)
    trace = ran(sim, "crash counts-1@0.5", "crash counts-1@3.1")
    assert [line for _, _, line in trace if line.startswith("starts")] == ["starts", "starts again", "starts again"]
    assert sum(line.startswith("writes room") for _, _, line in trace) == 2


# -- drawing, writing, shrinking


def test_faults_come_from_the_seed_alone() -> None:
    faults, turns = Faults(2, 2, 2, 2), {"a-1": [4, 0, 9], "a-2": [6]}
    drawn = [faults.draw(seed, turns, 1_000) for seed in range(200)]
    assert drawn == [faults.draw(seed, turns, 1_000) for seed in range(200)]
    kinds = {fault.kind for one in drawn for fault in one}
    assert kinds == {"crash", "pause", "cut", "outage"}
    of_agents = [fault for one in drawn for fault in one if fault.agent]
    assert all(1 <= fault.turn <= max(1, turns[fault.agent][fault.after]) for fault in of_agents)
    assert {(fault.agent, fault.after) for fault in of_agents} == {("a-1", 0), ("a-1", 1), ("a-1", 2), ("a-2", 0)}
    assert {len(one) for one in drawn} >= {0, 1, 4, 8} - {0, 8}
    assert Faults(0, 0, 0, 0).draw(1, turns, 1_000) == []


def test_faults_are_written_as_text() -> None:
    for fault in (
        Fault("crash", "a b-1", 7, 1),
        Fault("pause", "x-1", 3, 2, 200),
        Fault("cut", "x-1", 3, 2, 9),
        Fault("outage", "", 12, ms=5),
    ):
        assert parsed([str(fault)]) == [fault]
    for wrong in ("crash", "crash a-1", "crash a-1@3+4", "pause a-1@3", "outage a-1@3+4", "outage@3", "burn a-1@3"):
        with pytest.raises(BadInput, match="is no fault"):
            parsed([wrong])


def test_shrinking_leaves_what_is_needed_alone() -> None:
    faults = parsed(["crash a-1@3.1", "pause a-1@5.1+40000", "cut a-2@8.1+7000", "pause a-2@9.1+90000"])

    def fails(tried: list[Fault]) -> bool:
        return sum(fault.ms for fault in tried if fault.kind == "pause") > 45_000

    assert fails(shrunk(faults, fails, 100))
    assert [str(fault) for fault in shrunk(faults, fails, 100)] == ["pause a-2@9.1+90000"]
    assert shrunk(faults, fails, 0) == faults
    assert shrunk(faults, lambda _: True, 100) == []


@pytest.mark.parametrize("wrong", [
    lambda sim: sim.run(),
    lambda sim: sim.faults(crashes=21),
    lambda sim: (sim.agent(counts), sim.agent(counts)),
    lambda sim: (sim.agent(counts), sim.run(seeds=0)),
    lambda sim: (sim.agent(counts), sim.run(faults=["outage@0+5"])),
    lambda sim: sim.note("outside"),
    lambda sim: asyncio.run(sim.resource("room").read()),
])  # fmt: skip
def test_what_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(BadInput):
        wrong(AccordSim())
