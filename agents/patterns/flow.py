"""How patterns run: what they have in common.

Rules that act here:
- All that a pattern does is calls of agents (`accord.agents.tasks.call`), each under the run's key and its own place in
  the pattern. A run whose process died is made again with the same `key`: it goes the same way, takes from the log what
  was recorded, and goes on from there. So what is between calls is a function of what they have brought.
- Agents given as `Agent` work in this process while the pattern runs; a name is of an agent that works elsewhere.
- No more than `max_running` calls of a run are under way; the next one is begun when one of them has ended. A run that
  is made again may have those on top that its forerunner has left under way, until it has come to them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from accord.agents.agent import Agent
from accord.agents.context import current
from accord.agents.locks.arguments import check_name, check_number
from accord.agents.patterns.working import working
from accord.agents.signals.signals import new_task
from accord.agents.tasks.call import Called, Terms, call
from accord.agents.tasks.graph import TEAM, checked_name
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.roster.bounds import SLOTS_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX, RETRIES_MAX

from accord.errors import BadInput, Failure

if TYPE_CHECKING:
    from accord.agents.client import Accord

T = TypeVar("T")

TIMEOUT_MS: Final = 30_000
MAX_RUNNING: Final = 8
RETRIES: Final = 1
KEY_BYTES: Final = 120
"""Of a run's key, at most; the place of a call in the pattern comes after it."""
DIGEST_CHARS: Final = 32


