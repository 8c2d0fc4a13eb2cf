"""A scope of shared state: versioned keys that many agents read and change.

    customer = hub.state("customer_456")
    await customer.put("name", "Ada")
    limit = await customer.get("limit")                        # limit.value, limit.version
    await customer.put("limit", 900, if_version=limit.version) # VersionConflict, if somebody was faster
    await customer.update("limit", lambda limit: limit + 100)  # reads, decides and writes until nobody was
    await customer.increment("calls")                          # needs no read: nobody can be faster
    async for name in customer.watch("name"): ...

Rules that act here:
- Every read asks the log: it sees all that was committed before it, by whomever. `replica` is the way to read faster.
- A value is what JSON can express; what is larger than 64 KiB is an artifact.
- `update` calls its function again after a conflict, so it must do nothing but compute. Its name is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from accord.agents.locks.arguments import check_name, check_number, check_wait_ms
from accord.agents.state.feed import Feed
from accord.agents.state.judged import WAIT_MS, put_judged
from accord.agents.state.replica import Replica
from accord.agents.state.requests import commit, read_history, read_key, read_range, send
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation, Locking, Transaction, turn
from accord.agents.state.turns import TRANSACTION_ATTEMPTS, UPDATE_ATTEMPTS, Crowd, lock_name, tries
from accord.agents.state.values import Versioned, as_text, check_key, entry_of, members_of, versioned
from accord.schemas.messages.state import ChangesCommitted, CommitChanges, ConfigureScope, Entry, SeenKey, Write
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.state.bounds import (
    ADD,
    DELETE,
    DISCARD,
    HISTORY_MAX,
    INCREMENT,
    NUMBER_MAX,
    PUT,
    READ_COMMITTED,
    SERIALIZABLE,
    VERSION_MAX,
)

from accord.errors import BadInput, SnapshotTooOld, VersionConflict

if TYPE_CHECKING:
    from accord.agents.hub import Hub

R = TypeVar("R")

NAME_BYTES_MAX: Final = KEY_BYTES_MAX - len(lock_name(""))
"""Of a scope's name: that of its lock is longer."""
Rule = tuple[str, str]
"""Name and version of the function that made a value."""
NO_RULE: Final = ("", "")


def check_scope(name: Any) -> str:
    """A scope's name. Raises BadInput unless it is text of 1 to 249 bytes of UTF-8."""
    if len(check_name(name, "scope").encode()) > NAME_BYTES_MAX:
        raise BadInput(f"scope name {name[:40]!r} has more than {NAME_BYTES_MAX} bytes of UTF-8.")
    return str(name)


