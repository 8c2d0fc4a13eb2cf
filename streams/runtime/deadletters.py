"""Dead letters: derived from confirmed decisions, at least once; their id is the decision's position."""

from __future__ import annotations

from accord.schemas.codec import deadletters_codec
from accord.schemas.headers import SOURCE, Record
from accord.schemas.messages import Event
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.messages.log import CommandRejected
from accord.schemas.messages.signals import HandlerFailed
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic
from accord.streams.chain import Decision
from accord.streams.partition import Identity


def dead_letter(identity: Identity, decision: Decision, event: Event, command: Record | None) -> DeadLetter:
    """What goes to the dead-letter topic for a decision.

    Args:
        command: the command's record; None when it is no longer in the log.
    """
    domain, partition = identity.domain, identity.partition
    common = {
        "id": str(Position(domain, partition, decision.offset)),
        "task_id": decision.task.decode(errors="replace") or None,
        "at_ms": decision.now_ms,
    }
    match event:
        case CommandRejected(reason, description):
            source = dict(command.headers).get(SOURCE, b"") if command else b""
            return DeadLetter(
                **common,
                queue=commands_topic(domain, identity.prefix),
                reason=reason,
                description=description,
                origin=str(Position(domain, partition, decision.cause, commands=True)),
                key=command.key if command else decision.key,
                value=command.value if command else None,
                agent=source.decode(errors="replace"),
                attempts=1,
            )
        case HandlerFailed():
            return DeadLetter(
                **common,
                queue=f"handler:{event.handler}",
                reason="MaxRetriesExceeded",
                description=f"{event.error_type}: {event.error}",
                origin=event.position,
                key=decision.key,
                value=event.data.encode(),
                agent=event.agent,
                attempts=event.attempts,
            )
        case _:
            raise TypeError(f"{type(event).__name__} is no dead letter")


def encode(letter: DeadLetter) -> bytes:
    """The value of the dead-letter topic's record; its key is the letter's id."""
    return deadletters_codec().encode(letter)
