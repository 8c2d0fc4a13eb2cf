"""Sagas, as methods of the hub."""

from __future__ import annotations

from typing import Any

from accord.agents.hub import Hub
from accord.agents.sagas import begin
from accord.agents.sagas.definition import KEEP_MS, LEASE_MS, Saga
from accord.agents.sagas.handle import Handle, SagaReport
from accord.agents.sagas.serving import DRAIN_MS, SLOTS, Serving


class SagasHub(Hub):
    """What a hub offers of sagas."""

    async def run_saga(
        self, saga: Saga, input: Any = None, *, id: str | None = None, lease_ms: int = LEASE_MS, keep_ms: int = KEEP_MS
    ) -> SagaReport:
        """Runs a saga, and returns how it ended: completed, compensated, or stuck. `saga.run(hub, input)` is the same.

        A step and its undo run at least once: if this process dies before the end of one was recorded, it is run
        again, with the same `step.key`, by this program when it runs the same id again, or by who serves such sagas.
        Once recorded it never is. If waiting is cancelled the saga is given back; to end it: `hub.saga(id).cancel()`.

        Args:
            input: JSON types; what has more than 64 KiB is kept as an artifact.
            id: of the saga, and its idempotency key: the same saga run again with it goes on, or is the one that ended.
                None: a new one.
            lease_ms: after so long without a sign of life of this process others may take it. 1,000 to 86,400,000.
            keep_ms: how long it is remembered after its end; it stays on the log.

        Raises:
            BadInput: an argument cannot be right.
            TermsDiffer: the id has another saga.
            CircularTrigger: events bring sagas about in too long a row.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await begin.run_saga(self, saga, input, id, lease_ms, keep_ms)

    async def begin_saga(
        self, saga: Saga, input: Any = None, *, id: str | None = None, keep_ms: int = KEEP_MS
    ) -> Handle:
        """Begins a saga for others to run (`serve_sagas`), and returns when the log has it.

        Arguments and errors are those of `run_saga`.
        """
        return await begin.begin_saga(self, saga, input, id, keep_ms)

    def saga(self, saga_id: str) -> Handle:
        """A saga that was begun before, by whomever: `status`, `outcome`, `cancel`, `retry`."""
        self.ensure_open("saga()")
        return Handle(self, saga_id)

    def serve_sagas(
        self, *sagas: Saga, slots: int = SLOTS, lease_ms: int = LEASE_MS, drain_ms: int = DRAIN_MS
    ) -> Serving:
        """Runs sagas of these definitions that nobody runs, for as long as `async with` lasts.

        That is those begun for others, those whose process died, and those that were retried after they got stuck.

        Args:
            slots: how many at a time. 1 to 1,000.
            lease_ms: after so long without a sign of life of this process others may take them.
            drain_ms: how long leaving waits for the steps that run; then they are cancelled, and in doubt.

        Raises:
            BadInput: an argument cannot be right.
            KafkaUnreachable (when entered): no broker answers.
        """
        return Serving(self, sagas, slots, lease_ms, drain_ms)
