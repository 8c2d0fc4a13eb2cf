"""Answers from the events topics of the partitions that are waited on, read through the chain.

Rules that act here:
- A partition is followed from a confirmed decision before anything is asked of it, so no answer can be missed.
- A decision that nobody here waits for is dropped after the chain accepted it and before it is decoded.
- A log that was cut, rewritten or deleted fails loudly; a broker that is away is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from accord.agents.connection.answers import Listener, Place
from accord.agents.connection.lookups import Lookups, another_cluster, recall
from accord.schemas.topics import events_topic
from accord.streams.chain import Chain, Decision, genesis
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from accord import logs
from accord.errors import AccordError, Corrupt, KafkaUnreachable, LogGap
from accord.kafka import anchor, as_record, consumer, metadata, unreachable
from accord.settings import KafkaSettings, Settings

logger = logs.get("accord.client")

FETCH_WAIT_MS_MAX: Final = 100
"""A partition that is added is not fetched before the fetch under way returns, so that must not wait long."""
BATCH_RECORDS: Final = 1_000
START_POLL_S: Final = 0.001
"""Longest sleep while the start of a partition is being looked for: somebody waits for it."""
GONE_REMEDY: Final = "See: accord topics list. What was decided is in archives only."


class EventsReader:
    """See `Answers`."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._kafka = quick(settings.kafka)
        self.consumer: Consumer = consumer(self._kafka)
        self._cluster = ""
        self._chains: dict[tuple[str, int], tuple[str, Chain]] = {}
        self._starting: set[Place] = set()
        self._lookups = Lookups(self._kafka)

    def open(self, found: Any) -> None:
        self._cluster = str(found.cluster_id)

    # -- what may block: on the helper thread

    def start(self, place: Place) -> bool:
        self._starting.add(place)
        self._lookups.later(lambda client: self._start(client, place))
        return False

    def recall(self, place: Place, cause: int, found: Callable[[Decision | None], None]) -> None:
        def job(client: Consumer) -> None:
            topic, root = self._root(place)
            known = recall(client, topic, place[1], root, cause)
            self._lookups.ready(lambda: found(known and known[0]))

        self._lookups.later(job)

    def look_for(self, place: Place, cause: int | None) -> None:
        self.check()

    def check(self) -> None:
        """librdkafka says nothing when a topic that it reads from is deleted."""
        self._lookups.check(self._gone)

    def _start(self, client: Consumer, place: Place) -> None:
        topic, root = self._root(place)
        error: AccordError
        try:
            found = anchor(client, topic, place[1], root)
            self._lookups.ready(lambda: self._follow(place, topic, *found))
            return
        except AccordError as problem:
            error = problem
        except KafkaException:
            error = unreachable(self._kafka)
        except Exception as bug:
            logger.exception("a bug in accord: the start of a partition was not found")
            error = Corrupt(f"{topic}/{place[1]} cannot be followed: {bug!r}.")
        self._lookups.ready(lambda: self._not_started(place, error))

    def _gone(self, client: Consumer) -> LogGap | None:
        found = metadata(client, self._kafka)
        other = another_cluster(str(found.cluster_id), self._cluster)
        if other is not None:
            return other
        for topic, partition in list(self._chains):
            if topic not in found.topics or partition not in found.topics[topic].partitions:
                return LogGap(f"{topic}/{partition} is gone: the topic was deleted.", remedy=GONE_REMEDY)
        return None

    def _root(self, place: Place) -> tuple[str, bytes]:
        topic = events_topic(place[0], self._settings.topics.prefix)
        return topic, genesis(self._cluster, topic, place[1])

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
        self._lookups.deliver()
        message = self.consumer.poll(min(timeout_s, START_POLL_S) if self._starting else timeout_s)
        if message is None:
            return
        self._read(message)
        for further in self.consumer.consume(BATCH_RECORDS, 0):
            self._read(further)

    def _read(self, message: Any) -> None:
        if message.error() is not None:
            raise_if_lost(message, GONE_REMEDY)
            return
        followed = self._chains.get((message.topic(), message.partition()))
        if followed is None:
            return
        domain, chain = followed
        decision = chain.accept(as_record(message))
        if decision is not None and self._listener.wants(domain, decision):
            self._listener.take((domain, message.partition()), decision)

    def close(self) -> None:
        self._lookups.close()
        self.consumer.close()


def quick(kafka: KafkaSettings) -> KafkaSettings:
    """The settings for a client on whose fetches somebody waits."""
    return kafka.model_copy(update={"fetch_wait_ms": min(kafka.fetch_wait_ms, FETCH_WAIT_MS_MAX)})


def raise_if_lost(message: Any, gone_remedy: str) -> None:
    """Raises for an error of a consumer after which the partition cannot be followed any more."""
    error = message.error()
    where = f"{message.topic()}/{message.partition()}"
    match error.code():
        case KafkaError.OFFSET_OUT_OF_RANGE | KafkaError._AUTO_OFFSET_RESET:
            raise LogGap(f"{where}: {error.str()}; the log was cut or rewritten.")
        case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_PARTITION | KafkaError._UNKNOWN_TOPIC:
            raise LogGap(f"{where} is gone: the topic was deleted.", remedy=gone_remedy)
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaUnreachable(f"{where} may not be read: {error.str()}.", remedy="See: accord topics acls.")
    if error.fatal():
        raise KafkaUnreachable(f"{where}: {error.str()}.")
    logger.debug("reading", where=where, why=error.str())
