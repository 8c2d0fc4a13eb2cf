"""Answers from the events topics of the partitions that are waited on, read through the chain.

Rules that act here:
- A partition is followed from a confirmed decision before anything is asked of it, so no answer can be missed.
- A decision that nobody here waits for is dropped after the chain accepted it and before it is decoded.
- A log that was cut, rewritten or deleted fails loudly; a broker that is away is waited for.
"""

from __future__ import annotations

from typing import Any, Final

from accord.agents.connection.answers import Listener, Place
from accord.agents.connection.reader import Reader, quick
from accord.agents.connection.runtime import Runtime
from accord.streams.chain import Chain
from confluent_kafka import Consumer, KafkaException, TopicPartition

from accord import logs
from accord.errors import AccordError, Corrupt, LogGap
from accord.kafka import anchor, as_record, unreachable
from accord.settings import Settings

logger = logs.get("accord.client")

START_POLL_S: Final = 0.001
"""Longest sleep while the start of a partition is being looked for: somebody waits for it."""
GONE_REMEDY: Final = "See: accord topics list. What was decided is in archives only."


class EventsReader(Reader):
    """See `Answers`."""

    def __init__(self, settings: Settings, listener: Listener, runtime: Runtime) -> None:
        super().__init__(settings, listener, quick(settings.kafka), GONE_REMEDY, runtime)
        self._chains: dict[tuple[str, int], tuple[str, Chain]] = {}
        self._starting: set[Place] = set()

    def open(self, found: Any) -> None:
        self._cluster = str(found.cluster_id)

    # -- what may block: on the helper thread

    def start(self, place: Place) -> bool:
        self._starting.add(place)
        self._lookups.later(lambda client: self._start(client, place))
        return False

    def look_for(self, place: Place, cause: int | None) -> None:
        self.check()

    def _start(self, client: Consumer, place: Place) -> None:
        topic, partition, root = self._root(place)
        error: AccordError
        try:
            found = anchor(client, topic, partition, root)
            self._lookups.ready(lambda: self._follow(place, topic, *found))
            return
        except AccordError as problem:
            error = problem
        except KafkaException:
            error = unreachable(self._settings.kafka)
        except Exception as bug:
            logger.exception("a bug in accord: the start of a partition was not found")
            error = Corrupt(f"{topic}/{partition} cannot be followed: {bug!r}.")
        self._lookups.ready(lambda: self._not_started(place, error))

    def _missing(self, found: Any) -> LogGap | None:
        for topic, partition in list(self._chains):
            if topic not in found.topics or partition not in found.topics[topic].partitions:
                return LogGap(f"{topic}/{partition} is gone: the topic was deleted.", remedy=GONE_REMEDY)
        return None

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
        topic, partition, _ = self._root(place)
        if self._chains.pop((topic, partition), None) is not None:
            self.consumer.incremental_unassign([TopicPartition(topic, partition)])

    def poll(self, timeout_s: float) -> None:
        super().poll(min(timeout_s, START_POLL_S) if self._starting else timeout_s)

    def _take(self, message: Any) -> None:
        followed = self._chains.get((message.topic(), message.partition()))
        if followed is None:
            return
        domain, chain = followed
        decision = chain.accept(as_record(message))
        if decision is not None and self._listener.wants(domain, decision):
            self._listener.take((domain, message.partition()), decision)
