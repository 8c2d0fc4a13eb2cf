"""The writer of a partition, without I/O: what to append, and what to believe of it.

Rules of writing that act here:
- Decisions go out pipelined, each with the offset it must land on. Its state is ahead of the log by what is `pending`.
- A report with the expected offset confirms the decision and all before it. Any other report (another offset, none,
  an error) means that somebody else writes or that the outcome is unknown: the owner is `contested` and decides
  nothing more until it has read the log from its last confirmed decision.
- What was read settles it: decisions equal to its own are its own, whoever wrote them; later ones are taken in; if one
  of its own is missing or differs, its state is worthless and is rebuilt from the log.
- A command at or before the position is not decided again; commands must come without a hole.
- At most `pending_max` decisions are pending; at the bound the owner has no `room`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec
from accord.schemas.headers import Confirmed, Record
from accord.schemas.position import Position
from accord.streams.chain import Decision
from accord.streams.partition import Decided, Partition

from accord.errors import LogGap


class Append(msgspec.Struct, frozen=True, gc=False):
    """A decision to append to the events topic, with the pointer to put into its headers."""

    decided: Decided
    confirmed: Confirmed | None

    @property
    def decision(self) -> Decision:
        return self.decided.decision


class Owner:
    """One partition's writer.

    Args:
        partition: its state, folded up to the end of the events log.
        end_offset: end of the events log: where the next record is expected.
        confirmed: the last accepted decision; None in an empty log.
        pending_max: most decisions under way to the log.
    """

    def __init__(
        self, partition: Partition, end_offset: int, confirmed: Confirmed | None, *, pending_max: int = 10_000
    ) -> None:
        self.partition = partition
        self.expected = end_offset
        self.confirmed = confirmed
        self.pending: deque[Decision] = deque()
        self.pending_max = pending_max
        self.contested = False

    @property
    def room(self) -> int:
        """How many more commands may be decided now."""
        return 0 if self.contested else self.pending_max - len(self.pending)

    @property
    def next_command(self) -> int:
        """Offset of the next command to decide."""
        return max(self.partition.position + 1, 0)

    def open(self, partition_count: int, timestamps: str) -> Append:
        """The genesis, for a log without decisions."""
        return self._append(self.partition.open(partition_count, timestamps, landing=self.expected))

    def lost(self, last_offset: int) -> Append:
        """Goes on without the commands up to `last_offset`, on an operator's word."""
        return self._append(self.partition.lost(self.next_command, last_offset, landing=self.expected))

    def take(self, record: Record, *, hole: bool = False) -> Append | None:
        """Decides a command; None if it was decided before.

        Args:
            hole: the offsets between the position and this record were fetched and do not exist.

        Raises:
            LogGap: the record does not follow the position.
            Exception: a bug in a decider or `UnknownRules`; nothing changed.
        """
        position = self.partition.head.cause
        if record.offset <= position:
            return None
        if record.offset != position + 1 and not hole:
            identity = self.partition.identity
            at = Position(identity.domain, identity.partition, position + 1, commands=True)
            raise LogGap(f"The command {at} is missing: the next one is at offset {record.offset}.", position=str(at))
        return self._append(self.partition.decide(record, landing=self.expected))

    def _append(self, decided: Decided) -> Append:
        self.partition.apply(decided)
        self.pending.append(decided.decision)
        self.expected += 1
        return Append(decided, self.confirmed)

    def delivered(self, seq: int, offset: int | None) -> None:
        """A delivery report: decision `seq` lies at `offset`; None when it failed or its offset is unknown.

        Reports may be skipped: decisions land in order and without a gap, so one report speaks for all before it.
        """
        pending = self.pending
        if self.contested or not pending or seq < pending[0].seq:
            return
        mine = pending[seq - pending[0].seq]
        if offset != mine.offset:
            self.contested = True
            return
        while pending and pending[0].seq <= seq:
            pending.popleft()
        self.confirmed = Confirmed(mine.offset, mine.seq, mine.digest)

    def settle(self, accepted: Iterable[Decision], end_offset: int) -> bool:
        """Compares with the log, after every report is in: decisions accepted after `confirmed`, and the log's end.

        Returns:
            True: the state continues the log and deciding may go on. False: it does not; rebuild from the log.
        """
        pending = {decision.seq: decision for decision in self.pending}
        partition = self.partition
        confirmed = self.confirmed
        elsewhere: dict[int, int] = {}
        for decision in accepted:
            mine = pending.pop(decision.seq, None)
            if mine is None:
                if decision.seq != partition.head.seq + 1 or decision.prev != partition.head.digest:
                    return False
                partition.apply(partition.read(decision))
            elif mine.digest != decision.digest:
                return False
            elif mine.offset != decision.offset:
                elsewhere[decision.seq] = decision.offset
            confirmed = Confirmed(decision.offset, decision.seq, decision.digest)
        if pending:
            return False
        self.pending.clear()
        if elsewhere:
            partition.window.relocate(elsewhere)
        if confirmed is not None:
            partition.head = msgspec.structs.replace(partition.head, offset=confirmed.offset)
        self.confirmed, self.expected, self.contested = confirmed, end_offset, False
        return True
