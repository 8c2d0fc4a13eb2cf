"""Conflicts by rule: how well they are found on the labelled set, and what a decision costs.

The set is `tests/streams/conflicts/cases.json`; `cases.md` beside it says how it was made. Precision and recall are of
the cases that rules are for, the baseline is that of all cases, those included that one has to understand. The time is
that of declaring one more intention, which collides with one, on a ground where `size` stand; the baseline is an empty
ground. Nothing here needs a broker.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

from accord.schemas.messages.conflicts import DeclareIntention
from accord.streams.conflicts.decider import ConflictDecider
from accord.streams.conflicts.ground import Ground
from accord.streams.decider import At

from benchmarks.report import Goal, Line, Sample, progress, summary
from tests.streams.conflicts.labelled import RULE, cases, figures
from tests.streams.conflicts.played import Played, intent

SIZE: Final = 99
"""Intentions that stand: with one more, as many as may."""
DECISIONS: Final = 200
"""Timed in a run; the state stays as it is."""
FOUND: Final = Goal("value", ">=", 0.95)
IN_TIME: Final = Goal("value", "<=", 1_000_000)
"""A second, in us."""


def benchmark(_: str, runs: int, size: int | None) -> list[Line]:
    """`size` is how many intentions stand on the ground."""
    every = cases()
    own, all_of_them = figures([case for case in every if case.label == RULE]), figures(every)
    progress("conflicts", cases=len(every), **{"of_rules": own._asdict(), "of_all": all_of_them._asdict()})
    count = SIZE if size is None else size
    samples = [Sample(decision_us(count), decision_us(0)) for _ in range(runs)]
    return [
        summary("conflicts_precision", "part", [Sample(own.precision, all_of_them.precision)], "all_cases", FOUND),
        summary("conflicts_recall", "part", [Sample(own.recall, all_of_them.recall)], "all_cases", FOUND),
        summary(f"conflicts_decision_among_{count}", "us", samples, "empty_ground", IN_TIME),
    ]


def decision_us(count: int) -> float:
    """What it takes to declare one more intention among so many, in us."""
    ground = _ground(count)
    decider = ConflictDecider()
    command = DeclareIntention("new", "new", intent(target="target 0", topic="topic new", text="one more"), ())
    at = At(1_000_000, count + 1, "r")
    decider.decide(ground, command, at)
    since = perf_counter()
    for _ in range(DECISIONS):
        decider.decide(ground, command, at)
    return (perf_counter() - since) / DECISIONS * 1_000_000


def _ground(count: int) -> Ground | None:
    play = Played()
    for number in range(count):
        play.declare(f"agent {number}", intent(target=f"target {number}", topic=f"topic {number}"))
    return play.state
