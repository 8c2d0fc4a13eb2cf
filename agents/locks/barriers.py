"""Barriers, as `asyncio.Barrier`: so many parties wait for each other, then go on together.

    place = await hub.barrier("all_collected", 3).wait()    # 0 for who came first

Rules that act here:
- Nobody waits for ever: if a party waits too long, dies or goes away, all get BrokenBarrier, and the next begin anew.
- A party that waits renews its lease, on accord's own thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import EllipsisType
from typing import TYPE_CHECKING, Final

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.leases.leases import RENEWALS_A_LEASE
from accord.agents.locks.arguments import check_lease_ms, check_name, check_parties, check_wait_ms
from accord.agents.operations import Operation
from accord.agents.signals.signals import current_task
from accord.schemas.messages.locks import (
    BarrierBroken,
    BarrierPassed,
    BarrierReached,
    BarrierRefused,
    ReachBarrier,
    RenewLease,
    WithdrawRequest,
)
from accord.schemas.position import Position

from accord import logs
from accord.errors import AccordError, BrokenBarrier, NotConnected, TermsDiffer
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.locks")


class Arrival:
    """One party at a barrier. `passed` is settled with its place, or with why it was not passed."""

    def __init__(self, hub: Hub, key: str, parties: int, lease_ms: int, wait_ms: int | None) -> None:
        self.id = hub.connection.new_id()
        self.key = key
        self.passed: Future[int] = future()
        self._parties, self._lease_ms, self._wait_ms = parties, lease_ms, wait_ms
        self._connection = hub.connection
        self._live = hub.leases.live
        self._task = current_task()
        self._about = {"agent": hub.agent, **logs.about()}
        self._undo: list[Callable[[], None]] = []
        self._stop_renewing: Callable[[], None] = lambda: None

    def reach(self) -> None:
        """Says that it is here.

        Raises:
            What `Connection.submit` raises.
        """
        connection, agent = self._connection, self._connection.agent
        try:
            self._live[self] = None
            self._undo.append(connection.watch("locks", self.key, self._heard))
            self._undo.append(connection.on_failure(self._over))
            submission = connection.submit(
                "locks",
                self.key,
                ReachBarrier(agent, self._parties, self._lease_ms, self._wait_ms),
                task=self._task,
                message_id=self.id,
                withdrawal=lambda request: WithdrawRequest(agent, request),
            )
        except BaseException:
            self._finish()
            raise
        submission.decided.add_done_callback(self._decided)

    def _decided(self, decided: Future[Answer]) -> None:
        """The answer itself came through the watch; what matters here is that there is none."""
        error = decided.exception()
        if error is not None:
            self._over(error)

    def _heard(self, answer: Answer) -> None:
        """A decision about this barrier; on accord's thread."""
        for event in answer.events:
            match event:
                case BarrierReached(request) if request == self.id:
                    self._renew_later()
                    if self._wait_ms is not None:
                        grace_ms = self._connection.settings.client.worker_warning_ms
                        self._undo.append(self._connection.call_later(self._wait_ms + grace_ms, self._waited))
                case BarrierPassed(requests) if self.id in requests:
                    self._over(requests.index(self.id))
                case BarrierBroken(agent, reason, requests) if self.id in requests:
                    self._over(self._broken(f"{_WHY.get(reason, reason)}: {agent}", len(requests), answer.position))
                case BarrierRefused(request) if request == self.id:
                    self._over(self._refused(event, answer.position))

    def _renew_later(self) -> None:
        self._stop_renewing = self._connection.call_later(self._lease_ms / RENEWALS_A_LEASE, self._renew)

    def _renew(self) -> None:
        if self.passed.done():
            return
        command = RenewLease(self._connection.agent, 0, self._lease_ms, self.id)
        try:
            self._connection.submit("locks", self.key, command, task=self._task, answer_ms=self._lease_ms)
        except AccordError as error:
            logger.warning("a lease was not renewed", barrier=self.key, why=str(error), **self._about)
        self._renew_later()

    def _waited(self) -> None:
        """The log should have ended this wait long ago: no worker handles its deadlines."""
        self.withdraw(self._broken(f"not passed within {self._wait_ms} ms, and nobody decides", 0, None))

    def withdraw(self, error: AccordError | None = None) -> None:
        """Goes away, which breaks the barrier for the others. From any thread; does not block."""
        if self.passed.done():
            return
        with suppress(AccordError):  # the connection is gone: the lease ends by itself
            command = WithdrawRequest(self._connection.agent, self.id)
            self._connection.submit("locks", self.key, command, task=self._task)
        self._over(error or NotConnected(f"{self.key}: the wait at the barrier was given up.", key=self.key))

    def close(self) -> None:
        """The hub closes."""
        self.withdraw(NotConnected(f"{self.key}: the hub was closed before the barrier was passed.", key=self.key))

    def _over(self, outcome: int | BaseException) -> None:
        self._finish()
        settle(self.passed, outcome)

    def _finish(self) -> None:
        self._stop_renewing()
        for undo in self._undo:
            undo()
        self._undo.clear()
        self._live.pop(self, None)

    def _broken(self, why: str, waiting: int, position: Position | None) -> BrokenBarrier:
        return BrokenBarrier(
            f"barrier {self.key} ({self._parties} parties): {why}.",
            remedy="All who waited there are told so; who comes now begins anew.",
            key=self.key,
            position=None if position is None else str(position),
            waiting=waiting,
        )

    def _refused(self, event: BarrierRefused, position: Position) -> TermsDiffer:
        what = "a lock at present" if event.reason == "lock" else f"waited at by {event.parties} parties at present"
        return TermsDiffer(
            f"barrier {self.key} for {self._parties} parties: it is {what}.",
            remedy="Ask for it in the same way everywhere, or use another name.",
            key=self.key,
            agent=event.agent,
            position=str(position),
        )


