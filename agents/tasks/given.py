"""What a step's function is given, and what it has brought.

Rules that act here:
- A function of a graph has parameters named `input`, `step`, and as the steps before its own. An agent's has those that
  `Agent` names, whatever graph the step is of.
- A call (call.py) is a step whose input says what the task is, and which results there are so far. In any other graph
  the task is the graph's input, and the results are those of the steps before.
- An agent that takes several tasks together is given a list, of one if it was asked for one, and returns a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from accord.agents.llm.model import Model
from accord.agents.tasks.graph import CONTEXT, INPUT, MODEL, STEP, TASK, TASKS, Function, GiveUp, Run

if TYPE_CHECKING:
    from accord.agents.hub import Hub

CALL: Final = "accord.call"
"""Name of the graph of a call. Its input is `{task, results}`, or `{tasks}` for several together."""
RESULTS: Final = "results"


class Models:
    """The models that agents of a process ask: one for each agent, made when it is first asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._made: dict[str, Model] = {}

    def of(self, agent: str, *, simple: bool) -> Model:
        """Raises ConfigError: there is no key for the endpoint."""
        found = self._made.get(agent)
        if found is None:
            settings = self._hub.settings.llm
            if simple:
                settings = settings.model_copy(update={"model": settings.simple_model})
            found = self._made[agent] = Model(settings, hub=self._hub, agent=agent)
        return found

    async def close(self) -> None:
        while self._made:
            await self._made.popitem()[1].__aexit__(None, None, None)


def of_graph(input: Any, run: Run) -> dict[str, Any]:
    """What a function of a graph may be given, by name."""
    return {**run.inputs, INPUT: input, STEP: run}


def of_agent(function: Function, type_: str, agent: str, input: Any, run: Run, models: Models) -> dict[str, Any]:
    """What an agent's function may be given, by name.

    Args:
        type_: of the graph.
        input: of the task.
    """
    task, tasks = input, [input]
    results = {**run.inputs, **{name: {"error": error} for name, error in run.errors.items()}}
    if type_ == CALL:
        tasks = input[TASKS] if TASKS in input else [input[TASK]]
        task, results = input.get(TASK), input.get(RESULTS, {})
    context = {TASK: task, RESULTS: results}
    known = {INPUT: task, TASK: task, TASKS: tasks, CONTEXT: context, STEP: run}
    return known | ({MODEL: models.of(agent, simple=function.simple)} if MODEL in function.parameters else {})


def result_of(function: Function, type_: str, input: Any, returned: Any) -> Any:
    """The step's result, from what its function has returned. Raises GiveUp: it is no list of as many as there were."""
    if not function.batched:
        return returned
    together = type_ == CALL and TASKS in input
    count = len(input[TASKS]) if together else 1
    if not isinstance(returned, list | tuple) or len(returned) != count:
        what = f"{len(returned)} results" if isinstance(returned, list | tuple) else f"a {type(returned).__name__}"
        raise GiveUp(f"it was given {count} tasks and returned {what}; a list with a result for each is needed")
    return returned if together else returned[0]
