"""A handler's place in the log: which user events it has yet to be called with.

One consumer group a handler name over the signals events. Rules that act here:
- Events are read through the chain, so none is delivered that was not accepted.
- A new group starts where the log ended when the subscription was opened, at the log's start, or at a time of the
  log, as its handler says; that is committed at once.
- The committed offset is where to deliver from. It moves past an event only after that event is done, so an event is
  delivered at least once; a lost commit, a crash or a rebalance in the middle delivers it again.
- At most `QUEUE_MAX` events (and one batch) wait here; beyond that the broker keeps them. Polling goes on, so that a
  handler may take as long as it likes.
- Where causes come first (`Wanted.causal`), one member has all partitions: whoever the group gives that of the first
  name. The others stand by. An event waits in a `CausalBuffer` for its causes to be delivered; it counts as one that
  waits here, each partition has its share of `QUEUE_MAX`, and one that has used it up is not read meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

from accord.agents.connection.runtime import ON_KAFKA, Joinable, Runtime
from accord.agents.signals.signals import DOMAIN
from accord.agents.signals.wanted import Emitted, Wanted
from accord.schemas.clock import VectorClock
from accord.schemas.codec import events_codec
from accord.schemas.position import Position
from accord.schemas.topics import events_topic, partition_of
from accord.streams.chain import Chain, Decision, genesis
from accord.streams.signals.causal import CausalBuffer, Missing
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from accord import logs
from accord.errors import AccordError, ConfigError, Corrupt, KafkaUnreachable, LogGap, MissingCause
from accord.kafka import anchor, as_record, bounds, cluster_id, offset_at
from accord.settings import Settings

logger = logs.get("accord.handlers")

NOW: Final = "now"
START: Final = "start"
Since = datetime | str
"""`NOW`, `START`, or a time of the log."""
QUEUE_MAX: Final = 500
QUEUE_WAIT_S: Final = 1.0
"""How long reading waits for a full queue to be half empty, before it is paused: to take it up again takes 0.5 s."""
PREFETCH_KBYTES: Final = 4_096
"""What librdkafka reads ahead, for each handler."""
BATCH_RECORDS: Final = 200
POLL_S: Final = 0.05
LEAVE_POLL_S: Final = 0.02
LEAVE_S: Final = 2.0
"""How long leaving the group is waited for."""
COMMIT_S: Final = 5.0
"""How often progress over other events' records is committed; progress over own events is committed at once."""
REVOKE_WAIT_S: Final = 10.0
"""How long a rebalance waits for a running handler, so that the next member need not call it again."""
RECONNECT_S: Final = 1.0
ENDS_S: Final = 1.0
"""How long a broker may take to say where a partition ends; it is asked again."""
HEARTBEATS: Final = 5
"""Heartbeats in a session timeout."""

_EMITTED: Final = (b"SignalEmitted", b"SignalNumbered")
"""What a decision that records a user event is about."""

_MEMBERS = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION}
)  # answers to a commit from outside a group that has members

_NO_COORDINATOR = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)  # answers of a broker that has just started, or just taken the group over; they pass


class Place:
    """One assigned partition. Everything before `done_to` is done with."""

    __slots__ = (
        "chain",
        "committed",
        "deliver_from",
        "is_paused",
        "partition",
        "read_to",
        "revoked",
        "taken_over_to",
        "waiting",
    )

    def __init__(self, partition: int, chain: Chain, committed: int, deliver_from: int, end: int) -> None:
        self.partition = partition
        self.chain = chain
        self.committed = committed
        self.deliver_from = deliver_from
        self.read_to = deliver_from
        self.taken_over_to = end
        self.waiting: deque[int] = deque()
        self.revoked = False
        self.is_paused = False

    @property
    def done_to(self) -> int:
        return self.waiting[0] if self.waiting else self.read_to


class Delivery(NamedTuple):
    """One event to call the handler with. `repeated`: it may have been delivered to a member before. `missing`: what
    should have come before it and has not."""

    place: Place
    decision: Decision
    name: str
    event: Emitted
    repeated: bool
    missing: tuple[Missing, ...] = ()

    @property
    def position(self) -> Position:
        return Position(DOMAIN, self.place.partition, self.decision.offset)


