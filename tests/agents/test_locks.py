"""Locks: one holder at a time, first come first served, and what a lost lease does."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.leases import leases
from accord.agents.leases.leases import MARGIN_MS, Hold, believed_until_s
from accord.schemas.messages.locks import ReleaseLock, RequestWithdrawn
from accord.schemas.position import Position

from accord.embedded import Embedded
from accord.errors import (
    BadInput,
    LeaseLost,
    LockTimeout,
    NotConnected,
    NotOwner,
    NoWorker,
    Overloaded,
    WouldSelfDeadlock,
)
from accord.settings import Settings
from tests.agents.support import detached, queued, run, until, with_

ANSWERS = ("events", "inbox")

MakeHub = Callable[..., Accord]


# -- mutual exclusion


def test_grant_names_token_key_and_position(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.lock("facts") as grant:
                assert grant.key == "facts"
                assert grant.token > 0
                assert isinstance(grant.position, Position)
                assert str(grant.position).startswith("locks/")
                assert grant.valid
                assert not grant.lost.is_set()
                grant.check()
            assert not grant.valid
            with pytest.raises(NotOwner, match="was released"):
                grant.check()
            again = await hub.lock("facts").acquire(wait_ms=0)
            assert again.token > grant.token
            await again.release()
            with pytest.raises(NotOwner, match="was released already"):
                await again.release()
            assert hub.connection.load == {"underway": 0, "partitions": 0, "watches": 0}
            assert not hub.leases.live

    run(main())


@pytest.mark.each_source
def test_two_tasks_of_one_agent_queue_first_come_first_served(make_hub: MakeHub) -> None:
    async def main() -> None:
        order: list[int] = []
        inside = 0

        async def work(hub: Accord, number: int) -> None:
            nonlocal inside
            async with hub.lock("fifo"):
                inside += 1
                assert inside == 1
                order.append(number)
                await asyncio.sleep(0.01)
                inside -= 1

        async with make_hub("ada") as hub, make_hub("bob") as other:
            async with hub.lock("fifo"):
                tasks = []
                for number in range(6):
                    client = (hub, other)[number % 2]
                    # In a fresh context: as tasks that were not started by who holds the lock.
                    tasks.append(detached(work(client, number)))
                    await queued(client, number // 2 + 1)
            await asyncio.gather(*tasks)
        assert order == list(range(6))

    run(main())


def test_other_names_are_not_delayed(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, hub.lock("customer_456"), asyncio.timeout(5), hub.lock("customer_457"):
            pass

    run(main())


def test_same_call_chain_would_deadlock(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.lock("chain") as grant:
                with pytest.raises(WouldSelfDeadlock, match=f"token {grant.token}") as raised:
                    await hub.lock("chain").acquire()
                assert raised.value.position is not None
                with pytest.raises(WouldSelfDeadlock):  # who waits for its own task waits for itself
                    await asyncio.create_task(hub.lock("chain").acquire())
                assert grant.valid
            async with hub.lock("chain"):
                pass

    run(main())


def test_tasks_started_under_a_lock_queue_once_it_is_released(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            released = asyncio.Event()

            async def later() -> int:
                await released.wait()
                async with hub.lock("parent") as grant:
                    await asyncio.sleep(0.02)
                    return grant.token

            async with hub.lock("parent"):
                tasks = [asyncio.create_task(later()) for _ in range(3)]
                await asyncio.sleep(0)
            released.set()
            assert len(set(await asyncio.gather(*tasks))) == 3

    run(main())


# -- waiting


def test_try_once(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob, ada.lock("once") as grant:
            with pytest.raises(LockTimeout) as raised:
                await detached(bob.lock("once").acquire(wait_ms=0))
            text = str(raised.value)
            assert text.startswith(f"once is not free. Held by ada (token {grant.token}) for 0.")
            assert text.endswith("See: accord locks show once.")
            assert (raised.value.holder, raised.value.key) == ("ada", "once")
            assert not bob.leases.live

    run(main())


def test_timeout_names_holder_token_and_place(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            async with ada.lock("room_12", lease_ms=60_000) as grant:
                first = detached(bob.lock("room_12", wait_ms=20_000).acquire())
                await queued(bob, 1)
                second = detached(bob.lock("room_12", wait_ms=5_000).acquire())
                await queued(bob, 2)
                await asyncio.to_thread(embedded.advance, 12_300)
                with pytest.raises(LockTimeout) as raised:
                    await second
                assert str(raised.value).startswith(
                    f"room_12 not granted within 5000 ms. Held by ada (token {grant.token}) for 12."
                )
                assert str(raised.value).endswith("s; you were 2nd of 2. See: accord locks show room_12.")
                assert raised.value.details["place"] == 2
            await (await first).release()

    run(main())


def test_long_wait_is_said(make_hub: MakeHub, embedded: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        impatient = Accord(agent="bob")
        impatient.use(with_(embedded.settings, "locks", wait_warning_ms=100), embedded.timestamp_ms)
        async with make_hub("ada") as ada, impatient as bob:
            async with ada.lock("slow"):
                waiting = detached(bob.lock("slow").acquire())
                await asyncio.sleep(0.4)
            await (await waiting).release()

    run(main())
    said = [record.getMessage() for record in caplog.records if "still waiting for a lock" in record.getMessage()]
    # At 100 ms and, doubled, at 300 ms; a third time at 700 ms, if the machine was busy.
    assert [text for wait, text in zip((100, 200), said, strict=False) if f"waited_ms={wait}" in text] == said[:2]
    assert 2 <= len(said) <= 3


@pytest.mark.each_source
def test_cancelled_waiter_leaves_the_queue(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            seen: list[Any] = []
            bob.connection.watch("locks", "left", lambda answer: seen.extend(answer.events))
            async with ada.lock("left"):
                gone = detached(bob.lock("left").acquire())
                await queued(bob, 1)
                stays = detached(bob.lock("left").acquire())
                await queued(bob, 2)
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
                await asyncio.to_thread(until, lambda: any(isinstance(event, RequestWithdrawn) for event in seen))
            await (await stays).release()
            assert not bob.leases.live

    run(main())


@pytest.mark.each_source
def test_lock_that_is_granted_to_a_cancelled_waiter_is_free_again(make_hub: MakeHub) -> None:
    """Whenever the cancellation comes: before, between or after the command's delivery and its decision."""

    async def main() -> None:
        async with make_hub("ada") as hub:
            for n in range(12):
                task = detached(hub.lock("race").acquire())
                await asyncio.sleep(n / 1_000)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await (await task).release()
                async with asyncio.timeout(5), hub.lock("race"):
                    pass

    run(main())


