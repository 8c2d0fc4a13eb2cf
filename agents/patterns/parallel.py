"""All at once: each is given the same, and the results come together by name.

    survey = parallel(web, archive, library, name="survey")
    await survey.run("whales")          # {"web": ..., "archive": ..., "library": ...}

Who fails does not stop the others: a Failure stands in its place. Only if all fail, there is no result.
"""

from __future__ import annotations

from typing import Any

from accord.agents.patterns.flow import Flow, Part, Pattern, by_name, check_some


class Parallel(Pattern):
    """Made by `parallel`."""

    async def flow(self, flow: Flow, input: Any) -> dict[str, Any]:
        results = await flow.all(by_name("parallel", self.parts), lambda _: input)
        check_some(self.name, results)
        return results


def parallel(*parts: Part, name: str = "parallel") -> Parallel:
    """A fan-out. Raises BadInput: there is no part, or two have one name."""
    by_name("parallel", parts)
    return Parallel(name, parts)
