"""An agent: a name, what it is able to do, and the function that does it.

web = Agent("web", search)                       # async def search(input): ...

async with hub.work(web, slots=4): ...           # here it works
await hub.fan_out("kafka", agents=["web", "news"], deadline_ms=30_000)      # anywhere else
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from accord.agents.tasks.graph import INPUT, STEP, Function, checked_name, parameters_of

from accord.errors import BadInput


class Agent:
    """What `Accord.work` takes steps for, whatever graph they are of.

    Args:
        name: 1 to 200 bytes; it is able to do what is asked for by this name.
        run: plain or async; its parameters are among `input`, the task's input, and `step`: the `Run`.
        capabilities: what else it is able to do.
        shown: what spans, logs and figures call it; empty: its name.

    Raises:
        BadInput: an argument cannot be right.
    """

    def __init__(
        self, name: str, run: Callable[..., Any], *, capabilities: Iterable[str] = (), shown: str = ""
    ) -> None:
        self.name: Final = checked_name("agent", name)
        self.shown: Final = shown or name
        if not callable(run):
            raise BadInput(f"agent {name}: {run!r} is no function.")
        self.capabilities: Final = (self.name, *[checked_name("capability", one) for one in capabilities])
        self.function: Final = Function(run, parameters_of(run, f"agent {name}", (INPUT, STEP)))