def test_wait_ends_without_a_worker(lonely: Settings) -> None:
    """Nobody decides: try-once must not take longer than its grace, and says why."""

    async def main() -> None:
        async with Accord(agent="ada", settings=lonely) as hub:
            started = time.monotonic()
            with pytest.raises(NoWorker, match="Request withdrawn"):
                await hub.lock("k").acquire(wait_ms=0)
            assert time.monotonic() - started < 0.5

    run(main())


def test_worker_that_vanishes() -> None:
    """Queued waits end by themselves; a lease that cannot be renewed is given up before its end."""

    async def main() -> None:
        embedded = Embedded(settings=with_(Settings.load(), "client", worker_warning_ms=200, worker_wait_ms=3_000))
        await asyncio.to_thread(embedded.start)
        try:
            ada, bob = Accord(agent="ada"), Accord(agent="bob")
            for hub in (ada, bob):
                hub.use(embedded.settings, embedded.timestamp_ms)
            async with ada, bob:
                grant = await ada.lock("k", lease_ms=2_000).acquire()
                granted_s = time.monotonic()
                losing = asyncio.create_task(_when(grant.lost))
                waiting = detached(bob.lock("k", wait_ms=1_500).acquire())
                await queued(bob, 1)
                assert embedded._worker is not None
                await asyncio.to_thread(embedded._worker.stop)
                with pytest.raises(LockTimeout, match=r"not granted within 1500 ms, .* 1st in the queue.*withdrawn"):
                    await waiting
                assert 1 < await losing - granted_s < 2
                assert not grant.valid
                with pytest.raises(LeaseLost, match="could not be renewed in time"):
                    grant.check()
                with pytest.raises(LeaseLost):
                    await grant.release()
        finally:
            embedded._worker = None
            await asyncio.to_thread(embedded.stop)

    run(main())


