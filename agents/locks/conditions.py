"""Condition variables, as `asyncio.Condition`: a lock whose holder can wait until another one says that it may go on.

    changed = hub.condition("inventory")
    async with changed:
        await changed.wait_for(lambda: stock() > 0)     # frees the lock meanwhile
    async with changed:
        await changed.notify()

Rules that act here:
- `wait` holds the lock again when it returns, and when it raises CancelledError, as asyncio's does.
- A notice is for those who waited when it was given. One that was given to a waiter that died goes to the next.
- There may be one notice too many, so look again after `wait`: `wait_for` does.
- A notice to very many is several commands. The lock is held meanwhile, so nobody comes between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from accord.agents.connection.runtime import countdown
from accord.agents.connection.underway import Answer
from accord.agents.leases.call_chain import enter_chain, held_in_chain
from accord.agents.leases.leases import Hold
from accord.agents.locks.arguments import check_wait_ms
from accord.agents.locks.locks import Asked, Lock
from accord.agents.locks.refusals import no_condition
from accord.agents.locks.terms import LockTerms, NoticeTerms
from accord.schemas.messages.locks import ConditionNotified, ConditionRefused, NotifyCondition
from accord.streams.locks.bounds import NOTIFIED_MAX, WAITERS_MAX

from accord.errors import BadInput, NotOwner


class Condition(Lock):
    """A condition by name, and its lock; made by `Accord.condition`, usable again and again, from several tasks."""

    async def wait(self, *, wait_ms: int | None = None) -> bool:
        """Frees the lock, waits for a notice, and returns with the lock held again.

        Args:
            wait_ms: how long to wait for the notice, in ms; None is without limit. Taking the lock again takes what it
                takes.

        Returns:
            Whether there was a notice, rather than the end of the wait.

        Raises:
            NotOwner, LeaseLost: this call chain does not hold the lock.
            Overloaded: too many wait.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers; the lock is not held.
        """
        with self._operation("wait"):
            return await self._wait(wait_ms)

    async def _wait(self, wait_ms: int | None) -> bool:
        hold = mine(self, "wait()")
        again = sleep(hold, wait_ms)
        cancelled: asyncio.CancelledError | None = None
        try:
            await asyncio.wrap_future(again.granted)
        except asyncio.CancelledError as error:
            again.withdraw()
            cancelled = error
            again = self._hub.leases.ask_again(hold, LockTerms(hold.lease_ms, None))
        try:
            if cancelled is not None:
                await _uncancelled(again)
        finally:
            show(hold, again)
        if cancelled is not None:
            raise cancelled
        return again.notified

    async def wait_for(self, predicate: Callable[[], bool], *, wait_ms: int | None = None) -> bool:
        """Waits until the predicate is true; returns what it was last. It is called with the lock held."""
        left_ms = countdown(wait_ms)
        while not (result := predicate()) and (left := left_ms()) != 0:
            await self.wait(wait_ms=left)
        return result

    async def notify(self, n: int = 1) -> int:
        """Has up to `n` of those who wait go on, first come first; they need the lock first.

        Returns:
            How many there were. The log has it when this returns.

        Raises:
            NotOwner, LeaseLost: this call chain does not hold the lock.
        """
        return await self._notify(portions(self, n))

    async def notify_all(self) -> int:
        """As `notify`, for all who wait."""
        return await self._notify(portions(self))

    async def _notify(self, counts: list[int]) -> int:
        told = 0
        for count in counts:
            there = notified(self, await asyncio.wrap_future(notify(self, count)))
            told += there
            if there < count:
                break
        return told


def mine(lock: Asked, what: str) -> Hold:
    """What this call chain holds of a condition's lock.

    Raises:
        NotOwner: nothing.
    """
    hold = held_in_chain(lock.name)
    if hold is None:
        raise NotOwner(
            f"{lock.name}: {what} needs the condition's lock, and this call chain does not hold it.",
            remedy='Enter it first: "async with".',
            key=lock.name,
        )
    return hold


def sleep(hold: Hold, wait_ms: int | None) -> Hold:
    """Gives the lock back until a notice comes; the request for having it again."""
    return hold.sleep(NoticeTerms(hold.lease_ms, check_wait_ms(wait_ms), hold.token))


def show(hold: Hold, again: Hold) -> None:
    """The call chain and its grants have the new hold in place of the one that ended with the wait."""
    enter_chain(again)
    for grant in hold.grants:
        grant.follow(again)


def portions(lock: Asked, count: int = WAITERS_MAX) -> list[int]:
    """How many each command of a notice to `count` is for. Raises BadInput: so many cannot wait."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= WAITERS_MAX:
        raise BadInput(f"notify({count!r}): 1 to {WAITERS_MAX} can be notified.", key=lock.name)
    return [min(NOTIFIED_MAX, count - told) for told in range(0, count, NOTIFIED_MAX)]


def notify(lock: Asked, count: int) -> Future[Answer]:
    """Sends a notice to `count` of those who wait, `NOTIFIED_MAX` at most."""
    hold = mine(lock, "notify()")
    hold.check()
    return hold.submit(NotifyCondition(hold.agent, hold.token, count))


def notified(lock: Asked, answer: Answer) -> int:
    """How many had the notice, by the log's answer.

    Raises:
        NotOwner: the log says that the lock is not held.
    """
    for event in answer.events:
        if isinstance(event, ConditionRefused):
            raise no_condition(lock.name, event, answer.position)
    return sum(len(event.requests) for event in answer.events if isinstance(event, ConditionNotified) and event.agent)


async def _uncancelled(hold: Hold) -> None:
    """Waits for the lock, whoever wants the task to end meanwhile."""
    granted = asyncio.wrap_future(hold.granted)
    while not granted.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(granted)
    granted.result()
