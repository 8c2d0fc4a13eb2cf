"""A failed trial in words: what broke, under which faults, what happened before, and how to see it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from accord.testing.trials.agent import Fault
from accord.testing.trials.trial import Trial

LINES_MAX: Final = 40
"""Of the trace, the last ones."""
COLUMN_MAX: Final = 16


def story(trial: Trial, drawn: Sequence[Fault], again: str, note: str = "") -> str:
    """The text of a failure.

    Args:
        trial: the one with the fewest faults.
        drawn: the faults that the seed brought.
        again: how to run the whole test with this seed, or empty.
        note: what else is to be said.
    """
    violation = trial.violation
    assert violation is not None
    faults = [str(fault) for fault in trial.faults]
    shrunk = f" ({len(drawn)} before shrinking)" if len(drawn) > len(faults) else ""
    lines = [
        f"{violation.invariant} is violated at {violation.at_ms:,.1f} ms of virtual time.",
        "",
        f"    {violation.what}",
        "",
        f"seed {trial.seed}, {_count(len(faults), 'fault')}{shrunk}",
        *[f"    {fault}" for fault in faults],
        "",
        *_trace(trial),
        "",
        "The same once more:",
        f"    accord_sim.run(seed={trial.seed}, faults={faults!r})",
    ]
    if again:
        lines.append(f"    {again}")
    if note:
        lines += ["", note]
    return "\n".join(lines)


def _trace(trial: Trial) -> list[str]:
    assert trial.violation is not None
    told = [one for one in trial.trace if one.at_ms <= trial.violation.at_ms]
    left = len(told) - LINES_MAX
    width = min(COLUMN_MAX, max((len(one.agent) for one in told), default=0))
    lines = [f"    ... {left} before"] if left > 0 else []
    for one in told[-LINES_MAX:]:
        lines.append(f"    {one.at_ms:12,.1f} ms  {one.agent:<{width}}  {one.line()}")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"
