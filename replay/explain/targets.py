"""What a person may ask about: a position, an event, a command, a task, or the name of what it happened to."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.replay.timeline import TimelineEvent, decoded
from accord.schemas.position import Position
from accord.streams.chain import Decision

from accord.errors import BadInput, NotFound

_POSITION: Final = re.compile(r"[a-z][a-z_]*(\.commands|\.events)?/[0-9]{1,9}@[0-9]{1,18}")
_EVENT_ID: Final = re.compile(r"([a-z][a-z_]*)/([0-9]{1,9}):([0-9]{1,18})(#[0-9]{1,6})?")


class Target(msgspec.Struct, frozen=True):
    """The decision that is asked about, and where it lies. `task_id` is set if a task was named."""

    domain: str
    partition: int
    decision: Decision
    task_id: str | None = None

    @property
    def position(self) -> Position:
        return Position(self.domain, self.partition, self.decision.offset)


def find(source: Source, what: str, *, domains: tuple[str, ...] = (), agent: str | None = None) -> Target:
    """The decision that a text names.

    Args:
        what: a position, of the decision or of its command; an event's id, `locks/3:977`; a command's id; a task's id;
            or a key, as a lock's name. Of a task or a key it is the last decision, and one that only read what is
            there if there is no other.
        domains: look for keys and ids in these alone; all without.
        agent: the last decision that concerns this agent.

    Raises:
        NotFound: the log has nothing of this name, or it does not concern the agent.
        BadInput: it names things in several domains.
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    if _POSITION.fullmatch(what.strip()):
        return _at(source, Position.parse(what))
    event_id = _EVENT_ID.fullmatch(what.strip())
    if event_id is not None and event_id[1] in source.partitions:
        return _at(source, Position(event_id[1], int(event_id[2]), int(event_id[3]), commands=True))
    return _named(source, what, domains, agent)


def _at(source: Source, position: Position) -> Target:
    source.check_position(position)
    for decision in accepted(source, position.domain, position.partition):
        at = decision.cause if position.commands else decision.offset
        if at == position.offset:
            return Target(position.domain, position.partition, decision)
        if at > position.offset:
            break
    what = (
        "was not decided yet" if position.commands else "is no accepted decision: a repeat, or one that came too late"
    )
    raise NotFound(f"{position} {what}.", position=str(position))


def _named(source: Source, what: str, domains: tuple[str, ...], agent: str | None) -> Target:
    """The last decision about a key or a task, or the one on a command."""
    name = what.encode()
    keyed: dict[str, Target] = {}
    about: list[Target] = []
    sent: Target | None = None
    for domain, partition in source.all_partitions(domains):
        for decision in accepted(source, domain, partition, beside=True):
            if name not in (decision.key, decision.task) and decision.command_id != what:
                continue
            if agent is not None and not _concerns(domain, partition, decision, agent):
                continue
            target = Target(domain, partition, decision)
            if decision.command_id == what:
                sent = target
            if decision.key == name:
                keyed[domain] = _newest(keyed.get(domain), target)
            elif decision.task == name:
                about.append(target)
    if sent is not None:
        return sent
    if "tasks" in keyed:
        return msgspec.structs.replace(keyed["tasks"], task_id=what)
    if len(keyed) > 1:
        raise BadInput(
            f"{what} is a key in {', '.join(keyed)}.", remedy=f"Say which: --domain {next(iter(keyed))}.", key=what
        )
    if keyed:
        return next(iter(keyed.values()))
    if about:
        return max(about, key=lambda one: one.decision.now_ms)
    whom = "" if agent is None else f" that concerns {agent}"
    raise NotFound(
        f"{source.name} has nothing about {what}{whom}.",
        remedy="Name a position, a task or a key: accord events list shows them.",
        key=what,
    )


def _newest(last: Target | None, target: Target) -> Target:
    """The later one, unless it read what is there and the earlier one did more."""
    if last is not None and _only_read(target.decision) and not _only_read(last.decision):
        return last
    return target


def _only_read(decision: Decision) -> bool:
    """Whether a decision told somebody what there is, and nothing else."""
    events = decision.type.rpartition(b".")[2].split(b"+")
    return all(event.endswith(b"Read") for event in events)


def _concerns(domain: str, partition: int, decision: Decision, agent: str) -> bool:
    return agent.encode() in decision.value and any(
        names(event, agent) for event in decoded(domain, partition, decision)
    )


def names(event: TimelineEvent, agent: str) -> bool:
    """Whether an event concerns an agent: as its own, or as the member that it names."""
    return agent in (event.agent, event.data.get("member"))
