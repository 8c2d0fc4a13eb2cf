"""What a processor counts while it decides; `collector` tells it to Prometheus.

It is counted by the turn, not by the command, in plain numbers: all of it happens on the worker's event loop, and is
read there, too.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from accord.schemas.headers import Record
from accord.schemas.messages import Event
from accord.schemas.messages.log import CommandRejected
from accord.streams.decider import Domain, names_of
from accord.streams.owner import Append

from accord.metrics import SECONDS

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
TURN_SECONDS: Final = (0.0001, 0.00025, 0.0005, *SECONDS[:9])
TYPES_MAX: Final = 1_000
"""Types of decisions that are counted one by one before they are summed up: those of tasks are without number."""


class Buckets:
    """A histogram. Its bounds are upper ones, each included."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Final = tuple(bounds)
        self.counts: Final = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class DomainMetrics:
    """The figures of one domain in one worker.

    Args:
        clock_ms: the time that records get now, in ms since 1970.
    """

    def __init__(self, domain: Domain, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        rejections: frozenset[type[Event]] = frozenset({CommandRejected, *domain.dead_letters})
        self._letters = names_of(rejections)
        self._types: Counter[bytes] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._dead_letters: Counter[str] = Counter()
        self._unconfirmed: dict[int, deque[tuple[int, int]]] = {}
        self._checkpoints_at: dict[int, float] = {}
        self.turns = Buckets(TURN_SECONDS)
        self.sizes = Buckets(SIZES)
        self.confirmed_after = Buckets(SECONDS)
        self.checkpoints = Buckets(SECONDS)
        self.recoveries = {"checkpoint": Buckets(SECONDS), "events": Buckets(SECONDS)}
        self.contests: Counter[str] = Counter(settled=0, lost=0)
        self.halts = 0
        self.assignments = 0

    # -- told while it works

    def decided(self, index: int, appends: Sequence[Append], records: Sequence[Record], began_s: float) -> None:
        """A turn is over.

        Args:
            records: the commands of the turn.
            began_s: when it began, by `time.perf_counter`.
        """
        if not appends:
            return
        self.turns.observe(time.perf_counter() - began_s)
        self.sizes.observe(len(appends))
        self._types.update([append.decided.decision.type for append in appends])
        if len(self._types) > TYPES_MAX:
            self._sum_up()
        seq = appends[-1].decided.decision.seq
        self._unconfirmed.setdefault(index, deque()).append((seq, records[0].timestamp))

    def confirmed(self, index: int, seq: int) -> None:
        """The decisions up to this number are. Of each turn, the command counts that lay in the log for longest."""
        waiting = self._unconfirmed.get(index)
        while waiting and waiting[0][0] <= seq:
            _, timestamp_ms = waiting.popleft()
            self.confirmed_after.observe(max(0.0, (self._clock_ms() - timestamp_ms) / 1_000))

    def recovered(self, index: int, *, used_checkpoint: bool, began_s: float) -> None:
        """A partition was loaded; `began_s` by `time.monotonic`."""
        self._unconfirmed.pop(index, None)
        self._checkpoints_at[index] = time.monotonic()
        self.recoveries["checkpoint" if used_checkpoint else "events"].observe(time.monotonic() - began_s)

    def checkpointed(self, index: int, began_s: float) -> None:
        """A checkpoint was written; `began_s` by `time.monotonic`."""
        self._checkpoints_at[index] = time.monotonic()
        self.checkpoints.observe(time.monotonic() - began_s)

    # -- asked by who reads it

    def checkpoint_age_s(self, index: int) -> float:
        """Since its last checkpoint, or since it was loaded."""
        return time.monotonic() - self._checkpoints_at.get(index, time.monotonic())

    @property
    def outcomes(self) -> Counter[str]:
        """Commands decided, by the first event of the decision."""
        self._sum_up()
        return self._outcomes

    @property
    def events(self) -> Counter[str]:
        """Events decided, by name."""
        self._sum_up()
        return self._events

    @property
    def dead_letters(self) -> Counter[str]:
        """Events that go to the dead letters, by name."""
        self._sum_up()
        return self._dead_letters

    def _sum_up(self) -> None:
        for decision_type, count in self._types.items():
            names = _names(decision_type)
            self._outcomes[next(iter(names))] += count
            for name in names:
                self._events[name] += count
                if name.encode() in self._letters:
                    self._dead_letters[name] += count
        self._types.clear()


def _names(decision_type: bytes) -> list[str]:
    """The events of a decision; `Nothing` where there is none."""
    return decision_type.rpartition(b".")[2].decode().split("+")


def cumulative(buckets: Iterable[Buckets]) -> tuple[list[tuple[str, float]], float]:
    """Histograms of the same bounds as Prometheus has one: how many lie at or below each bound, and their sum."""
    told = list(buckets)
    total, pairs = 0, []
    for place, bound in enumerate((*told[0].bounds, float("inf"))):
        total += sum(one.counts[place] for one in told)
        pairs.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return pairs, sum(one.sum for one in told)
