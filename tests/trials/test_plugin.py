"""The fixtures as a user's pytest has them."""

from __future__ import annotations

import pytest

from tests.counts import only_long

pytest_plugins = ["pytester"]

ROOMS = """
from accord.testing import exclusion

def test_one_books(accord_sim):
    room = accord_sim.resource("room")

    async def booker(hub):
        if await room.read() is None:
            await room.write(hub.agent)

    accord_sim.agent(booker, count=3, restarts=True)
    accord_sim.always(exclusion("room"))
    accord_sim.run(seeds=50)

def test_all_are_done(accord_sim):
    async def booker(hub):
        async with hub.lock("room"):
            pass

    accord_sim.agent(booker)
    print("tried", accord_sim.run(seeds=5).trials)
"""

HUBS = """
import pytest
from accord.schemas.messages.locks import AcquireLock
from accord.streams.locks.decider import NameDecider
from msgspec.structs import replace

right = NameDecider.decide

def wrong(self, state, command, at):
    if isinstance(command, AcquireLock):
        command = replace(command, lease_ms=command.lease_ms // 2)
    return right(self, state, command, at)

@pytest.mark.accord_verify
def test_sync(accord_sync):
    NameDecider.decide = wrong
    try:
        with accord_sync.lock("room"):
            pass
    finally:
        NameDecider.decide = right
"""

MODELS = """
import asyncio
import pytest

@pytest.mark.accord_verify
def test_async(accord_hub, accord_llm):
    async def main():
        async with accord_hub as hub:
            reply = await hub.model().ask("pick one:\\n- red\\n- blue")
            assert reply.text in ("red", "blue") and accord_llm.counts.answered == 1

    asyncio.run(main())
"""


def test_a_failing_seed_is_told_and_run_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_rooms=ROOMS)
    result = pytester.runpytest_inprocess("-s", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*TrialFailed: exclusion(room) is violated at * ms of virtual time.",
            "E*booker-? writes room over what booker-? wrote * ms before*",
            "E*seed 0, no faults",
            "E*reads room: None",
            "E*accord_sim.run(seed=0, faults=[[]])",
            "E*pytest 'test_rooms.py::test_one_books' --accord-seed 0",
        ]
    )
    result.stdout.fnmatch_lines(["*tried 5"])
    result = pytester.runpytest_inprocess("-s", "-k", "all_are_done", "--accord-seed", "7", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*tried 1"])
    result = pytester.runpytest_inprocess("-s", "-k", "all_are_done", "--accord-seeds", "3", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*tried 3"])


def test_the_log_of_a_hub_is_verified_afterwards(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_hubs=HUBS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_sync*",
            "The log is not what its commands and rules say:",
            "locks/*@* room: expected *lease_ms*30000*, got *lease_ms*15000*",
        ]
    )


@only_long
def test_the_hub_asks_the_stand_in_for_a_model(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_models=MODELS)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers").assert_outcomes(passed=1)
