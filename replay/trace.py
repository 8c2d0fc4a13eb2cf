"""Everything that was decided about one task, over all domains, in time order.

A decision is about a task if it is the task's own (its key), or was made for it (the task id of its headers); teams
decide about many tasks at once, so of theirs only the part about this one is told, whatever the headers say.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

import msgspec
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.replay.timeline import TimelineEvent, decoded
from accord.streams.chain import Decision

from accord.errors import NotFound

_LISTS: Final = ("assignments", "assigned")
"""Fields of a team's events that name tasks, one by one."""


def trace(source: Source, task_id: str) -> Iterator[TimelineEvent]:
    """The events about a task, oldest first; within a partition in its order.

    Raises:
        NotFound: there are none.
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    streams = [_stream(source, task_id, *where) for where in source.all_partitions()]
    found = False
    for _, _, _, events in heapq.merge(*streams):
        found = True
        yield from events
    if not found:
        raise NotFound(
            f"{source.name} has nothing about a task {task_id}.", remedy="See: accord tasks list.", key=task_id
        )


def _stream(
    source: Source, task_id: str, domain: str, partition: int
) -> Iterator[tuple[int, int, str, list[TimelineEvent]]]:
    name, wanted = f"{domain}/{partition}", task_id.encode()
    for decision in accepted(source, domain, partition, beside=True):
        if _may_be_about(domain, wanted, decision):
            told = (_part(domain, task_id, event) for event in decoded(domain, partition, decision))
            events = [event for event in told if event is not None]
            if events:
                yield decision.now_ms, decision.offset, name, events


def _may_be_about(domain: str, task_id: bytes, decision: Decision) -> bool:
    """What can be told without decoding the value."""
    if domain == "roster":
        return task_id in decision.value
    return task_id == decision.task or (domain == "tasks" and task_id == decision.key)


def _part(domain: str, task_id: str, event: TimelineEvent) -> TimelineEvent | None:
    """The part of an event that is about a task; None: there is none."""
    if domain != "roster" or event.data.get("task") == task_id:
        return event
    for name in _LISTS:
        mine = [one for one in event.data.get(name, ()) if one["task"] == task_id]
        if mine:
            agents = {one["agent"] for one in mine if "agent" in one}
            agent = agents.pop() if len(agents) == 1 else event.agent
            return msgspec.structs.replace(event, task_id=task_id, agent=agent, data=event.data | {name: mine})
    return None
