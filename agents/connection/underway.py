"""A command under way: what was asked, how far it got, and what to say when no decision comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, NamedTuple

from accord.agents.connection.answers import Place
from accord.agents.connection.outages import Outages
from accord.agents.connection.runtime import current
from accord.agents.connection.timers import Clock
from accord.schemas.messages import Command, Event
from accord.schemas.position import Position
from accord.schemas.topics import ESSENTIAL
from accord.streams.chain import Decision
from confluent_kafka import KafkaError

from accord.errors import AccordError, BadInput, KafkaUnreachable, NoWorker, OutcomeUnknown, Rejected, TopicMismatch


class Answer(NamedTuple):
    """An accepted decision, as read from the events log through the chain."""

    domain: str
    decision: Decision
    events: tuple[Event, ...]
    position: Position


class Submission(NamedTuple):
    """A command under way. `decided` gets the decision on it, or why there is none; it cannot be cancelled."""

    id: str
    decided: Future[Answer]


Withdrawal = Callable[[str], Command]


class Underway:
    """A command that was submitted and is not answered.

    `sent` once it was given to the producer, `offset` once its delivery was reported. Times are monotonic seconds.
    """

    __slots__ = (
        "command",
        "decided",
        "give_up_s",
        "id",
        "key",
        "look_s",
        "monotonic",
        "offset",
        "on_delivered",
        "place",
        "sent",
        "since_s",
        "task",
        "trace",
        "withdrawal",
    )

    def __init__(
        self,
        message_id: str,
        place: Place,
        key: str,
        command: Command,
        task: str | None,
        trace: str | None,
        withdrawal: Withdrawal | None,
        wait_s: float,
        monotonic: Clock,
        on_delivered: Callable[[], None] | None = None,
    ) -> None:
        self.id = message_id
        self.place = place
        self.key = key
        self.command = command
        self.task = task
        self.trace = trace
        self.withdrawal = withdrawal
        self.monotonic = monotonic
        self.since_s = monotonic()
        self.give_up_s = self.since_s + wait_s
        self.on_delivered = on_delivered
        self.sent = False
        self.look_s = 0.0
        """When it is looked for again; 0: it has not been slow yet."""
        self.offset: int | None = None
        self.decided: Future[Answer] = future()

    def __str__(self) -> str:
        """`AcquireLock room_12 (locks.commands/3@1842)`; the position as far as it is known."""
        domain, partition = self.place
        at = f"{domain}.commands/{partition}" if self.offset is None else str(self.position)
        return f"{type(self.command).__name__} {self.key} ({at})"

    @property
    def position(self) -> Position | None:
        return None if self.offset is None else Position(*self.place, self.offset, commands=True)

    def given_up(self, now_s: float, outages: Outages) -> AccordError:
        """The error when the wait for a decision is over."""
        if self.offset is None:
            return self.unsent("no broker has taken it")
        if self.withdrawal is not None:
            then = "Request withdrawn."
        else:
            then = f"It may be decided later; sending it again as {self.id} is safe."
        why = f"no worker has read it for {round(now_s - self.since_s, 1):g} s"
        remedy = f"Start one: accord worker. {then}"
        details: dict[str, Any] = {"key": self.key, "position": str(self.position), "command_id": self.id}
        if self.place[0] in ESSENTIAL:
            return NoWorker(f"{self}: {why}.", remedy=remedy, **details)
        return outages.error(str(self), self.place, why, remedy, **details)

    def unsent(self, why: str) -> KafkaUnreachable:
        """The error when the broker did not take it in time; it may have all the same, if it was sent."""
        if not self.sent:
            then = "It was never sent."
        elif self.withdrawal is not None:
            then = "Request withdrawn."
        else:
            then = f"Sending it again as {self.id} is safe."
        waited_s = round(self.monotonic() - self.since_s, 1)
        within = f" within {waited_s:g} s" if waited_s else ""
        return KafkaUnreachable(
            f"{self} was not delivered{within}: {why}.",
            remedy=f"Is the broker up? {then}",
            key=self.key,
            command_id=self.id,
        )

    def undeliverable(self, error: KafkaError) -> AccordError:
        """The error for the producer's report of a failure."""
        why = error.str()
        match error.code():
            case KafkaError.MSG_SIZE_TOO_LARGE:
                return BadInput(f"{self} is larger than the broker takes: {why}.", key=self.key)
            case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_TOPIC | KafkaError._UNKNOWN_PARTITION:
                return TopicMismatch(
                    f"{self}: the topic is gone ({why}).", remedy="See: accord topics list.", key=self.key
                )
            case KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return KafkaUnreachable(
                    f"{self} may not be written: {why}.", remedy="See: accord topics acls.", key=self.key
                )
        return self.unsent(why)

    def rejected(self, reason: str, description: str, position: Position) -> Rejected:
        """The error for `CommandRejected`."""
        return Rejected(
            f"{self} was rejected: {reason}: {description}.",
            key=self.key,
            position=str(position),
            reason=reason,
            description=description,
        )

    def decided_before(self, cause: int, position: Position) -> OutcomeUnknown:
        """The error for `CommandRepeated` when the first decision cannot be found any more."""
        first = Position(*self.place, cause, commands=True)
        return OutcomeUnknown(
            f"{self} repeats the command at {first}, which was decided; how is not known here.",
            remedy=f"See: accord explain {first}.",
            key=self.key,
            position=str(position),
            command_id=self.id,
        )


def future() -> Future[Any]:
    """A future that nobody but its maker can settle: cancelling who waits for it does not cancel it."""
    made = current().future()
    made.set_running_or_notify_cancel()
    return made


def settle(waiting: Future[Any], outcome: Any) -> None:
    """Gives a future its result, or its exception; the first outcome counts."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
