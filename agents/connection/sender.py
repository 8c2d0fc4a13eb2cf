"""The sending half of a connection: one producer, and the agent's vector clock.

Rules that act here:
- Partitions are chosen here, by murmur2; all commands of an agent to one partition go through one producer, in order.
- The clock has one entry for this incarnation of the agent. It advances at each send and is merged with the clock of
  each decision that is handed to somebody.
- The delivery timeout is shorter than the wait for a decision, so a failed delivery is known before the wait ends.
- A producer that failed for good is replaced.

`send` and `received` are called under the connection's lock, `poll` and `close` on its thread without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from accord.agents.connection.runtime import ON_KAFKA, Runtime
from accord.agents.connection.underway import Underway
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.topics import DOMAINS, commands_topic
from confluent_kafka import KafkaError, KafkaException, Producer

from accord import logs
from accord.errors import Overloaded
from accord.settings import Settings

logger = logs.get("accord.client")

DELIVERY_SHARE: Final = 0.9
"""The delivery timeout, as a share of the wait for a decision."""
TOPIC_UNKNOWN_MS: Final = 5_000
"""For this long after the producer first met a topic, brokers may not know it yet; later, it is gone."""
AGENT_BYTES_IN_CLOCK: Final = 100
"""So much of an agent's name stands in vector clocks; quoted, it is within the clock's bound on names."""

Report = Callable[[Underway, "KafkaError | None", Any], None]


class Sender:
    """Produces commands.

    Args:
        timestamp_ms: gives the time of each command, in ms since 1970; None: the broker's clock.
        report: called by `poll` with a command and the error of its delivery, or None and the message.
        runtime: makes its producers.
    """

    def __init__(
        self,
        settings: Settings,
        agent: str,
        timestamp_ms: Callable[[], int] | None,
        report: Report,
        runtime: Runtime = ON_KAFKA,
    ) -> None:
        shown = agent.encode()[:AGENT_BYTES_IN_CLOCK].decode(errors="ignore")
        self.incarnation = f"{shown}#{runtime.new_id()[-8:]}"
        self._runtime = runtime
        self._settings = settings
        self._agent = agent
        self._timestamp_ms = timestamp_ms
        self._report = report
        self._topics = {domain: commands_topic(domain, settings.topics.prefix) for domain in DOMAINS}
        self._clock = VectorClock()
        self._producer: Producer = self._new()

    def _new(self) -> Producer:
        timeout_ms = int(self._settings.client.worker_wait_ms * DELIVERY_SHARE)
        return self._runtime.producer(
            self._settings.kafka,
            message_timeout_ms=timeout_ms,
            topic_metadata_propagation_max_ms=TOPIC_UNKNOWN_MS,
        )

    def send(self, underway: Underway) -> None:
        """Hands a command to the producer; does not block.

        Raises:
            Overloaded: the producer's queue is full.
            BadInput: the command is too large.
        """
        domain, partition = underway.place
        codec = commands_codec(domain)
        clock = self._clock.advanced(self.incarnation)
        headers = command_headers(
            underway.id, self._agent, codec.type_name(underway.command), clock.encode(), underway.task, underway.trace
        )
        try:
            self._producer.produce(
                self._topics[domain],
                codec.encode(underway.command),
                underway.key.encode(),
                partition,
                on_delivery=lambda error, message: self._report(underway, error, message),
                timestamp=self._timestamp_ms() if self._timestamp_ms is not None else 0,
                headers=headers,  # type: ignore[arg-type]
            )
        except BufferError:
            raise Overloaded(f"{underway}: the producer's queue is full.", key=underway.key) from None
        except KafkaException as problem:
            raise underway.undeliverable(problem.args[0]) from problem
        underway.sent = True
        self._clock = clock

    def received(self, clock: bytes) -> None:
        """Merges the clock of a decision that somebody here was told."""
        with suppress(ValueError):
            self._clock = self._clock.merge(VectorClock.decode(clock), keep=self.incarnation)

    def poll(self) -> None:
        """Hands the reports that came to `report`; replaces a producer that has failed."""
        try:
            self._producer.poll(0)
        except KafkaException as problem:
            if not problem.args[0].fatal():
                raise
            logger.warning("the producer failed and is replaced", agent=self._agent, why=problem.args[0].str())
            failed, self._producer = self._producer, self._new()
            _drain(failed, 0)

    def close(self, timeout_s: float) -> None:
        """Waits for the delivery of what was sent; what is not delivered by then is given up."""
        _drain(self._producer, timeout_s)


def _drain(ended: Producer, timeout_s: float) -> None:
    """Waits for reports, then has all that is left reported as failed."""
    with suppress(KafkaException):  # a failed producer says so again
        ended.flush(timeout_s)
    ended.purge()
    with suppress(KafkaException):
        ended.flush(0)
