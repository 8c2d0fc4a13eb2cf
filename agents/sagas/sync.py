"""Sagas for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from accord.agents.sagas import begin, handle
from accord.agents.sagas.definition import KEEP_MS, LEASE_MS, Saga
from accord.agents.sagas.handle import SagaReport
from accord.agents.sagas.serving import DRAIN_MS, SLOTS, Serving
from accord.agents.sync import SyncHub
from anyio.from_thread import BlockingPortal


class Handle:
    """A saga by id; see `accord.agents.sagas.handle.Handle`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, known: handle.Handle) -> None:
        self._loop = loop
        self._handle = known
        self.id: Final = known.id

    def status(self) -> SagaReport:
        """How it stands."""
        return self._loop.call(self._handle.status)

    def outcome(self, *, wait_ms: int | None = None) -> SagaReport:
        """How it ended, once it has."""
        return self._loop.call(partial(self._handle.outcome, wait_ms=wait_ms))

    def cancel(self, reason: str = "") -> bool:
        """Has all that was done undone. False: that goes on already, or it has ended."""
        return self._loop.call(self._handle.cancel, reason)

    def retry(self) -> str:
        """Has the undo that was given up run again; returns where the log says so."""
        return self._loop.call(self._handle.retry)


class SyncSagasHub(SyncHub):
    """What a sync hub offers of sagas."""

    def run_saga(
        self, saga: Saga, input: Any = None, *, id: str | None = None, lease_ms: int = LEASE_MS, keep_ms: int = KEEP_MS
    ) -> SagaReport:
        """Runs a saga, its plain functions in threads, and returns how it ended; as `accord.Accord.run_saga`."""
        self.ensure_open("run_saga()")
        run = partial(begin.run_saga, self, saga, input, id, lease_ms, keep_ms)
        return self._loop.call(run)

    def begin_saga(self, saga: Saga, input: Any = None, *, id: str | None = None, keep_ms: int = KEEP_MS) -> Handle:
        """Begins a saga for others to run; as `accord.Accord.begin_saga`."""
        self.ensure_open("begin_saga()")
        return Handle(self._loop, self._loop.call(begin.begin_saga, self, saga, input, id, keep_ms))

    def saga(self, saga_id: str) -> Handle:
        """A saga that was begun before; as `accord.Accord.saga`."""
        self.ensure_open("saga()")
        return Handle(self._loop, handle.Handle(self, saga_id))

    def serve_sagas(
        self, *sagas: Saga, slots: int = SLOTS, lease_ms: int = LEASE_MS, drain_ms: int = DRAIN_MS
    ) -> AbstractContextManager[Serving]:
        """Runs sagas that nobody runs, for as long as `with` lasts; as `accord.Accord.serve_sagas`."""
        self.ensure_open("serve_sagas()")
        return self._loop.wrap_async_context_manager(Serving(self, sagas, slots, lease_ms, drain_ms))
