"""What clients did, as they saw it: commands and their answers, and what they believed to hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from accord.schemas.messages import Command, Event


@dataclass
class Operation:
    """A command and what its client heard of it. Times are true ones, in ms; without an end no answer came."""

    agent: str
    domain: str
    key: str
    command: Command
    id: str
    began_ms: float
    ended_ms: float | None = None
    seq: int = 0
    """Of the decision that answered."""
    digest: bytes = b""
    events: tuple[Event, ...] = ()
    tries: int = 1


@dataclass
class Belief:
    """From when to when somebody believed to hold something alone; true times, in ms."""

    agent: str
    domain: str
    key: str
    token: int
    since_ms: float
    until_ms: float


@dataclass
class History:
    """All clients' together."""

    operations: list[Operation] = field(default_factory=list)
    beliefs: list[Belief] = field(default_factory=list)