class Pattern:
    """What takes an input and brings a result by calling agents. What inherits it has `flow`.

    Args:
        name: in its place in other patterns, and in their results.
        parts: agents and patterns that it may call, each of another name.

    Raises:
        BadInput: two parts have one name, or two agents in all of it.
    """

    def __init__(self, name: str, parts: Iterable[Part]) -> None:
        self.name: Final = checked_name("pattern", name)
        self.parts: Final = tuple(parts)
        self.agents: Final = agents_of(self.parts)

    async def flow(self, flow: Flow, input: Any) -> Any:
        """What it does, for `run` and for patterns that it is part of. Raises Failure: it has no result."""
        raise NotImplementedError

    async def run(
        self,
        input: Any = None,
        *,
        key: str | None = None,
        hub: Accord | None = None,
        timeout_ms: int = TIMEOUT_MS,
        retries: int = RETRIES,
        max_running: int = MAX_RUNNING,
        team: str = TEAM,
    ) -> Any:
        """Runs the pattern, and returns its result.

        Args:
            input: what is to be done; JSON types, dataclasses or pydantic models.
            key: of this run, 1 to 120 bytes. Run again with the same key, input and terms, within a day, it is the same
                run: it goes on where it was, and what was recorded is not done again. None: a new run.
            hub: None: the one that is open here.
            timeout_ms: how long an agent may take for a call, with its retries.
            retries: how often a call that failed is made again: after 5 s, then 10, then always 15.
            max_running: how many calls may be under way at a time.
            team: in which the agents work.

        Raises:
            Failure: an agent that it needs has brought no result.
            BadInput: an argument cannot be right.
            TermsDiffer: the key has been used for something else.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        async with Flow(f"{self.name}.run()", self.agents, key, hub, timeout_ms, retries, max_running, team) as flow:
            return await self.flow(flow, input)


Part = Agent | str | Pattern
"""What a pattern calls: an agent, the name of one that works elsewhere, or another pattern."""


def name_of(part: Part) -> str:
    return part if isinstance(part, str) else part.name


def agents_of(parts: Iterable[Part]) -> dict[str, Agent]:
    """The agents that work in this process, by name. Raises BadInput: a part is none, or two have one name."""
    found: dict[str, Agent] = {}
    for part in parts:
        if isinstance(part, str):
            checked_name("agent", part)
        elif not isinstance(part, Agent | Pattern):
            raise BadInput(f"{part!r} is no agent, no name of one, and no pattern.", remedy="Make it an Agent first.")
        for agent in [part] if isinstance(part, Agent) else part.agents.values() if isinstance(part, Pattern) else []:
            if found.setdefault(agent.name, agent) is not agent:
                raise BadInput(f"two agents are called {agent.name}.", remedy="Give each a name of its own.")
    return found


def by_name(pattern: str, parts: Iterable[Part], least: int = 1) -> dict[str, Part]:
    """Parts by their names. Raises BadInput: one stands twice, or there are too few."""
    given = list(parts)
    found = {name_of(part): part for part in given}
    if len(found) < len(given) or len(found) < least:
        raise BadInput(f"{pattern}() of {len(given)} parts: {least} or more are needed, each with a name of its own.")
    return found


class Flow:
    """A run of a pattern, for `async with`; or, made by `at`, a part of one.

    Args:
        caller: what is run, for the error's text.
        agents: that work here meanwhile. The other arguments are those of `Pattern.run`.
    """

    def __init__(
        self, caller: str, agents: Mapping[str, Agent], key: str | None, hub: Accord | None, timeout_ms: int,
        retries: int, max_running: int, team: str,
    ) -> None:  # fmt: skip
        check_number("timeout_ms", timeout_ms, 1, LIMIT_MS_MAX)
        check_number("retries", retries, 0, RETRIES_MAX)
        check_number("max_running", max_running, 1, SLOTS_MAX)
        if key is not None and len(check_name(key, "run").encode()) > KEY_BYTES:
            raise BadInput(f"key={key[:40]!r} has {len(key.encode())} bytes; {KEY_BYTES} are the most.")
        self.hub = cast("Accord", hub or current(caller))
        self.hub.ensure_open(caller)
        self.run: Final = key or new_task()
        self._mine = key is None
        self._terms = Terms(timeout_ms, retries, checked_name("team", team))
        self._place: tuple[str, ...] = ()
        self._agents = agents
        self._turns = asyncio.Semaphore(max_running)
        self.heard: Callable[[Called], None] = lambda _: None
        """Told of every call that has ended."""

    async def __aenter__(self) -> Flow:
        self._working = working(self.hub, self._agents, self._terms.team)
        await self._working.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._working.__aexit__(kind, error, trace)

    def at(self, place: str) -> Flow:
        """The part of the run at a place of the pattern; each has a place of its own."""
        part = copy(self)
        part._place = (*self._place, place)
        return part

    @property
    def key(self) -> str:
        """Of the call at this place. What is too long is told by its hash."""
        path = "/".join((self.run, *self._place))
        if len(path.encode()) <= KEY_BYTES_MAX:
            return path
        return f"{self.run}/{hashlib.sha256(path.encode()).hexdigest()[:DIGEST_CHARS]}"

    async def do(self, part: Part, input: Any, *, place: str = "") -> Any:
        """The result of a part. Raises Failure: it has none.

        Args:
            place: of its own in this flow; empty: the part's name.
        """
        if isinstance(part, Pattern):
            return await part.flow(self.at(place or part.name), input)
        called = await self.call(part, input, place=place)
        if called.failure is not None:
            raise called.failure
        return called.result

    async def call(
        self, agent: Agent | str, task: Any, *, results: Mapping[str, Any] | None = None, together: bool = False,
        place: str = "",
    ) -> Called:  # fmt: skip
        """How a call of an agent went; see `accord.agents.tasks.call`."""
        name = name_of(agent)
        key = self.at(place or name).key
        async with self._turns:
            called = await call(
                self.hub,
                name,
                task,
                self._terms,
                key=key,
                results=results,
                together=together,
                mine=self._mine,
                here=name in self._agents,
            )
        self.heard(called)
        return called

    async def all(self, parts: Mapping[str, Part], input: Callable[[str], Any]) -> dict[str, Any]:
        """The results of several parts that run at once, by name, in their order; a Failure in place of one.

        Args:
            input: of each, by its name.
        """
        return await together({name: tried(self.do(part, input(name), place=name)) for name, part in parts.items()})


async def tried(result: Awaitable[T]) -> T | Failure:
    """A result, or its Failure as a value."""
    try:
        return await result
    except Failure as failure:
        return failure


async def together(runs: Mapping[str, Awaitable[T]]) -> dict[str, T]:
    """What runs at once, by name, in the given order. The first error ends the others, and is raised."""
    tasks = {name: asyncio.ensure_future(run) for name, run in runs.items()}
    try:
        return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def without(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results without the failures."""
    return {name: result for name, result in results.items() if not isinstance(result, Failure)}


def check_some(pattern: str, results: Mapping[str, Any]) -> None:
    """Raises Failure: all of them are failures."""
    if results and not without(results):
        told = "; ".join(f"{name}: {result}" for name, result in results.items())
        raise Failure(f"none of {len(results)} parts of {pattern} has a result ({told})", status="failed")
