"""A fork of a log, from the cut to what came of it.

    with replay.open("hotel.accord") as log:
        fork = log.fork(at="locks/0@2", change=["locks.commands/0@1 wait_ms=0"])
        print(fork.run().outcomes)

The original is read and never written to. A fork runs as often as one likes; each run begins at the cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from accord.replay.export import export
from accord.replay.fork.changes import Change, checked, parse_change
from accord.replay.fork.cluster import ForkedLog
from accord.replay.fork.cut import DECISIONS_MAX, cut, parse_place
from accord.replay.fork.models import Gate, Models, StandIn
from accord.replay.fork.outcome import Diff, outcome
from accord.replay.fork.run import HOP_MS, Agents, Run
from accord.replay.source import Source
from accord.schemas.position import Position

from accord.errors import BadInput

RUN_ON_MS_MAX: Final = 366 * 24 * 3_600_000
HOP_MS_MAX: Final = 3_600_000


class Fork:
    """A log that is to be forked; `log.fork` makes one.

    Args:
        at: where: a position (after its decision), a time, the id of an event; None: right before the first change.
        change: what is changed, as text or as `accord.replay.fork.changes` has them; nothing gives the original again.
        decisions_max: most decisions after the cut, which are kept in memory.

    Raises:
        BadInput: a change is none, or names what there is not.
    """

    def __init__(
        self, source: Source, at: str | Position | datetime | None = None, change: Iterable[str | Change] = (), *,
        decisions_max: int = DECISIONS_MAX,
    ) -> None:  # fmt: skip
        self.source = source
        self.at = parse_place(at) if isinstance(at, str) else at
        given = [change] if isinstance(change, str) else list(change)
        self.changes = tuple(checked(parse_change(one) if isinstance(one, str) else one) for one in given)
        self.log: ForkedLog | None = None
        """The log of the last run, which all of replay can look at: `accord.replay.open(fork.log)`."""
        self._decisions_max = decisions_max

    def run(
        self, *, llm: str | StandIn = "stop", agents: Agents = "recorded", gate: Gate | None = None,
        run_on_ms: int = 0, hop_ms: int = HOP_MS, save: str | Path | None = None,
    ) -> Diff:  # fmt: skip
        """Decides the rest of the log anew.

        Args:
            llm: what becomes of questions that the record has no answer to: `stop` ends the fork, `recorded` leaves
                them without, a function answers, `live` asks through the gate.
            agents: `recorded` feeds what agents sent, also after they would have known something else; `stop` does not.
            gate: for `live`, the way to the model.
            run_on_ms: for how long time passes after the end of the record.
            hop_ms: from a decision to a command that follows from it, where the record does not tell.
            save: a directory, new or empty, for the fork as an archive of its own.

        Raises:
            BadInput: an argument is wrong, or a change cannot be made, or the directory holds something.
            NotFound: the log has nothing at the point or the position of a change.
            LogGap: a command after the cut is no longer in the log.
            ChainBroken, UnknownRules: the log cannot be decided again.
            Overloaded: the gate was passed as often as it may be.
        """
        if agents not in ("recorded", "stop"):
            raise BadInput(f"agents={agents!r}: it is recorded or stop.")
        for name, value, most in (("run_on_ms", run_on_ms, RUN_ON_MS_MAX), ("hop_ms", hop_ms, HOP_MS_MAX)):
            if type(value) is not int or not 0 <= value <= most:
                raise BadInput(f"{name}={value!r}: 0 to {most} ms are possible.")
        models = Models(llm, gate)
        where = cut(self.source, self.at, self.changes, decisions_max=self._decisions_max)
        models.read(self.source, where, self.changes)
        started_ms = max((partition.now_ms for partition in where.partitions.values()), default=0)
        started_ms = started_ms or min((slot.decision.now_ms for slot in where.slots), default=0)
        before = {name: partition.aggregates.copy() for name, partition in where.partitions.items()}
        run = Run(
            where, self.source.partitions, self.changes, models, agents=agents, run_on_ms=run_on_ms, hop_ms=hop_ms
        )
        run.run()
        diff = outcome(run, self.source.name, started_ms, before)
        self.log = ForkedLog(self.source, run.cluster)
        if save is None:
            return diff
        export(self.log, save)
        return msgspec.structs.replace(diff, saved=str(save))