_WHY: Final = {"timeout": "waited too long", "lease": "did not renew its lease", "withdrawn": "went away"}


class Reached:
    """A barrier as it was named; what the async and the sync `Barrier` share.

    Raises:
        BadInput: the name, the number of parties or a duration cannot be one.
    """

    def __init__(self, hub: Hub, name: str, parties: int, lease_ms: int | None, wait_ms: int | None) -> None:
        self.name: Final = check_name(name)
        self.parties: Final = check_parties(parties)
        self._hub = hub
        self._lease_ms = lease_ms if lease_ms is None else check_lease_ms(lease_ms, 0)
        self._wait_ms = check_wait_ms(wait_ms)

    def _operation(self) -> Operation:
        return Operation(self._hub, "wait", current_task(), kind=SpanKind.CLIENT, key=self.name)

    def _reach(self, wait_ms: int | EllipsisType | None) -> Arrival:
        hub = self._hub
        hub.ensure_open(f"barrier {self.name}")
        locks = hub.settings.locks
        lease_ms = check_lease_ms(self._lease_ms or locks.lease_ms, locks.clock_step_ms)
        wait = self._wait_ms if isinstance(wait_ms, EllipsisType) else check_wait_ms(wait_ms)
        arrival = Arrival(hub, self.name, self.parties, lease_ms, wait)
        arrival.reach()
        return arrival


class Barrier(Reached):
    """A barrier by name; made by `Accord.barrier`, usable again and again, from several tasks."""

    async def wait(self, *, wait_ms: int | EllipsisType | None = ...) -> int:
        """Waits until all parties have come.

        Args:
            wait_ms: how long, in ms; None is without limit; left out: as the barrier was made.

        Returns:
            The place in the order of arrival, 0 for the first.

        Raises:
            BrokenBarrier: one of those who wait waited too long, died or went away.
            TermsDiffer: it has another number of parties at present, or the name is that of a lock in use.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        with self._operation():
            arrival = self._reach(wait_ms)
            try:
                return await asyncio.wrap_future(arrival.passed)
            except asyncio.CancelledError:
                arrival.withdraw()
                raise
