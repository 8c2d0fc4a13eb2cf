"""What a source of answers does beside reading on, and what may block: on a thread that exists only while there is such
work. Results come back through `deliver`, on the thread that polls."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from accord.agents.connection.runtime import Joinable, Runtime
from accord.schemas.headers import INBOX
from accord.streams.chain import Chain, Decision, parse
from confluent_kafka import Consumer

from accord import logs
from accord.errors import AccordError, LogGap
from accord.kafka import bounds, metadata, read
from accord.settings import KafkaSettings

logger = logs.get("accord.client")

RECHECK_S: Final = 1.0
"""A topic that a broker does not know is asked for once more after this: the broker may have just started."""
RECALL_RECORDS: Final = 70_000
"""How far back the first decision on a repeated command is looked for: the window of known ids, and some."""
HELPER_JOIN_S: Final = 1.0

Job = Callable[[Consumer], None]


class Lookups:
    """Runs jobs one after the other, each with a consumer that is assigned to nothing."""

    def __init__(self, kafka: KafkaSettings, runtime: Runtime) -> None:
        self._kafka = kafka
        self._runtime = runtime
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._helper: Joinable | None = None
        self._ready: deque[Callable[[], None]] = deque()
        self._ended = runtime.event()

    def later(self, job: Job) -> None:
        """Has a job run; does nothing after the end. From any thread."""
        with self._lock:
            if self._ended.is_set():
                return
            self._jobs.append(job)
            if self._helper is None:
                self._helper = self._runtime.run(self._help, "accord-start")

    def ready(self, result: Callable[[], None]) -> None:
        """What a job wants done on the thread that polls."""
        self._ready.append(result)

    def deliver(self) -> None:
        """Does it; on the thread that polls.

        Raises:
            AccordError: what a job found wrong.
        """
        while self._ready:
            self._ready.popleft()()

    def check(self, what: Callable[[Consumer], AccordError | None]) -> None:
        """Has something looked at, twice if it seems wrong; if it is, `deliver` raises the error."""

        def job(client: Consumer) -> None:
            with suppress(AccordError):  # no broker answers: nothing is known
                wrong = what(client)
                if wrong is not None and not self._ended.wait(RECHECK_S):
                    wrong = what(client)
                if wrong is not None:
                    self.fail(wrong)

        self.later(job)

    def fail(self, error: AccordError) -> None:
        """Has `deliver` raise an error."""

        def report() -> None:
            raise error

        self.ready(report)

    def _help(self) -> None:
        client = self._runtime.consumer(self._kafka)
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

    def close(self) -> None:
        """Ends it; a helper that still waits for a broker ends by itself, within its time limit."""
        with self._lock:
            self._ended.set()
            helper = self._helper
        if helper is not None:
            helper.join(HELPER_JOIN_S)


def recall(client: Consumer, topic: str, partition: int, root: bytes, cause: int) -> tuple[Decision, bool] | None:
    """Looks in the log for the decision on the command at offset `cause`.

    Returns:
        The decision, and whether its writer sends notices; None when it is not there or cannot be read.
    """
    try:
        low, high = bounds(client, topic, partition)
        chain, offset = Chain(root), low
        if high - RECALL_RECORDS > low:
            (first,) = read(client, topic, partition, high - RECALL_RECORDS, high - RECALL_RECORDS + 1)
            confirmed = parse(root, first).confirmed
            if confirmed is None:
                return None
            chain, offset = Chain.anchored(root, confirmed), confirmed.offset
        for record in read(client, topic, partition, offset, high):
            decision = chain.accept(record)
            if decision is not None and decision.cause == cause:
                return decision, INBOX in dict(record.headers)
    except Exception as error:
        logger.warning("a decision could not be looked up", place=f"{topic}/{partition}", cause=cause, why=repr(error))
    return None


def another_cluster(found: str, expected: str) -> LogGap | None:
    """The error when not the cluster answers that was connected to."""
    return None if found == expected else LogGap(f"Another cluster answers: {found} in place of {expected}.")
