"""Dead letters: derived from confirmed decisions, at least once; their id is the decision's position."""

from __future__ import annotations

from accord.schemas.headers import SOURCE, TEXT_BYTES_MAX, Record
from accord.schemas.messages import Event
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.messages.log import CommandRejected
from accord.schemas.position import Position
from accord.schemas.topics import DECISION_BYTES_MAX, commands_topic
from accord.streams.chain import Decision
from accord.streams.decider import Domain, Failure
from accord.streams.partition import Identity


def dead_letter(
    identity: Identity, domain: Domain, decision: Decision, event: Event, number: int, command: Record | None
) -> DeadLetter:
    """What goes to the dead-letter topic for a decision. A value too large to be copied stays where `origin` says.

    Args:
        number: of the event among those of its decision from which something follows; the first gives its id no suffix.
        command: the command's record; None when it is no longer in the log.
    """
    key, task = decision.key, decision.task
    position = str(Position(domain.name, identity.partition, decision.offset))
    if isinstance(event, CommandRejected):
        source = (dict(command.headers).get(SOURCE) if command else None) or b""
        failure = Failure(
            queue=commands_topic(domain.name, identity.prefix),
            reason=event.reason,
            description=event.description,
            origin=str(Position(domain.name, identity.partition, decision.cause, commands=True)),
            value=(command.value if command else None) or b"",
            agent=source[:TEXT_BYTES_MAX].decode(errors="replace"),
            attempts=1,
        )
        key = (command.key if command else None) or key
    else:
        failure = domain.dead_letters[type(event)](event)
        task = key if failure.step is not None else task  # a tick has no task in its headers
    return DeadLetter(
        id=position + f"/{number}" * bool(number),
        queue=failure.queue,
        reason=failure.reason,
        description=failure.description,
        origin=failure.origin or position,
        key=key if len(key) < DECISION_BYTES_MAX // 2 else None,
        value=failure.value if len(key) + len(failure.value) < DECISION_BYTES_MAX else None,
        agent=failure.agent,
        task_id=task.decode(errors="replace") or None,
        attempts=failure.attempts,
        at_ms=decision.now_ms,
        step=failure.step,
    )
