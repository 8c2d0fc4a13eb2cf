"""Answers from the agent's inbox: notices that workers send of confirmed decisions, to those whom they concern.

Rules that act here:
- The inbox is read from the end that it had before the first command was sent, so no answer can be missed.
- Notices come at least once, those of one partition in the order of its decisions; after a failover some come again.
  One whose number is not above the last one's of its partition is dropped.
- A notice for others is dropped after a look at its key, one that nobody here waits for before it is decoded.
- An inbox that was cut behind the reader, or deleted, fails loudly; so does a decision of a worker that sends none.
- What must be found again (the first decision on a repeated command) is looked for in the events.
"""

from __future__ import annotations

from typing import Any, Final

from accord.agents.connection.answers import Listener, Place
from accord.agents.connection.lookups import recall
from accord.agents.connection.reader import Reader
from accord.agents.connection.runtime import Runtime
from accord.schemas.inbox import inbox_of
from accord.schemas.position import Position
from accord.schemas.topics import inbox_topic
from accord.streams.notices import decision_of, place_of
from confluent_kafka import Consumer, TopicPartition

from accord import logs
from accord.errors import AccordError, ConfigError, LogGap
from accord.kafka import as_record, bounds
from accord.settings import Settings

logger = logs.get("accord.client")

GONE_REMEDY: Final = "Notices may have been missed: open a new connection; what was asked is in the log."


class InboxReader(Reader):
    """See `Answers`.

    Args:
        address: of the agent.
    """

    def __init__(self, settings: Settings, listener: Listener, address: str, runtime: Runtime) -> None:
        super().__init__(settings, listener, settings.kafka, GONE_REMEDY, runtime)
        self._topic = inbox_topic(settings.topics.prefix)
        self._address = address
        self._for = address.encode()
        self._count = 0
        self._looking = False
        self._heard: dict[Place, int] = {}

    def open(self, found: Any) -> None:
        self._cluster = str(found.cluster_id)
        there = found.topics.get(self._topic)
        self._count = len(there.partitions) if there is not None else 0
        if self._count == 0:
            raise ConfigError(
                f'client.answers="inbox", but {self._topic} does not exist.',
                remedy='accord topics init --inbox, then restart the workers; or client.answers="events".',
            )
        partition = inbox_of(self._address, self._count)
        _, end = bounds(self.consumer, self._topic, partition)
        self.consumer.assign([TopicPartition(self._topic, partition, end)])

    def start(self, place: Place) -> bool:
        return True

    def stop(self, place: Place) -> None:
        """There is nothing to stop: the inbox is read anyway."""

    # -- what may block: on the helper thread

    def look_for(self, place: Place, cause: int | None) -> None:
        """A decision of a worker that sends no notices says so itself. One look at a time: it may read much."""
        self.check()
        if cause is None or self._looking:
            return
        self._looking = True

        def job(client: Consumer) -> None:
            try:
                untold = self._untold(client, place, cause)
            finally:
                self._looking = False
            if untold is not None:
                self._lookups.fail(untold)

        self._lookups.later(job)

    def _untold(self, client: Consumer, place: Place, cause: int) -> AccordError | None:
        known = recall(client, *self._root(place), cause)
        if known is None or known[1]:
            return None
        at = Position(*place, known[0].offset)
        return ConfigError(
            f'client.answers="inbox", but the worker that decided {at} sends no notices.',
            remedy='Restart the workers: they look for the inbox when they start. Or client.answers="events".',
            position=str(at),
        )

    def _missing(self, found: Any) -> LogGap | None:
        there = found.topics.get(self._topic)
        if there is None or not there.partitions:
            return LogGap(f"{self._topic} is gone: the topic was deleted.", remedy=GONE_REMEDY)
        if len(there.partitions) != self._count:
            return LogGap(
                f"{self._topic} has {len(there.partitions)} partitions, it had {self._count}.", remedy=GONE_REMEDY
            )
        return None

    # -- notices: on the thread that polls, which alone touches the consumer

    def _take(self, message: Any) -> None:
        if self._for not in (message.key() or b""):
            return
        notice = as_record(message)
        try:
            position, seq = place_of(notice)
            place = position.domain, position.partition
            if seq <= self._heard.get(place, 0):
                return
            decision = decision_of(notice, position, self._root(place)[2])
        except ValueError as error:
            logger.warning("what lies in the inbox is no notice", offset=notice.offset, why=str(error))
            return
        self._heard[place] = seq
        if self._listener.wants(position.domain, decision):
            self._listener.take(place, decision)