def rule_of(function: Callable[..., Any], version: str) -> Rule:
    """What is recorded of a function. Raises BadInput: its name or version is too long."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if not isinstance(version, str) or max(len(name.encode()), len(version.encode())) > TEXT_BYTES_MAX:
        raise BadInput(f"{name[:80]}, version {version!r}: name and version are texts of {TEXT_BYTES_MAX} bytes.")
    return name, version


class Scope:
    """A scope by name; made by `Accord.state`."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name: Final = check_scope(name)
        self.written: int = 0
        """The newest version that was made through this object."""
        self._hub = hub
        self._crowd = Crowd(hub, name)

    # -- reading

    async def get(self, key: str, *, at: int | None = None) -> Versioned:
        """A key's value and version; where there is none: None and 0.

        Args:
            at: a version of the scope; None: the newest.

        Raises:
            SnapshotTooOld: that version is kept no more; the text says how to read it from the log.
            NotFound: there is no such version yet.
            BadInput: it cannot be a key or a version.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        entry = entry_of(await read_key(self._hub, self.name, check_key(key), _version(at)))
        if at is None:
            self._crowd.saw(key, entry.value)
        return versioned(self.name, entry)

    async def keys(self, prefix: str = "", *, at: int | None = None) -> list[str]:
        """The keys with a prefix, in order, as at one version. Arguments and errors as for `get`."""
        entries, _ = await read_range(self._hub, self.name, _prefix(prefix), _version(at), values=False)
        return [entry.key for entry in entries]

    async def items(self, prefix: str = "", *, at: int | None = None) -> dict[str, Versioned]:
        """The keys with a prefix with their values, as at one version. Arguments and errors as for `get`."""
        entries, _ = await read_range(self._hub, self.name, _prefix(prefix), _version(at), values=True)
        return {entry.key: versioned(self.name, entry) for entry in entries}

    async def history(self, key: str) -> list[Versioned]:
        """The versions of a key that the scope keeps, oldest first; a deletion is one, too. The log has them all."""
        entries, _ = await read_history(self._hub, self.name, check_key(key), None)
        return [versioned(self.name, entry) for entry in entries]

    async def watch(self, key: str, *, since: int | None = None) -> AsyncGenerator[Versioned]:
        """How a key is now, then every later version, in order and without gaps, for as long as one asks.

        Args:
            since: in place of how it is now, all versions after this version of the scope: to go on where a watch
                ended.

        Raises:
            SnapshotTooOld: `since` is older than what the scope keeps.
            Overloaded: 10,000 commits to the scope wait to be taken; says from where to go on.
            ConfigError: this program is told its own answers alone (`client.answers`).
            ChainBroken, LogGap, NotConnected: the log cannot be followed any more, or the hub was closed.
        """
        check_key(key)
        self._hub.ensure_open(f"state {self.name}")
        feed = Feed(self._hub, self.name)
        try:
            entries, version = await self._begin(key, _version(since))
            feed.after(version)
            for entry in entries:
                yield versioned(self.name, entry)
            while True:
                event = await asyncio.wrap_future(feed.next())
                for change in event.changes:
                    if change.key == key:
                        yield versioned(self.name, Entry(key, change.value, event.version))
        finally:
            feed.close()

    async def _begin(self, key: str, since: int | None) -> tuple[tuple[Entry, ...], int]:
        """What a watch begins with, and up to which version that is."""
        if since is not None:
            return await read_history(self._hub, self.name, key, since)
        read = await read_key(self._hub, self.name, key, None)
        return (entry_of(read),), read.version

    def replica(self) -> Replica:
        """A copy of the scope in this process that follows it, for `async with`: read without asking the log."""
        return Replica(self._hub, self.name, lambda: self.written)

    # -- writing

    async def put(self, key: str, value: Any, *, if_version: int | None = None) -> Versioned:
        """Writes a key; returns the value with its new version.

        Args:
            value: what JSON can express, 64 KiB at most.
            if_version: the version that it must have, 0: it must not be there. None: whatever it has, the last writer
                wins.

        Raises:
            VersionConflict: it has another version; details `expected`, `found`.
            ExceedsCapacity: the scope would have more than 10,000 keys or 8 MiB.
            TooLarge, BadInput: it cannot be a key, its value or a version.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers; it may be decided later.
        """
        text = as_text(check_key(key), value)
        return await self._write(Write(key, PUT, text), if_version)

    async def put_judged(
        self, key: str, value: Any, *, if_version: int, ground: str | None = None, wait_ms: int = WAIT_MS
    ) -> Versioned:
        """Writes a key as `put` does; if somebody was faster, a judge says whose value is to be there
        (`Accord.judge`), and on too little confidence or a tie the ground's authority. All of it is on the log.

        If it is this one it is written, unless the key has changed again: then that is judged, three times at most.

        Args:
            value, if_version: as of `put`.
            ground: whose terms hold, its judges among them; None: `state/SCOPE`.
            wait_ms: how long to wait for each judgement, 0 to 30 days.

        Returns:
            The value with its new version, or with that which it had if both were the same.

        Raises:
            VersionConflict: the other value stays: so it was judged, or nobody has judged; details `resolution` (as of
                `Accord.findings`; None: there is none).
            And what `put` raises.
        """
        check_wait_ms(wait_ms)
        return await put_judged(
            self._hub, self, key, value, check_version(if_version), ground=ground, wait_ms=wait_ms
        )  # fmt: skip

    async def put_all(self, values: Mapping[str, Any], *, if_versions: Mapping[str, int] | None = None) -> int:
        """Writes several keys at once, all or none; returns the scope's version that this made.

        Args:
            values: 1 to 500, half a MiB together.
            if_versions: of any keys, the versions that they must have, as for `put`; those that are read alone, too.

        Raises:
            What `put` raises; of a conflict, details `conflicts` has all of them.
            Rejected: the values are too many or too large together.
        """
        writes = tuple([Write(check_key(key), PUT, as_text(key, value)) for key, value in values.items()])
        seen = [SeenKey(check_key(key), check_version(version)) for key, version in (if_versions or {}).items()]
        if not writes:
            raise BadInput(f"{self.name}: there is nothing to write.")
        command = CommitChanges(self._hub.agent, SERIALIZABLE, None, tuple(seen), (), writes, *NO_RULE)
        event = await commit(self._hub, self.name, command)
        self.wrote(event.version)
        return event.version

    async def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Deletes a key; False: there was none. Arguments and errors as for `put`."""
        return bool((await self._commit(Write(check_key(key), DELETE, None), if_version)).changes)

    async def increment(self, key: str, by: int = 1) -> Versioned:
        """Adds to a counter, 0 where there is none; returns what it is then. Increments are merged, none is lost.

        Raises:
            WrongType: the value is no whole number, or would be more than 2^63 - 1 on either side of zero.
            And what `put` raises, but for a conflict.
        """
        check_number("by", by, -NUMBER_MAX, NUMBER_MAX)
        return await self._write(Write(check_key(key), INCREMENT, str(by)), None)

    async def add(self, key: str, *members: str) -> Versioned:
        """Adds members to a set, empty where there is none; returns what it is then, in order.

        Raises:
            WrongType: the value is no array of texts.
            And what `put` raises, but for a conflict.
        """
        return await self._write(Write(check_key(key), ADD, members_of(key, members)), None)

    async def discard(self, key: str, *members: str) -> Versioned:
        """Takes members out of a set; who is not in it does not matter. Errors as for `add`."""
        return await self._write(Write(check_key(key), DISCARD, members_of(key, members)), None)

    async def update(
        self,
        key: str,
        function: Callable[[Any], Any],
        *,
        version: str = "",
        attempts: int = UPDATE_ATTEMPTS,
    ) -> Versioned:
        """Reads a key, calls a function with its value (None where there is none) and writes what it returns; again, if
        somebody else has written it meanwhile. Returns what was written.

        Args:
            function: plain and pure: it is called as often as there are conflicts. Its name is on record, too.
            version: of the function, on record.
            attempts: how often to try, 1 to 1,000. After a conflict all who change the scope take turns.

        Raises:
            VersionConflict: somebody was faster each time.
            LockTimeout: no turn within 60 s.
            What `put` raises, and what the function raises.
        """
        check_key(key)
        rule = rule_of(function, version)
        for last in tries(attempts):
            try:
                if not self._crowd.is_there:
                    return await self._updated(key, function, rule)
                async with turn(self._hub, self.name):
                    return await self._updated(key, function, rule)
            except VersionConflict:
                self._crowd.met()
                if last:
                    raise
        raise AssertionError("returned or raised")

    async def _updated(self, key: str, function: Callable[[Any], Any], rule: Rule) -> Versioned:
        now = await self.get(key)
        return await self.replace(key, function(now.value), now.version, rule)

    async def replace(self, key: str, value: Any, version: int, rule: Rule) -> Versioned:
        """Writes what a function made of a key's value at a version. Raises what `put` raises."""
        text = as_text(key, value)
        made = await self._write(Write(key, PUT, text), version, rule)
        self._crowd.wrote({key: text})
        return made

    def transaction(self, *, isolation: Isolation = DEFAULT_ISOLATION, locking: Locking = "optimistic") -> Transaction:
        """Several reads and writes as one, for `async with`; see `accord.agents.state.transaction`.

        A body cannot be run again, yet after a conflict it must be: `run_transaction` does that.

        Args:
            isolation: `serializable`: as if it had run alone; `snapshot`: reads are of one version and nobody else has
                written the same keys, but two may have decided by what the other one changed; `read_committed`: each
                read is of what is committed then, and the last writer wins.
            locking: `optimistic`: who was faster wins; `exclusive`: others that lock wait; `shared`: it only reads, and
                waits for the exclusive ones.

        Raises (at the end):
            VersionConflict: what it has read, or writes, was changed meanwhile; nothing was written.
            SnapshotTooOld: so much was changed meanwhile that nobody can tell.
            ExceedsCapacity, Rejected: the scope, or the log, does not take it.
            LockTimeout: (at the beginning) no lock within 60 s.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers; it may be decided later.
        """
        return Transaction(self._hub, self.name, isolation, locking, self.wrote)

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[R]],
        *,
        isolation: Isolation = DEFAULT_ISOLATION,
        locking: Locking = "optimistic",
        attempts: int = TRANSACTION_ATTEMPTS,
    ) -> R:
        """Calls a function with a transaction on this scope and commits what it has written; again, from its beginning,
        if others came in between. Returns what the function returns. For several scopes: `Accord.run_transaction`.

        Args:
            function: is given the transaction (`get`, `keys`, `items`, `put`, `delete`). It is called as often as there
                are conflicts: let it do nothing else that lasts.
            isolation, locking: see `transaction`.
            attempts: how often to try, 1 to 1,000. After a conflict all who change the scope take turns.

        Raises:
            VersionConflict, SnapshotTooOld: others came in between each time.
            What the function raises: then nothing is written.
            And what `transaction` raises.
        """
        for last in tries(attempts):
            alone = turn(self._hub, self.name) if self._crowd.is_there else nullcontext()
            try:
                async with alone, self.transaction(isolation=isolation, locking=locking) as tx:
                    result = await function(tx)
            except (VersionConflict, SnapshotTooOld):
                if last:
                    raise
            else:
                return result
        raise AssertionError("returned or raised")

    async def configure(self, *, history: int) -> None:
        """Sets how many changes of keys the scope keeps for reads at earlier versions; 1,000 if nobody says otherwise.

        Args:
            history: 0 to 10,000. However many, of the replaced values it keeps 1 MiB at most.
        """
        check_number("history", history, 0, HISTORY_MAX)
        await send(self._hub, self.name, ConfigureScope(self._hub.agent, history), "configure")

    async def _write(self, write: Write, if_version: int | None, rule: Rule = NO_RULE) -> Versioned:
        """One write, committed; and what its key is then."""
        event = await self._commit(write, if_version, rule)
        if event.changes:
            return versioned(self.name, Entry(write.key, event.changes[0].value, event.version))
        return await self.get(write.key)  # it was so before

    async def _commit(self, write: Write, if_version: int | None, rule: Rule = NO_RULE) -> ChangesCommitted:
        expected = _version(if_version)
        reads = () if expected is None else (SeenKey(write.key, expected),)
        isolation = READ_COMMITTED if expected is None else SERIALIZABLE
        command = CommitChanges(self._hub.agent, isolation, None, reads, (), (write,), *rule)
        event = await commit(self._hub, self.name, command)
        self.wrote(event.version)
        return event

    def wrote(self, version: int) -> None:
        """A version was made through this object."""
        self.written = max(self.written, version)


def _version(version: Any) -> int | None:
    return None if version is None else check_version(version)


def check_version(version: Any) -> int:
    """A version of a scope. Raises BadInput: it cannot be one."""
    return check_number("version", version, 0, VERSION_MAX)


def _prefix(prefix: Any) -> str:
    return prefix if prefix == "" else check_key(prefix)