class Subscription:
    """Reads in a thread of its own; whoever handles the deliveries calls `take` and `returned`.

    Args:
        settings: whose cluster and topics.
        group: name of the handler, the rest of the consumer group's name.
        wanted: the events to deliver, and in which order.
        since: where a new group starts.
        report: called, from the reading thread, with an event that causes are missing of, and with these.
        runtime: makes the threads and the consumers.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        wanted: Wanted,
        since: Since = NOW,
        report: Callable[[Delivery, tuple[Missing, ...]], None] | None = None,
        runtime: Runtime = ON_KAFKA,
    ) -> None:
        self._runtime = runtime
        self._monotonic = runtime.monotonic
        self._since = since
        self._settings = settings
        self._group = f"{settings.topics.prefix}.handlers.{group}"
        self._name = group
        self._wanted = wanted
        self._keys = wanted.keys
        self._report = report
        homes = [partition_of(name.encode(), settings.topics.partitions) for name in wanted.names]
        self._home = homes[0] if wanted.causal is not None else None
        self._homes = frozenset(homes)
        self._buffer = self._new_buffer(())
        self._ends_from_s = 0.0
        self._topic = events_topic(DOMAIN, settings.topics.prefix)
        self._codec = events_codec(DOMAIN)
        self._queue: SimpleQueue[Delivery | None] = runtime.queue()
        self._changed = runtime.condition()
        self._places: dict[int, Place] = {}
        self._done_to: dict[int, int] = {}
        self._running: Place | None = None
        self._assigned = False
        self._paused = False
        self._handled = False
        self._stopping = runtime.event()
        self._failure: AccordError | None = None
        self.opened: Future[None] = runtime.future()
        self._thread: Joinable | None = None

    def open(self) -> Future[None]:
        """Starts; the future is done once it is fixed from where on events are delivered."""
        self._thread = self._runtime.run(self._main, f"accord-reads-{self._name}")
        return self.opened

    # -- for the handler's thread

    def take(self) -> Delivery | None:
        """The next event; None when there will be none. Blocks."""
        while True:
            delivery = self._queue.get()
            if delivery is None or self._stopping.is_set():
                return None
            with self._changed:
                if not delivery.place.revoked:
                    self._running = delivery.place
                    return delivery

    def returned(self, delivery: Delivery, *, done: bool) -> None:
        """The event that was taken is done, and its offset may be committed; or it is to be delivered again."""
        with self._changed:
            if done:
                delivery.place.waiting.popleft()
                self._handled = True
            self._running = None
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """No more events are delivered; whoever waits gets the error."""
        if isinstance(error, KafkaException):
            failure: AccordError = KafkaUnreachable(f"handler {self._name}: {error.args[0].str()}.")
        else:
            failure = error if isinstance(error, AccordError) else Corrupt(f"handler {self._name}: {error!r}.")
        logger.error("a handler gets no more events", handler=self._name, why=str(failure))
        with self._changed:
            self._failure = failure
            self._running = None
            self._stopping.set()
            self._changed.notify_all()
        if not self.opened.done():
            self.opened.set_exception(failure)
        self._queue.put(None)

    # -- for the hub

    def wait_for(self, ends: dict[int, int]) -> None:
        """Blocks until everything before the given offsets, of the partitions that are ours, is done with, or it stops.

        Raises:
            Corrupt: the log cannot be followed any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._is_past(ends))
            if self._failure is not None:
                raise self._failure

    def stop(self) -> None:
        """Delivers no more. Commits and leaves the group once the running handler has returned."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Waits for the end after `stop`; False if it is not over in time."""
        assert self._thread is not None
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _is_past(self, ends: dict[int, int]) -> bool:
        return self._assigned and all(place.done_to >= ends[place.partition] for place in self._places.values())

    # -- the reading thread

    def _main(self) -> None:
        open_by_s = self._monotonic() + self._settings.kafka.connect_timeout_ms / 1_000
        try:
            while not self._stopping.is_set():
                try:
                    self._serve()
                except (KafkaException, AccordError) as error:
                    if isinstance(error, Corrupt | MissingCause) or not (
                        self.opened.done() or (_passes(error) and self._monotonic() < open_by_s)
                    ):
                        raise
                    logger.warning(
                        "a handler's events cannot be read, trying again", handler=self._name, why=str(error)
                    )
                    self._stopping.wait(RECONNECT_S)
        except BaseException as error:
            self.fail(error)
        if not self.opened.done():
            self.opened.set_result(None)

    def _serve(self) -> None:
        kafka = self._settings.kafka
        session_ms = self._settings.worker.session_timeout_ms
        client = self._runtime.consumer(
            kafka,
            group=self._group,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS,
            queued_max_messages_kbytes=PREFETCH_KBYTES,
        )
        try:
            cluster = cluster_id(client, kafka)
            if not self.opened.done():
                self._fix_start(client, cluster)
                self.opened.set_result(None)
            client.subscribe(
                [self._topic],
                on_assign=lambda _, partitions: self._on_assign(client, cluster, partitions),
                on_revoke=lambda _, partitions: self._on_revoke(client, partitions, commit=True),
                on_lost=lambda _, partitions: self._on_revoke(client, partitions, commit=False),
            )
            self._loop(client)
        finally:
            self._wait_for_handler()
            self._commit(client)
            self._leave(client)
            client.close()
            self._revoke(list(self._places))

    def _leave(self, client: Consumer) -> None:
        """Leaves the group. A rebalance that librdkafka meets in `close` can wait for a reply that never comes, and
        with the interpreter's lock held: the whole process would stand still."""
        with suppress(KafkaException):
            client.unsubscribe()
            until_s = self._monotonic() + LEAVE_S
            client.poll(LEAVE_POLL_S)
            while self._assigned and self._monotonic() < until_s:
                client.poll(LEAVE_POLL_S)

    def _fix_start(self, client: Consumer, cluster: str) -> None:
        """Commits where to start, where nothing is committed yet."""
        timeout_s = self._settings.kafka.connect_timeout_ms / 1_000
        partitions = [TopicPartition(self._topic, p) for p in range(self._settings.topics.partitions)]
        found = client.committed(partitions, timeout=timeout_s)
        new = [at.partition for at in found if at.offset < 0]
        if not new:
            return
        side = self._runtime.consumer(self._settings.kafka)
        try:
            start = [TopicPartition(self._topic, number, self._start(side, cluster, number)) for number in new]
        finally:
            side.close()
        try:
            client.commit(offsets=start, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _MEMBERS:
                raise
            # The group has members: another process committed a start, earlier than this one.

    def _start(self, side: Consumer, cluster: str, partition: int) -> int:
        """The offset at which a new group starts."""
        if isinstance(self._since, datetime):
            at_ms = round(self._since.timestamp() * 1_000)
            return offset_at(side, self._topic, partition, genesis(cluster, self._topic, partition), at_ms)
        low, high = bounds(side, self._topic, partition)
        return low if self._since == START else high

    def _loop(self, client: Consumer) -> None:
        committed_s = commit_from_s = self._monotonic()
        while not self._stopping.is_set():
            first = client.poll(POLL_S)
            if first is not None:
                for message in [first, *client.consume(BATCH_RECORDS, 0)]:
                    self._read(message)
            if self._buffer is not None:
                self._release(client, self._buffer)
            now_s = self._monotonic()
            if now_s >= commit_from_s and (self._handled or now_s - committed_s > COMMIT_S):
                self._handled = False
                committed_s = now_s
                if not self._commit(client):
                    self._handled = True
                    commit_from_s = now_s + RECONNECT_S
            if self._buffer is None:
                self._throttle(client)
            else:
                self._throttle_each(client, self._buffer)

    def _read(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                raise LogGap(f"handler {self._name}: {self._topic}/{message.partition()}: {error.str()}.")
            if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
                raise ConfigError(f"handler {self._name}: {error.str()}.", remedy="See: accord topics acls.")
            logger.debug("reading events", handler=self._name, why=error.str())
            return
        place = self._places.get(message.partition())
        if place is None:
            return
        record = as_record(message)
        decision = place.chain.accept(record)
        delivery = None
        with self._changed:
            if record.offset >= place.deliver_from:
                delivery = self._delivery(place, decision) if decision is not None else None
                if delivery is not None:
                    place.waiting.append(record.offset)
                    if self._buffer is None:
                        self._queue.put(delivery)
                place.read_to = record.offset + 1
                self._changed.notify_all()
        if self._buffer is not None and place.partition in self._homes:
            clock = None if decision is None else VectorClock.decode(decision.clock)
            self._buffer.read(place.partition, record.offset, clock, delivery)

    def _delivery(self, place: Place, decision: Decision) -> Delivery | None:
        if decision.key not in self._keys or not any(kind in decision.type for kind in _EMITTED):
            return None
        found = self._wanted.find(decision, self._codec.decode(decision.value))
        if found is None:
            return None
        return Delivery(place, decision, *found, decision.offset < place.taken_over_to)

    def _release(self, client: Consumer, buffer: CausalBuffer[Delivery]) -> None:
        """Hands over what waits for no cause, and reports what waits for one that does not come.

        Raises:
            MissingCause: a cause is missing, and the handler is not to be called without.
        """
        assert self._wanted.causal is not None
        now_s = self._monotonic()
        buffer.tick(now_s, [number for number, place in self._places.items() if place.is_paused])
        if buffer.wants_ends and now_s >= self._ends_from_s:
            try:
                buffer.know_ends({number: self._end(client, number) for number in self._homes})
            except KafkaException as error:
                logger.debug("where partitions end is not known yet", handler=self._name, why=str(error))
                self._ends_from_s = now_s + RECONNECT_S
        while (ready := buffer.take()) is not None:
            self._queue.put(ready.item._replace(missing=ready.missing))
        while (overdue := buffer.overdue()) is not None and not self._stopping.is_set():
            if self._report is not None:
                self._report(overdue.item, overdue.missing)
            if not self._wanted.causal.delivers:
                raise self._missing(overdue.item, overdue.missing)
            buffer.give_up(overdue)
            while (ready := buffer.take()) is not None:
                self._queue.put(ready.item._replace(missing=ready.missing))

    def _end(self, client: Consumer, partition: int) -> int:
        _, end = client.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=ENDS_S)
        return int(end)

    def _missing(self, delivery: Delivery, missing: tuple[Missing, ...]) -> MissingCause:
        return MissingCause(
            f"handler {self._name}: what caused {delivery.name} ({delivery.position}) is missing: "
            + "; ".join(map(as_text, missing))
            + ".",
            remedy='Look why the partition cannot be read, then restart; or go on without: on_missing="deliver".',
            key=delivery.name,
            position=str(delivery.position),
        )

    def _throttle(self, client: Consumer) -> None:
        """Has the broker keep what does not fit in here."""
        if self._paused and self._waiting() <= QUEUE_MAX // 2:
            client.resume(client.assignment())
            self._paused = False
        elif not self._paused and self._waiting() >= QUEUE_MAX:
            with self._changed:
                half_empty = self._changed.wait_for(
                    lambda: self._stopping.is_set() or self._waiting() <= QUEUE_MAX // 2, QUEUE_WAIT_S
                )
            if not half_empty:
                client.pause(client.assignment())
                self._paused = True

    def _throttle_each(self, client: Consumer, buffer: CausalBuffer[Delivery]) -> None:
        """Leaves with the broker what does not fit in here, of one partition though others are read."""
        lanes = [self._places[number] for number in self._homes if number in self._places]
        most = QUEUE_MAX // len(self._homes)
        if any(len(lane.waiting) >= most for lane in lanes) and not any(map(buffer.held, self._homes)):
            with self._changed:  # all is the handler's to take
                self._changed.wait_for(
                    lambda: self._stopping.is_set() or all(len(lane.waiting) <= most // 2 for lane in lanes),
                    QUEUE_WAIT_S,
                )
        for lane in lanes:
            at = [TopicPartition(self._topic, lane.partition)]
            if lane.is_paused and len(lane.waiting) <= most // 2:
                client.resume(at)
                lane.is_paused = False
            elif not lane.is_paused and len(lane.waiting) >= most:
                client.pause(at)
                lane.is_paused = True

    def _waiting(self) -> int:
        return sum(len(place.waiting) for place in self._places.values())

    def _commit(self, client: Consumer) -> bool:
        """Commits what is done with; False if that did not work."""
        with self._changed:
            moved = {place: place.done_to for place in self._places.values() if place.done_to > place.committed}
        if not moved:
            return True
        offsets = [TopicPartition(self._topic, place.partition, offset) for place, offset in moved.items()]
        try:
            client.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log = logger.debug if error.args[0].code() in _MEMBERS else logger.warning
            log("progress not committed, events may be repeated", handler=self._name, why=error.args[0].str())
            return False
        for place, offset in moved.items():
            place.committed = offset
        return True

    # -- rebalancing; called from within `poll`

    def _on_assign(self, client: Consumer, cluster: str, partitions: list[TopicPartition]) -> None:
        if self._stopping.is_set():  # it is about to leave
            client.assign([])
            return
        if self._home is not None:
            leads = any(at.partition == self._home for at in partitions)
            numbers = range(self._settings.topics.partitions) if leads else ()
            partitions = [TopicPartition(self._topic, number) for number in numbers]
        kafka = self._settings.kafka
        side = self._runtime.consumer(kafka)
        try:
            places = {}
            found = client.committed(partitions, timeout=kafka.connect_timeout_ms / 1_000) if partitions else []
            for at in found:
                root = genesis(cluster, self._topic, at.partition)
                end = bounds(side, self._topic, at.partition)[1]
                committed = at.offset if at.offset >= 0 else end
                deliver_from = max(committed, self._done_to.get(at.partition, 0))  # a commit may have failed
                chain, start = anchor(side, self._topic, at.partition, root, deliver_from)
                places[at.partition] = Place(at.partition, chain, committed, deliver_from, end)
                at.offset = start
        finally:
            side.close()
        with self._changed:
            self._places, self._assigned, self._paused = places, True, False
            self._buffer = self._new_buffer(self._homes if places else ())
            self._changed.notify_all()
        client.assign(found)

    def _on_revoke(self, client: Consumer, partitions: list[TopicPartition], *, commit: bool) -> None:
        if commit:
            self._wait_for_handler()
            self._commit(client)
        self._revoke([at.partition for at in partitions] if self._home is None else list(self._places))

    def _wait_for_handler(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._running is None, REVOKE_WAIT_S)

    def _revoke(self, partitions: list[int]) -> None:
        with self._changed:
            for partition in partitions:
                place = self._places.pop(partition, None)
                if place is not None:
                    place.revoked = True
                    self._done_to[partition] = place.done_to
            self._assigned = False
            self._buffer = self._new_buffer(())
            self._changed.notify_all()

    def _new_buffer(self, partitions: Iterable[int]) -> CausalBuffer[Delivery] | None:
        causal = self._wanted.causal
        return None if causal is None else CausalBuffer(DOMAIN, partitions, causal.missing_after_ms / 1_000)


def as_text(missing: Missing) -> str:
    """A missing cause in words."""
    told = "what its clock does not tell" if missing.needed is None else f"decision {missing.needed} by its clock"
    return f"{missing.partition} has not brought {told}, only up to {missing.read_to}"


def log_ends(settings: Settings, runtime: Runtime) -> dict[int, int]:
    """The end of each partition of the signals events: one past its last record."""
    client = runtime.consumer(settings.kafka)
    try:
        topic = events_topic(DOMAIN, settings.topics.prefix)
        return {partition: bounds(client, topic, partition)[1] for partition in range(settings.topics.partitions)}
    finally:
        client.close()


def _passes(error: Exception) -> bool:
    """Whether what went wrong is only that the group has no coordinator yet."""
    return isinstance(error, KafkaException) and error.args[0].code() in _NO_COORDINATOR
