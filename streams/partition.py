"""A partition: the fold of its accepted decisions, and the function from the next command to the next decision.

`decide` looks and does not touch; `apply` alone changes the state, live and while loading. Both depend on the log
alone: the same commands under the same decider version give the same decisions, byte for byte, in any process.

Rules that act here:
- Clock: the largest timestamp seen, command by command; every decision carries it.
- Every command gets a decision, if only `CommandRejected`; an exception from a decider is a bug, the partition stops.
- A command id seen before yields `CommandRepeated`; the window of known ids moves with the log's clock.
- A key that hashes to another partition is `misrouted`.
- `SwitchRules` activates another decider version from the next command on.
- Vector clock: the partition's own entry advances with every decision, after merging the command's.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from accord.schemas import headers as h
from accord.schemas.clock import VectorClock
from accord.schemas.codec import Codec, commands_codec, decode_record, events_codec
from accord.schemas.headers import Confirmed, Record
from accord.schemas.messages import Command, Event, log
from accord.schemas.messages.log import (
    CommandRejected,
    CommandRepeated,
    CommandsLost,
    PartitionOpened,
    Reason,
    RulesSwitched,
    SwitchRules,
)
from accord.schemas.position import Position
from accord.schemas.topics import DECISION_BYTES_MAX, KEY_BYTES_MAX, events_topic, partition_of
from accord.streams.chain import GENESIS_CAUSE, Decision, Head, digest_of, genesis
from accord.streams.decider import At, Domain, dump, plain, restore

from accord.errors import SchemaError, UnknownRules

WINDOW_MS: Final = 10 * 60_000
"""A command id is known for this long by the partition's clock. Part of the rules of version 1: never change it."""
WINDOW_COUNT_MAX: Final = 65_536
"""At most so many ids are known; with more commands than this within `WINDOW_MS`, the oldest go. Never change it."""

RULES_MAX: Final = 1_000_000
"""A switch beyond it is a slip of the keyboard, and would stop the partition for ever."""

DECODE_REASONS: Final = frozenset({Reason.UNDECODABLE, Reason.UNKNOWN_SCHEMA})
"""Rejections that depend on the schemas a worker knew: verification takes them as recorded."""


