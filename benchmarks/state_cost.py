"""Cost of a commit to a scope of shared state: with many keys in the scope, with many scopes in the partition, and with
keys that a prefix was read over.

Through the pure partition: the commit is decided and applied, from the bytes of the command to those of the decision.
Each kind goes on in turn with much and with little of what it is about.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from statistics import median
from typing import Final

from accord.schemas.messages.state import ChangesCommitted, CommitChanges, SeenKey, SeenRange, Write

from benchmarks.alone import Alone
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 9_000
"""Keys of the large scope, of 10,000 that one may have; and scopes of the large partition."""
FEW: Final = 10
ROUNDS: Final = 20
ROUND_COMMITS: Final = 200
GROWTH_MAX: Final = 1.5
KINDS: Final = ("keys", "scopes", "predicate")


def benchmark(_: str, runs: int, size: int | None) -> list[Line]:
    """`size` is how many keys, and how many scopes, there are."""
    many = size or SIZE
    found: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
    for run in range(runs):
        desks = {
            "keys": (Desk(scopes=1, keys=many), Desk(scopes=1, keys=FEW)),
            "scopes": (Desk(scopes=many, keys=FEW), Desk(scopes=FEW, keys=FEW)),
        }
        desks["predicate"] = desks["keys"]
        gc.collect()
        for kind in KINDS:
            large, little = desks[kind]
            rounds = [(large.round_us(kind), little.round_us(kind)) for _ in range(ROUNDS)]
            at_many, at_few = [median(column) for column in zip(*rounds, strict=True)]
            found[kind].append(Sample(at_many, at_few))
            progress(f"state_cost {run + 1}/{runs} {kind}", us=at_many, few_us=at_few)
    goal = Goal("ratio", "<=", GROWTH_MAX)
    return [summary(f"state_{kind}", "CPU us a commit", found[kind], f"{FEW} of them", goal) for kind in KINDS]


class Desk(Alone):
    """So many scopes with so many keys each."""

    def __init__(self, *, scopes: int, keys: int) -> None:
        super().__init__("state")
        self.scopes, self.keys, self.sent = scopes, keys, 0
        for scope in range(scopes):
            for start in range(0, keys, FEW):
                self._commit(f"scope-{scope}", [Write(f"k/{n}", "put", "0") for n in range(start, start + FEW)])

    def round_us(self, kind: str) -> float:
        """CPU time a commit of a transaction that has read two keys, in one kind a prefix too, and writes both."""
        self.lap_s()
        for scope, one, other in self._places():
            state = self.partition.aggregates[scope]
            reads = tuple(SeenKey(item.key, item.version) for item in map(state.keys.get, (one, other)))
            ranges = (SeenRange("none/", state.version, False),) if kind == "predicate" else ()
            writes = [Write(key, "put", str(self.sent)) for key in (one, other)]
            self._commit(scope, writes, reads, ranges, state.version)
        return self.lap_s() / ROUND_COMMITS * 1e6

    def _places(self) -> Iterator[tuple[str, str, str]]:
        for number in range(ROUND_COMMITS):
            one = number * self.keys // ROUND_COMMITS
            yield f"scope-{number * self.scopes // ROUND_COMMITS}", f"k/{one}", f"k/{(one + 1) % self.keys}"

    def _commit(
        self,
        scope: str,
        writes: list[Write],
        reads: tuple[SeenKey, ...] = (),
        ranges: tuple[SeenRange, ...] = (),
        snapshot: int | None = None,
    ) -> None:
        """Commits. Raises RuntimeError: it was refused."""
        self.sent += 1
        isolation = "serializable" if reads else "read_committed"
        command = CommitChanges("bench", isolation, snapshot, reads, ranges, tuple(writes), "", "")
        events = self.decide(scope, command)
        if not isinstance(events[0], ChangesCommitted):
            raise RuntimeError(f"the commit was answered by {events}")
