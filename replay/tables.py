"""What workers keep of a partition in its table, judged by the log: may they go on from it, and is it true?

The log is right by definition, its table is a cache: whatever does not fit is thrown away and folded again. Most of
that workers find by themselves when they load a partition (`accord.streams.checkpoint`). What they cannot find is a row
whose sum is right and whose value is not what the log's events give: that takes the whole fold, which is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from accord.replay.source import Source
from accord.replay.state import NoDeadlines, accepted, fold
from accord.schemas.position import Position
from accord.streams import checkpoint as cp
from accord.streams.domains import DOMAINS
from accord.streams.partition import Partition

from accord.errors import ChainBroken, Corrupt, LogGap

State = Literal["right", "missing", "damaged", "diverged", "drifted", "halted"]
NAMES_MAX = 5
"""Rows that a text names."""


class TableState(msgspec.Struct, frozen=True):
    """How a partition's table stands to its log.

    `right`: workers go on from it; `behind` decisions come after it. `missing`: there is none, workers fold all events.
    `damaged`: its rows do not add up, `diverged`: it names a decision that the log does not have; workers throw both
    away. `drifted`: its rows are not what the events give, and workers would not notice. `halted`: workers cannot go on
    with this partition, whatever the table has.
    """

    partition: str
    state: State
    text: str
    remedy: str
    behind: int
    rows: int

    @property
    def is_of_rows(self) -> bool:
        """Whether the rows are what is wrong, so that without them workers fold the partition again."""
        return self.state in ("damaged", "diverged", "drifted")


def judge(source: Source, domain: str, number: int, rows: Mapping[bytes, bytes]) -> TableState:
    """Judges a partition's table.

    Args:
        rows: the table's, as its changelog has them.

    Raises:
        KafkaUnreachable: the log cannot be read.
    """
    partition = Partition(source.identity(domain, number), DOMAINS[domain])
    partition.deadlines = NoDeadlines()
    name, count = partition.name, len(rows)
    loaded = cp.load(partition.root, rows)
    behind = 0
    state: tuple[State, str]
    try:
        state = _of_rows(source, partition, loaded) if loaded is not None else _of_none(rows)
        fold(source, partition)
    except Corrupt as error:
        return TableState(name, "halted", f"{type(error).__name__}: {error}", _of_the_log(error), 0, count)
    if loaded is not None and state[0] == "right":
        behind = partition.head.seq - loaded.checkpoint.seq
    stopped = _stopped(source, partition)
    if stopped is not None:
        return TableState(name, "halted", *stopped, behind, count)
    remedy = "" if state[0] in ("right", "missing") else REMEDY
    return TableState(name, *state, remedy, behind, count)


REMEDY = "Stop the workers, delete its rows with --apply, start them: they fold it from its events."


def _of_none(rows: Mapping[bytes, bytes]) -> tuple[State, str]:
    if not rows:
        return "missing", "there is no checkpoint: workers fold all events when they start"
    return "damaged", f"its {len(rows):,} rows do not add up, or are of another log or format"


def _of_rows(source: Source, partition: Partition, loaded: cp.Loaded) -> tuple[State, str]:
    """Folds a partition up to its checkpoint and compares."""
    checkpoint = loaded.checkpoint
    domain, number = partition.identity.domain, partition.identity.partition
    at = Position(domain, number, checkpoint.offset)
    try:
        next(accepted(source, domain, number, after=checkpoint.head), None)
    except (ChainBroken, LogGap):
        return "diverged", f"its checkpoint names decision {checkpoint.seq} at {at}, which the log does not have"
    fold(source, partition, at)
    if partition.head.digest != checkpoint.digest:
        return "diverged", f"its checkpoint names decision {checkpoint.seq} at {at}, which readers do not accept"
    names = sorted({*partition.aggregates, *loaded.values} - loaded.ahead.keys())
    differing = [name for name in names if partition.dump(name) != loaded.values.get(name)]
    if not differing:
        return "right", f"a checkpoint at {at}"
    told = ", ".join(differing[:NAMES_MAX]) + (", ..." if len(differing) > NAMES_MAX else "")
    return "drifted", f"{len(differing)} of its rows are not what the events up to {at} give: {told}"


def _stopped(source: Source, partition: Partition) -> tuple[str, str] | None:
    """Why workers cannot decide the next command, and what to do; None: they can, or there is none."""
    domain, number = partition.identity.domain, partition.identity.partition
    following = Position(domain, number, max(0, partition.position + 1), commands=True)  # 0: no worker was there yet
    try:
        low, end = source.bounds(domain, number, commands=True)
    except LogGap as error:
        return str(error), "Create it: accord topics init. Of commands that were not decided, agents are told nothing."
    if low > following.offset:
        last = following._replace(offset=low - 1)
        return (
            f"the commands {following} to {last} were removed from the log before they were decided",
            f"To go on without them: accord worker --accept-loss {last}",
        )
    if partition.head.seq and partition.rules not in partition.domain.versions:
        return (
            f"it is decided by version {partition.rules} of the rules, which this release does not have",
            "Run a release that has it.",
        )
    record = (
        None if following.offset >= end else next(source.read(domain, number, following.offset, commands=True), None)
    )
    if record is None or not partition.head.seq:
        return None
    try:
        partition.decide(record)
    except Exception as error:  # what halts a worker, too
        return (
            f"deciding {Position(domain, number, record.offset, commands=True)} fails: {error!r}",
            "A bug in accord: keep an archive (accord events export) and report it. A release without it goes on.",
        )
    return None


def _of_the_log(error: Corrupt) -> str:
    """What to do where the events themselves are not whole."""
    if error.remedy:
        return error.remedy
    return "See what was done to it: accord replay verify. Put an archive into a new cluster: accord events import."