class Identity(NamedTuple):
    """Which partition it is: what its chain of hashes is keyed by."""

    cluster: str
    domain: str
    partition: int
    prefix: str = "accord"

    @property
    def root(self) -> bytes:
        return genesis(self.cluster, events_topic(self.domain, self.prefix), self.partition)

    @property
    def name(self) -> str:
        """`locks/3`: the partition's entry in vector clocks."""
        return f"{self.domain}/{self.partition}"


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A decision with what its record encodes. `clock` is None in one that was read: it is decoded when needed."""

    decision: Decision
    events: Sequence[Event]
    clock: VectorClock | None


class Window:
    """The command ids known to a partition, each with the offset of its command; oldest first."""

    __slots__ = ("_ids", "_order")

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._order: deque[tuple[int, str, int, int, bytes]] = deque()

    def get(self, command_id: str) -> int | None:
        return self._ids.get(command_id)

    def add(self, decision: Decision) -> None:
        """Remembers the id of a decided command, then forgets what the window no longer covers.

        A repeat is no new command. A window read back from the log may start after the command that it repeats, so
        the decision's type tells, not the ids.
        """
        command_id, now_ms = decision.command_id, decision.now_ms
        order, ids = self._order, self._ids
        if command_id not in ids and not decision.type.endswith(b".CommandRepeated"):
            ids[command_id] = decision.cause
            order.append((now_ms, command_id, decision.offset, decision.seq, decision.digest))
        horizon = now_ms - WINDOW_MS
        while order and (order[0][0] < horizon or len(order) > WINDOW_COUNT_MAX):
            del ids[order.popleft()[1]]

    def relocate(self, landed: Mapping[int, int]) -> None:
        """Takes note of where decisions lie that had been expected elsewhere: their offsets by their numbers."""
        order = self._order
        first = min(landed, default=0)
        for place in range(len(order) - 1, -1, -1):
            now_ms, command_id, _, seq, digest = order[place]
            if seq < first:
                return
            if seq in landed:
                order[place] = now_ms, command_id, landed[seq], seq, digest

    def oldest(self) -> Confirmed | None:
        """The decision that brought the oldest known id: from there on, headers alone bring the window back."""
        return Confirmed(*self._order[0][2:]) if self._order else None

    def __len__(self) -> int:
        return len(self._order)


class Partition:
    """The state of one partition. `changed` names the aggregates touched since somebody emptied it.

    Args:
        identity: which partition.
        domain: its rules, every version.
    """

    def __init__(self, identity: Identity, domain: Domain) -> None:
        self.identity = identity
        self.domain = domain
        self.name = identity.name
        self.topic = events_topic(identity.domain, identity.prefix)
        self.root = identity.root
        self.head: Head = Head(0, self.root, GENESIS_CAUSE - 1, -1)
        self.now_ms = 0
        self._clock: VectorClock | bytes = VectorClock()
        self.rules = 0
        self.partition_count = 0
        self.timestamps = ""
        self.window = Window()
        self.aggregates: dict[str, Any] = {}
        self.deadlines = Deadlines()
        self.changed: set[str] = set()
        self.commands: Codec = commands_codec(domain.name)
        self.events: Codec = events_codec(domain.name)

    @property
    def clock(self) -> VectorClock:
        """The vector clock of the last decision; decoded only when somebody asks."""
        if isinstance(self._clock, bytes):
            self._clock = VectorClock.decode(self._clock)
        return self._clock

    @clock.setter
    def clock(self, clock: VectorClock) -> None:
        self._clock = clock

    @property
    def position(self) -> int:
        """Offset of the last command that was decided; -1 before the first."""
        return self.head.cause

    # -- deciding

    def open(self, partition_count: int, timestamps: str, *, landing: int = -1) -> Decided:
        """The genesis: the first decision of every partition. The same in whatever process writes it."""
        opened = PartitionOpened(partition_count, self.domain.newest, timestamps)
        command_id = f"{self.name}@genesis"
        rules = self.domain.newest
        return self._decision(GENESIS_CAUSE, command_id, 0, rules, VectorClock(), b"", b"", b"", [opened], landing)

    def lost(self, first_offset: int, last_offset: int, *, landing: int = -1) -> Decided:
        """The decision that goes on without commands that are gone, on an operator's word."""
        command_id = f"{self.name}@lost-{last_offset}"
        clock = self.clock.advanced(self.name)
        events = [CommandsLost(first_offset, last_offset)]
        return self._decision(last_offset, command_id, self.now_ms, self.rules, clock, b"", b"", b"", events, landing)

    def decide(self, record: Record, *, landing: int = -1, recorded: Decision | None = None) -> Decided:
        """The decision on the next command.

        Args:
            landing: the offset at which its record is to land; -1 when it is not going to be written.
            recorded: what the log has: it is given back if the command brings the same, byte for byte.

        Raises:
            UnknownRules: the version in force is not among the domain's.
            Exception: whatever a decider raises; a bug, nothing is decided.
        """
        wrong_time = record.timestamp_type != h.LOG_APPEND_TIME and self.timestamps == "log_append"
        now_ms, sent_ms = self.now_ms, record.timestamp
        if sent_ms > now_ms and not wrong_time:
            now_ms = sent_ms
        fields = dict(record.headers)
        key = record.key or b""
        try:
            command_id, clock, task, trace = self._envelope(record.offset, fields)
        except ValueError as error:
            command_id, clock, task, trace = f"{self.name}:{record.offset}", None, b"", b""
            events: Sequence[Event] = [CommandRejected(Reason.BAD_HEADER, str(error))]
        else:
            known = self.window.get(command_id)
            if known is not None:
                events = [CommandRepeated(known)]
            elif wrong_time:
                events = [
                    CommandRejected(Reason.TIMESTAMP_TYPE, "the record's time is its producer's, not the broker's")
                ]
            else:
                events = self._judge(key, record.value, At(now_ms, self.head.seq + 1, command_id))
        merged = self.clock.advanced(self.name, clock)
        if len(key) > KEY_BYTES_MAX:
            key = b""
        decided = self._decision(
            record.offset, command_id, now_ms, self.rules, merged, task, trace, key, events, landing, recorded
        )
        size = len(decided.decision.value)
        if size > DECISION_BYTES_MAX:
            too_large = CommandRejected(
                Reason.TOO_LARGE, f"its decision has {size} bytes; at most {DECISION_BYTES_MAX} are allowed"
            )
            decided = self._decision(
                record.offset, command_id, now_ms, self.rules, merged, task, trace, key, [too_large], landing, recorded
            )
        return decided

    def _envelope(self, offset: int, fields: dict[str, bytes]) -> tuple[str, VectorClock | None, bytes, bytes]:
        """Message id (made up from the offset when missing), clock, correlation id and trace of a command."""
        message_id = fields.get(h.ID)
        task = fields.get(h.TASK) or b""  # Kafka has headers without a value
        trace = fields.get(h.TRACE) or b""
        if not message_id:
            command_id = f"{self.name}:{offset}"
        else:
            command_id = message_id.decode()
            if " " in command_id or len(message_id) > h.TEXT_BYTES_MAX:
                raise ValueError(f"ce_id has spaces or more than {h.TEXT_BYTES_MAX} bytes")
        if len(task) > h.TEXT_BYTES_MAX or len(trace) > h.TEXT_BYTES_MAX:
            raise ValueError(f"accord-task or traceparent has more than {h.TEXT_BYTES_MAX} bytes")
        if not task.isascii():
            task.decode()  # what follows from the decision names its task; raises UnicodeDecodeError, a ValueError
        encoded = fields.get(h.CLOCK)
        return command_id, VectorClock.decode(encoded) if encoded else None, task, trace

    def _judge(self, key: bytes, value: bytes | None, at: At) -> Sequence[Event]:
        """The events of a command that is neither a repeat nor misses its envelope."""
        problem = self._misplaced(key)
        if problem is not None:
            return [problem]
        try:
            command: Command = self.commands.decode(value)
        except SchemaError as error:
            return [CommandRejected(error.details["reason"], str(error))]
        if type(command) is SwitchRules:
            return [_switched(command)]
        events: Sequence[Event] = self.decider.decide(self.aggregates.get(key.decode()), command, at)
        return events

    def _misplaced(self, key: bytes) -> CommandRejected | None:
        """Why a command with this key cannot be for an aggregate of this partition."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return CommandRejected(Reason.BAD_KEY, f"a key has 1 to {KEY_BYTES_MAX} bytes, this one {len(key)}")
        try:
            key.decode()
        except UnicodeDecodeError:
            return CommandRejected(Reason.BAD_KEY, "the key is not UTF-8")
        home = partition_of(key, self.partition_count)
        if home != self.identity.partition:
            wrong = f"the key belongs in partition {home}: produce with the partitioner murmur2_random"
            return CommandRejected(Reason.MISROUTED, wrong)
        return None

    @property
    def decider(self) -> Any:
        """The rules in force.

        Raises:
            UnknownRules: this release does not have them.
        """
        try:
            return self.domain.versions[self.rules]
        except KeyError:
            raise UnknownRules(
                f"{self.identity.name} is decided by version {self.rules} of the {self.domain.name} rules; this has "
                f"{sorted(self.domain.versions)}.",
                remedy="Run a release that has it.",
            ) from None

    def _decision(
        self, cause: int, command_id: str, now_ms: int, rules: int, clock: VectorClock, task: bytes, trace: bytes,
        key: bytes, events: Sequence[Event], landing: int = -1, recorded: Decision | None = None,
    ) -> Decided:  # fmt: skip
        seq, prev = self.head.seq + 1, self.head.digest
        value = self.events.encode(events)
        kind = _kind(self.domain.name, tuple([type(event) for event in events]))
        encoded = clock.encode()
        written = (
            b"%d %s" % (cause, command_id.encode()),
            b"%d %d %s" % (seq, now_ms, prev.hex().encode()),
            b"%d" % rules,
        )
        if recorded is not None:
            r = recorded
            if (value, written, encoded, kind, task, key) == (r.value, r.written, r.clock, r.type, r.task, r.key):
                return Decided(recorded, events, clock)  # all that the hash covers
        digest = digest_of(self.root, written[1], written[0], written[2], encoded, kind, task, key, value)
        decision = Decision(
            seq,
            digest,
            cause,
            landing,
            prev,
            now_ms,
            command_id,
            rules,
            encoded,
            kind,
            task,
            key,
            value,
            trace,
            written,
        )
        return Decided(decision, events, clock)

    # -- folding

    def read(self, decision: Decision) -> Decided:
        """A decision from the log, decoded.

        Raises:
            SchemaError: no known schema reads it; names topic, partition and offset.
        """
        return Decided(decision, decode_record(self.events, self.topic, self.identity.partition, decision), None)

    def apply(self, decided: Decided, *, fold: bool = True) -> None:
        """Takes an accepted decision in.

        Args:
            fold: False leaves the aggregates alone: their rows reflect this decision already.
        """
        decision = decided.decision
        self.head = decision
        self.now_ms = decision.now_ms
        self._clock = decided.clock or decision.clock
        self.window.add(decision)
        aggregate_id = decision.key.decode("utf-8", "replace")
        for event in decided.events:
            if type(event) in _OF_EVERY_DOMAIN:
                self._apply_to_partition(event)
            elif fold:
                decider = self.decider
                self._put(aggregate_id, decider.evolve(self.aggregates.get(aggregate_id), event), decider)

    def _apply_to_partition(self, event: Event) -> None:
        """What an event that every domain has does to the partition itself."""
        match event:
            case PartitionOpened(partition_count, rules, timestamps):
                self.partition_count, self.rules, self.timestamps = partition_count, rules, timestamps
            case RulesSwitched(version):
                self.rules = version

    def _put(self, aggregate_id: str, state: Any, decider: Any) -> None:
        self.changed.add(aggregate_id)
        if state is None:
            self.aggregates.pop(aggregate_id, None)
            self.deadlines.clear(aggregate_id)
        else:
            self.aggregates[aggregate_id] = state
            self.deadlines.set(aggregate_id, decider.deadline_ms(state))

    def restore(self, aggregate_id: str, row: bytes) -> None:
        """Puts an aggregate back from the bytes that `dump` gave."""
        decider = self.decider
        self._put(aggregate_id, restore(row, decider.state_type), decider)

    def dump(self, aggregate_id: str) -> bytes | None:
        """An aggregate as bytes, the same for the same state; None when it does not exist."""
        state = self.aggregates.get(aggregate_id)
        return None if state is None else dump(state)

    def canonical(self) -> dict[str, Any]:
        """The whole state as plain data in a fixed order: what two replays are compared by."""
        return {
            "partition": self.identity.name,
            "seq": self.head.seq,
            "digest": self.head.digest.hex(),
            "position": str(Position(self.identity.domain, self.identity.partition, self.position, commands=True)),
            "now_ms": self.now_ms,
            "clock": self.clock.encode().decode(),
            "rules": self.rules,
            "aggregates": {key: plain(self.aggregates[key]) for key in sorted(self.aggregates)},
        }


class Deadlines:
    """The next deadline of every aggregate that has one; a heap whose outdated entries are skipped."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def set(self, key: str, deadline_ms: int | None) -> None:
        if deadline_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != deadline_ms:
            self._due[key] = deadline_ms
            heapq.heappush(self._heap, (deadline_ms, key))
            if len(self._heap) > 1_000 + 2 * len(self._due):
                self._heap = [(due, name) for name, due in self._due.items()]
                heapq.heapify(self._heap)

    def clear(self, key: str) -> None:
        self._due.pop(key, None)

    def next(self) -> int | None:
        """The earliest deadline, in ms of the partition's clock."""
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now_ms: int) -> Iterator[str]:
        """The aggregates whose deadline is not after `now_ms`, earliest first. Each is given once; `rearm`, or `set`
        with another deadline, puts it back."""
        while (first := self.next()) is not None and first <= now_ms:
            yield heapq.heappop(self._heap)[1]

    def rearm(self, key: str) -> None:
        """Puts a key that `due` gave back, if it still has a deadline."""
        deadline_ms = self._due.get(key)
        if deadline_ms is not None:
            heapq.heappush(self._heap, (deadline_ms, key))


_OF_EVERY_DOMAIN: Final = frozenset(log.EVENTS)


def _switched(command: SwitchRules) -> Event:
    if 0 < command.version <= RULES_MAX:
        return RulesSwitched(command.version, command.reason)
    problem = f"version={command.version}: a version of the rules is 1 to {RULES_MAX}"
    return CommandRejected(Reason.INVALID, problem)


@lru_cache(maxsize=1_024)
def _kind(domain: str, events: tuple[type[Event], ...]) -> bytes:
    """`ce_type` of a decision: what it holds can be told without decoding it."""
    names = "+".join(event.__name__ for event in events) or "Nothing"
    return f"accord.{domain}.v1.{names}".encode()