async def _when(event: Any) -> float:
    await event.wait()
    return time.monotonic()


# -- losing a lease


@pytest.mark.each_source
def test_lost_lease_cancels_the_body(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            task = asyncio.current_task()
            assert task is not None
            cancelled = False
            with pytest.raises(
                LeaseLost, match=r"cancels: the lease of token \d+ \(5000 ms\) ended: it ran out"
            ) as lost:
                async with hub.lock("cancels", lease_ms=5_000) as grant:
                    try:
                        await asyncio.to_thread(embedded.advance, 6_000)
                        await asyncio.sleep(10)
                    except asyncio.CancelledError:
                        cancelled = True
                        raise
            assert cancelled
            assert grant.lost.is_set()
            assert not grant.valid
            assert lost.value.position is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0.01)  # no cancellation is left over
            async with hub.lock("cancels"):
                pass

    run(main())


def test_lost_lease_with_flag_leaves_the_body_alone(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.lock("flags", lease_ms=5_000, on_loss="flag") as grant:
                await asyncio.to_thread(embedded.advance, 6_000)
                await grant.lost.wait()
                with pytest.raises(LeaseLost):
                    grant.check()
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main())


def test_body_that_ends_as_the_lease_is_lost(make_hub: MakeHub, embedded: Embedded) -> None:
    """It never met the cancellation, which must neither be lost nor hit what comes after."""

    async def main() -> None:
        async with make_hub("ada") as hub:
            with pytest.raises(LeaseLost):
                async with hub.lock("late", lease_ms=5_000) as grant:
                    embedded.advance(6_000)
                    until(lambda: not grant.valid)
                    grant._on_loss()  # the loop is blocked here: what accord's thread has scheduled, at the last moment
            await asyncio.sleep(0.01)
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main())


