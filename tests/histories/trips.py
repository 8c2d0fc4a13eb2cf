"""A log of sagas: one that was completed, one that was compensated after its process was lost, one that is stuck."""

from __future__ import annotations

from accord.schemas.messages import Command
from accord.schemas.messages.log import Tick
from accord.schemas.messages.sagas import (
    BeginSaga,
    CancelSaga,
    CompleteStep,
    FailStep,
    ReadSaga,
    ReleaseSaga,
    RenewSaga,
    RetrySaga,
    SagaStep,
    TakeSaga,
)
from accord.streams.partition import Decided

from tests.histories.play import Play

STEPS = (
    SagaStep("room", True, 1, 0, 100, 60_000),
    SagaStep("pay", True, 0, 0, 100, 60_000),
    SagaStep("mail", False, 0, 0, 100, 60_000),
)
LEASE_MS = 10_000


class Trips:
    """Sagas and those who run them."""

    def __init__(self) -> None:
        self.play = Play(sagas=2, signals=2)

    def tell(self, key: str, command: Command, after_ms: int = 10) -> Decided:
        decided = self.play.send(key, command, domain="sagas", after_ms=after_ms, task=key)
        self.play.follow("sagas", decided)
        return decided

    def begin(self, key: str, runner: str = "r1") -> None:
        self.tell(key, BeginSaga("ada", runner, "book trip", STEPS, '{"guest":"ada"}', LEASE_MS, 60_000, ()))

    def complete(self, key: str, step: str, run: int, *, undo: bool = False, agent: str = "ada") -> None:
        self.tell(key, CompleteStep(agent, step, undo, run, "12"))

    def fail(self, key: str, step: str, run: int, error: str, *, undo: bool = False, final: bool = False) -> None:
        self.tell(key, FailStep("ada", step, undo, run, "ValueError", error, final, False))


def trips() -> Trips:
    made = Trips()
    made.begin("good")
    for run, step in enumerate(STEPS, start=1):
        made.complete("good", step.name, run)
    made.begin("lost", runner="")
    made.tell("lost", TakeSaga("ada", "r1", LEASE_MS))
    made.complete("lost", "room", 1)
    made.tell("lost", RenewSaga("ada", 1))
    made.tell("lost", Tick(), after_ms=LEASE_MS)
    made.complete("lost", "pay", 2)
    made.tell("lost", TakeSaga("bob", "r2", LEASE_MS))
    made.complete("lost", "pay", 3, undo=True, agent="bob")
    made.complete("lost", "room", 4, undo=True, agent="bob")
    made.begin("stuck")
    made.fail("stuck", "room", 1, "busy")
    made.tell("stuck", Tick(), after_ms=100)
    made.complete("stuck", "room", 2)
    made.fail("stuck", "pay", 3, "no money")
    made.fail("stuck", "room", 4, "closed", undo=True)
    made.begin("waits", runner="")
    made.tell("waits", ReadSaga("eve"))
    made.tell("waits", TakeSaga("ada", "r1", LEASE_MS))
    made.tell("waits", ReleaseSaga("ada", 1, 1))
    made.tell("waits", RetrySaga("eve"))
    made.begin("ill", runner="")
    made.tell("ill", CancelSaga("eve", "ill"))
    return made
