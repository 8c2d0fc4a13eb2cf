"""Roles, and what hangs on a heartbeat, with a real worker in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.locks.fencing import FencedResource
from accord.schemas.messages.locks import LeaseRevoked, RequestWithdrawn
from accord.schemas.messages.roster import AgentFailed, MemberFailed, MemberLost, MembershipRenewed
from accord.streams.roster.bounds import ROLE_PREFIX

import accord.sync
from accord.embedded import Embedded
from accord.errors import BadInput, LeaseLost, LockTimeout, StaleToken
from accord.settings import HealthSettings
from tests.agents import support
from tests.agents.support import detached, run

FAIL_MS = 10_000
HOUR_MS = 3_600_000


def die(hub: Accord) -> None:
    """As if the process of a hub were gone: it says nothing more of its own."""
    connection = hub.connection
    connection.call_later = lambda *_: lambda: None  # type: ignore[method-assign]
    hub.heartbeat._cancel_beat()
    hub.heartbeat._cancel_look()
    for hold in list(hub.leases.live):
        hold._cancel_timers()  # type: ignore[union-attr]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run_it(**fixtures: Any) -> None:
        run(test(**fixtures))

    return run_it


async def until(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(support.until, true)


def watch(hub: Accord, domain: str, key: str, found: list[Any]) -> None:
    hub.connection.watch(domain, key, lambda answer: found.extend(answer.events))


@in_loop
async def test_a_role_is_one_agents_and_passes_on(make_hub: Any) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        order: list[str] = []

        async def serve(hub: Accord, name: str) -> None:
            async with hub.role("planner") as tenure:
                order.append(f"{name} {tenure.role} {tenure.valid}")
                await asyncio.sleep(0.05)
                tenure.check()

        await asyncio.gather(serve(ada, "ada"), serve(bob, "bob"))
        assert sorted(order) == ["ada planner True", "bob planner True"]
        async with ada.role("planner") as tenure:
            with pytest.raises(LockTimeout):
                await detached(bob.role("planner").acquire(wait_ms=0))
            assert tenure.key == f"{ROLE_PREFIX}planner"
        with pytest.raises(BadInput, match="role name ''"):
            ada.role("")


@in_loop
async def test_the_first_standby_that_lives_has_the_role_of_one_that_failed(make_hub: Any, embedded: Embedded) -> None:
    """Whatever the leader's lease is; and the standby before, which failed as well, does not come in between."""
    async with make_hub("eve") as eve:
        told: list[Any] = []
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            tenure = await ada.role("boss").acquire()
            watch(eve, "locks", tenure.key, told)
            second = detached(bob.role("boss").acquire())
            await until(lambda: bool(bob.heartbeat._hung))
            third = detached(eve.role("boss").acquire())
            await until(lambda: all(hub.heartbeat._tied for hub in (ada, bob, eve)))
            tenure._hold._renew()
            await until(lambda: tenure._hold.lease_ms > FAIL_MS)
            die(ada)
            die(bob)
            plans = FencedResource("plans", lambda text: text, lock=tenure.key)
            plans.write(tenure, "mine")
            await asyncio.to_thread(embedded.advance, FAIL_MS // 2)
            await asyncio.to_thread(eve.connection.submit("roster", eve.heartbeat.name, _beat(eve)).decided.result, 5)
            await asyncio.to_thread(embedded.advance, FAIL_MS // 2 + 1)
            mine = await asyncio.wait_for(third, 10)
            assert mine.token > tenure.token and mine.valid
            plans.write(mine, "eve's")
            with pytest.raises(StaleToken):
                plans.write(tenure, "mine again")
            ends = [type(event) for event in told if isinstance(event, LeaseRevoked | RequestWithdrawn)]
            assert len(ends) == 2 and LeaseRevoked in ends, "the leader's, and the standby's before or after it got it"
            await mine.release()
            second.cancel()
            with suppress(BaseException):
                await second


def _beat(hub: Accord) -> Any:
    return hub.heartbeat._beat()


@in_loop
async def test_a_lock_with_a_long_lease_does_not_wait_for_it(make_hub: Any, embedded: Embedded) -> None:
    async with make_hub("bob") as bob, make_hub("ada") as ada:
        grant = await ada.lock("slow", lease_ms=HOUR_MS, heartbeat=True).acquire()
        assert grant._hold.lease_ms == FAIL_MS, "no longer than that before the log has tied it"
        await until(lambda: ada.heartbeat.is_tied(grant._hold.id))
        grant._hold._renew()
        await until(lambda: grant._hold.lease_ms == HOUR_MS)
        other = detached(bob.lock("slow", lease_ms=5_000).acquire())
        await asyncio.sleep(0.05)
        failed: list[Any] = []
        watch(bob, "roster", ada.heartbeat.name, failed)
        die(ada)
        await asyncio.to_thread(embedded.advance, FAIL_MS + 1)
        assert (await asyncio.wait_for(other, 10)).token > grant.token
        await until(lambda: any(isinstance(one, AgentFailed) for one in failed))
        (event,) = [one for one in failed if isinstance(one, AgentFailed)]
        assert [tie.key for tie in event.ties] == ["slow"]


@in_loop
async def test_a_heartbeat_that_is_given_up_ends_what_hangs_on_it(make_hub: Any) -> None:
    """Before the log can say so: the holder stops to believe, and the one who waits stands by again."""
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        tenure = await ada.role("chief").acquire()
        standby = detached(bob.role("chief").acquire())
        await until(lambda: bool(bob.heartbeat._hung))
        (before,) = bob.heartbeat._hung
        bob.heartbeat._give_up(bob.heartbeat.name, "a test")
        await until(lambda: bool(bob.heartbeat._hung) and before not in bob.heartbeat._hung)
        assert not standby.done()
        ada.heartbeat._give_up(ada.heartbeat.name, "a test")
        assert not tenure.valid
        with pytest.raises(LeaseLost):
            tenure.check()
        await until(tenure.lost.is_set)
        async with asyncio.timeout(10):
            assert (await standby).token > tenure.token
        waiting = detached(ada.lock(standby.result().key, heartbeat=True).acquire())
        await until(lambda: bool(ada.heartbeat._hung))
        ada.heartbeat._give_up(ada.heartbeat.name, "a test")
        with pytest.raises(LeaseLost, match="the request was given up"):
            await waiting


@in_loop
async def test_a_member_whose_process_failed_is_lost_and_joins_again(make_hub: Any, embedded: Embedded) -> None:
    told: list[Any] = []
    async with make_hub("eve") as eve, make_hub("ada") as ada:
        watch(eve, "roster", "crew", told)
        async with ada.work(capabilities=["write"], team="crew") as work:
            await until(lambda: ada.heartbeat.is_tied(work.member))
            work._renew()  # from now on its own lease is longer than the heartbeat
            await until(lambda: any(isinstance(event, MembershipRenewed) for event in told))
            await asyncio.to_thread(embedded.advance, FAIL_MS + 1)
            await until(lambda: any(isinstance(event, MemberLost) for event in told))
            assert any(isinstance(event, MemberFailed) and event.member == work.member for event in told)
            await until(lambda: ada.heartbeat.is_tied(work.member))
        async with ada.work(capabilities=["write"], team="crew", lease_ms=60_000) as patient:
            await asyncio.sleep(0.1)
            assert not any(tie.name == patient.member for tie in ada.heartbeat._hung), "a lease of its own"


def test_a_role_for_programs_without_an_event_loop(embedded: Embedded) -> None:
    hub = accord.sync.Accord(agent="ada")
    hub.use(embedded.settings, embedded.timestamp_ms)
    with hub, hub.role("clerk", wait_ms=5_000) as tenure:
        assert tenure.role == "clerk" and tenure.valid and tenure.token > 0
        assert hub.heartbeat.valid
    assert embedded.settings.health == HealthSettings(beat_ms=2_000), "what an embedded log has"
