"""Agents that take locks in turn, renew them, give them back, or do not; and what they believe meanwhile."""

from __future__ import annotations

import contextlib

from accord.agents.leases import leases
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseRenewed,
    LockDenied,
    LockGranted,
    LockQueued,
    ReleaseLock,
    RenewLease,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.testing.simulation.client import Client, NoAnswer
from accord.testing.simulation.history import Belief

KEYS = ("room", "hall")
SHARED = "seats"
"""A lock that two may hold."""


async def holder(client: Client) -> None:
    """Takes a lock now and then."""
    while client.going:
        with contextlib.suppress(NoAnswer):
            await _hold(client)
        await client.rest(20_000)


async def _hold(client: Client) -> None:
    chance = client.random
    key = chance.choice((*KEYS, *KEYS, SHARED))
    permits = 2 if key == SHARED else None
    lease_ms, wait_ms = chance.choice([2_000, 4_000, 9_000]), chance.choice([None, 0, 3_000, 15_000])
    owner = f"{client.process.name}/{chance.randint(0, 1)}"
    sent_s = client.time_s
    async with client.watch("locks", key) as watch:
        asked = await client.ask("locks", key, AcquireLock(client.name, owner, lease_ms, wait_ms, permits))
        (event, *_) = asked.events or (None,)
        now_ms = watch_clock(client, asked.seq, key)
        if isinstance(event, LockQueued):
            if chance.random() < 0.1:
                await client.pause(0, 2_000)
                await client.ask("locks", key, WithdrawRequest(client.name, asked.id))
                return
            now_ms = event.since_ms
            ends = (LockGranted, LockDenied, RequestWithdrawn)
            patience_ms = 60_000 if wait_ms is None else wait_ms + 30_000
            found = await watch.until(lambda e: isinstance(e, ends) and e.request == asked.id, patience_ms)
            if found is None:
                await client.ask("locks", key, WithdrawRequest(client.name, asked.id))
                return
            event = found[1]
        if not isinstance(event, LockGranted) or event.request != asked.id:
            return
        await _held(client, key, event, sent_s, now_ms, lease_ms)


def watch_clock(client: Client, seq: int, key: str) -> int:
    """The partition's clock at a decision that the client has read."""
    place = "locks", client.cluster.partition_of(key)
    return client.cluster.auditor.truths[place].accepted[seq - 1].now_ms


async def _held(client: Client, key: str, granted: LockGranted, sent_s: float, asked_ms: int, lease_ms: int) -> None:
    """Does something under the lock as long as it may be believed to be held."""
    chance, cluster = client.random, client.cluster
    step_ms = cluster.settings.locks.clock_step_ms
    until_s = leases.believed_until_s(sent_s, granted.deadline_ms - asked_ms, step_ms)
    request = granted.request if granted.permits is not None else None
    belief = None
    if granted.permits is None:
        belief = Belief(client.process.name, "locks", key, granted.token, cluster.scheduler.now_ms, 0.0)
        _believe(client, belief, until_s)
        if belief.until_ms > belief.since_ms:
            cluster.history.beliefs.append(belief)
    while client.time_s < until_s:
        await client.pause(0, min(lease_ms, 1_000 * max(0.0, until_s - client.time_s)))
        if client.time_s >= until_s:
            break
        if chance.random() < 0.4:
            if belief is not None:
                belief.until_ms = min(belief.until_ms, cluster.scheduler.now_ms)
            if chance.random() < 0.9:
                await client.ask("locks", key, ReleaseLock(client.name, granted.token, request))
            return
        sent_s = client.time_s
        renewed = await client.ask(
            "locks", key, RenewLease(client.name, granted.token, lease_ms, request), wait_ms=1_000 * (until_s - sent_s)
        )
        if not renewed.events or not isinstance(renewed.events[0], LeaseRenewed):
            return
        now_ms = watch_clock(client, renewed.seq, key)
        until_s = leases.believed_until_s(sent_s, renewed.events[0].deadline_ms - now_ms, step_ms)
        if belief is not None and belief.until_ms > cluster.scheduler.now_ms:
            _believe(client, belief, until_s)


def _believe(client: Client, belief: Belief, until_s: float) -> None:
    """Until when, in true time, its clock is before that."""
    belief.until_ms = max(belief.since_ms, until_s * 1_000 / client.process.rate)
