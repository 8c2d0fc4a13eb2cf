"""What both sources of answers share: polling, looking things up in the log, and noticing that it cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from accord.agents.connection.answers import Listener, Place
from accord.agents.connection.lookups import Lookups, another_cluster, recall
from accord.agents.connection.runtime import Runtime
from accord.schemas.topics import events_topic
from accord.streams.chain import Decision, genesis
from confluent_kafka import Consumer, KafkaError

from accord import logs
from accord.errors import AccordError, KafkaUnreachable, LogGap
from accord.kafka import metadata
from accord.settings import KafkaSettings, Settings

logger = logs.get("accord.client")

BATCH_RECORDS: Final = 1_000
FETCH_WAIT_MS_MAX: Final = 100
"""A partition that is added is not fetched before the fetch under way returns, so that must not wait long."""


class Reader(ABC):
    """See `Answers`.

    Args:
        kafka: of the consumer that is polled.
        gone_remedy: what to do when what is read is gone.
        runtime: makes consumers, and runs what may block.
    """

    def __init__(
        self, settings: Settings, listener: Listener, kafka: KafkaSettings, gone_remedy: str, runtime: Runtime
    ) -> None:
        self.consumer: Consumer = runtime.consumer(kafka)
        self._settings = settings
        self._listener = listener
        self._gone_remedy = gone_remedy
        self._cluster = ""
        self._lookups = Lookups(quick(settings.kafka), runtime)

    @abstractmethod
    def _missing(self, found: Any) -> LogGap | None:
        """What is missing of what is read, by the cluster's metadata."""

    @abstractmethod
    def _take(self, message: Any) -> None:
        """Takes a record in."""

    # -- what may block: on the helper thread

    def recall(self, place: Place, cause: int, found: Callable[[Decision | None], None]) -> None:
        def job(client: Consumer) -> None:
            known = recall(client, *self._root(place), cause)
            self._lookups.ready(lambda: found(known and known[0]))

        self._lookups.later(job)

    def check(self) -> None:
        """librdkafka says nothing when a topic that it reads from is deleted."""
        self._lookups.check(self._gone)

    def _gone(self, client: Consumer) -> AccordError | None:
        found = metadata(client, self._settings.kafka)
        return another_cluster(str(found.cluster_id), self._cluster) or self._missing(found)

    def _root(self, place: Place) -> tuple[str, int, bytes]:
        """Topic, partition and genesis of the events."""
        topic = events_topic(place[0], self._settings.topics.prefix)
        return topic, place[1], genesis(self._cluster, topic, place[1])

    # -- on the thread that polls, which alone touches the consumer

    def poll(self, timeout_s: float) -> None:
        self._lookups.deliver()
        message = self.consumer.poll(timeout_s)
        if message is None:
            return
        self._read(message)
        for further in self.consumer.consume(BATCH_RECORDS, 0):
            self._read(further)

    def _read(self, message: Any) -> None:
        if message.error() is None:
            self._take(message)
        else:
            raise_if_lost(message, self._gone_remedy)

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
