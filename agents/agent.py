"""An agent: a name, what it is able to do, and the function that does it.

web = Agent("web", search)                       # async def search(task): ...

async with hub.work(web, slots=4): ...           # here it works
await hub.fan_out("kafka", agents=["web", "news"], deadline_ms=30_000)      # anywhere else
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from accord.agents.locks.arguments import check_number
from accord.agents.tasks.graph import CONTEXT, INPUT, MODEL, STEP, TASK, TASKS, Function, checked_name, parameters_of

from accord.errors import BadInput

BATCH_MAX: Final = 1_000


class Agent:
    """What `Accord.work` takes steps for, whatever graph they are of.

    Args:
        name: 1 to 200 bytes; it is able to do what is asked for by this name.
        run: plain or async; its parameters are among `task` (or `input`): what it is to do, `context`: that task and
            the `results` so far, by agent, `model`: the language model of the settings, `step`: the `Run`.
        capabilities: what else it is able to do.
        shown: what spans, logs and figures call it; empty: its name.
        batch: how many tasks it may be given together, 1 to 1,000. Above 1, `run` has the parameter `tasks`, a list,
            and returns a list of as many results, in their order.
        simple: `model` is the cheaper one, `llm.simple_model`.

    Raises:
        BadInput: an argument cannot be right.
    """

    def __init__(
        self,
        name: str,
        run: Callable[..., Any],
        *,
        capabilities: Iterable[str] = (),
        shown: str = "",
        batch: int = 1,
        simple: bool = False,
    ) -> None:
        self.name: Final = checked_name("agent", name)
        self.shown: Final = shown or name
        if not callable(run):
            raise BadInput(f"agent {name}: {run!r} is no function.")
        self.batch: Final = check_number("batch", batch, 1, BATCH_MAX)
        self.capabilities: Final = (self.name, *[checked_name("capability", one) for one in capabilities])
        known = (INPUT, TASK, CONTEXT, MODEL, STEP) if batch == 1 else (TASKS, MODEL, STEP)
        self.function: Final = Function(run, parameters_of(run, f"agent {name}", known), batch > 1, simple)
