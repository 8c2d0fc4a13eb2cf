"""One after the other: each is given what the one before has brought.

    report = sequential(collect, analyse, visualise, summarise, name="report")
    await report.run("sales of 2026")

What fails ends the chain: the Failure names the step.
"""

from __future__ import annotations

from typing import Any

from accord.agents.patterns.flow import Flow, Part, Pattern, name_of

from accord.errors import BadInput, Failure


class Sequential(Pattern):
    """Made by `sequential`."""

    async def flow(self, flow: Flow, input: Any) -> Any:
        for number, part in enumerate(self.parts, start=1):
            name = name_of(part)
            try:
                input = await flow.do(part, input, place=f"{number}.{name}")
            except Failure as failure:
                raise Failure(
                    f"{self.name} ended at step {number} of {len(self.parts)}, {name}: {failure}",
                    agent=failure.agent, key=name, **failure.details,
                ) from failure  # fmt: skip
        return input


def sequential(*parts: Part, name: str = "sequential") -> Sequential:
    """A chain. The first part is given the input, the result of the last is the result; a part may stand twice.

    Raises:
        BadInput: there is no part.
    """
    if not parts:
        raise BadInput("sequential() of no parts.")
    return Sequential(name, parts)
