"""Conditions and barriers, as programs use them."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.locks import conditions

from accord import sync
from accord.errors import BadInput, BrokenBarrier, LeaseLost, LockTimeout, NotConnected, NotOwner, TermsDiffer
from tests.agents.support import detached, run, until

ANSWERS = ("events", "inbox")

MakeHub = Callable[..., Accord]


def in_state(hub: Any, state: str) -> int:
    return sum(getattr(hold, "_state", None) == state for hold in list(hub.leases.live))


async def reached(count: Callable[[], int], wanted: int) -> None:
    while count() < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


# -- conditions


@pytest.mark.each_source
def test_a_producer_wakes_consumers_one_item_each(make_hub: MakeHub) -> None:
    async def main() -> None:
        items: list[int] = []
        eaten: list[int] = []

        async def consume(hub: Accord) -> None:
            stock = hub.condition("stock")
            async with stock as grant:
                before = grant.token
                assert await stock.wait_for(lambda: bool(items))
                assert grant.valid
                assert grant.token >= before
                eaten.append(items.pop())

        async with make_hub("ada") as hub, make_hub("bob") as other:
            consumers = [detached(consume((hub, other)[n % 2])) for n in range(4)]
            await reached(lambda: in_state(hub, "asleep") + in_state(other, "asleep"), 4)
            stock = hub.condition("stock")
            for number in range(4):
                async with stock:
                    items.append(number)
                    assert await stock.notify() == 1
            await asyncio.gather(*consumers)
            assert sorted(eaten) == [0, 1, 2, 3]
            async with stock:
                assert await stock.notify_all() == 0
            assert not hub.leases.live

    run(main())


def test_a_notice_to_more_than_one_command_may_tell_is_several(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "NOTIFIED_MAX", 2)

    async def main() -> None:
        async def sleep(hub: Accord) -> None:
            crowd = hub.condition("crowd")
            async with crowd:
                assert await crowd.wait()

        async with make_hub("ada") as hub, make_hub("bob") as other:
            crowd = other.condition("crowd")
            sleepers = [detached(sleep(hub)) for _ in range(8)]
            await reached(lambda: in_state(hub, "asleep"), 8)
            async with crowd:
                assert await crowd.notify(3) == 3
                assert await crowd.notify_all() == 5
                assert await crowd.notify_all() == 0
            await asyncio.gather(*sleepers)

    run(main())


def test_a_wait_that_ends_has_the_lock_again_and_says_so(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            quiet = hub.condition("quiet")
            async with quiet as grant:
                first = grant.token
                assert await quiet.wait(wait_ms=50) is False
                assert grant.valid
                assert grant.token > first
                assert not await quiet.wait_for(lambda: False, wait_ms=50)
                with pytest.raises(LockTimeout):
                    await detached(hub.lock("quiet").acquire(wait_ms=0))
            async with hub.lock("quiet", wait_ms=0):
                pass

    run(main())


def test_who_is_cancelled_in_its_sleep_has_the_lock_again(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            tidy = hub.condition("tidy")
            seen: list[bool] = []

            async def sleeper() -> None:
                async with tidy as grant:
                    try:
                        await tidy.wait()
                    finally:
                        seen.append(grant.valid)

            task = detached(sleeper())
            await reached(lambda: in_state(hub, "asleep"), 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen == [True]
            async with hub.lock("tidy", wait_ms=0):
                pass

    run(main())


def test_who_loses_the_lock_after_a_notice_passes_it_on(make_hub: MakeHub) -> None:
    """As the log does it for one who vanishes: nobody knows whether it came to use the notice."""

    async def main() -> None:
        awake: list[str] = []

        async def sleeper(hub: Accord, stay: bool) -> None:
            async with hub.condition("passed on") as grant:
                await hub.condition("passed on").wait()
                awake.append(grant.agent)
                if stay:
                    await asyncio.sleep(10)

        hub, other = make_hub("ada"), make_hub("bob")
        async with other:
            async with hub:
                first = detached(sleeper(hub, True))
                await reached(lambda: in_state(hub, "asleep"), 1)
                second = detached(sleeper(other, False))
                await reached(lambda: in_state(other, "asleep"), 1)
                async with other.condition("passed on"):
                    assert await other.condition("passed on").notify() == 1
                await reached(lambda: len(awake), 1)
            with pytest.raises(LeaseLost, match="the hub was closed"):
                await first
            await asyncio.wait_for(second, 10)
            assert awake == ["ada", "bob"]

    run(main())


def test_without_the_lock_there_is_no_waiting_and_no_notice(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            bare = hub.condition("bare")
            with pytest.raises(NotOwner, match=r"wait\(\) needs the condition's lock"):
                await bare.wait()
            with pytest.raises(NotOwner, match=r"notify\(\) needs"):
                await bare.notify()
            async with bare:
                for count in (0, -1, True, 1.5):
                    with pytest.raises(BadInput):
                        await bare.notify(count)  # type: ignore[arg-type]
                with pytest.raises(BadInput):
                    await bare.wait(wait_ms=-1)
            async with hub.semaphore("bare", 2):
                with pytest.raises(NotOwner, match="does not hold it alone"):
                    await bare.notify()

    run(main())


# -- barriers


@pytest.mark.each_source
def test_all_parties_go_on_together_round_after_round(make_hub: MakeHub) -> None:
    async def main() -> None:
        rounds: list[list[int]] = [[], []]

        async def party(hub: Accord) -> None:
            ready = hub.barrier("ready", 3)
            for places in rounds:
                places.append(await ready.wait())

        async with make_hub("ada") as hub, make_hub("bob") as other:
            await asyncio.gather(party(hub), party(other), party(hub))
            assert [sorted(places) for places in rounds] == [[0, 1, 2], [0, 1, 2]]
            assert not hub.leases.live
            assert hub.connection.load["watches"] == 0

    run(main())


@pytest.mark.each_source
def test_one_who_waits_too_long_breaks_it_for_all(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("bob") as other:
            patient = asyncio.create_task(hub.barrier("late", 3).wait())
            await reached(lambda: len(hub.leases.live), 1)
            with pytest.raises(BrokenBarrier, match="waited too long: bob") as raised:
                await other.barrier("late", 3).wait(wait_ms=50)
            assert raised.value.position is not None
            with pytest.raises(BrokenBarrier, match="waited too long: bob"):
                await patient
            assert await hub.barrier("late", 1).wait() == 0

    run(main())


def test_one_who_is_cancelled_or_closes_breaks_it_for_all(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            patient = asyncio.create_task(hub.barrier("gone", 3).wait())
            leaver = asyncio.create_task(hub.barrier("gone", 3).wait())
            await reached(lambda: len(hub.leases.live), 2)
            await asyncio.sleep(0.05)
            leaver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaver
            with pytest.raises(BrokenBarrier, match="went away: ada"):
                await patient
            last = asyncio.create_task(hub.barrier("gone", 3).wait())
            await reached(lambda: len(hub.leases.live), 1)
        with pytest.raises(NotConnected):
            await last

    run(main())


def test_a_party_that_waits_longer_than_its_lease_renews_it(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            first = asyncio.create_task(hub.barrier("slow", 2, lease_ms=1_000).wait())
            await asyncio.sleep(1.6)
            assert await hub.barrier("slow", 2).wait() == 1
            assert await first == 0

    run(main())


def test_another_number_of_parties_or_a_lock_of_that_name(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            waiting = asyncio.create_task(hub.barrier("pair", 2).wait())
            await reached(lambda: len(hub.leases.live), 1)
            await asyncio.sleep(0.05)
            with pytest.raises(TermsDiffer, match="waited at by 2 parties"):
                await hub.barrier("pair", 3).wait()
            with pytest.raises(TermsDiffer, match="is a barrier at present"):
                await hub.lock("pair").acquire()
            await hub.barrier("pair", 2).wait()
            await waiting
            async with hub.lock("pair"):
                with pytest.raises(TermsDiffer, match="a lock at present"):
                    await hub.barrier("pair", 2).wait()

    run(main())


def test_parties_that_cannot_be_right() -> None:
    for hub in (Accord(), sync.Accord()):
        for parties in (0, 201, True, 2.0, None):
            with pytest.raises(BadInput, match="parties="):
                hub.barrier("b", parties)  # type: ignore[arg-type]


# -- the sync client


def test_the_sync_client_has_both(make_hub: Callable[..., Any]) -> None:
    hub: sync.Accord
    with make_hub("ada", sync.Accord) as hub:
        with ThreadPoolExecutor(3) as pool:
            places = [pool.submit(hub.barrier("s-ready", 3).wait) for _ in range(3)]
            assert sorted(place.result() for place in places) == [0, 1, 2]
        with pytest.raises(BrokenBarrier):
            hub.barrier("s-ready", 2).wait(wait_ms=20)

        items: list[int] = []
        eaten: list[int] = []

        def consume() -> None:
            stock = hub.condition("s-stock")
            with stock:
                stock.wait_for(lambda: bool(items))
                eaten.append(items.pop())

        threads = [threading.Thread(target=contextvars.Context().run, args=(consume,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: in_state(hub, "asleep") == 2)
        stock = hub.condition("s-stock")
        with stock:
            assert stock.wait(wait_ms=10) is False
            items.extend([1, 2])
            assert stock.notify_all() == 2
        for thread in threads:
            thread.join(10)
        assert sorted(eaten) == [1, 2]
