"""Transactions against the decider alone, step by step, as a client would run them: for tests of isolation."""

from __future__ import annotations

from accord.agents.state.buffer import Buffer
from accord.schemas.messages import Command, Event
from accord.schemas.messages.state import ChangesCommitted, Entry, KeyRead, RangeRead, ReadKey, ReadRange
from accord.streams.decider import At
from accord.streams.state.decider import StateDecider
from accord.streams.state.scope import Scope

DECIDER = StateDecider()


class Store:
    """A scope and what decides about it. `events` is its log."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.events: list[Event] = []

    def ask(self, command: Command) -> Event:
        (event,) = DECIDER.decide(self.scope, command, At(0, len(self.events) + 1, "r"))
        self.scope = DECIDER.evolve(self.scope, event)
        self.events.append(event)
        return event


class Session:
    """A transaction that is under way. Values are texts."""

    def __init__(self, store: Store, isolation: str, name: str = "ada") -> None:
        self._store = store
        self._buffer = Buffer(isolation)
        self._name = name

    def get(self, key: str) -> str | None:
        if self._buffer.has_written(key):
            return self._buffer.written(key)
        entry = self._buffer.known(key)
        if entry is None:
            read = self._store.ask(ReadKey(self._name, key, self._buffer.read_at))
            assert isinstance(read, KeyRead)
            entry = Entry(key, read.value, read.key_version)
            self._buffer.note(entry, read.version)
        return entry.value

    def items(self, prefix: str, *, values: bool = True) -> dict[str, str | None]:
        entries = self._buffer.known_range(prefix, values=values)
        if entries is None:
            read = self._store.ask(ReadRange(self._name, prefix, "", values, self._buffer.read_at))
            assert isinstance(read, RangeRead) and not read.more
            entries = read.entries
            self._buffer.note_range(prefix, entries, read.version, values=values)
        return {entry.key: entry.value for entry in self._buffer.with_own(prefix, entries)}

    def keys(self, prefix: str) -> list[str]:
        return list(self.items(prefix, values=False))

    def put(self, key: str, value: str) -> None:
        self._buffer.put(key, value)

    def delete(self, key: str) -> None:
        self._buffer.delete(key)

    def commit(self) -> bool:
        """Whether it was committed."""
        command = self._buffer.command(self._name)
        return command is None or isinstance(self._store.ask(command), ChangesCommitted)
