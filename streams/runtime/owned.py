"""A partition in this worker: its owner, and what the shell around it knows beside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from accord.schemas.headers import Confirmed
from accord.streams import checkpoint as cp
from accord.streams.owner import Owner
from accord.streams.runtime.followups import Followups
from accord.streams.runtime.machine import Machine
from accord.streams.runtime.output import Output
from accord.streams.runtime.waits import WaitReports


class Owned:
    """See the module's text.

    Args:
        checkpoint: the one in the table, if it was used.
        output: the worker's producer.
        waits: what it tells of its waits; None in a domain where nobody waits.
        machine: the time that passes.
    """

    def __init__(
        self,
        owner: Owner,
        checkpoint: cp.Checkpoint | None,
        output: Output,
        waits: WaitReports | None,
        machine: Machine = Machine(),  # noqa: B008
    ) -> None:
        self.owner: Owner = owner
        self._machine = machine
        self.checkpoint = checkpoint
        self.stale_rows: list[bytes] = []
        self.verified = checkpoint and Confirmed(checkpoint.offset, checkpoint.seq, checkpoint.digest)
        self.checkpointed_at = machine.time_s()
        self.checkpointing: asyncio.Task[None] | None = None
        self.checkpoint_lock = asyncio.Lock()
        self.reports = 0
        self.changed = asyncio.Event()
        self.settling = asyncio.Lock()
        self.settlement: asyncio.Task[None] | None = None
        self.log_ms = 0
        self.log_seen = 0.0
        self.ticking: dict[str, None] = {}
        self.halted: BaseException | None = None
        self.paused: asyncio.Task[None] | None = None
        self.waits_for = ""
        """Why its last batch could not be decided, though it will be; empty once one was."""
        self.catch_up_to = 0
        """One past the last command that was in the log when it was taken on."""
        self.followups = Followups(output, self.changed.set)
        self.follows = False
        """Whether all is among the follow-ups that may not have been sent when it was taken on."""
        self.waits = waits

    @property
    def followed(self) -> int | None:
        """Up to which decision all that follows was acknowledged; None: not known."""
        confirmed = self.owner.confirmed
        return self.followups.followed(confirmed.seq) if self.follows and confirmed is not None else None

    def saw(self, timestamp_ms: int) -> None:
        self.log_ms, self.log_seen = timestamp_ms, self._machine.time_s()

    def log_now_ms(self) -> int:
        """The log's time by its last record and the time passed since."""
        return self.log_ms + int((self._machine.time_s() - self.log_seen) * 1_000)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Waits until a report makes the condition true."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()
