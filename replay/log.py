"""A log that was opened for replay: the operations of this package, by method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self

from accord.replay.checkpoints import Checkpoints
from accord.replay.cut import cut_at, parse_cut
from accord.replay.difference import Difference, difference
from accord.replay.explain.explanation import STEPS, Explanation, explain
from accord.replay.fork.changes import Change
from accord.replay.fork.fork import Fork
from accord.replay.races import RECORDS_MAX, Races, races
from accord.replay.report.report import RunReport, report
from accord.replay.source import Source
from accord.replay.state import Cut, Point, World, parse_point, state_at
from accord.replay.timeline import Filter, TimelineEvent, timeline
from accord.replay.travel import Journey
from accord.replay.verify import Report, verify
from accord.schemas.position import Position


class Log:
    """What `accord.replay.open` gives: a context manager. Reading it has no effect outside."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def verify(self, *, every: bool = False, processes: int = 1) -> Report:
        """Decides every command again and compares; see `accord.replay.verify`."""
        return verify(self.source, every=every, processes=processes)

    def at(
        self, point: str | Position | datetime | Cut | None = None, *, checkpoints: Checkpoints | None = None
    ) -> World:
        """The state at a position, a time, a cut or the end; see `accord.replay.state`.

        Args:
            checkpoints: go on from the nearest of these.
        """
        where: Point | Cut
        if isinstance(point, str):
            where = parse_cut(self.source, point) if "," in point else parse_point(point)
        else:
            where = point
        return state_at(self.source, where, checkpoints=checkpoints)

    def cut(self, point: str | Position | datetime | None = None) -> Cut:
        """The consistent cut at a position, a time or the end; see `accord.replay.cut`."""
        return cut_at(self.source, parse_point(point) if isinstance(point, str) else point)

    def events(self, which: Filter | None = None) -> Iterator[TimelineEvent]:
        """The events of all partitions by the log's time; see `accord.replay.timeline`."""
        return timeline(self.source, which or Filter())

    def journey(self, domains: tuple[str, ...] = ()) -> Journey:
        """A walk through the log, decision by decision, forward and back; see `accord.replay.travel`."""
        return Journey(self.source, domains)

    def diff(
        self, a: str | Position | datetime | None, b: str | Position | datetime | None = None,
        *, domains: tuple[str, ...] = (),
    ) -> Difference:  # fmt: skip
        """What differs between two points; see `accord.replay.difference`."""
        one, other = (parse_point(point) if isinstance(point, str) else point for point in (a, b))
        return difference(self.source, one, other, domains=domains)

    def fork(self, at: str | Position | datetime | None = None, change: Iterable[str | Change] = ()) -> Fork:
        """What would have become of it with changes from a point on; see `accord.replay.fork`."""
        return Fork(self.source, at, change)

    def races(self, *, domains: tuple[str, ...] = (), records_max: int = RECORDS_MAX) -> Races:
        """What agents did to the same thing without knowing of each other; see `accord.replay.races`."""
        return races(self.source, domains=domains, records_max=records_max)

    def explain(
        self, what: str | Position, *, domains: tuple[str, ...] = (), agent: str | None = None, steps: int = STEPS
    ) -> Explanation:
        """Why something happened: a position, an event, a task, a key; see `accord.replay.explain`."""
        return explain(self.source, str(what), domains=domains, agent=agent, steps=steps)

    def report(self, *, processes: int = 1) -> RunReport:
        """What the run was like: contention, critical paths, agents, costs; see `accord.replay.report`."""
        return report(self.source, processes=processes)

    def close(self) -> None:
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
