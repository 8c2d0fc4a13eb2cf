"""Graphs of steps, defined in Python.

    graph = TaskGraph("content_creation")

    @graph.step
    async def research(input): ...                       # what the task was submitted with

    @graph.step(after=[research], capability="write", retries=3)
    async def write(input, research): ...                # the result of the step before, by its name

Rules that act here:
- A parameter of a step's function is `input`, the name of a step that it comes after, or `step`: the `Run`.
- What cannot be a graph is refused where it is defined: a name twice, a step that comes after one which is not there
  yet. So what is built by decorators has no circle; `submit` looks once more, at what the log would refuse.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, overload

from accord.agents.locks.arguments import check_number
from accord.schemas.messages.tasks import Step
from accord.streams.tasks.bounds import LIMIT_MS_MAX, NAME_BYTES_MAX, RETRIES_MAX, TIMEOUT_MS_MAX, TIMEOUT_MS_MIN
from accord.streams.tasks.graph import problem_of_graph

from accord.errors import BadInput

F = TypeVar("F", bound=Callable[..., Any])

INPUT: Final = "input"
STEP: Final = "step"
TASK: Final = "task"
TASKS: Final = "tasks"
CONTEXT: Final = "context"
MODEL: Final = "model"
TEAM: Final = "default"
TIMEOUT_MS: Final = 300_000
WAIT_MS: Final = 3_600_000
RETRIES: Final = 3


class GiveUp(Exception):
    """Raised in a step, fails it for good: running it again is of no use. Its text becomes the step's error."""


class Run(NamedTuple):
    """One run of a step, as the function's parameter `step` gets it.

    `key` is the idempotency key: the same for every run of this step of this task. A step that has run and was not
    recorded, because its process died before, is run again with the same key; one that was recorded never is. `tries`
    counts the runs before this one. `inputs` has the result of every step before that was completed, `errors` the error
    text of every one that was not, `statuses` what has become of each: completed, failed, timed_out, skipped, blocked.
    """

    task_id: str
    name: str
    key: str
    tries: int
    token: int
    inputs: Mapping[str, Any]
    errors: Mapping[str, str]
    statuses: Mapping[str, str]


class Function(NamedTuple):
    """What runs a step, and which of the names that it may have its parameters have; see `Agent`.

    `batched`: it takes several tasks together. `simple`: a cheaper model is enough for it.
    """

    call: Callable[..., Any]
    parameters: tuple[str, ...]
    batched: bool = False
    simple: bool = False


