"""Dead letters and what the command line can do about each: send again, run again, put away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from accord.cli.options import attach_registry
from accord.errors import AccordError, NotFound, Refused, SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accord import sync
    from accord.agents.connection.connection import Answer
    from accord.replay.deadletters import LetterView
    from accord.schemas.messages import Command, Event
    from accord.schemas.messages.deadletters import DeadLetter
    from accord.settings import Settings


class Told(NamedTuple):
    """What the log said: where, and in words."""

    position: str
    text: str


# -- finding them


def letters_of(settings: Settings, processes: int) -> list[tuple[DeadLetter, LetterView]]:
    from accord.replay.deadletters import dead_letters, with_states  # noqa: PLC0415
    from accord.replay.source import open_source  # noqa: PLC0415

    attach_registry(settings)
    letters = list(dead_letters(settings))
    with open_source(settings) as log:
        return list(zip(letters, with_states(log, letters, processes=processes), strict=True))


def find(settings: Settings, letter_id: str, processes: int) -> tuple[DeadLetter, LetterView]:
    for letter, view in letters_of(settings, processes):
        if letter.id == letter_id:
            return letter, view
    raise NotFound(f"there is no dead letter {letter_id}.", remedy="See: accord dlq list --all.", key=letter_id)


def key_of(letter: DeadLetter) -> str:
    return (letter.key or b"").decode(errors="replace")


def _domain(letter: DeadLetter) -> str:
    return letter.id.partition("/")[0]


def command_of(letter: DeadLetter) -> Command | None:
    """The command that was rejected, if it is one that can be read."""
    from accord.schemas.codec import commands_codec  # noqa: PLC0415

    if letter.step is not None or letter.queue.startswith(("handler:", "saga:")) or not letter.value:
        return None
    try:
        command: Command = commands_codec(_domain(letter)).decode(letter.value)
    except SchemaError:
        return None
    return command


def plain_of(value: Any) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def remedy_of(letter: DeadLetter, view: LetterView, command: Command | None) -> str:
    """What can be done about a dead letter."""
    if view.state != "open":
        return f"Nothing is left to do: {view.state}."
    if letter.step is not None and not view.retriable:
        return (
            f"The step is optional, and its task goes on without it. To put it away: accord dlq drop {letter.id} "
            f"--reason TEXT."
        )
    if letter.step is not None:
        return (
            f"When its cause is gone: accord dlq retry {letter.id}. To put it away: accord dlq drop {letter.id} "
            f"--reason TEXT. What happened: accord tasks trace {view.task_id}."
        )
    if letter.queue.startswith("saga:"):
        what = (
            f"When its cause is gone: accord dlq retry {letter.id}. What happened: accord sagas show {key_of(letter)}."
        )
    elif letter.queue.startswith("handler:"):
        what = "Its handler runs nowhere but in its program: emit the event again once it is mended."
    elif command is None:
        what = f"It cannot be sent again: {_unreadable(letter)}."
    else:
        what = f"It can be sent again: accord dlq retry {letter.id}."
    return f"{what} {_KEPT}"


_KEPT = "It cannot be dropped, for nothing records what becomes of it; the topic keeps it for its retention."


def _unreadable(letter: DeadLetter) -> str:
    return "its value is not there" if not letter.value else "no schema reads its value"


# -- doing something about them


def retry_one(hub: sync.Accord, letter: DeadLetter, view: LetterView) -> Told:
    """Has a step run again, or the undo of a stuck saga, or sends a rejected command again.

    Raises:
        Refused: it is not open any more, cannot be sent again, or the log says no.
        NotFound: its task is not remembered.
    """
    from accord.schemas.messages.tasks import RetryStep  # noqa: PLC0415

    _check_open(view)
    if letter.step is not None:
        answer = _tell(hub, view, RetryStep(hub.agent, letter.step))
        return Told(str(answer.position), str(answer.position))
    if letter.queue.startswith("saga:"):
        position = hub.saga(key_of(letter)).retry()
        return Told(position, position)
    command = command_of(letter)
    if command is None:
        raise Refused(f"{letter.id} was not tried again.", remedy=remedy_of(letter, view, None), key=letter.id)
    # An id made of the letter's: who asks twice, within the time that the log knows ids, gets the first answer.
    submission = hub.connection.submit(
        _domain(letter), key_of(letter), command, task=letter.task_id, message_id=f"dlq:{letter.id}"
    )
    answer = submission.decided.result()
    brought = ", ".join(type(event).__name__ for event in answer.events)
    return Told(str(answer.position), f"{brought}, {answer.position}")


def drop_one(hub: sync.Accord, letter: DeadLetter, view: LetterView, *, reason: str) -> Told:
    """Puts a step that was given up away.

    Raises:
        Refused: it is not open any more, is no step, or the log says no.
        NotFound: its task is not remembered.
    """
    from accord.schemas.messages.tasks import DropStep  # noqa: PLC0415

    _check_open(view)
    if letter.step is None:
        raise Refused(
            f"{letter.id} was not dropped.", remedy=remedy_of(letter, view, command_of(letter)), key=letter.id
        )
    answer = _tell(hub, view, DropStep(hub.agent, letter.step, reason))
    return Told(str(answer.position), str(answer.position))


def _check_open(view: LetterView) -> None:
    if view.state != "open":
        raise Refused(f"{view.id} is no dead letter any more: {view.state}.", key=view.task_id)


def _tell(hub: sync.Accord, view: LetterView, command: Command) -> Answer:
    """Sends a command about a step; returns the answer, unless that is a refusal."""
    task_id = view.task_id or ""
    answer = hub.connection.submit("tasks", task_id, command, task=task_id).decided.result()
    for event in answer.events:
        error = _error_of(view, event)
        if error is not None:
            error.position = str(answer.position)
            raise error
    return answer


def _error_of(view: LetterView, event: Event) -> AccordError | None:
    from accord.schemas.messages.tasks import RetryRefused, TaskUnknown  # noqa: PLC0415

    if isinstance(event, TaskUnknown):
        return NotFound(f"{view.id}: the task {view.task_id} is not remembered any more.", key=view.task_id)
    if not isinstance(event, RetryRefused):
        return None
    why, remedy = _REFUSALS.get(event.reason, (f"is no dead letter: {event.reason}", ""))
    return Refused(
        f"{view.id}: {view.step} of {view.task_id} {why}.",
        remedy=remedy.format(view.id),
        key=view.task_id,
        reason=event.reason,
    )


_REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "optional": (
        "is optional, and its task goes on without it",
        "To put it away: accord dlq drop {} --reason TEXT.",
    ),
    "blocked": ("needs another step that was given up", "Retry that one first: accord dlq list."),
}
"""What it means that the log refuses, by its reason, and what to do."""
