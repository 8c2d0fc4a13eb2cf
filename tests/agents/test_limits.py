"""Limits and pools, from the program's side."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.limits.limits import Request
from accord.schemas.messages.limits import ReleaseCapacity

import accord
from accord import sync
from accord.embedded import Embedded
from accord.errors import (
    BadInput,
    Denied,
    ExceedsCapacity,
    LeaseLost,
    LockTimeout,
    NotConnected,
    NotFound,
    NotOwner,
    WouldSelfDeadlock,
)
from tests.agents.support import detached, queued, run

MakeHub = Callable[..., Accord]


class Api:
    """A stand-in for an API that rejects a call while `limit` others run."""

    def __init__(self, limit: int, call_s: float = 0.005) -> None:
        self.limit, self.call_s = limit, call_s
        self.running = self.running_most = self.answered = self.rejected = 0

    async def call(self) -> None:
        if self.running >= self.limit:
            self.rejected += 1
            raise RuntimeError("429")
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        await asyncio.sleep(self.call_s)
        self.running -= 1
        self.answered += 1


def test_an_api_that_takes_one_call_at_a_time_rejects_none_of_ten_agents() -> None:
    """An ordinary program: nothing is configured, ten agents share the API by its name."""
    api = Api(limit=1)

    async def agent(hub: Accord) -> None:
        for _ in range(3):
            async with hub.limit("openai_api", tokens=100):
                await api.call()

    async def main() -> None:
        async with accord.local() as hub:
            await asyncio.gather(*[agent(hub) for _ in range(10)])

    run(main())
    assert (api.rejected, api.answered, api.running_most) == (0, 30, 1)


def test_a_configured_limit_lets_in_as_many_as_it_has(make_hub: MakeHub) -> None:
    api = Api(limit=3, call_s=0.1)

    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("bob") as other:
            await hub.pool("api-3").configure(capacity=3)

            async def work(number: int) -> None:
                async with (hub, other)[number % 2].limit("api-3"):
                    await api.call()

            await asyncio.gather(*[detached(work(number)) for number in range(12)])
            assert not hub.leases.live

    run(main())
    assert (api.rejected, api.answered, api.running_most) == (0, 12, 3)


def test_who_waits_goes_by_arrival_and_priority(make_hub: MakeHub) -> None:
    async def main() -> None:
        order: list[int] = []

        async def work(hub: Accord, number: int, priority: int) -> None:
            async with hub.limit("order", priority=priority):
                order.append(number)

        async with make_hub("ada") as hub:
            async with hub.limit("order"):
                tasks = []
                for number, priority in enumerate((0, 0, 5, 0)):
                    tasks.append(detached(work(hub, number, priority)))
                    await queued(hub, number + 1)
            await asyncio.gather(*tasks)
        assert order == [2, 0, 1, 3]

    run(main())


def test_retry_after_holds_everybody_back(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("bob") as other:
            async with hub.limit("paused") as slot:
                slot.retry_after(60_000)
            with pytest.raises(
                LockTimeout, match=r"paused: not free \(paused\).*Try again in \d+ ms\. See: accord r"
            ) as raised:
                await other.limit("paused", wait_ms=0).acquire()
            assert 50_000 < raised.value.details["retry_after_ms"] <= 60_000
            waiting = detached(other.limit("paused").acquire())
            await queued(other, 1)
            await asyncio.to_thread(embedded.advance, 59_000)
            assert not waiting.done()
            await asyncio.to_thread(embedded.advance, 1_000)
            await (await waiting).release()

    run(main())


def test_the_worker_ends_a_pause_by_itself(make_hub: MakeHub) -> None:
    """Nobody sends anything meanwhile: a tick comes when the pause is over."""

    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.limit("real-time") as slot:
                slot.retry_after(300)
            began_s = time.monotonic()
            async with hub.limit("real-time"):
                assert 0.25 < time.monotonic() - began_s < 5

    run(main())


def test_rates_hold_back_until_the_bucket_has_enough(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            await hub.pool("rated").configure(capacity=10, requests_per_minute=2, tokens_per_minute=1_000)
            async with hub.limit("rated", tokens=600) as slot:
                slot.used(1_000)
            with pytest.raises(LockTimeout, match="rate"):
                await hub.limit("rated", tokens=500, wait_ms=0).acquire()
            waiting = detached(hub.limit("rated", tokens=500).acquire())
            await queued(hub, 1)
            await asyncio.to_thread(embedded.advance, 25_000)
            assert not waiting.done()
            await asyncio.to_thread(embedded.advance, 5_000)
            await (await waiting).release()

    run(main())


def test_a_pool_grants_amounts_and_modes(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            gpus = hub.pool("gpus")
            await gpus.configure(capacity=8)
            first = await gpus.request(5).acquire()
            assert first.valid
            assert first.position.domain == "limits"
            for wanted in (gpus.request(4, wait_ms=0), gpus.request(1, mode="exclusive", wait_ms=0)):
                with pytest.raises(LockTimeout, match=r"gpus: not free \(capacity\)\. 5 of 8 in use"):
                    await detached(wanted.acquire())
            second = await detached(gpus.request(3, wait_ms=0).acquire())
            with pytest.raises(WouldSelfDeadlock):
                await gpus.request(4).acquire()
            await first.release()
            with pytest.raises(NotOwner):
                first.check()
            await second.release()
            async with gpus.request(1, mode="exclusive", duration_ms=60_000) as alone:
                assert alone.valid

    run(main())


def test_what_can_never_be_granted_is_said_with_its_position(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            pool = hub.pool("closed")
            with pytest.raises(NotFound, match="nobody has configured"):
                await pool.request(1).acquire()
            await pool.configure(capacity=2, tokens_per_minute=100, roles=["trainer"], weights={"trainer": 3, "ada": 2})
            for role, named in (("", "no role"), ("tester", "role tester")):
                with pytest.raises(Denied, match=named) as denied:
                    await pool.request(1, role=role).acquire()
                assert isinstance(denied.value, PermissionError)
                assert denied.value.position is not None
            with pytest.raises(ExceedsCapacity, match=r"capacity is 2; 3 can never"):
                await pool.request(3, role="trainer").acquire()
            with pytest.raises(ExceedsCapacity, match="fewer than 101 tokens"):
                await hub.limit("closed", tokens=101, role="trainer").acquire()
            async with pool.request(2, role="trainer"):
                with pytest.raises(LockTimeout, match=r"not granted within 20 ms. 2 of 2 in use, 1 waiting"):
                    await detached(pool.request(1, role="trainer", wait_ms=20).acquire())
            assert not hub.leases.live

    run(main())


def test_a_slot_is_renewed_while_it_is_held_and_lost_with_its_body(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub, make_hub("ops") as ops:
            async with hub.limit("kept", lease_ms=1_000) as slot:
                await asyncio.sleep(1.3)  # longer than a lease
                assert slot.valid
            with pytest.raises(LeaseLost, match="it was released by ops"):
                async with hub.limit("kept") as slot:
                    release = ReleaseCapacity("ops", slot.token, slot._hold.id, None, None)
                    await asyncio.wrap_future(ops.connection.submit("limits", "kept", release).decided)
                    await asyncio.sleep(5)
            async with ops.limit("kept", wait_ms=0):
                pass

    run(main())


def test_a_lock_and_a_limit_of_one_name_are_two_things(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.lock("both"), hub.limit("both", wait_ms=0):
                with pytest.raises(WouldSelfDeadlock):
                    await hub.limit("both").acquire()
            async with hub.lock("both", reentrant=True), hub.limit("both"), hub.lock("both", reentrant=True):
                pass

    run(main())


def test_who_stops_waiting_withdraws(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            async with hub.limit("left"):
                waiting = detached(hub.limit("left").acquire())
                await queued(hub, 1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            async with hub.limit("left", wait_ms=0):
                pass
            assert not hub.leases.live

    run(main())


@pytest.mark.parametrize("hub", [Accord(), sync.Accord()])
def test_arguments_that_cannot_be_right(hub: Any) -> None:
    pool = hub.pool("p")
    bad: list[tuple[str, Callable[[], Any]]] = [
        ("amount=0", lambda: pool.request(0)),
        ("amount=-1", lambda: pool.request(-1)),
        ("amount=1.5", lambda: pool.request(1.5)),
        ("mode='both'", lambda: pool.request(1, mode="both")),
        ("lease_ms=3", lambda: pool.request(1, duration_ms=3)),
        ("wait_ms=-1", lambda: hub.limit("p", wait_ms=-1)),
        ("tokens=-1", lambda: hub.limit("p", tokens=-1)),
        ("tokens=True", lambda: hub.limit("p", tokens=True)),
        ("priority=11", lambda: hub.limit("p", priority=11)),
        ("pool name ''", lambda: hub.limit("")),
        ("pool name ''", lambda: hub.pool("")),
        ("a role's name is text", lambda: hub.limit("p", role=3)),
    ]
    for text, call in bad:
        with pytest.raises(BadInput, match=text):
            call()


def test_a_hub_must_be_open() -> None:
    with pytest.raises(NotConnected):
        asyncio.run(Accord().limit("p").acquire())
    with pytest.raises(NotConnected):
        sync.Accord().pool("p").configure(capacity=1)


def test_terms_that_cannot_be_right(make_hub: Callable[..., Any]) -> None:
    hub: sync.Accord
    with make_hub("ada", sync.Accord) as hub:
        pool = hub.pool("terms")
        bad: list[tuple[str, dict[str, Any]]] = [
            ("capacity=0", {"capacity": 0}),
            ("requests_per_minute=0", {"requests_per_minute": 0}),
            ("tokens_per_minute=1.5", {"tokens_per_minute": 1.5}),
            ("roles='a'", {"roles": "a"}),
            ("role name ''", {"roles": [""]}),
            ("weight=0", {"weights": {"a": 0}}),
            ("stands twice", {"roles": ["a", "a"]}),
        ]
        for text, terms in bad:
            with pytest.raises((BadInput, accord.Rejected), match=text):
                pool.configure(**({"capacity": 1} | terms))


def test_the_sync_client_has_them_all(make_hub: Callable[..., Any], embedded: Embedded) -> None:
    hub: sync.Accord
    with make_hub("ada", sync.Accord) as hub:
        running = most = 0
        guard = threading.Lock()

        def work() -> None:
            nonlocal running, most
            with hub.limit("s-api", tokens=3) as slot:
                with guard:
                    running += 1
                    most = max(most, running)
                slot.used(5)
                with guard:
                    running -= 1

        threads = [threading.Thread(target=contextvars.Context().run, args=(work,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert most == 1

        pool = hub.pool("s-gpus")
        pool.configure(capacity=4, requests_per_minute=100, weights={"ada": 2})
        with pool.request(3) as grant, ThreadPoolExecutor(1) as threads_:
            assert grant.valid
            with pytest.raises(LockTimeout):
                threads_.submit(pool.request(2, wait_ms=0).acquire).result()
        with pool.request(1) as slot:
            slot.retry_after(1_000)
        with pytest.raises(LockTimeout, match="paused"):
            pool.request(1, wait_ms=0).acquire()
        embedded.advance(1_000)
        pool.request(1, wait_ms=0).acquire().release()
        with pool.request(1, mode="exclusive", wait_ms=0) as slot:
            for wrong in (-1, 1.5, True):
                with pytest.raises(BadInput):
                    slot.used(wrong)  # type: ignore[arg-type]
                with pytest.raises(BadInput):
                    slot.retry_after(wrong)  # type: ignore[arg-type]
        assert not hub.leases.live


def test_a_request_is_told_when_it_has_to_queue(make_hub: MakeHub) -> None:
    async def main() -> None:
        places: list[int] = []
        async with make_hub("ada") as hub:
            async with hub.limit("told"):
                request: Request = hub.limit("told")
                request.on_queued = lambda event: places.append(event.place)
                waiting = detached(request.acquire())
                await queued(hub, 1)
            await (await waiting).release()
        assert places == [1]

    run(main())
