"""The report of a run: everything that is told of a log at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from accord.replay.llm import Bill, costs
from accord.replay.performance import Failures, Performance, outcomes
from accord.replay.report.activity import Activity, activity
from accord.replay.report.contention import Contention, Stays, contention, stays
from accord.replay.report.critical import Tasks, tasks
from accord.replay.source import Source

PICTURED: Final = 3
"""Names whose holds and waits are listed one by one: those with the longest waits."""


class RunReport(msgspec.Struct, frozen=True):
    """What a run was like; each part says what it tells. `stays` are of the names that were waited for longest."""

    source: str
    activity: Activity
    contention: tuple[Contention, ...]
    stays: tuple[Stays, ...]
    tasks: Tasks
    performance: tuple[Performance, ...]
    failures: tuple[Failures, ...]
    costs: tuple[Bill, ...]


def report(source: Source, *, processes: int = 1, begun: Callable[[str], None] = lambda _: None) -> RunReport:
    """Reads a log from end to end, once for each part.

    Args:
        processes: how many to work in; 0 is what pays.
        begun: is told each part that is begun.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    begun("contention")
    contended = contention(source, processes=processes)
    waited_for = [one for one in contended if one.waits.count][:PICTURED]
    pictured = tuple(stays(source, one.domain, one.name) for one in waited_for)
    begun("activity")
    seen = activity(source, processes=processes)
    begun("tasks")
    ended = tasks(source, processes=processes)
    begun("agents")
    runs, failed = outcomes(source, processes=processes)
    begun("models")
    bills = costs(source, processes=processes)
    return RunReport(source.name, seen, contended, pictured, ended, runs, failed, bills)
