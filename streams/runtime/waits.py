"""What a partition tells the graph of all waits (`accord.streams.waits`): who waits in it and holds something else.

Each lock or pool is told whole, and again when it changed, at most every `ROUND_S`: so a report may be lost with its
worker or come twice. After an assignment all is told anew. A partition in which nobody waits so tells nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.waits import GRAPH, ForgetWaits, ReportWaits
from accord.schemas.topics import commands_topic, partition_of
from accord.streams.chain import Decision
from accord.streams.decider import Contention, Waits, holds, names_of
from accord.streams.partition import Partition
from accord.streams.runtime.followups import Addressed
from accord.streams.runtime.machine import Machine

ROUND_S: Final = 0.02
COST_SHARE: Final = 10
"""A round that took long is followed by a pause of so many times as long: queues of thousands are looked through."""
_NOBODY: Final = Waits((), ())
_CODEC: Final = commands_codec("waits")


class WaitReports:
    """The reports of one partition.

    Args:
        contention: how its aggregates tell who waits.
        partition_count: of the commands topic of the waits domain.
        machine: time, and ids of the reports.
    """

    def __init__(self, contention: Contention, partition_count: int, machine: Machine = Machine()) -> None:  # noqa: B008
        self._machine = machine
        self._waits = contention.waits
        self._partition_count = partition_count
        self._begins = lru_cache(1_024)(_Begins(contention))
        self._changed: set[str] = set()
        self._told: set[str] = set()
        """Whose last report named somebody who waits."""
        self._due_s = 0.0

    def note(self, decision: Decision) -> None:
        """A decision was made; it may change who waits."""
        if self._begins(decision.type) or (self._told and decision.key.decode() in self._told):
            self._changed.add(decision.key.decode())

    def due_in_s(self) -> float | None:
        """Seconds until something is to be told; None: nothing is."""
        return max(0.0, self._due_s - self._machine.time_s()) if self._changed else None

    def take(self, partition: Partition) -> list[Addressed]:
        """What is to be told of the partition as it stands."""
        began = self._machine.time_s()
        reports = []
        for key in sorted(self._changed):
            state = partition.aggregates.get(key)
            waits = None if state is None else self._waits(state)
            if waits is not None or key in self._told:
                reports.append(self._report(partition, key, waits or _NOBODY))
        self._changed.clear()
        ended = self._machine.time_s()
        self._due_s = ended + max(ROUND_S, COST_SHARE * (ended - began))
        return reports

    def anew(self, partition: Partition) -> list[Addressed]:
        """What is to be told of a partition that was assigned just now: that what another worker has told is outdated.
        What is true now follows with the next round, when the other partitions have told so, too."""
        self._told.clear()
        self._changed.clear()
        self._changed.update(key for key, state in partition.aggregates.items() if self._waits(state) is not None)
        self._due_s = self._machine.time_s() + ROUND_S
        return [self._addressed(partition, ForgetWaits(partition.name, partition.head.seq))]

    def _report(self, partition: Partition, key: str, waits: Waits) -> Addressed:
        if waits.waiters:
            self._told.add(key)
        else:
            self._told.discard(key)
        domain, seq = partition.domain.name, partition.head.seq
        return self._addressed(partition, ReportWaits(domain, key, partition.name, seq, *waits))

    def _addressed(self, partition: Partition, command: Command) -> Addressed:
        key = GRAPH.encode()
        source, clock = f"accord/{partition.name}", partition.clock.encode()
        return Addressed(
            commands_topic("waits", partition.identity.prefix),
            partition_of(key, self._partition_count),
            key,
            _CODEC.encode(command),
            command_headers(f"waits-{self._machine.new_id()}", source, _CODEC.type_name(command), clock),
        )


class _Begins:
    """Whether somebody may wait after a decision of some type."""

    def __init__(self, contention: Contention) -> None:
        self._names = names_of(contention.begins)

    def __call__(self, decision_type: bytes) -> bool:
        return holds(decision_type, self._names)
