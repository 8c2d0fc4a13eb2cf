"""A manager: it splits its task, delegates the parts to its members, and puts together what they have brought.

    research = hierarchical(scraper, analyzer, split=plan, merge=digest, name="research")
    content = hierarchical(writer, editor, split=outline, merge=compose, name="content")
    master = hierarchical(research, content, split=divide, merge=conclude, name="master")

A manager of managers is a manager whose members are such: each sees its own part alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.agents.patterns.flow import Flow, Part, Pattern, by_name, check_some

from accord.errors import BadInput, Failure


class Hierarchical(Pattern):
    """Made by `hierarchical`."""

    def __init__(self, members: tuple[Part, ...], split: Part, merge: Part, name: str) -> None:
        super().__init__(name, (*members, split, merge))
        self.members = by_name("hierarchical", members)
        self.split, self.merge = split, merge

    async def flow(self, flow: Flow, input: Any) -> Any:
        parts = await flow.do(self.split, {"task": input, "members": list(self.members)}, place="split")
        if not isinstance(parts, Mapping) or not parts or set(parts) - set(self.members):
            told = list(parts) if isinstance(parts, Mapping) else f"a {type(parts).__name__}"
            needed = f"parts by name are needed, for some of {list(self.members)}"
            raise Failure(f"{self.name} has split its task into {told}; {needed}", status="failed")
        doing = {name: member for name, member in self.members.items() if name in parts}
        results = await flow.at("members").all(doing, lambda name: parts[name])
        check_some(self.name, results)
        return await flow.do(self.merge, {"task": input, "results": results}, place="merge")


def hierarchical(*members: Part, split: Part, merge: Part, name: str) -> Hierarchical:
    """A manager of members, which may be managers.

    Args:
        split: is given `{task, members}`, and gives each member its part: a mapping by name; who is not in it has
            nothing to do.
        merge: is given `{task, results}`, results by member, a Failure (`{error}`) in place of one.
        name: of the manager.

    Raises:
        BadInput: there are no members, or two have one name.
    """
    if not members:
        raise BadInput(f"hierarchical({name!r}) has no members.")
    return Hierarchical(members, split, merge, name)
