"""Semaphores, readers and writers, several locks at once, entering again, priorities."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.locks.locks import Lock
from accord.schemas.messages.locks import RevokeLease

from accord import sync
from accord.errors import BadInput, LeaseLost, LockTimeout, NotOwner, TermsDiffer, WouldSelfDeadlock
from tests.agents.support import detached, queued, run, until

MakeHub = Callable[..., Accord]


# -- sharing


def test_a_semaphore_lets_in_as_many_as_it_has_permits(make_hub: MakeHub) -> None:
    inside, most = 0, 0

    async def work(hub: Accord) -> int:
        nonlocal inside, most
        async with hub.semaphore("gpu", 2) as grant:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.02)
            inside -= 1
            return grant.token

    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("bob") as other:
            tokens = await asyncio.gather(*[detached(work((hub, other)[n % 2])) for n in range(8)])
            assert most == 2
            assert len(set(tokens)) >= 4
            assert not hub.leases.live

    run(main())


def test_one_call_chain_may_take_several_permits_but_not_wait_for_its_own(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.semaphore("seats", 2), hub.semaphore("seats", 2):
                with pytest.raises(WouldSelfDeadlock):
                    await hub.semaphore("seats", 2).acquire()
            async with hub.semaphore("seats", 3):  # nobody uses it: another number is as good
                with pytest.raises(TermsDiffer, match=r"shared by 3 permits") as raised:
                    await detached(hub.semaphore("seats", 2).acquire())
                assert raised.value.position is not None
                with pytest.raises(TermsDiffer):
                    await detached(hub.rwlock("seats").read().acquire())

    run(main())


def test_readers_share_and_a_writer_is_alone_and_not_starved(make_hub: MakeHub) -> None:
    async def main() -> None:
        order: list[str] = []

        async def use(lock: Lock, name: str, leave: asyncio.Event) -> None:
            async with lock:
                order.append(name)
                await leave.wait()
                order.append(f"-{name}")

        async with make_hub("ada") as hub:
            report = hub.rwlock("report")
            go = asyncio.Event()
            readers = [detached(use(report.read(), name, go)) for name in ("r1", "r2")]
            while len(order) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            writer = detached(use(report.write(), "w", go))
            await queued(hub, 1)
            late = [detached(use(report.read(), name, go)) for name in ("r3", "r4")]
            await queued(hub, 3)
            assert sorted(order) == ["r1", "r2"], "readers wait behind a writer who waits"
            go.set()
            await asyncio.gather(*readers, writer, *late)
            assert sorted(order[:4]) == ["-r1", "-r2", "r1", "r2"]
            assert order[4:6] == ["w", "-w"]
            assert sorted(order[6:]) == ["-r3", "-r4", "r3", "r4"]

    run(main())


def test_a_reader_does_not_become_a_writer(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, hub.rwlock("page").read():
            with pytest.raises(WouldSelfDeadlock):
                await hub.rwlock("page").write().acquire()

    run(main())


def test_those_who_came_by_one_decision_renew_and_release_each_their_own(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            page = hub.rwlock("together", lease_ms=1_000)
            async with page.write():
                waiting = [detached(page.read().acquire()) for _ in range(3)]
                await queued(hub, 3)
            first, second, third = await asyncio.gather(*waiting)
            assert first.token == second.token == third.token
            await second.release()
            await asyncio.sleep(1.3)  # longer than a lease
            assert first.valid
            assert third.valid
            assert not second.valid
            with pytest.raises(LockTimeout):
                await page.write().acquire(wait_ms=0)
            await first.release()
            await third.release()
            async with page.write():
                pass

    run(main())


# -- priority, entering again, revoking


def test_a_higher_priority_goes_first(make_hub: MakeHub) -> None:
    async def main() -> None:
        order: list[int] = []

        async def work(hub: Accord, priority: int) -> None:
            async with hub.lock("desk", priority=priority):
                order.append(priority)

        async with make_hub("ada") as hub:
            async with hub.lock("desk"):
                tasks = []
                for place, priority in enumerate((0, 5, -5, 10), start=1):
                    tasks.append(detached(work(hub, priority)))
                    await queued(hub, place)
            await asyncio.gather(*tasks)
        assert order == [10, 5, 0, -5]

    run(main())


def test_a_reentrant_lock_is_freed_when_its_chain_has_left_as_often_as_it_entered(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            lock = hub.lock("again", reentrant=True)
            async with lock as outer:
                async with lock as inner:
                    third = await hub.lock("again", reentrant=True).acquire()
                    assert outer.token == inner.token == third.token
                    await third.release()
                assert outer.valid
                with pytest.raises(LockTimeout):
                    await detached(hub.lock("again").acquire(wait_ms=0))
                with pytest.raises(WouldSelfDeadlock):  # who did not ask for it does not get it
                    await hub.lock("again").acquire()
            await detached(_use(hub.lock("again", wait_ms=0)))

    run(main())


async def _use(lock: Lock) -> None:
    async with lock:
        pass


def test_a_lease_that_is_revoked_is_lost_with_the_reason(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("ops") as ops:
            with pytest.raises(LeaseLost, match="taken away by ops: stuck since noon"):
                async with hub.lock("stuck", reentrant=True) as grant, hub.lock("stuck", reentrant=True):
                    revoke = RevokeLease("ops", grant.token, "stuck since noon")
                    await asyncio.wrap_future(ops.connection.submit("locks", "stuck", revoke).decided)
                    await asyncio.sleep(5)
            async with ops.lock("stuck", wait_ms=0):
                pass

    run(main())


# -- several at once


def test_several_locks_are_taken_all_or_none(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.locks(["b", "a"]) as grants:
                assert list(grants) == ["a", "b"]
                assert all(grant.valid and grant.key == name for name, grant in grants.items())
                with pytest.raises(LockTimeout):
                    await detached(_use(hub.lock("b", wait_ms=0)))

            async def want_both() -> None:
                async with hub.locks(["a", "b"], wait_ms=50):
                    pytest.fail("b is held")

            async with hub.lock("b"):
                with pytest.raises(LockTimeout, match="b not granted"):
                    await detached(want_both())
                await detached(_use(hub.lock("a", wait_ms=0)))  # given back
            assert not hub.leases.live

    run(main())


def test_who_wants_the_same_locks_in_another_order_does_not_deadlock(make_hub: MakeHub) -> None:
    async def main() -> None:
        done = 0

        async def work(hub: Accord, names: list[str]) -> None:
            nonlocal done
            async with hub.locks(names) as grants:
                await asyncio.sleep(0.001)
                assert all(grant.valid for grant in grants.values())
                done += 1

        async with make_hub("ada") as hub, make_hub("bob") as other:
            names = ["fork-1", "fork-2", "fork-3"]
            await asyncio.gather(
                *[detached(work((hub, other)[n % 2], names[n % 3 :] + names[: n % 3])) for n in range(12)]
            )
        assert done == 12

    run(main())


# -- what cannot be right


def test_arguments_that_cannot_be_right() -> None:
    for hub in (Accord(), sync.Accord()):
        for permits in (0, -1, 201, 1.5, True, None):
            with pytest.raises(BadInput, match="permits="):
                hub.semaphore("s", permits)  # type: ignore[arg-type]
        for priority in (11, -11, 1.0, True):
            with pytest.raises(BadInput, match="priority="):
                hub.lock("s", priority=priority)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="lease_ms"):
            hub.rwlock("s", lease_ms=3)
        with pytest.raises(BadInput, match=r"hub.lock\('ab'\)"):
            hub.locks("ab")
        for names in ([], ["a", "a"], ["a", ""]):
            with pytest.raises(BadInput):
                hub.locks(names)


# -- the sync client


def test_the_sync_client_has_them_all(make_hub: Callable[..., Any]) -> None:
    hub: sync.Accord
    with make_hub("ada", sync.Accord) as hub:
        gpu = hub.semaphore("s-gpu", 2)
        with gpu, gpu, ThreadPoolExecutor(1) as pool, pytest.raises(LockTimeout):
            pool.submit(gpu.acquire, wait_ms=0).result()
        page = hub.rwlock("s-page")
        with page.read(), ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: page.read().acquire(wait_ms=0).release()).result()
            with pytest.raises(LockTimeout):
                pool.submit(page.write().acquire, wait_ms=0).result()
        lock = hub.lock("s-again", reentrant=True)
        with lock, lock as grant:
            assert grant.valid
        with hub.locks(["s-b", "s-a"]) as grants:
            assert list(grants) == ["s-a", "s-b"]
        assert not hub.leases.live

        order: list[int] = []

        def work(priority: int) -> None:
            with hub.lock("s-desk", priority=priority):
                order.append(priority)

        with hub.lock("s-desk"):
            threads = [threading.Thread(target=contextvars.Context().run, args=(work, p)) for p in (0, 1)]
            for place, thread in enumerate(threads, start=1):
                thread.start()
                until(lambda place=place: sum(h._state == "queued" for h in hub.leases.live) == place)  # type: ignore[misc]
        for thread in threads:
            thread.join(10)
        assert order == [1, 0]


def test_a_permit_is_given_back_once(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.semaphore("once", 2) as grant:
                await grant.release()  # the end of the body finds nothing left to do
            with pytest.raises(NotOwner, match="was released already"):
                await grant.release()
            first, second = [await detached(hub.semaphore("once", 2).acquire(wait_ms=0)) for _ in range(2)]
            with pytest.raises(LockTimeout):  # no third one has come of it
                await detached(hub.semaphore("once", 2).acquire(wait_ms=0))
            await first.release()
            await second.release()

    run(main())


def test_the_sync_client_gives_back_once(make_hub: Callable[..., Any]) -> None:
    with make_hub("ada", sync.Accord) as hub:
        with hub.lock("sync-once") as grant:
            grant.release()
        with pytest.raises(NotOwner, match="was released already"):
            grant.release()
