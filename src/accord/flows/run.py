"""One flow on its way: reads its events from the log, folds them, emits what comes of them, remembers how far it is.

Rules that act here:
- Events are read through the chain, and merged in the order of the log's time (`accord.streams.flows.merge`). A silent
  partition is asked for its time by a tick: when it is read decides how soon a result is told, never which.
- A result is sent as often as it takes, and emitted once: the log knows the number of the last one.
- A checkpoint holds the fold and the decision of each partition up to which it was folded. It is written when every
  result before it was decided. One that does not fit the log, or the flow, is not used: the flow is folded again from
  where it began, and what was emitted is not sent again.
- Bounds: `WAITING_MAX` events of a partition wait for others, then it is not read; `UNDERWAY_MAX` results are under
  way, then nothing is folded; a checkpoint every `CHECKPOINT_S`.
- What passes (no broker, no worker) is tried again from the last checkpoint. A function that raises, a flow that is
  another than the log has, and a log that cannot be followed end the flow: `failure` says why.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from accord import logs
from accord.agents.connection.connection import Answer
from accord.agents.connection.reader import raise_if_lost
from accord.agents.hub import Hub
from accord.errors import AccordError, ChainBroken, ConfigError, Corrupt, FlowFailed, LogGap, Overloaded, Rejected
from accord.kafka import anchor, as_record, bounds, cluster_id, consumer, offset_at
from accord.schemas.codec import events_codec
from accord.schemas.headers import Confirmed
from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import BeginFlow, EmitResult, FlowKnown, SignalRefused
from accord.schemas.position import Position
from accord.schemas.topics import events_topic, partition_of
from accord.streams.chain import Chain, Decision, genesis
from accord.streams.flows.flow import Flow
from accord.streams.flows.fold import Fold, Result, Taken
from accord.streams.flows.merge import Merge

logger = logs.get("accord.flows")

DOMAIN: Final = "signals"
BATCH_RECORDS: Final = 500
POLL_S: Final = 0.05
WAITING_MAX: Final = 5_000
UNDERWAY_MAX: Final = 500
PREFETCH_KBYTES: Final = 4_096
CHECKPOINT_S: Final = 5.0
SILENT_S: Final = 0.05
"""A partition that holds others up is asked for its time when it was silent for so long,"""
ASK_AGAIN_S: Final = 0.5
"""and again after this."""
RETRY_S: Final = 1.0
REJECTED_MAX: Final = 5
"""Times in a row that the log refuses a result before the flow gives up."""
SAVE_S: Final = 20.0
STOP_S: Final = 10.0

Save = Callable[[bytes], "Future[None]"]


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A checkpoint: the definition with where it began, by partition the last decision that was folded, the fold."""

    definition: str
    places: dict[int, tuple[int, int, str]]
    fold: str


class Place:
    """A partition that is read, and from where events of it are taken."""

    def __init__(self, partition: int, chain: Chain, read_from: int, take_from: int, clock_key: str) -> None:
        self.partition = partition
        self.chain = chain
        self.read_from = read_from
        self.take_from = take_from
        self.clock_key = clock_key
        self.heard_s = time.monotonic()
        self.asked_s = 0.0
        self.paused = False


