"""What a fork looks up in the record: which commands follow from which decisions, which ticks met which deadlines."""

from __future__ import annotations

from typing import Any

from accord.replay.fork.cluster import folded
from accord.replay.fork.cut import Cut, Slot
from accord.replay.order import Where
from accord.schemas.codec import commands_codec
from accord.schemas.headers import LogRecord, Record
from accord.schemas.messages import Command
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position
from accord.streams.decider import source_of
from accord.streams.domains import DOMAINS

from accord.errors import SchemaError


def source_of_slot(slot: Slot) -> Position | None:
    """Of which decision a command is the consequence, by its id."""
    domain = slot.decision.command_id.partition("/")[0]
    source = source_of(slot.decision.command_id, domain) if domain in DOMAINS else None
    return None if source is None else source.position


def recorded_orders(cut: Cut) -> dict[str, list[tuple[str, tuple[str, str, str]]]]:
    """By the decision that they follow from: the ids of commands of process managers, and for what they are. Only
    those whose decision comes after the cut, too."""
    there = {str(slot.position) for slot in cut.slots}
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for slot in cut.slots:
        source = source_of_slot(slot)
        if source is not None and str(source) in there:
            found.setdefault(str(source), {})[slot.decision.command_id] = (slot.where[0], slot.key, slot.kind)
    return {
        position: sorted(orders.items(), key=lambda one: int(one[0].rpartition("/")[2]))
        for position, orders in found.items()
    }


def ticks_of(cut: Cut, states: dict[Where, dict[str, Any]]) -> dict[tuple[Where, str, int], int]:
    """The places of recorded ticks, by the deadlines that they were for.

    Args:
        states: the aggregates at the cut, by partition.
    """
    found: dict[tuple[Where, str, int], int] = {}
    ticked = {(slot.where, slot.key) for slot in cut.slots if slot.kind == Tick.__name__}
    now = {at: states[at[0]].get(at[1]) for at in ticked}
    for place, slot in enumerate(cut.slots):
        at = slot.where, slot.key
        if at not in ticked:
            continue
        decider, codec = DOMAINS[slot.where[0]].versions[slot.decision.rules], cut.partitions[slot.where].events
        due_ms = None if slot.kind != Tick.__name__ or now[at] is None else decider.deadline_ms(now[at])
        if due_ms is not None:
            found[(*at, due_ms)] = place
        now[at] = folded(slot.where, now[at], [slot.decision], codec)
    return found


def with_value(record: Record, domain: str, command: Command) -> LogRecord:
    """A record with another command in it."""
    value = commands_codec(domain).encode(command)
    headers = tuple(record.headers)
    return LogRecord(record.offset, record.timestamp, record.timestamp_type, record.key, value, headers)


def where_of(name: str) -> Where | None:
    """The partition that a name as `locks/3` is of."""
    domain, _, number = name.rpartition("/")
    return (domain, int(number)) if domain in DOMAINS and number.isdecimal() else None


def command_in(domain: str, record: Record) -> Command | None:
    """The command of a record; None: it cannot be read."""
    try:
        command: Command = commands_codec(domain).decode(record.value)
    except SchemaError:
        return None
    return command
