"""What is wrong in users' coordination is found, told, shrunk and brought back; what is right passes."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from accord.agents.client import Accord

from accord.errors import AccordError, DeadlockVictim
from accord.testing import TrialFailed, atomicity, duration, exclusion, liveness, order, serializability
from accord.testing.trials import agent
from accord.testing.trials.faults import parsed
from accord.testing.trials.resource import Resource
from accord.testing.trials.sim import AccordSim
from tests.counts import LONG, long, only_long
from tests.trials.programs import (
    counts,
    looks_and_leaps,
    releases_early,
    simulated,
    takes_two,
    takes_two_again,
)


def failure(sim: AccordSim, **terms: Any) -> TrialFailed:
    with pytest.raises(TrialFailed) as raised:
        sim.run(**terms)
    return raised.value


# -- wrong coordination


def test_check_then_act_is_found_without_any_fault() -> None:
    found = failure(simulated(looks_and_leaps, None))
    assert found.trial.violation is not None
    assert found.trial.violation.invariant == "exclusion(room)"
    assert found.faults == []
    assert "had read it before anybody wrote" in str(found)


def test_a_write_after_the_release_is_found() -> None:
    assert "exclusion(room) is violated" in str(failure(simulated(releases_early), seeds=20))


def test_a_write_without_token_after_a_pause_is_found_and_shrinks_to_the_pause() -> None:
    sim = simulated(counts, count=2, restarts=True)
    sim.faults(crashes=2, pauses=2, cuts=2, outages=1)
    found = failure(sim, seeds=300)
    drawn = int(re.search(r"faults? \((\d+) before shrinking\)", str(found))[1])  # type: ignore[index]
    assert 0 < len(found.faults) < drawn
    assert any(fault.startswith("pause counts-") for fault in found.faults)
    assert f"accord_sim.run(seed={found.seed}, faults={found.faults})" in str(found)
    assert f"pytest 'test_rooms.py::test_one' --accord-seed {found.seed}" in str(found)
    # Without any of them it does not fail, nor if the pause is half as long.
    longest = max(parsed(found.faults), key=lambda fault: fault.ms)
    for left_out in found.faults:
        sim.run(seed=found.seed, faults=[fault for fault in found.faults if fault != left_out])
    sim.run(
        seed=found.seed,
        faults=[str(longest._replace(ms=longest.ms // 2)) if f == str(longest) else f for f in found.faults],
    )

    again = failure(simulated(counts, count=2, restarts=True), seed=found.seed, faults=found.faults)
    assert again.trial.fingerprint() == found.trial.fingerprint()
    told, told_again = str(found).partition("seed ")[0], str(again).partition("seed ")[0]
    assert told == told_again


def test_a_deadlock_that_nobody_handles_is_found() -> None:
    found = failure(simulated(takes_two), seeds=5)
    assert found.trial.violation is not None
    assert found.trial.violation.invariant == "no agent fails"
    assert "raised DeadlockVictim at takes_two, line" in str(found)
    simulated(takes_two, may_raise=DeadlockVictim).run(seeds=5)
    simulated(takes_two_again).run(seeds=5)


def test_who_waits_for_ever_is_found() -> None:
    async def waits(hub: Accord) -> None:
        async with hub.lock("room"):
            await asyncio.Event().wait()

    sim = AccordSim()
    sim.agent(waits)
    assert "waits-1 is at waits, line" in str(failure(sim, seeds=1, within_ms=60_000))

    sim.agent(waits, name="server", forever=True)
    assert "server" not in str(failure(sim, seeds=1, within_ms=60_000)).partition("seed ")[0]


@pytest.mark.parametrize("shows_its_token", [False, True])
def test_a_read_has_to_show_its_token(shows_its_token: bool) -> None:
    """One is paused after it has read; the next one reads, and is paused for less than its lease; the first one writes,
    and the resource has seen no larger token, unless the read has shown it."""
    sim = AccordSim()
    room = sim.resource("room", 0, fenced=True)

    async def counts_late(hub: Accord, begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        async with hub.lock("room") as grant:
            count = await room.read(grant if shows_its_token else None)
            await room.write(count + 1, grant)

    sim.agent(counts_late, 0.0, name="first")
    sim.agent(counts_late, 1.0, name="second")
    sim.always(exclusion("room"))
    refused: list[str] = []
    sim.always(lambda trial: refused.append(trial.history[-1].agent) if trial.history[-1].kind == "refused" else None)
    terms: dict[str, Any] = {"seed": 3, "faults": ["pause first-1@2.1+43000", "pause second-1@3.1+25000"]}
    if shows_its_token:
        sim.run(**terms)
        assert refused == ["first-1"] and room.value == 1
    else:
        assert "second-1 writes room over what first-1 wrote" in str(failure(sim, **terms))


# -- right coordination


@long
def test_two_hundred_seeds_pass() -> None:
    summary = simulated(counts, count=2, fenced=True, restarts=True).run(seeds=1_000 if LONG else 200)
    assert summary.trials == (1_000 if LONG else 200)
    assert summary.faults > summary.trials
    assert summary.virtual_ms > 3_600_000


# -- the same again


def test_a_seed_gives_the_same_trace_again() -> None:
    def trace() -> list[Any]:
        sim = simulated(counts, count=3, restarts=True)
        sim.run(
            seed=11, faults=["pause counts-1@2.1+4000", "crash counts-2@1.3", "cut counts-3@1.1+900", "outage@30+2000"]
        )
        assert sim.trial is not None
        return sim.trial.fingerprint()

    first = trace()
    assert trace() == first
    assert {line for _, _, line in first if "crashes" in line or "cut off" in line or "paused" in line}


@only_long
def test_a_seed_gives_the_same_trace_in_another_process() -> None:
    program = (
        "from tests.trials.programs import *; s = simulated(counts, count=3, fenced=True, restarts=True);"
        "s.run(seed=5); print(s.trial.fingerprint())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for number in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1_000


def test_a_program_that_depends_on_something_else_is_told() -> None:
    runs = itertools.count()

    async def program(hub: Accord, room: Resource) -> None:
        await asyncio.sleep(next(runs) / 1_000)
        await looks_and_leaps(hub, room)

    found = failure(simulated(program, None), seeds=20)
    assert "did not bring the same again" in str(found)

    def again() -> None:
        nonlocal runs
        runs = itertools.count()

    sim = simulated(program, None)
    sim.before_each(again)
    assert "did not bring the same again" not in str(failure(sim, seeds=20))


# -- invariants


def test_an_order_is_checked_for_each_key() -> None:
    sim = AccordSim()

    async def shop(hub: Accord, notes: list[tuple[str, int]]) -> None:
        for name, number in notes:
            await asyncio.sleep(0.001)
            sim.note(name, order=number)

    sim.agent(shop, [("paid", 1), ("shipped", 1), ("shipped", 2), ("paid", 2)])
    sim.always(order("paid", "shipped", by="order"))
    assert "shop-1 notes shipped of order=2, and nobody has noted paid before." in str(failure(sim, seeds=1))


def test_half_of_a_transfer_is_seen() -> None:
    async def transfer(hub: Accord, left: Resource, right: Resource) -> None:
        async with hub.lock("accounts"):
            ours, theirs = await left.read(), await right.read()
            await left.write(ours - 10)
            await right.write(theirs + 10)

    async def looks(hub: Accord, left: Resource, right: Resource, lock: bool) -> None:
        await asyncio.sleep(0.03)
        if lock:
            async with hub.lock("accounts"):
                await left.read(), await right.read()
        else:
            await left.read(), await right.read()

    def sim(*, lock: bool) -> AccordSim:
        made = AccordSim()
        left, right = made.resource("left", 50), made.resource("right", 50)
        made.agent(transfer, left, right)
        made.agent(looks, left, right, lock)
        made.always(atomicity("left", "right", holds=lambda one, other: one + other == 100))
        made.faults(crashes=0, pauses=0, cuts=0, outages=0)
        return made

    assert "looks-1 reads left=40, right=50" in str(failure(sim(lock=False), seeds=50))
    sim(lock=True).run(seeds=8)
    crashed = sim(lock=True)
    crashed.faults(crashes=1, pauses=0, cuts=0, outages=0)
    assert "left=40, right=50" in str(failure(crashed, seeds=100))


def test_sections_that_cannot_be_put_in_an_order_are_found() -> None:
    """Write skew: each reads both and writes one, so no update is lost; and yet none came first."""

    def sim(*, lock: bool) -> AccordSim:
        made = AccordSim()
        on_call = [made.resource(name, True) for name in ("ada", "bob")]

        async def leaves(hub: Accord) -> None:
            mine = on_call[hub.agent.endswith("2")]
            with made.section("leave"):
                async with hub.lock("rota" if lock else hub.agent):
                    both = [await one.read() for one in on_call]
                    if all(both):
                        await mine.write(False)

        made.agent(leaves, count=2)
        made.always(serializability("ada", "bob"))
        made.faults(crashes=0, pauses=0, cuts=0, outages=0)
        return made

    found = str(failure(sim(lock=False), seeds=50))
    assert "serializability(ada, bob) is violated" in found
    assert "leave 1 -> leave 2 -> leave 1" in found or "leave 2 -> leave 1 -> leave 2" in found
    sim(lock=True).run(seeds=15)


def test_how_long_a_section_takes_is_checked() -> None:
    def sim(at_most_ms: float) -> AccordSim:
        made = AccordSim()

        async def program(hub: Accord) -> None:
            with made.section("booking"):
                async with hub.lock("room"):
                    await asyncio.sleep(0.1)

        made.agent(program)
        made.always(duration("booking", at_most_ms=at_most_ms))
        return made

    assert "booking 1 of program-1 took 1" in str(failure(sim(100), seeds=1))
    sim(160).run(seeds=5)


def test_liveness_counts_from_the_last_fault() -> None:
    def sim(within_ms: int) -> AccordSim:
        made = simulated(counts, count=2, restarts=True)
        made.finally_(liveness(within_ms=within_ms))
        return made

    faults = ["crash counts-1@1.4"]
    sim(60_000).run(seed=3, faults=faults)
    assert "is not done by" in str(failure(sim(1_000), seed=3, faults=faults))


def test_own_functions_are_asked() -> None:
    def few(trial: Any) -> bool:
        return bool(trial.resource("room").value < 2)

    def all_counted(trial: Any) -> str | None:
        done = sum(agent.status == "done" for agent in trial.agents)
        value = trial.resource("room").value
        return None if done == value else f"{value} counted, {done} done"

    sim = simulated(counts)
    sim.finally_(all_counted)
    sim.run(seeds=1)
    sim.always(few)
    assert "few is violated" in str(failure(sim, seeds=1))

    def broken(trial: Any) -> None:
        raise KeyError("mine")

    other = simulated(counts)
    other.always(broken)
    with pytest.raises(KeyError, match="mine") as raised:
        other.run(seeds=1)
    assert raised.value.__notes__ == ["raised by the invariant broken"]


# -- what agents may raise


def test_what_a_program_raises_is_a_violation() -> None:
    async def wrong(hub: Accord) -> None:
        raise LookupError("no such room")

    sim = AccordSim()
    sim.agent(wrong, restarts=True)
    assert "wrong-1 raised LookupError at wrong, line" in str(failure(sim, seeds=1))
    sim = AccordSim()
    sim.agent(wrong, may_raise=(LookupError, AccordError))
    assert sim.run(seeds=3).trials == 3


def test_who_never_gets_anywhere_is_not_started_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "RESTARTS_MAX", 5)

    async def late(hub: Accord) -> None:
        async with hub.lock("room"), hub.lock("hall", wait_ms=0):
            raise AccordError("never")

    sim = AccordSim()
    sim.agent(late, restarts=True)
    found = failure(sim, seeds=1)
    assert "late-1 raised AccordError" in str(found)
    assert found.trial.agents[0].starts == 6


def test_unknown_names_are_refused() -> None:
    sim = simulated(counts)
    sim.always(exclusion("rom"))
    with pytest.raises(AccordError, match="there is no resource 'rom'; there are: room"):
        sim.run(seeds=1)
