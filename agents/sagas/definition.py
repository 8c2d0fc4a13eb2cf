"""Sagas, defined in Python.

    trip = (
        Saga("book trip")
        .step(reserve_room, undo=cancel_room)
        .step(pay, undo=refund, retries=3, timeout_ms=30_000)
        .step(send_confirmation)
    )

Rules that act here:
- A definition is never changed: `step` returns another one that is longer.
- Only the last step may be without `undo`; what comes after such a step is refused where it is defined.
- A parameter of a function is `input`, the name of a step before (its result) or `step`, the `StepRun`. An undo may
  have the name of its own step, too: that result is None if the step is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from accord.agents.locks.arguments import check_number
from accord.agents.tasks.graph import Function, checked_name, parameters_of
from accord.schemas.messages.sagas import SagaStep
from accord.streams.sagas.bounds import PAUSE_MS_MAX, STEPS_MAX
from accord.streams.tasks.bounds import RETRIES_MAX, TIMEOUT_MS_MAX, TIMEOUT_MS_MIN

from accord.errors import BadInput

RETRIES: Final = 3
UNDO_RETRIES: Final = 10
PAUSE_MS: Final = 1_000
TIMEOUT_MS: Final = 60_000
LEASE_MS: Final = 10_000
KEEP_MS: Final = 7 * 24 * 3_600_000
INPUT: Final = "input"
STEP: Final = "step"

R_co = TypeVar("R_co", covariant=True)


class StepRun(NamedTuple):
    """One run of a step or of its undo, as a function's parameter `step` gets it.

    `key` is the idempotency key: the same for every run of this step of this saga, and another for its undo. Either is
    run again under it if its process died before the end was recorded. `tries` counts the runs before this one; `run`
    grows from run to run of the saga. `results` has the results of the steps that are done, by name.
    """

    saga: str
    name: str
    undo: bool
    key: str
    tries: int
    run: int
    results: Mapping[str, Any]


class RunsSagas(Protocol[R_co]):
    """A hub, async or sync."""

    def run_saga(self, saga: Saga, input: Any = None, *, id: str | None = None) -> R_co: ...


class Saga:
    """Steps that are done one after the other or, if one cannot be, undone in reverse order.

    Args:
        name: of the kind of saga, 1 to 200 bytes. Processes that run the same kind define it under the same name.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = checked_name("saga", name)
        self.steps: tuple[SagaStep, ...] = ()
        self.functions: Mapping[tuple[str, bool], Function] = {}
        """By step, and whether it is its undo."""

    def step(
        self,
        function: Callable[..., Any],
        *,
        undo: Callable[..., Any] | None = None,
        name: str | None = None,
        retries: int = RETRIES,
        undo_retries: int = UNDO_RETRIES,
        pause_ms: int = PAUSE_MS,
        timeout_ms: int = TIMEOUT_MS,
    ) -> Saga:
        """The saga with one step more.

        Args:
            function: does it; plain (it runs in a thread) or async. It returns JSON types.
            undo: undoes it, whatever is left of it: also when nobody knows whether it has taken effect. Called again
                after a failure or a crash, so it must be able to find that nothing is left to undo.
            name: None: the function's.
            retries: how often it is run again after a failure; 0 to 100. Then the steps before it are undone.
            undo_retries: the same of its undo. Then the saga is stuck until somebody retries it.
            pause_ms: before the second run of either; each further pause is twice the last, up to a minute.
            timeout_ms: how long a run of either may take. A step that took longer is in doubt.

        Raises:
            BadInput: an argument cannot be right, the name is taken, or the step before has no undo.
        """
        own = checked_name("step", getattr(function, "__name__", "") if name is None else name)
        names = [one.name for one in self.steps]
        if own in names:
            raise BadInput(f"saga {self.name}: the step {own!r} is defined twice.")
        if self.steps and not self.steps[-1].undo:
            last = names[-1]
            raise BadInput(
                f"saga {self.name}: the step {last!r} has no undo, so {own!r} cannot come after it: if that fails, "
                f"nothing could undo {last!r}.",
                remedy=f"Give {last!r} an undo (one that does nothing, if there is nothing to undo), or make it last.",
            )
        if len(self.steps) >= STEPS_MAX:
            raise BadInput(f"saga {self.name}: {STEPS_MAX} steps are possible.", remedy="Begin another saga in one.")
        step = SagaStep(
            own,
            undo is not None,
            check_number("retries", retries, 0, RETRIES_MAX),
            check_number("undo_retries", undo_retries, 0, RETRIES_MAX),
            check_number("pause_ms", pause_ms, 0, PAUSE_MS_MAX),
            check_number("timeout_ms", timeout_ms, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        )
        known = (INPUT, STEP, *names)
        functions = {(own, False): self._function(function, own, known)}
        if undo is not None:
            functions[own, True] = self._function(undo, f"undo of {own}", (*known, own))
        longer = Saga(self.name)
        longer.steps = (*self.steps, step)
        longer.functions = {**self.functions, **functions}
        return longer

    def _function(self, function: Callable[..., Any], what: str, known: tuple[str, ...]) -> Function:
        if not callable(function):
            raise BadInput(f"saga {self.name}: {what} is {function!r}, which is no function.")
        return Function(function, parameters_of(function, f"saga {self.name}: {what}()", known))

    def run(self, hub: RunsSagas[R_co], input: Any = None, *, id: str | None = None) -> R_co:
        """Runs it to its end: `hub.run_saga`, which says more. Of an async hub, to be awaited."""
        return hub.run_saga(self, input, id=id)

    def check(self) -> None:
        """Raises BadInput: it has no steps."""
        if not self.steps:
            raise BadInput(f"saga {self.name} has no steps.", remedy="Add some: Saga(...).step(function, undo=...).")