def test_cancellation_from_outside_wins(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:

            async def body() -> None:
                async with hub.lock("outside", lease_ms=5_000) as grant:
                    try:
                        await asyncio.sleep(10)
                    finally:
                        embedded.advance(6_000)
                        until(lambda: not grant.valid)
                        grant._on_loss()

            task = asyncio.create_task(body())
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_error_of_the_body_wins_over_the_loss(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            with pytest.raises(ZeroDivisionError) as raised:
                async with hub.lock("raises", lease_ms=5_000):
                    try:
                        await asyncio.to_thread(embedded.advance, 6_000)
                        await asyncio.sleep(10)
                    except asyncio.CancelledError:
                        raise ZeroDivisionError from None
            assert "the lease of token" in raised.value.__notes__[0]

    run(main())


def test_exception_in_the_body_frees_the_lock(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            with pytest.raises(ZeroDivisionError):
                async with hub.lock("freed"):
                    raise ZeroDivisionError
            await (await hub.lock("freed").acquire(wait_ms=0)).release()

    run(main())


@pytest.mark.each_source
def test_release_by_somebody_else_is_a_loss(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("operator") as operator:
            with pytest.raises(LeaseLost, match="released by operator"):
                async with ada.lock("forced") as grant:
                    operator.connection.submit("locks", "forced", ReleaseLock("operator", grant.token))
                    await asyncio.sleep(10)

    run(main())


def test_release_after_the_log_gave_it_to_another_is_not_owner(make_hub: MakeHub, embedded: Embedded) -> None:
    """The holder has not heard of its loss: its program was stopped."""

    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            grant = await ada.lock("taken", lease_ms=5_000).acquire()
            for undo in grant._hold._undo:  # deaf
                undo()
            await asyncio.to_thread(embedded.advance, 6_000)
            other = await bob.lock("taken").acquire()
            with pytest.raises(
                NotOwner, match=f"token {grant.token} was not released: bob holds it with token {other.token}"
            ):
                await grant.release()
            await other.release()

    run(main())


# -- renewal and belief


def test_blocked_event_loop_does_not_cost_the_lease(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, hub.lock("blocked", lease_ms=1_500) as grant:
            time.sleep(2.2)  # noqa: ASYNC251
            assert grant.valid
            grant.check()

    run(main())


def test_belief_by_the_rule() -> None:
    assert believed_until_s(100.0, 30_000, 500) == pytest.approx(100 + 30 - 0.030 - 0.5 - MARGIN_MS / 1_000)


@pytest.mark.parametrize("drift", [-0.001, 0.0, 0.001])
@pytest.mark.parametrize("step_ms", [-500, 0, 500])
@pytest.mark.parametrize("queued_s", [0.0, 0.5, 600.0])
def test_belief_ends_before_the_lease(drift: float, step_ms: int, queued_s: float) -> None:
    """Brokers' clocks that run at another speed and step: the log cannot expire the lease while it is believed in."""
    for append_delay_s in (0.0, 0.2, 30.0):
        for step_at_s in (0.0, 0.1, queued_s, queued_s + 5):

            def log_ms(real_s: float, step_at_s: float = step_at_s) -> int:
                return int(1e12 + 1_000 * real_s * (1 + drift) + (step_ms if real_s >= step_at_s else 0))

            appended_s = append_delay_s  # sent at 0
            since_ms = max(log_ms(s) for s in (appended_s, min(step_at_s, appended_s)))  # the partition's clock
            granted_ms = max(since_ms, log_ms(appended_s + queued_s))
            deadline_ms = granted_ms + 30_000
            believed = believed_until_s(0.0, deadline_ms - since_ms, 500)
            assert log_ms(believed) < deadline_ms


def test_grant_after_queueing_counts_from_its_own_command(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            async with ada.lock("counted"):
                before_s = time.monotonic()
                waiting = detached(bob.lock("counted", lease_ms=10_000).acquire())
                await asyncio.sleep(0.5)
            grant = await waiting
            until_s = grant._hold._until_s
            assert before_s + 9.9 < until_s < time.monotonic() + 10 - 0.5
            await grant.release()

    run(main())


def test_grant_that_is_old_when_it_comes_is_renewed_first(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            sent: list[float] = []
            original = Hold._renew

            def renew(hold: Hold) -> None:
                sent.append(time.monotonic())
                original(hold)

            def ask(hold: Hold) -> None:
                hold.granted.add_done_callback(lambda _: sent.append(0))
                original_ask(hold)
                hold._sent_s -= 8  # as if the answer had taken so long

            original_ask = Hold.ask
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(leases.Hold, "_renew", renew)
                patch.setattr(leases.Hold, "ask", ask)
                async with hub.lock("old", lease_ms=10_000) as grant:
                    assert grant.valid
                    assert sent[0] > 0 and sent[1] == 0, "renewed, then granted"

    run(main())


# -- closing


def test_closing_releases_what_is_held_and_withdraws_what_is_asked(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            blocked = await ada.lock("asked").acquire()
            async with make_hub("leaving") as leaving:
                grant = await leaving.lock("held").acquire()
                waiting = detached(leaving.lock("asked").acquire())
                await queued(leaving, 1)
            with pytest.raises(NotConnected, match="the hub was closed"):
                await waiting
            assert grant.lost.is_set() or not grant.valid
            await (await bob.lock("held").acquire(wait_ms=2_000)).release()
            await blocked.release()
            await (await bob.lock("asked").acquire(wait_ms=2_000)).release()

    run(main())


def test_closing_ends_the_bodies_that_still_run(make_hub: MakeHub) -> None:
    async def main() -> None:
        hub = make_hub("ada")

        async def body() -> None:
            async with hub.lock("closing"):
                await asyncio.sleep(10)

        async with hub:
            task = asyncio.create_task(body())
            await asyncio.sleep(0.2)
        with pytest.raises(LeaseLost, match="the hub was closed"):
            await task

    run(main())


def test_no_thread_or_watch_is_left(make_hub: MakeHub) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        for _ in range(5):
            async with make_hub("ada") as hub:
                async with hub.lock("left over"):
                    pass
                assert hub.connection.load == {"underway": 0, "partitions": 0, "watches": 0}
                assert len(hub.connection._timers._live) == 0

        def left() -> set[str]:
            """The client's threads alone: the worker, which runs in this process, may have got more."""
            names = {thread.name for thread in set(threading.enumerate()) - before}
            return names & {"accord-ada", "accord-start"}

        until(lambda: not left())

    run(main())


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"lease_ms": 30}, "lease_ms=30 is 30 milliseconds; the least is 1000. For 30 seconds: 30_000."),
        ({"lease_ms": 1}, "lease_ms=1 is 1 milliseconds; the least is 1000. For 1 second: 1_000."),
        ({"lease_ms": 0}, "lease_ms=0 is 0 milliseconds; the least is 1000."),
        ({"lease_ms": 30.0}, "lease_ms=30.0 is a float; durations are whole milliseconds. For 30 seconds: 30_000."),
        ({"lease_ms": True}, "lease_ms=True is no whole number of milliseconds."),
        ({"lease_ms": "30"}, "lease_ms='30' is no whole number of milliseconds."),
        ({"lease_ms": 90_000_000}, "lease_ms=90000000 is 25.0 hours; the most is 86400000 (a day)."),
        ({"wait_ms": -1}, "wait_ms=-1: a wait is 0 to 2592000000 ms. 0 tries once, None waits without limit."),
        ({"wait_ms": 0.5}, "wait_ms=0.5 is a float; durations are whole milliseconds. For 0.5 seconds: 500."),
        ({"wait_ms": False}, "wait_ms=False is no whole number of milliseconds."),
        ({"on_loss": "ignore"}, "on_loss='ignore': 'cancel' or 'flag' is needed."),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput) as raised:
        Accord().lock("name", **arguments)
    assert str(raised.value) == text


@pytest.mark.parametrize("name", ["", "n" * 256, "ü" * 128, 7, None, b"name", "\ud800"])
def test_bad_names(name: Any) -> None:
    with pytest.raises(BadInput, match="lock"):
        Accord().lock(name)


def test_lease_that_cannot_be_believed_in(embedded: Embedded) -> None:
    async def main() -> None:
        hub = Accord(agent="ada")
        hub.use(with_(embedded.settings, "locks", clock_step_ms=2_000), embedded.timestamp_ms)
        async with hub:
            with pytest.raises(BadInput, match=r"too short for brokers' clocks that step by 2000 ms"):
                await hub.lock("k", lease_ms=3_000).acquire()

    run(main())


def test_hub_that_is_not_open() -> None:
    with pytest.raises(NotConnected, match="lock k was used, but its hub is not open"):
        asyncio.run(Accord().lock("k").acquire())


def test_too_many_requests_under_way(lonely: Settings) -> None:
    async def main() -> None:
        async with Accord(agent="ada", settings=with_(lonely, "client", unsent_max=1)) as hub:
            first = detached(hub.lock("a").acquire())
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await hub.lock("b").acquire()
            assert len(hub.leases.live) == 1
            first.cancel()

    run(main())
