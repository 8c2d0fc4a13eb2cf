"""accord for programs without an event loop: the same names as `accord`, with plain `with`.

    with accord.sync.Accord() as hub:
        with hub.lock("room_12", wait_ms=5_000) as grant:
            ...

Works on any thread, also on one whose event loop runs (that loop stands still meanwhile, the leases do not). A lost
lease cannot stop plain code: it is seen in `grant.lost`, at `grant.check()` and at the end of `with`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from accord.agents.artifacts.sync import SyncArtifactsHub
from accord.agents.auctions.sync import SyncAuctionsHub
from accord.agents.conflicts.sync import SyncConflictsHub
from accord.agents.hierarchy.sync import SyncHierarchyHub
from accord.agents.limits.sync import SyncLimitsHub
from accord.agents.llm.sync import SyncLlmHub
from accord.agents.locks.fencing import FencedResource
from accord.agents.locks.sync import Grant, Lock, SyncLocksHub
from accord.agents.proposals.sync import SyncProposalsHub
from accord.agents.sagas.sync import SyncSagasHub
from accord.agents.state.sync import SyncStateHub
from accord.agents.sync import SyncHub
from accord.agents.tasks.sync import SyncTasksHub
from accord.agents.transactions.sync import SyncTransactionsHub
from accord.agents.triggers.sync import SyncTriggersHub
from accord.settings import Settings

if TYPE_CHECKING:
    from accord.embedded import Embedded

__all__ = ["Accord", "FencedResource", "Grant", "Lock", "local"]


class Accord(
    SyncLocksHub,
    SyncLimitsHub,
    SyncTasksHub,
    SyncLlmHub,
    SyncProposalsHub,
    SyncAuctionsHub,
    SyncHierarchyHub,
    SyncStateHub,
    SyncTransactionsHub,
    SyncConflictsHub,
    SyncTriggersHub,
    SyncSagasHub,
    SyncArtifactsHub,
    SyncHub,
):
    """A hub for programs without an event loop; arguments and errors are those of `accord.Accord`."""


class LocalHub(Accord):
    """A hub with its own broker and worker. Made by `accord.sync.local()`."""

    def __init__(self, embedded: Embedded, agent: str | None) -> None:
        super().__init__(agent=agent, settings=embedded.settings)
        self._embedded = embedded

    def advance(self, ms: int) -> None:
        """Moves the log's clock on by `ms`; returns when every deadline that is due by it was handled."""
        self._embedded.advance(ms)

    def __enter__(self) -> LocalHub:
        self._embedded.start()
        try:
            self.use(self._embedded.settings, self._embedded.timestamp_ms)
            return super().__enter__()
        except BaseException:
            self._embedded.stop()
            raise

    def _shut(self) -> None:
        try:
            super()._shut()
        finally:
            self._embedded.stop()


def local(*, keep: str | Path | None = None, agent: str | None = None, settings: Settings | None = None) -> LocalHub:
    """A hub that needs nothing: broker, worker and client in this process; as `accord.local`."""
    from accord.embedded import Embedded  # noqa: PLC0415  (brings the worker, which clients do without)

    return LocalHub(Embedded(keep=keep, settings=settings), agent)
