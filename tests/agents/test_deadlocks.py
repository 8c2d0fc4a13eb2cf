"""Deadlocks as programs meet them: the youngest gives way, is told the ring, and may begin again at the same age."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.leases.call_chain import NESTED_MAX, RUNS_MAX

import accord
from accord import sync
from accord.errors import BadInput, DeadlockVictim, LockTimeout
from tests.agents.support import detached, queued, run

MakeHub = Callable[..., Accord]


class Ring:
    """Parties that each take a lock and then, when all have one, the next one's."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.victims: list[tuple[int, DeadlockVictim]] = []
        self.all_hold = asyncio.Event()

    async def has_begun(self, count: int) -> None:
        """Waits until so many parties hold their first lock: who begins later is younger."""
        while len(self.begun) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def party(self, hub: Accord, number: int) -> None:
        async with hub.lock(self.names[number]):
            self.begun.append(number)
            if len(self.begun) == len(self.names):
                self.all_hold.set()
            await self.all_hold.wait()
            try:
                async with hub.lock(self.names[(number + 1) % len(self.names)]):
                    self.finished.append(number)
            except DeadlockVictim as error:
                self.victims.append((number, error))
                raise


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_ring_is_broken_by_the_youngest_who_then_begins_again(make_hub: MakeHub, count: int) -> None:
    async def main() -> None:
        ring = Ring([f"ring-{count}-{n}" for n in range(count)])
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            parties: list[asyncio.Task[Any]] = []
            for number in range(count):
                hub = (ada, bob)[number % 2]
                parties.append(detached(hub.run(ring.party, hub, number)))
                await ring.has_begun(number + 1)
            await asyncio.gather(*parties)
            assert not ada.leases.live | bob.leases.live
        ((number, error),) = ring.victims
        assert number == count - 1
        assert ring.finished[-1] == number
        assert [step["name"] for step in error.cycle] == ring.names
        assert error.key == ring.names[0]
        assert f"the youngest of {count}" in str(error)
        assert error.as_json()["cycle"][0]["agent"] == error.agent

    run(main())


def test_without_run_the_victim_is_told_and_what_it_held_is_free(make_hub: MakeHub) -> None:
    async def main() -> None:
        ring = Ring(["plain-a", "plain-b"])
        async with make_hub("ada") as hub:
            first = detached(ring.party(hub, 0))
            await ring.has_begun(1)
            with pytest.raises(DeadlockVictim) as raised:
                await detached(ring.party(hub, 1))
            await first
            assert raised.value.position is not None
            assert raised.value.holder == "ada"
            assert accord.DeadlockVictim is DeadlockVictim

    run(main())


def test_a_wait_that_times_out_is_no_deadlock_and_a_long_wait_is_none(make_hub: MakeHub) -> None:
    """Two wait within what they hold, in a line: nobody gives way."""

    async def main() -> None:
        async with make_hub("ada") as hub, hub.lock("line-c"):

            async def inner() -> None:
                async with hub.lock("line-b"), hub.lock("line-c", wait_ms=400):
                    pass

            async def outer() -> None:
                async with hub.lock("line-a"), hub.lock("line-b"):
                    pass

            waiting = detached(inner())
            await queued(hub, 1)
            behind = detached(outer())
            await queued(hub, 2)
            with pytest.raises(LockTimeout):
                await waiting
            await behind

    run(main())


def test_a_pool_and_a_semaphore_stand_in_a_ring(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            await hub.pool("ring-gpus").configure(capacity=2)
            both = asyncio.Barrier(3)
            given_way = []

            async def train() -> None:
                async with hub.pool("ring-gpus").request(2):
                    await both.wait()
                    async with hub.semaphore("ring-seats", 2):
                        pass

            async def sit(number: int) -> None:
                try:
                    async with hub.semaphore("ring-seats", 2):
                        await both.wait()
                        async with hub.pool("ring-gpus").request(1):
                            pass
                except DeadlockVictim as error:
                    given_way.append((number, [step["domain"] for step in error.cycle]))

            tasks = [detached(work) for work in (train(), sit(0), sit(1))]
            await asyncio.gather(*tasks)
            assert len(given_way) == 1, "one seat is enough"
            assert sorted(given_way[0][1]) == ["limits", "locks"]

    run(main())


def test_who_holds_something_already_is_not_begun_again_inside(make_hub: MakeHub) -> None:
    async def main() -> None:
        calls = 0
        async with make_hub("ada") as hub:

            async def younger() -> None:
                nonlocal calls
                async with hub.lock("outer-b"):
                    await hub.run(inside)

            async def inside() -> None:
                nonlocal calls
                calls += 1
                async with hub.lock("outer-a"):
                    pass

            async def older() -> None:
                async with hub.lock("outer-a"):
                    begun.set()
                    await queued(hub, 1)
                    async with hub.lock("outer-b"):
                        pass

            begun = asyncio.Event()
            first = detached(older())
            await begun.wait()
            with pytest.raises(DeadlockVictim):
                await detached(younger())
            await first
            assert calls == 1

    run(main())


def test_run_returns_what_the_function_does_and_ends_after_a_bound(make_hub: MakeHub) -> None:
    async def main() -> None:
        calls = 0

        async def always(victim: str, *, extra: int) -> None:
            nonlocal calls
            calls += extra
            raise DeadlockVictim(victim, cycle=[])

        async def answer(value: int) -> int:
            return value

        async with make_hub("ada") as hub:
            assert await hub.run(answer, 42) == 42
            with pytest.raises(DeadlockVictim):
                await hub.run(always, "x", extra=1)
            assert calls == RUNS_MAX
            with pytest.raises(ZeroDivisionError):
                await hub.run(_divide)

    run(main())


async def _divide() -> None:
    raise ZeroDivisionError


def test_a_chain_that_is_too_deep_is_refused_before_it_asks(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            grants = []
            with pytest.raises(BadInput, match=f"about {NESTED_MAX} may be held within each other"):
                for number in range(NESTED_MAX + 1):
                    grants.append(await hub.lock(f"deep-{number}").acquire())
            assert len(grants) > NESTED_MAX - 5
            for grant in reversed(grants):
                await grant.release()
            assert not hub.leases.live

    run(main())


def test_the_sync_client_is_told_and_begins_again(make_hub: Callable[..., Any]) -> None:
    with make_hub("ada", sync.Accord) as hub, ThreadPoolExecutor(2) as threads:
        both, order, victims = Barrier(2), [], []

        def party(mine: str, other: str) -> str:
            with hub.lock(mine):
                if not victims:
                    both.wait(10)
                try:
                    with hub.lock(other):
                        order.append(mine)
                        return mine
                except DeadlockVictim as error:
                    victims.append(error)
                    raise

        first = threads.submit(contextvars.Context().run, hub.run, party, "sync-a", "sync-b")
        second = threads.submit(contextvars.Context().run, hub.run, party, "sync-b", "sync-a")
        assert {first.result(20), second.result(20)} == {"sync-a", "sync-b"}
        assert len(victims) == 1
        assert len(order) == 2
        with pytest.raises(DeadlockVictim):
            hub.run(_always)


def _always() -> None:
    raise DeadlockVictim("x", cycle=[])
