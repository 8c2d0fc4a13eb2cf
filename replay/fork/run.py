"""A fork runs: the recorded commands after the cut are decided once more, with changes.

What is fed, in the order of the record and by its times:

- Commands of agents, as they were sent. Tokens stand for the grants that they named (`numbers`).
- Commands of process managers follow from decisions, so they are made from the fork's decisions. One that the record
  has, too, comes where it came there; a new one `hop_ms` after its decision.
- Ticks, where something is due. Of an aggregate that is as recorded, they come as recorded. Of one that is not, those
  for a deadline that was due at the same time in the record come as late as they came there, others at the deadline.
- Reports of who waits, for deadlocks: as recorded, of changed aggregates `REPORT_MS` after they changed.

Nothing else runs: no handler, no agent, no service; a model only through `models`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from accord.replay.fork.calls import Calls, Stop
from accord.replay.fork.changes import Change, Insert, Remove, Reply, Rules, SetFields, applied
from accord.replay.fork.cluster import Cluster, Done, order_headers, orders_of
from accord.replay.fork.cut import Cut, Slot
from accord.replay.fork.fed import Fed, fed
from accord.replay.fork.knowledge import Knowledge
from accord.replay.fork.models import Models
from accord.replay.fork.numbers import Key, Numbers
from accord.replay.fork.record import command_in, recorded_orders, source_of_slot, ticks_of, where_of, with_value
from accord.replay.order import Where
from accord.schemas import headers as h
from accord.schemas.codec import commands_codec
from accord.schemas.headers import LogRecord, Record
from accord.schemas.messages import Command, Event
from accord.schemas.messages.llm import RecordCall
from accord.schemas.messages.log import Tick
from accord.schemas.messages.waits import GRAPH, ForgetWaits, ReportWaits
from accord.schemas.position import Position
from accord.streams.decider import Order
from accord.streams.domains import DOMAINS

HOP_MS: Final = 1
"""From a decision to what follows from it elsewhere, where the record does not tell."""
REPORT_MS: Final = 20
"""As often as a worker tells who waits in a partition."""
MADE_MAX: Final = 100_000
"""Most decisions that the record does not have; a fork with more does not come to rest."""
WAITS: Final = "waits"

Agents = Literal["recorded", "stop"]


class _Due(msgspec.Struct, frozen=True, order=True):
    """Something to be done at a time of the log."""

    at_ms: int
    number: int
    act: Any


class Run:
    """One run of a fork.

    Args:
        cut: what it starts from; its partitions are taken over.
        partitions: partition count of each domain.
        agents: `stop` feeds nothing of an agent from its first affected command on.
        run_on_ms: for how long time passes after the end of the record.
        hop_ms: see above.
    """

    def __init__(
        self, cut: Cut, partitions: dict[str, int], changes: Sequence[Change], models: Models, *, agents: Agents,
        run_on_ms: int, hop_ms: int,
    ) -> None:  # fmt: skip
        rules = {change.domain: change for change in changes if isinstance(change, Rules)}
        self.cut = cut
        self.cluster = Cluster(cut, partitions, rules)
        self.numbers = Numbers(partitions)
        self.knowledge = Knowledge()
        self.calls = Calls(models, self.cluster, self._add_later)
        self.moved: set[Key] = set()
        """Aggregates of which something is not as recorded."""
        self.fed: list[Fed] = []
        self.fed_count = 0
        self.stopped: str | None = None
        self.place = 0
        """So many decisions of the record are behind."""
        self.made_count = 0
        self.changes = changes
        self._agents, self._run_on_ms, self._hop_ms = agents, run_on_ms, hop_ms
        self._ruled = frozenset(rules)
        self._later: list[_Due] = []
        self._ticks: list[tuple[int, Where, str]] = []
        self._bound: dict[str, tuple[Done, str, Order] | None] = {}
        self._orders = recorded_orders(cut)
        self._states_at_cut = {where: one.aggregates.copy() for where, one in cut.partitions.items()}
        self._ticks_of_record: dict[tuple[Where, str, int], int] | None = None
        self._reporting: set[Key] = set()
        self._numbered = 0
        self._is_same = True
        """Whether the last decision says what the recorded one says."""
        for where in cut.partitions:
            if where[0] in rules:
                for key in cut.partitions[where].aggregates:
                    self._tick_later(where, key)

    def run(self) -> None:
        """Feeds all of the record, then what is still under way."""
        try:
            for insert in self.cut.first:
                self._insert(insert, self._started_ms(insert.after))
            end_ms = 0
            for place, slot in enumerate(self.cut.slots):
                self.place = place
                at_ms = slot.decision.now_ms
                end_ms = max(end_ms, at_ms)
                self._pass_time(at_ms - 1)
                try:
                    self._feed(slot)
                finally:
                    self.place = place + 1
                for change in self.changes:
                    if isinstance(change, Insert) and change.concerns(slot.where, slot.decision, ""):
                        self._insert(change, at_ms)
            self._pass_time(end_ms + self._run_on_ms)
            self._come_to_rest()
        except Stop as stop:
            self.stopped = str(stop)

    # -- the record

    def _feed(self, slot: Slot) -> None:
        self.knowledge.decided(slot)
        if any(isinstance(one, Remove) and one.concerns(slot.where, slot.decision, "") for one in self.changes):
            self._leave_out(slot)
        elif slot.command is None:
            if slot.where in self.cluster.moved:
                self._leave_out(slot)
            else:
                self._note(self.cluster.lost(slot))
        elif slot.kind == Tick.__name__:
            self._feed_tick(slot, slot.command)
        elif slot.where[0] == WAITS and slot.sender.startswith("accord/"):
            self._feed_report(slot, slot.command)
        elif slot.decision.command_id in self._bound:
            self._feed_order(slot, slot.command)
        elif source_of_slot(slot) is not None:  # of a decision before the cut
            self._take(slot, self._changed(slot, slot.command))
        else:
            self._feed_agent(slot, slot.command)

    def _feed_tick(self, slot: Slot, command: Record) -> None:
        at = (slot.where, slot.key)
        due_ms = self.cluster.deadline_ms(*at) if at in self.moved or slot.where[0] in self._ruled else 0
        if due_ms is None or due_ms > slot.decision.now_ms:
            self._leave_out(slot)
        else:
            self._take(slot, command)

    def _feed_order(self, slot: Slot, command: Record) -> None:
        """A process manager's command: the fork's, in the place of the recorded one."""
        bound = self._bound[slot.decision.command_id]
        if bound is None:
            self._leave_out(slot)
            return
        because, message_id, order = bound
        self.numbers.same_id(slot.decision.command_id, message_id)
        headers = order_headers(message_id, because, order)
        value = commands_codec(order.domain).encode(order.command)
        record = LogRecord(
            command.offset, command.timestamp, command.timestamp_type, order.key.encode(), value, tuple(headers)
        )
        self._take(slot, self._changed(slot, record))

    def _feed_report(self, slot: Slot, command: Record) -> None:
        """What a partition told of those who wait in it: from the fork's state, if that has moved."""
        told = commands_codec(WAITS).decode(command.value)
        source = where_of(getattr(told, "source", ""))
        if source is None or source not in self.cluster.differing:
            self._take(slot, command)
            return
        partition = self.cluster.partitions[source]
        if isinstance(told, ForgetWaits):
            again: Command | None = msgspec.structs.replace(told, seq=partition.head.seq)
        else:
            again = None if (source, told.name) in self.moved else self._report(source, told.name)
        if again is None:
            self._leave_out(slot)
        else:
            self._take(slot, with_value(command, WAITS, again))

    def _feed_agent(self, slot: Slot, command: Record) -> None:
        self.fed_count += 1
        process = self.knowledge.sent(slot)
        is_affected = process in self.knowledge.affected
        record = self._changed(slot, command)
        if self._agents == "stop" and is_affected and record is command:  # what is changed is said all the same
            self._leave_out(slot)
            self._tell(slot, None, is_affected)
            return
        at = slot.where, slot.key
        if slot.where in self.cluster.differing:
            asked = command_in(slot.where[0], record)
            token = asked.token if isinstance(asked, RecordCall) else None
            if token is not None and not self.numbers.is_granted(at, token):
                self._leave_out(slot)  # the fork did not have it call
                self._tell(slot, None, is_affected)
                return
            translated = None if asked is None else self.numbers.translated(at, asked)
            if translated is not None and translated is not asked:
                record = with_value(record, slot.where[0], translated)
        self._tell(slot, self._take(slot, record), is_affected)

    def _tell(self, slot: Slot, done: Done | None, is_affected: bool) -> None:
        told = fed(slot, done, is_same=self._is_same, is_affected=is_affected)
        if told is not None:
            self.fed.append(told)

    def _changed(self, slot: Slot, command: Record) -> Record:
        """A command with the fields that changes set."""
        changes = [
            change.as_fields if isinstance(change, Reply) else change
            for change in self.changes
            if isinstance(change, SetFields | Reply) and change.concerns(slot.where, slot.decision, slot.kind)
        ]
        if not changes:
            return command
        domain = slot.where[0]
        return with_value(command, domain, applied(changes, commands_codec(domain).decode(command.value)))

    def _take(self, slot: Slot, record: Record) -> Done:
        done = self.cluster.take(slot, record)
        self._note(done)
        return done

    def _leave_out(self, slot: Slot) -> None:
        """A recorded command that does not come: nor does what followed from it."""
        events = tuple(self.cluster.partitions[slot.where].read(slot.decision).events)
        at = slot.where, slot.key
        self.cluster.moved.add(slot.where)
        self.cluster.differing.add(slot.where)
        self.numbers.learn("recorded", at, slot.decision.seq, events)
        for message_id, _ in self._orders.get(str(slot.position), ()):
            self._bound[message_id] = None
        if events:
            self.knowledge.differs(slot, events, slot.where, None, (), slot.decision.command_id)
            self._move(at)

    # -- what the record does not have

    def _pass_time(self, until_ms: int) -> None:
        """Does what is due up to a time."""
        while True:
            tick_ms = self._next_tick()
            later_ms = self._later[0].at_ms if self._later else None
            due = [at_ms for at_ms in (tick_ms, later_ms) if at_ms is not None and at_ms <= until_ms]
            if not due:
                return
            if later_ms == min(due):
                heapq.heappop(self._later).act()
            else:
                self._tick()

    def _come_to_rest(self) -> None:
        """Does what follows from the last decisions; no more time passes for deadlines."""
        while self._later:
            heapq.heappop(self._later).act()

    def _do_later(self, at_ms: int, act: Callable[[], None]) -> None:
        self._numbered += 1
        heapq.heappush(self._later, _Due(at_ms, self._numbered, act))

    def _add(self, where: Where, key: str, command: Command, headers: h.Headers, at_ms: int) -> None:
        self.made_count += 1
        if self.made_count > MADE_MAX:
            raise Stop(f"more than {MADE_MAX:,} decisions that the record does not have: it does not come to rest")
        self._note(self.cluster.add(where, key, command, headers, at_ms))

    def _add_later(self, where: Where, key: str, command: Command, headers: h.Headers, at_ms: int) -> None:
        self._do_later(at_ms, lambda: self._add(where, key, command, headers, at_ms))

    def _tick_later(self, where: Where, key: str) -> None:
        deadline_ms = self.cluster.deadline_ms(where, key)
        if deadline_ms is not None:
            heapq.heappush(self._ticks, (deadline_ms, where, key))

    def _next_tick(self) -> int | None:
        """When the next tick is to come that the record does not have."""
        ticks = self._ticks
        while ticks:
            due_ms, where, key = ticks[0]
            is_due = self.cluster.deadline_ms(where, key) == due_ms
            if is_due and not self._comes_as_recorded(where, key, due_ms):
                return due_ms
            heapq.heappop(ticks)
        return None

    def _comes_as_recorded(self, where: Where, key: str, due_ms: int) -> bool:
        """Whether the record has a tick for this very deadline that is yet to come."""
        if self._ticks_of_record is None:
            self._ticks_of_record = ticks_of(self.cut, self._states_at_cut)
        return self._ticks_of_record.get((where, key, due_ms), -1) >= self.place

    def _tick(self) -> None:
        due_ms, where, key = heapq.heappop(self._ticks)
        headers = self.cluster.headers("tick", f"accord/{where[0]}/{where[1]}", where[0], Tick())
        self._add(where, key, Tick(), headers, due_ms)

    def _insert(self, change: Insert, at_ms: int) -> None:
        command = change.made()
        sender = change.agent or getattr(command, "agent", "") or "fork"
        where = self.cluster.where(change.domain, change.key)
        self._add(where, change.key, command, self.cluster.headers("insert", sender, change.domain, command), at_ms)

    def _started_ms(self, position: Position) -> int:
        """The time right after the last decision before the cut; in a log without one, that of the first after it."""
        now_ms = self.cluster.partitions[position.domain, position.partition].now_ms
        return now_ms or min((slot.decision.now_ms for slot in self.cut.slots), default=0)

    # -- what follows from a decision

    def _note(self, done: Done) -> None:
        slot, at = done.slot, (done.where, done.key)
        self._is_same = done.is_recorded
        if slot is not None and done.is_recorded:
            self.numbers.learn("recorded", at, slot.decision.seq, done.events)
            self.numbers.learn("forked", at, done.decision.seq, done.events)
            if at in self.moved or done.where[0] in self._ruled:
                self._tick_later(*at)
            self.calls.note(done, self.place)
            if done.decision.offset == slot.decision.offset:
                return  # all that follows is in the record, where it comes
            self._follow(done, recorded=done.events)
            return
        recorded: tuple[Event, ...] = ()
        if slot is not None:
            recorded = tuple(self.cluster.partitions[done.where].read(slot.decision).events)
            self.numbers.learn("recorded", at, slot.decision.seq, recorded)
            self.numbers.pair(done.where, slot.decision.seq, done.decision.seq)
            self.numbers.same_id(str(slot.position), str(done.position))
        self.numbers.learn("forked", at, done.decision.seq, done.events)
        self._follow(done, recorded)
        self._is_same = slot is not None and self._same(done, recorded)
        if not self._is_same:
            self.knowledge.differs(
                slot, recorded, done.where, str(done.position), done.events, done.decision.command_id
            )
            self._move(at)
        elif at in self.moved or done.where[0] in self._ruled:
            self._tick_later(*at)
        self.calls.note(done, self.place)

    def _same(self, done: Done, recorded: tuple[Event, ...]) -> bool:
        """Whether a decision says what the recorded one says, but for numbers."""
        at = done.where, done.key
        return self.numbers.plain("recorded", at, recorded) == self.numbers.plain("forked", at, done.events)

    def _move(self, at: Key) -> None:
        """An aggregate is not as recorded from here on, or again."""
        where, key = at
        self.moved.add(at)
        self._tick_later(where, key)
        contention = DOMAINS[where[0]].contention
        if contention is None or WAITS not in self.cluster.counts or at in self._reporting:
            return
        if self._report(where, key) is not None:
            self._reporting.add(at)
            at_ms = self.cluster.partitions[where].now_ms + REPORT_MS
            self._do_later(at_ms, lambda: self._send_report(at, at_ms))

    def _send_report(self, at: Key, at_ms: int) -> None:
        self._reporting.discard(at)
        command = self._report(*at)
        if command is not None:
            where = self.cluster.where(WAITS, GRAPH)
            headers = self.cluster.headers("waits", f"accord/{at[0][0]}/{at[0][1]}", WAITS, command)
            self._add(where, GRAPH, command, headers, at_ms)

    def _report(self, where: Where, key: str) -> ReportWaits | None:
        """Who waits for an aggregate while holding something else; None: nobody does, and none is known to."""
        contention = DOMAINS[where[0]].contention
        state, partition = self.cluster.state(where, key), self.cluster.partitions[where]
        waits = None if contention is None or state is None else contention.waits(state)
        if waits is None:
            graph = self.cluster.state(self.cluster.where(WAITS, GRAPH), GRAPH)
            if graph is None or f"{where[0]}/{key}" not in graph.contended:
                return None
        return ReportWaits(where[0], key, partition.name, partition.head.seq, *(waits or ((), ())))

    def _follow(self, done: Done, recorded: tuple[Event, ...]) -> None:
        """Has the commands of the process manager come where the record has them, or after a hop."""
        slot, domain = done.slot, DOMAINS[done.where[0]]
        orders = orders_of(domain, done.where, done.decision, done.events)
        there = [] if slot is None else list(self._orders.get(str(slot.position), ()))
        if not orders and not there:
            return
        before = [] if slot is None else [order for _, order in orders_of(domain, slot.where, slot.decision, recorded)]
        for message_id, order in orders:
            what = order.domain, order.key, type(order.command).__name__
            found = next((one for one in there if one[1] == what), None)
            if found is not None:
                there.remove(found)
                self._bound[found[0]] = done, message_id, order
            elif order in before:  # the record ends before it came
                continue
            elif order.domain in self.cluster.counts:
                where, headers = self.cluster.where(order.domain, order.key), order_headers(message_id, done, order)
                self._add_later(where, order.key, order.command, headers, done.at_ms + self._hop_ms)
        for message_id, _ in there:
            self._bound[message_id] = None
