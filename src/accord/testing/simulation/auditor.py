"""Who reads every event as it lands, from the first on: what he accepts is the truth of a run."""

from __future__ import annotations

from accord.schemas.headers import Confirmed, LogRecord
from accord.streams.chain import Chain, Decision
from accord.streams.partition import Identity
from accord.testing.simulation.log import Log


class Truth:
    """The accepted decisions of one partition. `accepted[n]` is decision n + 1."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.chain = Chain(identity.root)
        self.accepted: list[Decision] = []
        self.orders: list[int] = []
        """Of each accepted decision, its place among those of all partitions."""

    def confirms(self, pointer: Confirmed) -> bool:
        """Whether a pointer is one to an accepted decision."""
        if not 0 < pointer.seq <= len(self.accepted):
            return False
        decision = self.accepted[pointer.seq - 1]
        return (decision.offset, decision.digest) == (pointer.offset, pointer.digest)


class Auditor:
    """The truth of every partition of events."""

    def __init__(self, log: Log, domains: list[str]) -> None:
        self.truths: dict[tuple[str, int], Truth] = {}
        self._by_topic: dict[tuple[str, int], Truth] = {}
        for domain in domains:
            for partition in range(log.partitions):
                identity = Identity(log.cluster, domain, partition)
                truth = Truth(identity)
                self.truths[domain, partition] = truth
                self._by_topic[f"accord.{domain}.events.v1", partition] = truth
        self._count = 0
        log.on_append(self._appended)

    def _appended(self, topic: str, partition: int, record: LogRecord) -> None:
        truth = self._by_topic.get((topic, partition))
        if truth is not None:
            decision = truth.chain.accept(record)
            if decision is not None:
                truth.accepted.append(decision)
                truth.orders.append(self._count)
                self._count += 1
