"""Requests for what is held by lease (locks, capacity of pools), for the async and the sync client alike.

A `Hold` is one request, from the command that asks to the end of the grant. Its life runs on accord's own thread, so
renewals go on whatever the program does; what is told to the program goes through futures and callbacks. What is asked
for, and in which words of its domain, is in its `Terms`.

    asking --queued--> queued    asking --ConditionAwaited--> asleep --notice, end of the wait--> queued
    asking, queued --granted--> held        --denied, no answer--> over
    held --release()--> over                --LeaseExpired, not renewed in time, taken away--> lost

What a holder may believe. Let the command that started the lease have been sent at monotonic time s, and have the log
time t. The lease ends when the partition's clock reaches the deadline d. That clock shows the times that the brokers
give to records, so it cannot show d before d - t of the brokers' time has passed since the command was appended,
which was not before s. Hence the holder may believe until

    s + (d - t) * (1 - DRIFT) - margin

with a margin larger than the largest step of the brokers' clocks, and DRIFT for clocks that run at different speeds.
The command's own log time is not in the decision; what is there instead is never earlier, so the belief only gets
shorter. For a grant at once or a renewal it is `now_ms`, the partition's clock at the decision: the largest time seen,
the command's included. For a grant after queueing, t is that of the request itself, which is not after the `since_ms`
of the event that queued it; the wait is then part of d - t, and DRIFT is taken off it, too. No belief is longer than a
whole lease from when the grant was read. If what is left of it does not reach the next renewal, the lease is renewed
before the program is told that it has the lock.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from accord.agents.connection.connection import Answer, Connection, future, settle
from accord.agents.leases.call_chain import Owners, owner_of
from accord.agents.locks.refusals import deadlock, no_condition, ordinal
from accord.agents.signals.signals import current_task
from accord.schemas.messages import Command, Event, limits, locks
from accord.schemas.messages.roster import Tie
from accord.schemas.position import Position

from accord import logs
from accord.errors import (
    AccordError,
    LeaseLost,
    LockTimeout,
    NotConnected,
    NotOwner,
)
from accord.tracing import traceparent

if TYPE_CHECKING:
    from accord.agents.leases.heartbeat import Heartbeat
    from accord.agents.locks.barriers import Arrival

logger = logs.get("accord.locks")

DRIFT: Final = 0.001
"""How much faster than this machine's clock the brokers' may run: ten times what a quartz clock does."""
MARGIN_MS: Final = 20
"""Added to `locks.clock_step_ms`: the belief ends before the lease does."""
RENEWALS_A_LEASE: Final = 3

Queued = locks.LockQueued | limits.CapacityQueued
Granted = locks.LockGranted | limits.CapacityGranted
OnQueued = Callable[[Queued], None]
_OfGrant = (
    locks.LeaseExpired | locks.LeaseRenewed | locks.LeaseRevoked | locks.LockReleased | locks.RenewalRefused
    | limits.LeaseExpired | limits.LeaseRenewed | limits.CapacityReleased | limits.RenewalRefused
)  # fmt: skip

_OF_CONDITION: Final = frozenset(
    {locks.ConditionAwaited, locks.ConditionNotified, locks.ConditionTimedOut, locks.ConditionRefused}
)


def believed_until_s(sent_s: float, span_ms: int, clock_step_ms: int) -> float:
    """Until when a holder may believe that the lease runs; see the module's text.

    Args:
        sent_s: monotonic time at which the command that started the lease was sent, in s.
        span_ms: from that command's log time to the deadline, by the partition's clock, in ms.
        clock_step_ms: largest step of the brokers' clocks, in ms.

    Returns:
        A monotonic time, in s.
    """
    return sent_s + (span_ms * (1 - DRIFT) - clock_step_ms - MARGIN_MS) / 1_000


class Terms(ABC):
    """What is asked for, in the commands and refusals of its domain. One for each request.

    Args:
        lease_ms: of the lease, in ms.
        wait_ms: how long to queue, in ms; None is without limit, 0 tries once.
        heartbeat: on which it hangs; None: on none.
    """

    domain: ClassVar[str]
    noun: ClassVar[str]
    """What it is a lease on, for texts: `lock`."""

    def __init__(self, lease_ms: int, wait_ms: int | None, heartbeat: Heartbeat | None = None) -> None:
        self.lease_ms: Final = lease_ms
        self.wait_ms: Final = wait_ms
        self.heartbeat: Final = heartbeat

    def told(self, request: str) -> str | None:
        """What tells a grant from others with its token; None: nothing needs to."""
        return request

    @abstractmethod
    def request(self, agent: str, owner: str) -> Command:
        """The command that asks."""

    @abstractmethod
    def withdraw(self, agent: str, request: str) -> Command: ...
    @abstractmethod
    def renew(self, agent: str, token: int, request: str) -> Command: ...
    @abstractmethod
    def release(self, agent: str, token: int, request: str) -> Command: ...

    @abstractmethod
    def denial(self, key: str, denied: Event, position: Position) -> AccordError:
        """The error that a denied request raises."""

    @abstractmethod
    def not_owner(self, key: str, refused: Event, position: Position) -> NotOwner:
        """The error of a release that was refused."""


class Hold:
    """One request and the lease on what it brought. Made by `Leases.ask`.

    `granted` is settled when it is held, or with why not; `ended` when it was released, or lost. `depth` counts
    how often its owner has entered it; the last one to leave releases it.
    """

    def __init__(self, leases: Leases, key: str, owner: str, terms: Terms, on_queued: OnQueued | None) -> None:
        self.key = key
        self.owner = owner
        self.inner = Owners(owner)
        self.terms = terms
        self.depth = 1
        self.lease_ms = terms.lease_ms
        self.wait_ms = terms.wait_ms
        self._task = current_task()
        self._trace = traceparent()
        self._about = {"agent": leases.connection.agent, **logs.about()}
        self.token = 0
        self.position: Position | None = None
        self.granted: Future[Hold] = future()
        self.ended: Future[None] = future()
        self.error: AccordError | None = None
        self._leases = leases
        self._connection = leases.connection
        self.id = leases.connection.new_id()
        self.agent = leases.connection.agent
        self.notified = False
        """Of a request that waited on a condition: whether a notice came, rather than the end of the wait."""
        self._state: Literal["asking", "queued", "asleep", "held", "releasing", "over"] = "asking"
        self._lock = threading.RLock()
        self._sent_s = 0.0
        self._since_ms: int | None = None
        self._place = 0
        self._until_s = 0.0
        self._on_queued = on_queued
        self.grants: list[Any] = []
        """What shows it to the program; see `accord.agents.locks.locks.Held`."""
        self._on_loss: list[Callable[[], None]] = []
        self._undo: list[Callable[[], None]] = []
        self._cancel_timer: dict[str, Callable[[], None]] = {}

    @property
    def connection(self) -> Connection:
        """Through which it is asked for."""
        return self._connection

    # -- asking

    def ask(self) -> None:
        """Sends the request.

        Raises:
            What `Connection.submit` raises.
        """
        self._send(self.terms.request(self.agent, self.owner))

    def sleep(self, terms: Terms) -> Hold:
        """Gives the lock back until a notice comes, and asks for it anew.

        Args:
            terms: whose request waits for the notice.

        Returns:
            The new request: `granted` when the lock is held again, with or without notice.

        Raises:
            LeaseLost, NotOwner: the lock is not held.
            What `Connection.submit` raises.
        """
        with self._lock:
            self.check()
            again = self._leases.ask_again(self, terms)
            self._finish()
        settle(self.ended, None)
        return again

    def _send(self, command: Command) -> None:
        connection, agent = self._connection, self.agent
        grace_ms = connection.settings.client.worker_warning_ms
        try:
            self._undo.append(connection.watch(self.terms.domain, self.key, self._heard))
            self._undo.append(connection.on_failure(self._failed))
            if self.terms.heartbeat is not None:
                self._undo.append(self.terms.heartbeat.hang(self._tie, self._silent))
            self._sent_s = self._connection.monotonic()
            submission = connection.submit(
                self.terms.domain,
                self.key,
                command,
                task=self._task,
                trace=self._trace,
                message_id=self.id,
                withdrawal=lambda request: self.terms.withdraw(agent, request),
                answer_ms=None if self.wait_ms is None else self.wait_ms + grace_ms,
            )
        except BaseException:
            self._finish()
            raise
        submission.decided.add_done_callback(self._decided)

    def _decided(self, decided: Future[Answer]) -> None:
        """The answer itself came through the watch; what matters here is that there is none."""
        error = decided.exception()
        if error is not None:
            self._deny(error)

    def _heard(self, answer: Answer) -> None:
        """A decision about what is asked for or held; on accord's thread."""
        for event in answer.events:
            match event:
                case locks.LockQueued(request) | limits.CapacityQueued(request) if request == self.id:
                    self._queued(event)
                case locks.LockGranted(request) | limits.CapacityGranted(request) if request == self.id:
                    self._grant(event, answer)
                case _ if type(event) in _OF_CONDITION:
                    self._heard_of_condition(event, answer)
                case locks.LockDenied(request) | limits.CapacityDenied(request) if request == self.id:
                    self._deny(self.terms.denial(self.key, event, answer.position))
                case locks.DeadlockBroken(request) | limits.DeadlockBroken(request) if request == self.id:
                    self._deny(deadlock(self.key, event, answer.position))
                case locks.RequestWithdrawn(request) if request == self.id and self.terms.heartbeat is not None:
                    self._deny(self._gone())
                case locks.RequestWithdrawn(request) | limits.RequestWithdrawn(request) if request == self.id:
                    self._deny(LockTimeout(f"{self.key}: the request was withdrawn.", key=self.key))
                case locks.LeaseExpired() | limits.LeaseExpired() if self._is_meant(event):
                    self._lose("it ran out before it was renewed", answer.position)
                case locks.LeaseRevoked(_, _, by, reason) if self._is_meant(event):
                    self._lose(f"it was taken away by {by}: {reason}", answer.position)
                case locks.LockReleased(agent) | limits.CapacityReleased(agent) if self._is_meant(event):
                    if self._state == "held":
                        self._lose(f"it was released by {agent}", answer.position)

    def _heard_of_condition(self, event: Event, answer: Answer) -> None:
        match event:
            case locks.ConditionAwaited(request) if request == self.id:
                self._fall_asleep(event)
            case locks.ConditionNotified(_, requests) if self.id in requests:
                self._wake(notified=True)
            case locks.ConditionTimedOut(request) if request == self.id:
                self._wake(notified=False)
            case locks.ConditionRefused(request) if request == self.id:
                self._deny(no_condition(self.key, event, answer.position))

    def _is_meant(self, event: _OfGrant) -> bool:
        """Whether an event is about this grant: by its token, and by its request where others may have the token."""
        return event.token == self.token and event.request in (None, self.id)

    @property
    def _named(self) -> dict[str, str]:
        """What log lines call it, and who asks for it: accord's thread writes them."""
        return {self.terms.noun: self.key, **self._about}

    def _queued(self, event: Queued) -> None:
        self._state, self._since_ms, self._place = "queued", event.since_ms, event.place
        settings = self._connection.settings
        self._later("warning", settings.locks.wait_warning_ms, lambda: self._warn(settings.locks.wait_warning_ms))
        if self.wait_ms is not None:
            self._later("wait", self.wait_ms + settings.client.worker_warning_ms, self._waited)
        if self._on_queued is not None:
            self._on_queued(event)

    def _fall_asleep(self, event: locks.ConditionAwaited) -> None:
        self._state, self._since_ms = "asleep", event.since_ms
        if self.wait_ms is not None:
            self._later("wait", self.wait_ms + self._connection.settings.client.worker_warning_ms, self._waited)

    def _wake(self, *, notified: bool) -> None:
        self._state, self.notified = "queued", notified
        self._cancel_timers()

    def _warn(self, waited_ms: int) -> None:
        logger.warning(
            f"still waiting for a {self.terms.noun}", **self._named, waited_ms=waited_ms, place_at_first=self._place
        )
        self._later("warning", waited_ms, lambda: self._warn(2 * waited_ms))

    def _waited(self) -> None:
        """The log should have ended this wait long ago: no worker handles its deadlines."""
        self.withdraw(
            LockTimeout(
                f"{self.key} not granted within {self.wait_ms} ms, and the end of the wait was not decided "
                f"either; you were {ordinal(self._place)} in the queue.",
                remedy="Is a worker running? See: accord doctor. Request withdrawn.",
                key=self.key,
            )
        )

    def _grant(self, event: Granted, answer: Answer) -> None:
        with self._lock:
            if self._state not in ("asking", "queued", "asleep"):
                return
            self.token, self.position = event.token, answer.position
            since_ms = answer.decision.now_ms if self._since_ms is None else self._since_ms
            self._until_s = min(
                self._believe(self._sent_s, event.deadline_ms - since_ms),
                self._believe(self._connection.monotonic(), event.lease_ms),
            )
            self._state, self.lease_ms = "held", event.lease_ms
            self._cancel_timers()
            if self._until_s - self._connection.monotonic() > self.lease_ms / RENEWALS_A_LEASE / 1_000:
                settle(self.granted, self)  # first of all: somebody waits
                self._later("renewal", self._first_renewal_ms, self._renew)
                self._watch_belief()
            else:
                self._renew()

    def _deny(self, error: BaseException) -> None:
        with self._lock:
            if self._state not in ("asking", "queued", "asleep"):
                return
            self._finish()
        settle(self.granted, error)
        settle(self.ended, error)

    def withdraw(self, error: AccordError | None = None) -> None:
        """Takes the request back, whatever became of it: for who stopped waiting. From any thread; does not block."""
        with self._lock:
            if self._state in ("releasing", "over"):
                return
            self._finish()
        with suppress(AccordError):  # the connection is gone: the lease, or the wait, ends by itself
            command = self.terms.withdraw(self.agent, self.id)
            self._connection.submit(self.terms.domain, self.key, command, task=self._task, trace=self._trace)
        error = error or NotConnected(f"{self.key}: the request was withdrawn.", key=self.key)
        settle(self.granted, error)
        settle(self.ended, error)

    # -- the heartbeat on which it hangs

    @property
    def _tie(self) -> Tie:
        return Tie(self.terms.domain, self.key, self.id)

    @property
    def _first_renewal_ms(self) -> float:
        """Who has waited is tied by now, and may have his whole lease at once."""
        tied = self.terms.heartbeat is not None and self.terms.heartbeat.is_tied(self.id)
        return 0 if tied and self.lease_ms < self.terms.lease_ms else self.lease_ms / RENEWALS_A_LEASE

    def _gone(self) -> LeaseLost:
        """The error of a request that ended with its heartbeat."""
        return LeaseLost(
            f"{self.key}: the request was given up: no heartbeat of this process was recorded in time.",
            remedy="Ask again.",
            agent=self.agent,
            key=self.key,
            waiting=True,
        )

    def _silent(self) -> None:
        """The heartbeat was given up; on accord's thread."""
        if self._state in ("asking", "queued", "asleep"):
            self.withdraw(self._gone())
        self._lose("no heartbeat of this process was recorded in time", self.position)

    # -- holding

    @property
    def valid(self) -> bool:
        """Whether the holder may believe that it holds it."""
        return (
            self._state == "held"
            and self.error is None
            and self._connection.monotonic() < self._until_s
            and (self.terms.heartbeat is None or self.terms.heartbeat.valid)
        )

    def check_not_released(self) -> None:
        """Raises NotOwner when it was given back already; what was lost is told by `release`."""
        if self._state in ("releasing", "over") and self.error is None:
            raise NotOwner(
                f"{self.key}: token {self.token} was released already.",
                remedy="Release a grant once; the end of `with` does so, unless it was done before.",
                key=self.key,
                agent=self.agent,
            )

    @property
    def held(self) -> bool:
        """Whether it was granted, and neither released nor lost since."""
        return self._state == "held"

    def check(self) -> None:
        """Raises LeaseLost unless the lease may be believed in."""
        if not self.valid:
            if self._state == "held":
                self._lose("it could not be renewed in time", self.position)
            raise self.error or NotOwner(f"{self.key}: token {self.token} was released.", key=self.key)

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Has `callback` called, on accord's thread, if the lease is lost; at once, if it is already."""
        with self._lock:
            self._on_loss.append(callback)
            lost = isinstance(self.error, LeaseLost)
        if lost:
            callback()

    def _believe(self, sent_s: float, span_ms: int) -> float:
        return believed_until_s(sent_s, span_ms, self._connection.settings.locks.clock_step_ms)

    def _watch_belief(self) -> None:
        """Looks again when the belief ends, unless it was renewed by then."""
        left_ms = (self._until_s - self._connection.monotonic()) * 1_000
        if left_ms <= 0:
            self._lose("it could not be renewed in time", self.position)
        else:
            self._later("belief", left_ms, self._watch_belief)

    def _renew(self) -> None:
        if self._state != "held":
            return
        self._later("renewal", self.lease_ms / RENEWALS_A_LEASE, self._renew)
        sent_s = self._connection.monotonic()
        command = self.terms.renew(self.agent, self.token, self.id)
        try:
            submission = self._connection.submit(
                self.terms.domain, self.key, command, task=self._task, trace=self._trace, answer_ms=self.lease_ms
            )
        except AccordError as error:
            logger.warning("a lease was not renewed", **self._named, token=self.token, why=str(error))
            return
        submission.decided.add_done_callback(lambda decided: self._renewed(sent_s, decided))

    def _renewed(self, sent_s: float, decided: Future[Answer]) -> None:
        if decided.exception() is not None:
            if not self.granted.done():
                self._lose("it could not be renewed in time", self.position)
            return  # the next renewal, or the end of the belief, settles it
        answer = decided.result()
        for event in answer.events:
            match event:
                case locks.LeaseRenewed() | limits.LeaseRenewed() if self._is_meant(event):
                    with self._lock:
                        self._until_s = self._believe(sent_s, event.deadline_ms - answer.decision.now_ms)
                        if self._state == "held":
                            self._watch_belief()
                        if self.lease_ms != event.lease_ms:  # longer, once it is tied to the heartbeat
                            self.lease_ms = event.lease_ms
                            self._later("renewal", self.lease_ms / RENEWALS_A_LEASE, self._renew)
                    settle(self.granted, self)
                case locks.RenewalRefused() | limits.RenewalRefused() if self._is_meant(event):
                    self._lose("its renewal was refused", answer.position)

    def _lose(self, why: str, position: Position | None) -> None:
        """The lease is over for this holder: it stops renewing and sends its release."""
        with self._lock:
            if self._state != "held":
                return
            self.error = self.loss(why, position)
            self._finish()
            callbacks = list(self._on_loss)
        logger.warning("a lease was lost", **self._named, token=self.token, why=why)
        with suppress(AccordError):
            # Whoever was notified may not have come to use the notice: withdrawn, not released, it goes to the next.
            command = (
                self.terms.withdraw(self.agent, self.id)
                if self.notified
                else self.terms.release(self.agent, self.token, self.id)
            )
            self._connection.submit(self.terms.domain, self.key, command, task=self._task, trace=self._trace)
        settle(self.granted, self.error)
        settle(self.ended, self.error)
        for callback in callbacks:
            callback()

    def loss(self, why: str = "", position: Position | None = None) -> LeaseLost:
        """The error of the lease's end: the one recorded, else a new one with this reason."""
        if isinstance(self.error, LeaseLost):
            return self.error
        return LeaseLost(
            f"{self.key}: the lease of token {self.token} ({self.lease_ms} ms) ended: {why}.",
            remedy=f"Another agent may hold the {self.terms.noun} now. Acquire again and re-read before writing.",
            agent=self.agent,
            key=self.key,
            position=None if position is None else str(position),
            token=self.token,
        )

    def _failed(self, error: AccordError) -> None:
        """The connection failed or closed."""
        self._deny(error)
        self._lose(str(error).rstrip("."), None)

    def close(self) -> None:
        """The hub closes: what is asked is withdrawn, what is held is released and counts as lost."""
        if self._state in ("asking", "queued", "asleep"):
            self.withdraw(
                NotConnected(f"{self.key}: the hub was closed before the {self.terms.noun} was granted.", key=self.key)
            )
        self._lose("the hub was closed", None)

    def submit(self, command: Command, *, answer_ms: int | None = None) -> Future[Answer]:
        """Sends a command about this lock; as `Connection.submit`."""
        return self._connection.submit(
            self.terms.domain, self.key, command, task=self._task, trace=self._trace, answer_ms=answer_ms
        ).decided

    # -- releasing

    def enter_again(self) -> None:
        """Its owner enters it once more. Raises LeaseLost unless the lease may be believed in."""
        with self._lock:
            self.check()
            self.depth += 1

    def release(self) -> Future[None]:
        """Gives it back; from any thread, does not block. A second release is the first one.

        Of an owner who entered it several times, only the last release frees it.

        Returns:
            A future that raises LeaseLost when the lease had ended, NotOwner when the log says that it is another's,
            or what `Submission.decided` raises.
        """
        with self._lock:
            if self._state != "held":
                return self.ended
            if self.depth > 1:
                self.depth -= 1
                left = future()
                settle(left, None)
                return left
            self._finish("releasing")
        try:
            command = self.terms.release(self.agent, self.token, self.id)
            submission = self._connection.submit(
                self.terms.domain, self.key, command, task=self._task, trace=self._trace
            )
        except AccordError as error:
            self._release_over(error)
        else:
            submission.decided.add_done_callback(self._released)
        return self.ended

    def _released(self, decided: Future[Answer]) -> None:
        error = decided.exception()
        if error is None:
            for event in decided.result().events:
                if isinstance(event, locks.ReleaseRefused | limits.ReleaseRefused):
                    error = self.terms.not_owner(self.key, event, decided.result().position)
        self._release_over(error)

    def _release_over(self, error: BaseException | None) -> None:
        self._state = "over"
        settle(self.ended, error)

    def _finish(self, state: Literal["releasing", "over"] = "over") -> None:
        """No more timers and watches."""
        self._state = state
        self._cancel_timers()
        for undo in self._undo:
            undo()
        self._undo.clear()
        self._leases.live.pop(self, None)

    # -- timers, by name: setting one again replaces it

    def _later(self, name: str, delay_ms: float, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._state in ("releasing", "over"):
                return
            cancel = self._cancel_timer.pop(name, None)
            if cancel is not None:
                cancel()
            self._cancel_timer[name] = self._connection.call_later(delay_ms, callback)

    def _cancel_timers(self) -> None:
        for cancel in self._cancel_timer.values():
            cancel()
        self._cancel_timer.clear()


class Leases:
    """The requests and leases of one hub. `live` are those that are asked, waited for or held, and who
    waits at barriers, oldest first."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.live: dict[Hold | Arrival, None] = {}

    def ask(self, key: str, terms: Terms, on_queued: OnQueued | None = None) -> Hold:
        """Asks in the name of this call chain.

        Args:
            on_queued: called, on accord's thread, if the request has to queue.

        Raises:
            What `Connection.submit` raises.
        """
        hold = Hold(self, key, owner_of(key, terms.domain), terms, on_queued)
        self.live[hold] = None
        hold.ask()
        return hold

    def ask_again(self, hold: Hold, terms: Terms) -> Hold:
        """Asks, on other terms, for what its owner gives back, or gave back, and wants again."""
        again = Hold(self, hold.key, hold.owner, terms, None)
        again.depth = hold.depth
        self.live[again] = None
        again.ask()
        return again

    def close(self) -> None:
        """Releases what is held and withdraws what is asked; does not wait for the decisions."""
        for hold in list(self.live):
            hold.close()