class FlowRun:
    """A flow in a thread of its own.

    Args:
        hub: an open hub; results carry its agent's name.
        kept: the last checkpoint, if there is one.
        save: writes a checkpoint; called from the thread.
    """

    def __init__(self, flow: Flow, hub: Hub, kept: bytes | None, save: Save) -> None:
        self.flow: Final = flow
        self.failure: AccordError | None = None
        self.counts: dict[str, int] = {}
        """Events that were taken, and passed over, and why, since the flow began."""
        self._hub = hub
        self._kept = kept
        self._save = save
        self._codec = events_codec(DOMAIN)
        self._names = frozenset(name.encode() for name in flow.names)
        self._stopping = threading.Event()
        self._rejected = 0
        self._told: dict[str, int] = {}
        self.begun: Future[None] = Future()
        """Done once the log has where it begins; or the error of the first attempt."""
        self._thread = threading.Thread(target=self._main, name=f"accord-flow-{flow.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Makes a last checkpoint and ends the thread. Blocks for `STOP_S` at most: what is left of it can emit nothing
        twice, and has no checkpoint to write to."""
        self._stopping.set()
        self._thread.join(STOP_S)

    # -- the thread

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._serve()
                except (FlowFailed, Corrupt, ConfigError):
                    raise
                except (AccordError, KafkaException, TimeoutError) as error:
                    self._not_begun(error)
                    self._rejected += isinstance(error, Rejected)
                    if self._rejected > REJECTED_MAX:
                        raise
                    why = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                    logger.warning("a flow goes on from its last checkpoint", flow=self.flow.name, why=why)
                    self._stopping.wait(RETRY_S)
        except BaseException as error:
            self.failure = error if isinstance(error, AccordError) else Corrupt(f"flow {self.flow.name}: {error!r}.")
            logger.error("a flow has stopped", flow=self.flow.name, why=str(self.failure), code=self.failure.code)
            self._not_begun(self.failure)
        if not self.begun.done():
            self.begun.set_result(None)

    def _not_begun(self, error: BaseException) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)

    def _serve(self) -> None:
        settings = self._hub.settings
        client = consumer(settings.kafka, queued_max_messages_kbytes=PREFETCH_KBYTES)
        try:
            self._topic = events_topic(DOMAIN, settings.topics.prefix)
            self._cluster = cluster_id(client, settings.kafka)
            self._definition, self._last = self._begin(client)
            self._underway: deque[Future[Answer]] = deque()
            self._open(client, self._kept)
            if not self.begun.done():
                self.begun.set_result(None)
            self._follow(client)
        except (ChainBroken, LogGap) as error:
            if self._kept is None:
                raise
            self._fold_again(str(error))
        finally:
            client.close()

    # -- where it begins

    def _partitions(self) -> list[int]:
        count = self._hub.settings.topics.partitions
        return sorted({partition_of(name, count) for name in self._names})

    def _begin(self, client: Consumer) -> tuple[str, dict[str, int]]:
        """The definition as the log has it, and the number of the last result of each name."""
        plain = self.flow.definition()
        starts = {str(partition): self._start(client, partition) for partition in self._partitions()}
        recorded, last = "", {}
        for event in self.flow.emits:
            text = recorded or msgspec.json.encode(plain | {"from": starts}).decode()
            command = BeginFlow(self._hub.agent, self.flow.name, text)
            told = self._hub.connection.submit(DOMAIN, event, command).decided.result().events[0]
            if isinstance(told, FlowKnown):
                text, last[event] = told.definition, told.last
            else:
                last[event] = 0
            recorded = recorded or text
        if not _is_of(recorded, plain, starts):
            raise ConfigError(
                f"flow {self.flow.name!r} is on the log as another flow: {recorded}.",
                remedy="A changed flow is a new one: give it another name.",
            )
        return recorded, last

    def _start(self, client: Consumer, partition: int) -> int:
        """Where a flow that begins now begins to take events of a partition."""
        low, end = bounds(client, self._topic, partition)
        match self.flow.start:
            case datetime() as time_:
                root = genesis(self._cluster, self._topic, partition)
                return offset_at(client, self._topic, partition, root, int(time_.timestamp() * 1_000))
            case "start":
                return low
            case _:
                return end

    def _open(self, client: Consumer, kept: bytes | None) -> None:
        """Puts the fold back, or begins it, and reads on from there."""
        checkpoint: Kept | None = None
        self._fold = Fold(self.flow)
        if kept is not None:
            try:
                checkpoint = msgspec.msgpack.decode(kept, type=Kept)
                if checkpoint.definition != self._definition:
                    raise ValueError("it is of another flow of this name")
                self._fold = Fold(self.flow, checkpoint.fold.encode())
            except (msgspec.MsgspecError, ValueError) as error:
                self._fold_again(str(error))
                checkpoint = None
        starts: dict[str, int] = msgspec.json.decode(self._definition)["from"]
        self._places = {int(number): self._place(client, int(number), start) for number, start in starts.items()}
        self._merge: Merge[Taken, Confirmed] = Merge(self._places)
        for number, (offset, seq, digest) in checkpoint.places.items() if checkpoint else ():
            place, at = self._places[number], Confirmed(offset, seq, bytes.fromhex(digest))
            place.chain = Chain.anchored(place.chain.root, at)
            place.read_from, place.take_from = offset, max(place.take_from, offset + 1)
            self._merge.done[number] = at
        client.assign(
            [TopicPartition(self._topic, place.partition, place.read_from) for place in self._places.values()]
        )

    def _place(self, client: Consumer, partition: int, start: int) -> Place:
        root = genesis(self._cluster, self._topic, partition)
        chain, read_from = anchor(client, self._topic, partition, root, start)
        return Place(partition, chain, read_from, start, self._clock_key(partition))

    def _clock_key(self, partition: int) -> str:
        """A key in a partition: no event's name, for nothing but ticks is sent to it."""
        count, number = self._hub.settings.topics.partitions, 0
        while partition_of((key := f"flow:{self.flow.name}:{number}").encode(), count) != partition:
            number += 1
        return key

    def _fold_again(self, why: str) -> None:
        logger.warning("a flow's checkpoint does not fit, it is folded again", flow=self.flow.name, why=why)
        self._kept = None

    # -- on its way

    def _follow(self, client: Consumer) -> None:
        saved_s = time.monotonic()
        while not self._stopping.is_set():
            first = client.poll(POLL_S)  # `consume` alone would wait for a whole batch
            for message in [] if first is None else [first, *client.consume(BATCH_RECORDS, 0)]:
                if message.error() is None:
                    self._read(message)
                else:
                    raise_if_lost(message, "A flow goes on where it was once its topic is there again.")
            self._go_on()
            self._ask()
            self._throttle(client)
            while self._underway and self._underway[0].done():
                self._settle()
            if time.monotonic() - saved_s > CHECKPOINT_S:
                self._checkpoint()
                saved_s = time.monotonic()
        self._checkpoint()

    def _read(self, message: Any) -> None:
        place = self._places[message.partition()]
        decision = place.chain.accept(as_record(message))
        if decision is None:
            return
        place.heard_s = time.monotonic()
        here = Confirmed(decision.offset, decision.seq, decision.digest)
        if decision.offset >= place.take_from and decision.key in self._names and b"SignalEmitted" in decision.type:
            self._merge.add(place.partition, decision.now_ms, here, self._taken(place, decision))
        else:
            self._merge.tell(place.partition, decision.now_ms, here)

    def _taken(self, place: Place, decision: Decision) -> Taken:
        event = self._codec.decode(decision.value)[0]
        position = str(Position(DOMAIN, place.partition, decision.offset))
        return Taken(decision.now_ms, decision.key.decode(), event.data, position, event.trail)

    def _go_on(self) -> None:
        """Folds what can be folded."""
        for _, taken in self._merge.take():
            self._send(self._fold.take(taken))
        self._send(self._fold.advance(self._merge.now_ms))
        self.counts = dict(self._fold.counts)

    def _ask(self) -> None:
        """Asks the partitions for their time that are silent and hold up what is there to be told."""
        due_ms = self._fold.deadline_ms()
        now_s = time.monotonic()
        for partition in self._merge.behind(due_ms if due_ms is not None and due_ms <= self._hub.now_ms else None):
            place = self._places[partition]
            if now_s - place.heard_s > SILENT_S and now_s - place.asked_s > ASK_AGAIN_S:
                place.asked_s = now_s
                self._hub.connection.submit(DOMAIN, place.clock_key, Tick())

    def _throttle(self, client: Consumer) -> None:
        """Has the broker keep what does not fit in here."""
        for place in self._places.values():
            full = self._merge.waiting(place.partition) >= (WAITING_MAX // 2 if place.paused else WAITING_MAX)
            if full != place.paused:
                place.paused = full
                (client.pause if full else client.resume)([TopicPartition(self._topic, place.partition)])

    # -- what comes of it

    def _send(self, results: list[Result]) -> None:
        for result in results:
            if result.number <= self._last[result.event]:
                continue  # it is on the log
            command = EmitResult(self._hub.agent, self.flow.name, result.number, result.data, result.trail)
            while True:
                while len(self._underway) >= UNDERWAY_MAX:
                    self._settle()
                try:
                    self._underway.append(self._hub.connection.submit(DOMAIN, result.event, command).decided)
                    break
                except Overloaded:
                    if self._underway:
                        self._settle()
                    else:
                        self._stopping.wait(POLL_S)

    def _settle(self) -> None:
        """Waits for the decision on the oldest result under way. Raises what kept it from one."""
        answer = self._underway.popleft().result()
        if isinstance(answer.events[0], SignalRefused):
            logger.warning("a flow's result closes a circle of events", flow=self.flow.name, at=str(answer.position))
        self._rejected = 0

    def _checkpoint(self) -> None:
        while self._underway:
            self._settle()
        places = {number: (at.offset, at.seq, at.digest.hex()) for number, at in self._merge.done.items()}
        kept = msgspec.msgpack.encode(Kept(self._definition, places, self._fold.dump().decode()))
        passed_over = {why: count for why, count in self._fold.counts.items() if why != "taken"}
        if passed_over != self._told:
            logger.warning("a flow passed events over", flow=self.flow.name, **passed_over)
            self._told = passed_over
        if kept == self._kept:
            return
        try:
            self._save(kept).result(SAVE_S)
            self._kept = kept
        except Exception as error:  # it is a cache: the one before holds
            logger.warning("a flow's checkpoint was not written", flow=self.flow.name, why=repr(error))


def _is_of(recorded: str, plain: dict[str, Any], starts: dict[str, int]) -> bool:
    """Whether a definition on the log is this one, from wherever it begins."""
    try:
        found = msgspec.json.decode(recorded, type=dict[str, Any])
        begins = msgspec.convert(found.pop("from"), dict[str, int])
    except (msgspec.MsgspecError, KeyError):
        return False
    return begins.keys() == starts.keys() and found == msgspec.json.decode(msgspec.json.encode(plain))
