"""What a benchmark prints: one JSON object a line, of one shape for all."""

from __future__ import annotations

import json
import operator
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any, Final, Literal, NamedTuple

RELATIONS: Final = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}


class Goal(NamedTuple):
    """What must hold of the ratio or of the value itself."""

    of: Literal["ratio", "value"]
    relation: Literal["<=", ">=", ">"]
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.bound:g}"


class Sample(NamedTuple):
    """One run: what was measured, and the baseline of that same run."""

    value: float
    baseline: float


class Line(NamedTuple):
    """A finished benchmark. `value`, `baseline` and `ratio` are each the median over the runs."""

    name: str
    unit: str
    value: float
    baseline_name: str
    baseline: float
    ratio: float
    goal: str | None
    holds: bool | None
    runs: int

    def json(self) -> str:
        return json.dumps(self._asdict())


def summary(name: str, unit: str, samples: Sequence[Sample], baseline_name: str, goal: Goal | None = None) -> Line:
    """The line of a benchmark, over its runs."""
    value = median(sample.value for sample in samples)
    baseline = median(sample.baseline for sample in samples)
    ratio = median(sample.value / sample.baseline for sample in samples)
    holds = None
    if goal is not None:
        found = ratio if goal.of == "ratio" else value
        holds = RELATIONS[goal.relation](found, goal.bound)
    return Line(
        name,
        unit,
        _short(value),
        baseline_name,
        _short(baseline),
        _short(ratio),
        str(goal) if goal else None,
        holds,
        len(samples),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def progress(text: str, **details: Any) -> None:
    """One line for whoever is waiting."""
    found = " ".join(f"{name}={_short(value)}" for name, value in details.items())
    print(f"{text} {found}".rstrip(), file=sys.stderr, flush=True)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
