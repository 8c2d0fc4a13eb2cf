"""The graph of a task: its steps as they were defined, and which stand before and after each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import msgspec
from accord.schemas.messages.tasks import Step
from accord.schemas.structs import prepared

_STEPS: Final = prepared(list[Step])


class Graph:
    """Steps by number, in the order in which they were defined. Iterating gives them.

    Args:
        steps: of which `problem_of_graph` says that they are a graph.
    """

    __slots__ = ("_numbers", "after", "before", "bytes", "steps")

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = tuple(steps)
        self._numbers = {step.name: number for number, step in enumerate(self.steps)}
        self.before = tuple([tuple([self._numbers[name] for name in step.after]) for step in self.steps])
        """Of each step, the numbers of those that it needs."""
        after: list[list[int]] = [[] for _ in self.steps]
        for number, needed in enumerate(self.before):
            for one in needed:
                after[one].append(number)
        self.after = tuple([tuple(numbers) for numbers in after])
        """Of each step, the numbers of those that need it."""
        self.bytes = bytes_of(self.steps)
        """What it takes to name each step once."""

    @classmethod
    def restored(cls, plain: list[Any]) -> Graph:
        """A graph from its dump. Raises msgspec.ValidationError: it is none."""
        return cls(msgspec.convert(plain, _STEPS))

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, number: int) -> Step:
        return self.steps[number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.steps == other.steps

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Graph({list(self.steps)!r})"

    def number(self, name: str) -> int | None:
        """The number of a step; None: there is none of this name."""
        return self._numbers.get(name)


def bytes_of(steps: Iterable[Step]) -> int:
    """What it takes to name each of some steps in an event, with its capability, a number and how it is."""
    return sum(16 + len(step.name.encode()) + len(step.capability.encode()) for step in steps)


def problem_of_graph(steps: Sequence[tuple[str, Sequence[str]]]) -> str | None:
    """Why steps, each with the names of those before it, are no graph; a cycle is shown."""
    names = {name for name, _ in steps}
    if len(names) < len(steps):
        seen: set[str] = set()
        twice = next(name for name, _ in steps if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        return f"the step {twice!r} is defined twice"
    for name, after in steps:
        for needed in after:
            if needed not in names:
                return f"the step {name!r} comes after {needed!r}, which is no step"
        if len(set(after)) < len(after):
            return f"the step {name!r} names a step twice that it comes after"
    try:
        TopologicalSorter(dict(steps)).prepare()
    except CycleError as error:
        return f"the steps go in a circle: {' -> '.join(error.args[1])}"
    return None
