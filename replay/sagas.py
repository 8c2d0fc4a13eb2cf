"""Sagas: what became of each, step by step: every run, every compensation, every process that ran it.

Keys are added, never renamed. They are read off the events of sagas; so what is not remembered any more is there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import Event, sagas
from accord.streams.partition import Decided
from accord.streams.sagas.saga import COMPENSATED, COMPLETED, STATUSES, Saga, evolve

__all__ = ["STATUSES", "MomentView", "SagaView", "StepView", "saga_at", "sagas_at"]

DOMAIN: Final = "sagas"


class StepView(msgspec.Struct, frozen=True):
    """A step as it stands; see `accord.SagaReport`. `undo` says whether it has a compensation."""

    name: str
    status: str
    undo: bool
    tries: int
    undo_tries: int
    error: str


class MomentView(msgspec.Struct, frozen=True):
    """Something that happened. `what`: begun, offered, taken, lost, started, completed, failed, timed_out, giving_up,
    undo_started, undone, undo_failed, undo_timed_out, ended, stuck, retried, refused, ignored. `who` is an agent."""

    what: str
    step: str
    who: str
    text: str
    at: str
    position: str


class SagaView(msgspec.Struct, frozen=True):
    """A saga. `status` is running, compensating, completed, compensated or stuck.

    `runner` is the agent whose process runs it, `failed_step`, `reason` and `description` say why it is compensated.
    `position` is its last event. `remembered`: it can still be told about, and
    retried if it is stuck.
    """

    id: str
    name: str
    status: str
    agent: str
    runner: str
    failed_step: str
    reason: str
    description: str
    begun_at: str
    ended_at: str | None
    steps: tuple[StepView, ...]
    moments: tuple[MomentView, ...]
    position: str
    remembered: bool

    @property
    def progress(self) -> str:
        """How far it is: how many of its steps are done, or undone."""
        done = sum(step.status == COMPLETED for step in self.steps)
        undone = sum(step.status == COMPENSATED for step in self.steps)
        return f"{done} of {len(self.steps)}" + (f", {undone} undone" if undone else "")


class Kept(msgspec.Struct):
    """A saga, the last that was remembered under its id."""

    saga: Saga
    moments: list[MomentView] = []
    position: str = ""
    remembered: bool = True


class Sagas(History[Kept]):
    """The sagas of a partition, by id; one whose id was used again is the later one."""

    def see(self, decided: Decided) -> None:
        key, position = self.place(decided)
        now = iso(decided.decision.now_ms)
        for event in decided.events:
            if type(event) not in sagas.EVENTS:
                continue  # of the log itself
            kept = self.kept.get(key)
            if isinstance(event, sagas.SagaBegun):
                kept = self.kept[key] = Kept(_only(evolve(None, event)), [])
            elif kept is None:
                continue
            elif isinstance(event, sagas.SagaForgotten):
                kept.remembered = False
            elif kept.remembered:
                kept.saga = _only(evolve(kept.saga, event))
            told = _MOMENTS.get(type(event))
            if told is not None:
                kept.moments.append(MomentView(*told(event), now, position))
                kept.position = position


def _only(saga: Saga | None) -> Saga:
    assert saga is not None
    return saga


def _failed(e: sagas.StepFailed) -> tuple[str, str, str, str]:
    doubt = ", may have taken effect" if e.in_doubt else ""
    again = "" if e.retry_ms is None else f", again at {iso(e.retry_ms)}"
    return ("undo_failed" if e.undo else "failed"), e.step, e.agent, f"{e.error_type}: {e.error}{doubt}{again}"


def _timed_out(e: sagas.StepTimedOut) -> tuple[str, str, str, str]:
    again = "" if e.retry_ms is None else f"again at {iso(e.retry_ms)}"
    return ("undo_timed_out" if e.undo else "timed_out"), e.step, e.agent, again


def _lost(e: sagas.RunnerLost) -> tuple[str, str, str, str]:
    doubt = "" if e.run is None else f", run {e.run} is in doubt"
    return "lost", e.step, e.agent, ("its lease was over" if e.reason == "lease" else "it gave it back") + doubt


_MOMENTS: Final[Mapping[type[Event], Callable[[Any], tuple[str, str, str, str]]]] = {
    sagas.SagaBegun: lambda e: ("begun", "", e.agent, ", ".join([step.name for step in e.steps])),
    sagas.SagaOffered: lambda e: ("offered", "", "", "" if e.times == 1 else f"{e.times} times"),
    sagas.SagaTaken: lambda e: ("taken", "", e.agent, f"runner {e.attempt}"),
    sagas.RunnerLost: _lost,
    sagas.StepStarted: lambda e: ("undo_started" if e.undo else "started", e.step, e.agent, f"run {e.run}"),
    sagas.StepCompleted: lambda e: ("completed", e.step, e.agent, ""),
    sagas.StepCompensated: lambda e: ("undone", e.step, e.agent, ""),
    sagas.StepFailed: _failed,
    sagas.StepTimedOut: _timed_out,
    sagas.ResultIgnored: lambda e: ("ignored", e.step, e.agent, f"run {e.run}: {e.reason}"),
    sagas.CompensationBegun: lambda e: (
        "giving_up", e.step, e.agent, f"{e.reason}: {e.description}; to undo: {', '.join(e.steps) or 'nothing'}",
    ),
    sagas.SagaCompleted: lambda _: ("ended", "", "", "completed"),
    sagas.SagaCompensated: lambda e: ("ended", "", "", f"compensated, {e.reason} at {e.step}"),
    sagas.SagaStuck: lambda e: ("stuck", e.step, "", f"{e.reason}: {e.error_type}: {e.error}"),
    sagas.SagaRetried: lambda e: ("retried", e.step, e.agent, ""),
    sagas.SagaRefused: lambda e: ("refused", "", e.agent, e.reason),
}  # fmt: skip


def sagas_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[SagaView, ...]:
    """Every saga that was begun up to a point, oldest first. Raises what `state_at` raises."""
    found = everything(source, DOMAIN, Sagas, point, processes)
    return tuple(sorted([_view(key, kept) for key, kept in found], key=lambda view: (view.begun_at, view.id)))


def saga_at(source: Source, saga_id: str, point: Point = None) -> SagaView | None:
    """A saga at a point, or None. Only its partition is read."""
    found = one_of(source, DOMAIN, Sagas, point, saga_id)
    return None if found is None else _view(saga_id, found)


def _view(key: str, kept: Kept) -> SagaView:
    saga = kept.saga
    steps = [
        StepView(
            step.name, p.status, step.undo, p.tries, p.undo_tries, f"{p.error_type}: {p.error}" * bool(p.error_type)
        )
        for step, p in zip(saga.steps, saga.progress, strict=True)
    ]
    return SagaView(
        key,
        saga.name,
        saga.status,
        saga.agent,
        saga.runner_agent,
        "" if saga.failed is None else saga.steps[saga.failed].name,
        saga.reason,
        saga.description,
        iso(saga.begun_ms),
        None if saga.ended_ms is None else iso(saga.ended_ms),
        tuple(steps),
        tuple(kept.moments),
        kept.position,
        kept.remembered,
    )
