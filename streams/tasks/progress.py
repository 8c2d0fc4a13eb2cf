"""How far the steps of a task are: persistent, so that `decide` can try events out; what a command asks takes O(log n).

Steps are named by their numbers in the graph; one of which nothing is known waits for those before it. Which step is
due next is told by a heap whose outdated entries are dropped when they come to the top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from accord.schemas.messages.tasks import EndedRun, Outcome, Payload, Slot
from accord.schemas.structs import prepared
from accord.streams.heap import Heap, with_entry, without_first
from immutables import Map

PENDING: Final = "pending"
READY: Final = "ready"
RUNNING: Final = "running"
RETRYING: Final = "retrying"
FAILING: Final = "failing"
"""Within a decision: it is going to be given up."""
COMPLETED: Final = "completed"
FAILED: Final = "failed"
TIMED_OUT: Final = "timed_out"
SKIPPED: Final = "skipped"
BLOCKED: Final = "blocked"

ENDED: Final = frozenset({COMPLETED, FAILED, TIMED_OUT, SKIPPED, BLOCKED})
GIVEN_UP: Final = frozenset({FAILED, TIMED_OUT, SKIPPED})


class Progress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of a step.

    `attempt` counts the requests for an agent, `tries` the runs, `failures` and `losses` what ended badly since it was
    begun or retried by hand. `due_ms` is when something happens of itself: it has waited or run for too long, or is run
    again. `since_ms` is since when it waits for an agent; `untaken` that the last request for one brought none, so that
    it waits since then; `retried` that a person had it run again, or what it needs, after which its deadline does not
    count any more. `runs` are those that ended without a result, the last ones.
    """

    status: str
    attempt: int = 0
    tries: int = 0
    failures: int = 0
    losses: int = 0
    agent: str = ""
    member: str = ""
    token: int = 0
    slot: Slot | None = None
    capabilities: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    since_ms: int = 0
    due_ms: int | None = None
    ended_ms: int | None = None
    untaken: bool = False
    retried: bool = False
    result: Payload | None = None
    reason: str = ""
    error_type: str = ""
    error: str = ""
    runs: tuple[EndedRun, ...] = ()


_STEPS: Final = prepared(list[tuple[int, Progress]])


class Steps:
    """The progress of steps, by number. Iterating gives (number, progress) in the order of the numbers."""

    __slots__ = ("_due", "_known")

    def __init__(self, known: Map[int, Progress], due: Heap) -> None:
        self._known = known
        self._due = due

    @classmethod
    def of(cls, items: Iterable[tuple[int, Progress]]) -> Steps:
        known, due = Map(items), None  # type: tuple[Map[int, Progress], Heap]
        for number, progress in known.items():
            if progress.due_ms is not None:
                due = with_entry(due, progress.due_ms, number)
        return cls(known, due)

    @classmethod
    def restored(cls, plain: list[Any]) -> Steps:
        """From its dump. Raises msgspec.ValidationError: it is none."""
        return cls.of(msgspec.convert(plain, _STEPS))

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[int, Progress]]:
        return iter(sorted(self._known.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steps) and self._known == other._known

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Steps({list(self)!r})"

    def __getitem__(self, number: int) -> Progress:
        return self._known.get(number, _UNKNOWN)

    @property
    def due_ms(self) -> int | None:
        """When the first of them is due."""
        return None if self._due is None else self._due[1][0]

    def due(self, now_ms: int) -> Iterator[int]:
        """Those that are due by now, in order of (time, number)."""
        heap, before = self._due, None
        while heap is not None and heap[1][0] <= now_ms:
            if self._is_true(heap[1]) and heap[1] != before:
                yield heap[1][1]
            before, heap = heap[1], without_first(heap)

    def put(self, number: int, progress: Progress) -> Steps:
        """With this progress of a step."""
        made = Steps(self._known.set(number, progress), self._due)
        if progress.due_ms is not None:
            made._due = with_entry(made._due, progress.due_ms, number)
        while made._due is not None and not made._is_true(made._due[1]):
            made._due = without_first(made._due)
        return made

    def never_due(self) -> Steps:
        """Without anything that happens of itself."""
        return Steps.of((number, msgspec.structs.replace(progress, due_ms=None)) for number, progress in self)

    def _is_true(self, entry: tuple[int, int]) -> bool:
        return self._known[entry[1]].due_ms == entry[0]


_UNKNOWN: Final = Progress(PENDING)
NO_STEPS: Final = Steps(Map(), None)


class Counts:
    """A number for some steps, by the step's number. Iterating gives pairs in the order of the steps."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Map[int, int]) -> None:
        self._counts = counts

    @classmethod
    def restored(cls, plain: list[Any]) -> Counts:
        """From its dump. Raises msgspec.ValidationError: it is none."""
        return cls(Map(msgspec.convert(plain, list[tuple[int, int]])))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(sorted(self._counts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Counts({list(self)!r})"

    def get(self, number: int, default: int) -> int:
        return self._counts.get(number, default)

    def put(self, number: int, count: int) -> Counts:
        return Counts(self._counts.set(number, count))


NO_COUNTS: Final = Counts(Map())
