"""What a worker is able to do now: one word for it, how far its recovery is, and the reasons.

- `healthy`: all partitions that the group gave it decide, and the disk takes their tables.
- `degraded`: it goes on without something. Each reason says what, and where.
- `recovering`: partitions are not decided yet that will be. `stage` says how far it is: `read_only` (none decides, all
  can be read), `essentials` (those of `accord.schemas.topics.ESSENTIAL` decide), `full`.
- `unhealthy`: it decides nothing: no broker answers, it has failed, or all of its partitions are halted.

A partition leaves `recovering` by its gate alone (`processor.py`): its chain was followed to the log's end, its
checkpoint is what the log says or it was folded from its events, its next command is still there, its deadlines are
armed. One that does not pass is `halted`.

Pure: `Health` is a function of `Facts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from accord.schemas.topics import ESSENTIAL

Status = Literal["healthy", "degraded", "recovering", "unhealthy"]
Stage = Literal["read_only", "essentials", "full"]
State = Literal["recovering", "deciding", "waiting", "halted"]

STATUSES: Final[tuple[Status, ...]] = ("healthy", "degraded", "recovering", "unhealthy")
STAGES: Final[tuple[Stage, ...]] = ("read_only", "essentials", "full")
REASONS_MAX: Final = 20
"""Reasons that are told one by one; of more, the first and how many there are."""
SERVICE: Final = "worker"


class PartitionFact(NamedTuple):
    """A partition that the group gave this worker. `waiting`: for something outside the log. `behind`: commands that
    were in the log when it was taken on are not decided yet."""

    domain: str
    partition: int
    state: State
    why: str = ""
    behind: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a worker.

    Args:
        assigned: the group has given it partitions, if only none.
        failure: what ended it; empty: nothing has.
        kafka: why no broker answers; empty: one does.
        partitions: those that it was given.
        in_memory: tables that the disk does not take, as `locks/3`, and why.
    """

    assigned: bool
    failure: str = ""
    kafka: str = ""
    partitions: Sequence[PartitionFact] = ()
    in_memory: Mapping[str, str] = field(default_factory=dict)


class Reason(NamedTuple):
    """What is not as it should be: `kafka`, `worker`, `disk`, `waiting` or `halted`; of which partition, and why."""

    what: str
    where: str
    why: str


@dataclass(frozen=True)
class Health:
    """See the module's text. `ready`: it decides all that it was given, but for what halted, and has caught up."""

    status: Status
    stage: Stage
    ready: bool
    partitions: Mapping[str, int]
    reasons: tuple[Reason, ...]

    @property
    def serves(self) -> bool:
        return self.status in ("healthy", "degraded")

    def as_json(self) -> dict[str, Any]:
        """As `/health` tells it."""
        told = [reason._asdict() for reason in self.reasons[:REASONS_MAX]]
        return {
            "status": self.status, "service": SERVICE, "stage": self.stage, "ready": self.ready,
            "partitions": dict(self.partitions), "reasons": told, "reasons_count": len(self.reasons),
        }  # fmt: skip


def judge(facts: Facts) -> Health:
    """What follows from what is known."""
    states = Counter(one.state for one in facts.partitions)
    reasons = tuple(_reasons(facts))
    essential = [one for one in facts.partitions if one.domain in ESSENTIAL]
    stage: Stage
    if not facts.assigned or any(one.state == "recovering" for one in essential):
        stage = "read_only"
    elif not states["recovering"]:
        stage = "full"
    else:
        stage = "essentials" if essential else "read_only"
    status: Status
    if facts.failure or facts.kafka or (facts.partitions and states["halted"] == len(facts.partitions)):
        status = "unhealthy"
    elif stage != "full":
        status = "recovering"
    else:
        status = "degraded" if reasons else "healthy"
    ready = status in ("healthy", "degraded") and not any(one.behind for one in facts.partitions)
    return Health(status, stage, ready, dict(sorted(states.items())), reasons)


def _reasons(facts: Facts) -> list[Reason]:
    found = [Reason("worker", "", facts.failure)] if facts.failure else []
    if facts.kafka:
        found.append(Reason("kafka", "", facts.kafka))
    for one in sorted(facts.partitions):
        if one.state in ("halted", "waiting"):
            found.append(Reason(one.state, f"{one.domain}/{one.partition}", one.why))
    found += [Reason("disk", where, why) for where, why in sorted(facts.in_memory.items())]
    return found
