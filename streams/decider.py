"""The decider: a domain's rules as two pure functions (Chassaing).

`decide` turns a command into events, or into the event that refuses it; it never raises for a bad command: an
exception is a bug, and stops the partition rather than losing the command. `evolve` applies an event; it never
refuses a known one. Neither sees a clock, randomness, I/O or Kafka: the time comes in with the command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected
from accord.schemas.messages.waits import Holding, Waiting
from accord.schemas.position import Position

S = TypeVar("S")


class At(msgspec.Struct, frozen=True, gc=False):
    """When and where a command is decided: all that a decider may know beside state and command.

    `now_ms` is the partition's clock, `seq` the number that the decision will have (a fencing token), `request` the
    command's message id.
    """

    now_ms: int
    seq: int
    request: str


class Decider(Protocol[S]):
    """The rules of one kind of aggregate. A state of None is the aggregate that does not exist (any more)."""

    state_type: Any
    """The class of the state, or a union of such: structs of plain values, tuples and collections of its own. Such a
    collection is dumped as the list that it gives when iterated; its class method `restored` makes it of that again."""

    def decide(self, state: S | None, command: Command, at: At) -> Sequence[Event]:
        """The events that the command brings; due deadlines are handled first, in order of (deadline, arrival).

        `Tick` brings only those. No events is a decision, too: nothing was due.
        """

    def evolve(self, state: S | None, event: Event) -> S | None:
        """The state after the event; None when nothing is left to remember."""

    def deadline_ms(self, state: S) -> int | None:
        """When, by the partition's clock, the next deadline of this aggregate is due."""


def dump(state: Any) -> bytes:
    """A state as bytes, the same for the same state."""
    return _encoder.encode(state)


def restore(row: bytes, state_type: Any) -> Any:
    """A state from the bytes that `dump` gave. Raises msgspec.MsgspecError: they are none of this type."""
    return _decoder(state_type).decode(row)


def plain(state: Any) -> Any:
    """A state as plain data."""
    return msgspec.to_builtins(state, enc_hook=list)


def from_plain(data: Any, state_type: Any) -> Any:
    """A state from what `plain` gave. Raises msgspec.ValidationError: it is none of this type."""
    return msgspec.convert(data, state_type, dec_hook=_restored)


def _restored(kind: Any, items: Any) -> Any:
    return kind.restored(items)


@lru_cache(maxsize=64)
def _decoder(state_type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(state_type, dec_hook=_restored)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=list)


class Failure(NamedTuple):
    """What a domain's event tells the dead letters; see `schemas/avro/deadletters/DeadLetter.avsc`.

    `step` is of the task that the event's key names. Without an `origin` it is the event itself.
    """

    queue: str
    reason: str
    description: str
    origin: str
    value: bytes
    agent: str
    attempts: int
    step: str | None = None


class Order(NamedTuple):
    """A command that follows from an event, and the aggregate that it is for."""

    domain: str
    key: str
    command: Command


class Source(NamedTuple):
    """Of what a process manager's command is the consequence: a decision, and its number among what follows from it."""

    position: Position
    number: int


def id_of(source: Source) -> str:
    """The id of a process manager's command."""
    return f"{source.position}/{source.number}"


def source_of(request: str, domain: str) -> Source | None:
    """What a command's id says it is the consequence of; None: of nothing in this domain."""
    match = _SOURCE.fullmatch(request)
    if match is None or match[1] != domain:
        return None
    return Source(Position(domain, int(match[2]), int(match[3])), int(match[4]))


_SOURCE: Final = re.compile(r"([a-z]+)/([0-9]{1,9})@([0-9]{1,18})/([0-9]{1,9})", re.ASCII)


class Waits(NamedTuple):
    """Who holds something that others wait for, and who waits for it while holding something else."""

    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]


class Contention(NamedTuple):
    """How a domain's aggregates tell who waits: `begins` are the events after which somebody may do so."""

    begins: frozenset[type[Event]]
    waits: Callable[[Any], Waits | None]
    """What an aggregate's state tells; None: nobody waits who holds something else."""


class Domain(NamedTuple):
    """A domain: its name and every version of its rules that some log may need, the newest last.

    `dead_letters` are the events that go to the dead-letter topic beside `CommandRejected`, and what they tell it.
    `reactions` is the domain's process manager: which commands follow from an event of the aggregate that a key names,
    once it is confirmed; at least once, so who takes them must not mind a repeat. `contention` is for domains in which
    requests wait for holders.
    """

    name: str
    versions: Mapping[int, Decider[Any]]
    dead_letters: Mapping[type[Event], Callable[[Any], Failure]] = {}
    reactions: Mapping[type[Event], Callable[[str, Any], Sequence[Order]]] = {}
    contention: Contention | None = None

    @property
    def newest(self) -> int:
        return max(self.versions)

    @property
    def consequential(self) -> frozenset[type[Event]]:
        """The events from which something follows outside the domain's own log."""
        return frozenset({CommandRejected, *self.dead_letters, *self.reactions})


def holds(decision_type: bytes, names: frozenset[bytes]) -> bool:
    """Whether a decision of this type holds an event with one of these names; nothing is decoded."""
    return not names.isdisjoint(decision_type.rpartition(b".")[2].split(b"+"))


def names_of(events: Iterable[type[Event]]) -> frozenset[bytes]:
    """The events' names as they stand in the type of a decision."""
    return frozenset(event.__name__.encode() for event in events)
