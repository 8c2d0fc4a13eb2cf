"""Where a connection's answers come from.

`Answers` is the one narrow interface behind which the source stands. `EventsReader` reads the events topics of the
partitions that are waited on, through the chain. Its cost is a few microseconds an event whoever it is for, so it
suits tens of processes; many agents in one process share one.

Rules that act here:
- A partition is followed from a confirmed decision before anything is asked of it, so no answer can be missed.
- A decision that nobody here waits for is dropped after the chain accepted it and before it is decoded.
- A log that was cut, rewritten or deleted fails loudly; a broker that is away is waited for.
- What may block (finding where to start) runs on a helper thread that exists only while there is such work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from accord.schemas.topics import events_topic
from accord.streams.chain import Chain, Decision, genesis, parse
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from accord import logs
from accord.errors import AccordError, Corrupt, KafkaUnreachable, LogGap
from accord.kafka import anchor, as_record, bounds, consumer, metadata, read, unreachable
from accord.settings import Settings

logger = logs.get("accord.client")

FETCH_WAIT_MS_MAX: Final = 100
"""A partition that is added is not fetched before the fetch under way returns, so that must not wait long."""
RECHECK_S: Final = 1.0
"""A topic that a broker does not know is asked for once more after this: the broker may have just started."""
BATCH_RECORDS: Final = 1_000
RECALL_RECORDS: Final = 70_000
"""How far back the first decision on a repeated command is looked for: the window of known ids, and some."""
START_POLL_S: Final = 0.001
"""Longest sleep while the start of a partition is being looked for: somebody waits for it."""
HELPER_JOIN_S: Final = 1.0
GONE_REMEDY: Final = "See: accord topics list. What was decided is in archives only."

Place = tuple[str, int]
"""A domain and a partition."""


class Listener(Protocol):
    """Who takes the answers; called on the thread that polls."""

    def wants(self, domain: str, decision: Decision) -> bool:
        """Whether anybody waits for this decision."""

    def take(self, place: Place, decision: Decision) -> None:
        """A decision that somebody waits for, not decoded yet."""

    def started(self, place: Place, error: AccordError | None) -> None:
        """A partition is followed from here on, or could not be."""


class Answers(Protocol):
    """A source of decisions. `start` and `recall` may be called from any thread, all else by the one that polls."""

    def start(self, place: Place) -> None:
        """Follows a partition; `Listener.started` says from when on."""

    def stop(self, place: Place) -> None:
        """Follows a partition no more."""

    def recall(self, place: Place, cause: int, found: Callable[[Decision | None], None]) -> None:
        """Looks for the decision on the command at offset `cause` and hands it to `found`; None: it is not there."""

    def check(self) -> None:
        """Makes sure, in the background, that what is followed is still there; if it is not, `poll` says so."""

    def poll(self, timeout_s: float) -> None:
        """Waits for decisions, hands over what somebody waits for.

        Raises:
            LogGap, ChainBroken: the log cannot be followed any more.
        """

    def close(self) -> None: ...


class EventsReader:
    """Answers from the events topics.

    `cluster`, the cluster's id, must be set before a partition is followed.
    """

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        kafka = settings.kafka
        self._kafka = kafka.model_copy(update={"fetch_wait_ms": min(kafka.fetch_wait_ms, FETCH_WAIT_MS_MAX)})
        self.consumer: Consumer = consumer(self._kafka)
        self.cluster = ""
        self._lock = threading.Lock()
        self._chains: dict[tuple[str, int], tuple[str, Chain]] = {}
        self._jobs: deque[Callable[[Consumer], None]] = deque()
        self._helper: threading.Thread | None = None
        self._starting: set[Place] = set()
        self._ready: deque[Callable[[], None]] = deque()
        self._ended = threading.Event()

    # -- what may block: on the helper thread

    def start(self, place: Place) -> None:
        self._starting.add(place)
        self._later(lambda client: self._start(client, place))

    def recall(self, place: Place, cause: int, found: Callable[[Decision | None], None]) -> None:
        def job(client: Consumer) -> None:
            decision = self._recall(client, place, cause)
            self._ready.append(lambda: found(decision))

        self._later(job)

    def check(self) -> None:
        self._later(self._check)

    def _later(self, job: Callable[[Consumer], None]) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._jobs.append(job)
            if self._helper is None:
                self._helper = threading.Thread(target=self._help, name="accord-start", daemon=True)
                self._helper.start()

    def _help(self) -> None:
        client = consumer(self._kafka)
        # A client that has no metadata yet takes seconds to find a partition's leader; asking for all is quick. If no
        # broker answers, the jobs find out and say so.
        with suppress(AccordError):
            metadata(client, self._kafka)
        try:
            while True:
                with self._lock:
                    if not self._jobs or self._ended.is_set():
                        self._helper = None
                        return
                    job = self._jobs.popleft()
                job(client)
        finally:
            client.close()

    def _start(self, client: Consumer, place: Place) -> None:
        topic, root = self._root(place)
        error: AccordError
        try:
            found = anchor(client, topic, place[1], root)
            self._ready.append(lambda: self._follow(place, topic, *found))
            return
        except AccordError as problem:
            error = problem
        except KafkaException:
            error = unreachable(self._kafka)
        except Exception as bug:
            logger.exception("a bug in accord: the start of a partition was not found")
            error = Corrupt(f"{topic}/{place[1]} cannot be followed: {bug!r}.")
        self._ready.append(lambda: self._not_started(place, error))

    def _recall(self, client: Consumer, place: Place, cause: int) -> Decision | None:
        topic, root = self._root(place)
        try:
            low, high = bounds(client, topic, place[1])
            chain, offset = Chain(root), low
            if high - RECALL_RECORDS > low:
                (first,) = read(client, topic, place[1], high - RECALL_RECORDS, high - RECALL_RECORDS + 1)
                confirmed = parse(root, first).confirmed
                if confirmed is None:
                    return None
                chain, offset = Chain.anchored(root, confirmed), confirmed.offset
            for record in read(client, topic, place[1], offset, high):
                decision = chain.accept(record)
                if decision is not None and decision.cause == cause:
                    return decision
        except Exception as error:
            logger.warning("a decision could not be looked up", place=place, cause=cause, why=repr(error))
        return None

    def _check(self, client: Consumer) -> None:
        """librdkafka says nothing when a topic that it reads from is deleted."""
        with suppress(AccordError):  # no broker answers: nothing is known
            gone = self._gone(client)
            if gone is not None and not self._ended.wait(RECHECK_S):
                gone = self._gone(client)
            if gone is not None:
                self._ready.append(lambda: _raise(gone))

    def _gone(self, client: Consumer) -> LogGap | None:
        found = metadata(client, self._kafka)
        if str(found.cluster_id) != self.cluster:
            return LogGap(f"Another cluster answers: {found.cluster_id} in place of {self.cluster}.")
        for topic, partition in list(self._chains):
            if topic not in found.topics or partition not in found.topics[topic].partitions:
                return LogGap(f"{topic}/{partition} is gone: the topic was deleted.", remedy=GONE_REMEDY)
        return None

    def _root(self, place: Place) -> tuple[str, bytes]:
        topic = events_topic(place[0], self._settings.topics.prefix)
        return topic, genesis(self.cluster, topic, place[1])

    # -- the stream of decisions: on the thread that polls, which alone touches the consumer

    def _follow(self, place: Place, topic: str, chain: Chain, offset: int) -> None:
        self._starting.discard(place)
        self._chains[topic, place[1]] = place[0], chain
        self.consumer.incremental_assign([TopicPartition(topic, place[1], offset)])
        self._listener.started(place, None)

    def _not_started(self, place: Place, error: AccordError) -> None:
        self._starting.discard(place)
        self._listener.started(place, error)

    def stop(self, place: Place) -> None:
        topic, _ = self._root(place)
        if self._chains.pop((topic, place[1]), None) is not None:
            self.consumer.incremental_unassign([TopicPartition(topic, place[1])])

    def poll(self, timeout_s: float) -> None:
        while self._ready:
            self._ready.popleft()()
        message = self.consumer.poll(min(timeout_s, START_POLL_S) if self._starting else timeout_s)
        if message is None:
            return
        self._read(message)
        for further in self.consumer.consume(BATCH_RECORDS, 0):
            self._read(further)

    def _read(self, message: Any) -> None:
        if message.error() is not None:
            self._problem(message)
            return
        followed = self._chains.get((message.topic(), message.partition()))
        if followed is None:
            return
        domain, chain = followed
        decision = chain.accept(as_record(message))
        if decision is not None and self._listener.wants(domain, decision):
            self._listener.take((domain, message.partition()), decision)

    def _problem(self, message: Any) -> None:
        error = message.error()
        where = f"{message.topic()}/{message.partition()}"
        match error.code():
            case KafkaError.OFFSET_OUT_OF_RANGE | KafkaError._AUTO_OFFSET_RESET:
                raise LogGap(f"{where}: {error.str()}; the log was cut or rewritten.")
            case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_PARTITION | KafkaError._UNKNOWN_TOPIC:
                raise LogGap(f"{where} is gone: the topic was deleted.", remedy=GONE_REMEDY)
            case KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaUnreachable(f"{where} may not be read: {error.str()}.", remedy="See: accord topics acls.")
        if error.fatal():
            raise KafkaUnreachable(f"{where}: {error.str()}.")
        logger.debug("reading", where=where, why=error.str())

    def close(self) -> None:
        """Ends it; a helper that still waits for a broker ends by itself, within its time limit."""
        with self._lock:
            self._ended.set()
            helper = self._helper
        if helper is not None:
            helper.join(HELPER_JOIN_S)
        self.consumer.close()


def _raise(error: AccordError) -> None:
    raise error
