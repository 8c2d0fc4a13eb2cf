"""The dead-letter topic, read: each letter once, whatever its writers repeated; and what has become of each since.

A step that was given up is a dead letter until a person has it run again or drops it, or its task ends otherwise: that
is told by the task. A saga that is stuck is one until it was retried, which the saga tells. Nothing is recorded of what
became of the others, rejected commands and events whose handler failed: they stay open for as long as the topic keeps
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from accord.replay.sagas import SagaView, sagas_at
from accord.replay.source import Source
from accord.replay.timeline import iso
from accord.replay.work import states_at
from accord.schemas.codec import deadletters_codec
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.topics import deadletters_topic
from accord.streams.sagas.decider import queue_of
from accord.streams.sagas.saga import STUCK
from accord.streams.tasks.progress import COMPLETED, FAILED, TIMED_OUT
from accord.streams.tasks.task import CANCELLED, Task

from accord.errors import NotFound
from accord.kafka import bootstrap, bounds, metadata, read, reader
from accord.settings import Settings

IDS_MAX: Final = 1_000_000
"""Ids remembered to tell repeats; beyond it the oldest are forgotten, and a repeat of them shows twice."""

OPEN: Final = "open"
RETRIED: Final = "retried"
DROPPED: Final = "dropped"
FORGOTTEN: Final = "forgotten"


class LetterView(msgspec.Struct, frozen=True):
    """A dead letter. `state` is `open`, or what has become of it: `retried`, `dropped`, or its task was `completed`
    without it, `cancelled`, `forgotten`. `retriable`: the log may have it tried again, if it is open."""

    id: str
    queue: str
    reason: str
    description: str
    count: int
    task_id: str | None
    origin: str
    time: str
    agent: str | None
    step: str | None
    state: str
    retriable: bool


def dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """The dead letters of a cluster, oldest first, as far as the topic goes when this is called.

    Raises:
        KafkaUnreachable: no broker answers.
        NotFound: there is no dead-letter topic.
        SchemaError: a record of it cannot be decoded.
    """
    topic = deadletters_topic(settings.topics.prefix)
    decode = deadletters_codec().decode
    client = reader(settings.kafka)
    seen: dict[str, None] = {}
    try:
        found = metadata(client, settings.kafka).topics.get(topic)
        if found is None:
            raise NotFound(
                f"{bootstrap(settings.kafka)} has no topic {topic}.", remedy="Create it: accord topics init."
            )
        for partition in sorted(found.partitions):
            for record in read(client, topic, partition, *bounds(client, topic, partition)):
                letter: DeadLetter = decode(record.value)
                if letter.id in seen:
                    continue
                seen[letter.id] = None
                if len(seen) > IDS_MAX:
                    del seen[next(iter(seen))]
                yield letter
    finally:
        client.close()


def with_states(source: Source, letters: Iterable[DeadLetter], *, processes: int = 1) -> list[LetterView]:
    """Dead letters and what has become of each, by the end of the log.

    Args:
        source: the log of the cluster that they are of.
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    letters = list(letters)
    tasks = states_at(source, {one.task_id for one in letters if one.step and one.task_id}, processes=processes)
    any_saga = any(saga_of(one) is not None for one in letters)
    sagas = {view.id: view for view in sagas_at(source, processes=processes)} if any_saga else {}
    return views_of(letters, tasks, sagas)


def saga_of(letter: DeadLetter) -> str | None:
    """The id of the saga that is stuck; None: the letter is of something else."""
    if not letter.queue.startswith(queue_of("")) or letter.key is None:
        return None
    return letter.key.decode(errors="replace")


def views_of(
    letters: Iterable[DeadLetter], tasks: Mapping[str, Task], sagas: Mapping[str, SagaView] = MappingProxyType({})
) -> list[LetterView]:
    """Dead letters, oldest first, and what has become of each.

    Args:
        tasks: those that are remembered, by id.
        sagas: those that there were, by id.
    """
    letters = list(letters)
    last: dict[tuple[str | None, str | None], str] = {_what(one): one.id for one in letters}
    views = []
    for one in letters:
        saga_id, is_last = saga_of(one), last[_what(one)] == one.id
        if saga_id is not None:
            task_id: str | None = saga_id
            state = _state_of_saga(one, sagas.get(saga_id), is_last=is_last)
            retriable = True
        else:
            task_id, task = one.task_id, tasks.get(one.task_id or "")
            state, retriable = _state(one, task, is_last=is_last), _retriable(one, task)
        views.append(
            LetterView(
                one.id, one.queue, one.reason, one.description, one.attempts, task_id, one.origin, iso(one.at_ms),
                one.agent or None, one.step, state, retriable,
            )
        )  # fmt: skip
    return views


def _what(letter: DeadLetter) -> tuple[str | None, str | None]:
    """What a letter is of: the last one of it counts."""
    saga_id = saga_of(letter)
    return (letter.task_id, letter.step) if saga_id is None else (letter.queue, saga_id)


def _state_of_saga(letter: DeadLetter, saga: SagaView | None, *, is_last: bool) -> str:
    if saga is None or saga.begun_at > iso(letter.at_ms):
        return FORGOTTEN
    if not is_last or saga.status != STUCK:
        return RETRIED
    return OPEN if saga.remembered else FORGOTTEN


def _retriable(letter: DeadLetter, task: Task | None) -> bool:
    if letter.step is None:
        return not letter.queue.startswith("handler:") and bool(letter.value)
    number = None if task is None else task.graph.number(letter.step)
    return task is not None and number is not None and not task.graph[number].optional


def _state(letter: DeadLetter, task: Task | None, *, is_last: bool) -> str:
    if letter.step is None:
        return OPEN
    number = None if task is None else task.graph.number(letter.step)
    if task is None or number is None or task.created_ms > letter.at_ms:
        return FORGOTTEN
    step = task.steps[number]
    if not is_last or step.status not in (FAILED, TIMED_OUT):
        return task.status if task.status == CANCELLED else RETRIED
    if not step.reason:
        return DROPPED
    return task.status if task.status in (CANCELLED, COMPLETED) else OPEN
