"""An intention: declared before an agent acts, until it is done.

Rules that act here:
- It may be done when the log says so; a handle listens from before it is declared.
- It stands as long as its lease is renewed, on accord's own thread: whatever the program does, while this process
  lives.
- If it is stopped, or its lease ends, the body of `async with` is cancelled, and `ConflictLost` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.leases.leases import RENEWALS_A_LEASE
from accord.agents.locks.arguments import check_name, check_wait_ms, shortened
from accord.agents.signals import signals
from accord.agents.watched import Watched
from accord.schemas.messages.conflicts import (
    AppealDecided,
    AppealRefused,
    AppealResolution,
    DeclareIntention,
    FinishIntention,
    GroundRead,
    Intent,
    IntentionAllowed,
    IntentionEnded,
    IntentionFavoured,
    IntentionKnown,
    IntentionQueued,
    IntentionRefused,
    IntentionUnknown,
    ReadGround,
    RenewIntention,
    WithdrawIntention,
)
from accord.streams.conflicts.bounds import problem_of_intent
from accord.streams.conflicts.ground import ACTING, DENIED, DONE, EXPIRED, LIVE, PREEMPTED, TAKEN, WITHDRAWN

from accord import logs
from accord.errors import (
    AccordError,
    BadInput,
    CircularTrigger,
    ConflictLost,
    Denied,
    ExceedsCapacity,
    Overloaded,
    TermsDiffer,
    Unavailable,
)

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.conflicts")

DOMAIN: Final = "conflicts"
SAID: Final = {
    DENIED: "is denied",
    TAKEN: "is done by another",
    PREEMPTED: "was stopped",
    EXPIRED: "was not renewed in time",
    WITHDRAWN: "was withdrawn",
    DONE: "is done",
}
REMEDIES: Final = {
    DENIED: "Do something else, or appeal.",
    TAKEN: "Take another topic, or appeal.",
    PREEMPTED: "Declare it again, or appeal.",
    EXPIRED: "Others may act now: declare it again before going on.",
}


def intended(action: str, **fields: Any) -> Intent:
    """What an agent is about to do. Raises BadInput: it cannot be."""
    intent = Intent(action, **fields)
    for name in ("action", "target", "resource", "topic", "text"):
        if not isinstance(getattr(intent, name), str):
            raise BadInput(f"{name}={getattr(intent, name)!r}: text is needed.")
    if not isinstance(intent.mode, str | None):
        raise BadInput(f"mode={intent.mode!r}: text is needed, or None.")
    for name in ("amount", "from_ms", "until_ms", "priority", "lease_ms"):
        value = getattr(intent, name)
        if isinstance(value, bool) or not isinstance(value, int | None):
            raise BadInput(f"{name}={value!r}: a whole number is needed.")
    problem = problem_of_intent(intent)
    if problem is not None:
        raise BadInput(f"{problem}.")
    return intent


class Intention(Watched):
    """An intention; made by `Ground.intend`. Use it with `async with`, or `declare`, `turn` and `finish`."""

    def __init__(
        self, hub: Hub, ground: str, intent: Intent, *, key: str | None, agent: str | None, wait_ms: int | None
    ) -> None:
        hub.ensure_open("intend()")
        self.key: Final = signals.new_task() if key is None else check_name(key, "intention")
        self.agent: Final = hub.agent if agent is None else check_name(agent, "agent")
        self.intent: Final = intent
        self.status = "new"
        """`acting`, `queued`, `held`: a judge is asked, or how it ended."""
        self.behind: tuple[str, ...] = ()
        """For which agents it waits."""
        self.lost: ConflictLost | None = None
        """Why it stands no more, if others are the cause, or its lease."""
        self._wait_ms = check_wait_ms(wait_ms)
        self._turn: Future[None] = future()
        self._stop_renewing: Callable[[], None] = lambda: None
        self._body: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        super().__init__(hub, DOMAIN, "intention on", ground)

    # -- what the log says; on accord's thread

    def _heard(self, answer: Answer) -> None:
        for event in answer.events:
            if getattr(event, "intention", None) == self.key and getattr(event, "agent", None) == self.agent:
                self._heard_of_it(event, str(answer.position))
            elif isinstance(event, AppealDecided) and event.upheld and self._is_mine(event):
                self._lose(event.losers[0].outcome, event.conflict, (event.winner.agent,), event.reasoning, answer)

    def _is_mine(self, event: AppealDecided) -> bool:
        return self.status == "appealed" and any(loser.party == self.key for loser in event.losers)

    def _heard_of_it(self, event: Any, position: str) -> None:
        match event:
            case IntentionAllowed():
                self.status, self.behind = ACTING, ()
                settle(self._turn, None)
            case IntentionQueued(behind=behind):
                self.status, self.behind = "queued", tuple([party.agent for party in behind])
            case IntentionFavoured():
                self.status, self.lost = "queued", None
                self._renew_later()
            case IntentionEnded(_, _, outcome, conflict, by, reason):
                self._ended(outcome, conflict, by, reason, position)
            case IntentionKnown(_, _, status, conflict, by) if status not in LIVE:
                self._ended(status, conflict, by, "", position)
            case IntentionKnown(_, _, status):
                self.status = status
                if status == ACTING:
                    settle(self._turn, None)
            case IntentionUnknown(command="RenewIntention"):
                self._ended(EXPIRED, "", (), "nothing is known of it any more", position)

    def _lose(self, outcome: str, conflict: str, by: tuple[str, ...], reason: str, answer: Answer) -> None:
        self._ended(outcome, conflict, by, reason, str(answer.position))

    def _ended(self, outcome: str, conflict: str, by: tuple[str, ...], reason: str, position: str) -> None:
        self._stop_renewing()
        self.status = outcome
        if outcome == DONE:
            settle(self._turn, None)
            return
        whose = f" by {', '.join(by)}" if by else ""
        because = f": {reason}" if reason else ""
        self.lost = ConflictLost(
            f"{self.intent.action} {self.intent.target or self.intent.topic or self.intent.resource} on {self.id} "
            f"{SAID.get(outcome, outcome)}{whose}{because}.",
            remedy=REMEDIES.get(outcome, ""), agent=self.agent, key=self.id, holder=by[0] if by else None,
            position=position, outcome=outcome, conflict=conflict, by=by, intention=self.key,
        )  # fmt: skip
        settle(self._turn, self.lost)
        if self._body is not None and self._loop is not None and not self._stopped:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._body.cancel)

    def _failed(self, error: BaseException) -> None:
        self._stop_renewing()
        self.forget()
        settle(self._turn, error)

    # -- the lease

    def _renew_later(self) -> None:
        self._stop_renewing()
        self._stop_renewing = self._hub.connection.call_later(self.intent.lease_ms / RENEWALS_A_LEASE, self._renew)

    def _renew(self) -> None:
        if self.lost is not None or self.status == DONE:
            return
        with suppress(AccordError):  # it is tried again; the log ends the lease if that comes to nothing
            command = RenewIntention(self.agent, self.key)
            self._hub.connection.submit(DOMAIN, self.id, command, answer_ms=self.intent.lease_ms, urgent=True)
        self._renew_later()

    # -- its life

    async def declare(self) -> str:
        """Says what this agent is about to do, and returns how it stands: `acting`, `queued` or `held`.

        Declared again, by a process that takes it over, it stands as it does, and is renewed from here on.

        Raises:
            ConflictLost: others do it, or go first and it does not wait. Details `outcome`, `by`, `conflict`.
            ExceedsCapacity: there is never so much of the resource.
            TermsDiffer: its key has another intention.
            BadInput: the ground's terms do not know its mode.
            Overloaded: too many intentions stand on the ground.
            CircularTrigger: events and intentions bring each other about in too long a row.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        command = DeclareIntention(self.agent, self.key, self.intent, signals.trail.get())
        answer = await self.send(command, withdrawal=lambda _: WithdrawIntention(self.agent, self.key, "given up"))
        for event in answer.events:
            if isinstance(event, IntentionRefused) and event.intention == self.key:
                self.forget()
                raise self._refusal(event, str(answer.position))
        if self.lost is not None:
            raise self.lost
        if self.status == "new":  # declared, and a judge is asked
            self.status = "held"
        self._renew_later()
        return self.status

    def _refusal(self, refused: IntentionRefused, position: str) -> AccordError:
        named: dict[str, Any] = {"key": self.id, "agent": self.agent, "position": position}
        text = f"{self.intent.action} on {self.id} is refused: {refused.detail}."
        match refused.reason:
            case "over_capacity":
                return ExceedsCapacity(
                    f"{self.intent.amount} of {self.intent.resource} on {self.id}: {refused.detail}.", **named
                )
            case "exists":
                return TermsDiffer(
                    f"{self.key} is another intention on {self.id}.", remedy="Take another key.", **named
                )
            case "full":
                return Overloaded(text, remedy="Try again once some are done, or use several grounds.", **named)
            case "circular_trigger":
                return CircularTrigger(text, **named)
        return BadInput(text, remedy="See the ground's terms: incompatible.", **named)

    async def turn(self, *, wait_ms: int | None = None) -> None:
        """Returns when it may be done.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            ConflictLost: it will not be. Details `outcome`, `by`, `conflict`.
            Unavailable: it has not come to that within `wait_ms`; it stands as before.
        """
        await self._wait(self._turn, check_wait_ms(wait_ms), "has not had its turn")

    async def finish(self) -> None:
        """Tells that it is done: who waited for it may act. Raises ConflictLost: it had ended before."""
        await self._tell_end(FinishIntention(self.agent, self.key))
        if self.lost is not None:
            raise self.lost

    async def withdraw(self, reason: str = "") -> None:
        """Tells that it will not be done."""
        await self._tell_end(WithdrawIntention(self.agent, self.key, shortened(reason)))

    async def _tell_end(self, command: FinishIntention | WithdrawIntention) -> None:
        self._body = None
        self._stop_renewing()
        if self.lost is None:
            await self.send(command)
        self.forget()

    async def appeal(self, reason: str = "") -> None:
        """Takes the conflict that it lost to the ground's authority; then `turn` waits for what becomes of it.

        Raises:
            Denied: it lost none, or has appealed before.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        lost = self.lost
        if lost is None or not lost.details["conflict"]:
            raise Denied(f"{self.key} on {self.id} has lost no conflict.", key=self.id, agent=self.agent)
        self.status, self._turn, self._stopped, self.lost = "appealed", future(), False, None
        answer = await self.send(AppealResolution(self.agent, lost.details["conflict"], self.key, shortened(reason)))
        for event in answer.events:
            if isinstance(event, AppealRefused):
                self.status, self.lost = lost.details["outcome"], lost
                settle(self._turn, lost)
                raise Denied(
                    f"{self.agent} cannot appeal: {event.reason}.", key=self.id, agent=self.agent,
                    position=str(answer.position), reason=event.reason,
                )  # fmt: skip

    async def look(self) -> GroundRead:
        """How the ground stands."""
        read = (await self.send(ReadGround(self.agent))).events[-1]
        assert isinstance(read, GroundRead)
        return read

    # -- as a body

    async def enter(self) -> None:
        """Declares it and waits for its turn; if that comes to nothing, it is taken back."""
        try:
            await self.declare()
            await self._had_turn()
        except BaseException as error:
            await self._given_up(error)
            raise

    async def leave(self, error: BaseException | None) -> None:
        """The body is over: it is done, or was not. Raises ConflictLost: it had ended before."""
        if self.lost is not None:
            self.forget()
            if error is None:
                raise self.lost
        elif error is None:
            await self.finish()
        elif isinstance(error, Exception):
            with suppress(AccordError):  # the body's own error matters more; without a word the lease ends
                await self.withdraw(f"{type(error).__name__}: {error}")
        else:
            await self._given_up(error)

    async def __aenter__(self) -> Self:
        await self.enter()
        self._loop, self._body = asyncio.get_running_loop(), asyncio.current_task()
        if self.lost is not None:  # in between: nobody has cancelled the body
            await self.leave(None)
        return self

    async def _had_turn(self) -> None:
        try:
            await self.turn(wait_ms=self._wait_ms or None)
        except Unavailable as error:
            raise ConflictLost(
                f"{self.intent.action} on {self.id} had not its turn within {self._wait_ms} ms: "
                f"{', '.join(self.behind) or 'a judgement'} is waited for.", agent=self.agent, key=self.id,
                outcome=WITHDRAWN, conflict="", by=self.behind, intention=self.key,
            ) from error  # fmt: skip

    async def _given_up(self, error: BaseException) -> None:
        """Takes it back, if it stands: who waits no longer must not keep others waiting."""
        self._stop_renewing()
        if self.lost is None and self._hub.is_open:
            with suppress(AccordError):
                command = WithdrawIntention(self.agent, self.key, shortened(type(error).__name__))
                self._hub.connection.submit(DOMAIN, self.id, command)
        self.forget()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        was_cancelled = self._stopped and body is not None and body.uncancel() == 0
        await self.leave(None if was_cancelled and isinstance(error, asyncio.CancelledError) else error)