class TaskGraph:
    """A graph of steps.

    Args:
        name: of the kind of task, 1 to 200 bytes.
        team: of agents that do the steps.
    """

    def __init__(self, name: str, *, team: str = TEAM) -> None:
        self.name: Final = checked_name("graph", name)
        self.team: Final = checked_name("team", team)
        self._steps: dict[str, Step] = {}
        self.functions: Final[dict[str, Function]] = {}
        """By step; one that another process runs may have none here."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps.values())

    @property
    def last(self) -> list[str]:
        """The steps that no other comes after: theirs are the task's results."""
        needed = {name for step in self._steps.values() for name in step.after}
        return [name for name in self._steps if name not in needed]

    @overload
    def step(self, function: F, /) -> F: ...

    @overload
    def step(
        self,
        function: None = None,
        /,
        *,
        after: Iterable[Callable[..., Any] | str] = (),
        name: str | None = None,
        capability: str | None = None,
        retries: int = RETRIES,
        timeout_ms: int = TIMEOUT_MS,
        wait_ms: int = WAIT_MS,
        deadline_ms: int | None = None,
        optional: bool = False,
        need: int | None = None,
    ) -> Callable[[F], F]: ...

    def step(self, function: Callable[..., Any] | None = None, /, *, name: str | None = None, **terms: Any) -> Any:
        """Adds a function as a step; it stays what it is. Arguments as for `add`; the name is the function's."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.add(name or function.__name__, function, **terms)
            return function

        return decorate if function is None else decorate(function)

    def add(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        *,
        after: Iterable[Callable[..., Any] | str] = (),
        capability: str | None = None,
        retries: int = RETRIES,
        timeout_ms: int = TIMEOUT_MS,
        wait_ms: int = WAIT_MS,
        deadline_ms: int | None = None,
        optional: bool = False,
        need: int | None = None,
    ) -> None:
        """Adds a step; for graphs that are made at run time, too.

        Args:
            name: unique in the graph, 1 to 200 bytes.
            function: plain or async; None: other processes run it.
            after: steps before it: their names, or the functions that were added under their own names.
            capability: what an agent must be able to do; None: whoever works for this graph is.
            retries: how often it is run again after a failure: after 5, 10, then 15 s. 0 to 100.
            timeout_ms: how long a run may take; a run that takes longer has failed.
            wait_ms: how long it waits for an agent; then it is given up.
            deadline_ms: how long after the task's beginning it must be done; then it is given up at once.
            optional: the steps after it go on without it.
            need: how many of the steps before it must be completed, once all have ended; None: all but the optional.

        Raises:
            BadInput: an argument cannot be right; a step of this name is there; a step before it is not.
        """
        steps = dict(self._steps)
        if name in steps:
            raise BadInput(f"graph {self.name}: the step {name!r} is defined twice.")
        before = tuple([self._name_of(one, name) for one in after])
        limit_ms = None if deadline_ms is None else check_number("deadline_ms", deadline_ms, 1, LIMIT_MS_MAX)
        step = Step(
            checked_name("step", name),
            before,
            checked_name("capability", self.name if capability is None else capability),
            check_number("retries", retries, 0, RETRIES_MAX),
            check_number("timeout_ms", timeout_ms, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
            check_number("wait_ms", wait_ms, 0, LIMIT_MS_MAX),
            limit_ms,
            optional,
            None if need is None else check_number("need", need, 0, len(before)),
        )
        if function is not None:
            if not callable(function):
                raise BadInput(f"graph {self.name}: the step {name!r} is {function!r}, which is no function.")
            known = (INPUT, STEP, *before)
            self.functions[name] = Function(function, parameters_of(function, f"graph {self.name}: {name}()", known))
        self._steps[name] = step

    def _name_of(self, one: Callable[..., Any] | str, name: str) -> str:
        found = one if isinstance(one, str) else getattr(one, "__name__", repr(one))
        if found not in self._steps:
            there = ", ".join(self._steps) or "none yet"
            raise BadInput(f"graph {self.name}: {name!r} comes after {found!r}, which is no step. There is: {there}.")
        return found

    def check(self) -> tuple[Step, ...]:
        """The steps, once they are a graph. Raises BadInput: there is none, or the log would refuse them."""
        if not self._steps:
            raise BadInput(f"graph {self.name} has no steps.", remedy="Add some: @graph.step")
        problem = problem_of_graph([(step.name, step.after) for step in self._steps.values()])
        if problem is not None:
            raise BadInput(f"graph {self.name}: {problem}.")
        return self.steps


def parameters_of(function: Callable[..., Any], what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a function's parameters that are given to it.

    Args:
        what: the function, for the error's text.
        known: names that its parameters may have.

    Raises:
        BadInput: it has another one, and that without a default.
    """
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BadInput(
                f"{what} has the parameter {parameter}; there are plain names: {', '.join(known)}. "
                "More there is in step.inputs."
            )
        if parameter.name in known:
            found.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise BadInput(
                f"{what} has the parameter {parameter.name}, but comes after no such step. It may have: "
                f"{', '.join(known)}."
            )
    return tuple(found)


def checked_name(what: str, name: str) -> str:
    """The name of a graph, a step, an agent, a team. Raises BadInput: it cannot be one."""
    if not isinstance(name, str) or not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise BadInput(f"{what} {str(name)[:40]!r}: a name of 1 to {NAME_BYTES_MAX} bytes is needed.")
    return name
