"""A resource outside of accord that agents share: a row, a file, a room. What is done to it is recorded.

It stands on the other side of a network: a request comes to it, and its answer back, a little later. A request that was
sent arrives, whatever became of its sender by then; so it is the resource that has to refuse who is too late.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from accord.agents.locks.fencing import FencedResource
from accord.agents.locks.locks import Held
from accord.errors import BadInput, StaleToken
from accord.testing.trials.agent import AgentRun, current
from accord.testing.trials.happenings import Happened, Kind

if TYPE_CHECKING:
    from accord.testing.trials.trial import Trial

Answered = Callable[[Any, Exception | None], object]
"""Is called with a result, or an error."""
LATENCY_MS: Final = 3.0
"""A request, or an answer, is under way for up to twice this long."""


class _Asker(NamedTuple):
    """Who sent a request: the agent's name and life, and in which section."""

    life: tuple[str, int]
    section: str

    @classmethod
    def of(cls, agent: AgentRun) -> _Asker:
        return cls((agent.name, agent.starts), agent.sections[0] if agent.sections else "")


class Resource:
    """See the module's text. Made by `accord_sim.resource`; each trial begins with the first value.

    Args:
        name: what it is called in invariants and traces.
        value: what it holds in the beginning. It is copied, and so is what is read and written.
        fenced: it refuses reads and writes with a smaller token than it has seen (`accord.FencedResource`). Each write
            needs one; a read without one is let in, and leaves no token.
    """

    def __init__(self, name: str, value: Any = None, *, fenced: bool = False) -> None:
        self.name = name
        self._first = value
        self._fenced = fenced
        self._trial: Trial | None = None
        self._value: Any = copy.deepcopy(value)
        self._version = 0
        self._seen: dict[tuple[str, int], int] = {}
        self._guard: FencedResource[Any, Any] | None = None

    def begin(self, trial: Trial) -> None:
        """A trial begins."""
        self._trial = trial
        self._random = trial.scheduler.stream(f"resource {self.name}")
        self._value, self._version, self._seen = copy.deepcopy(self._first), 0, {}
        self._guard = FencedResource(self.name, _done) if self._fenced else None

    @property
    def value(self) -> Any:
        """What it holds now: for invariants."""
        return self._value

    # -- for agents

    async def read(self, token: int | Held | None = None) -> Any:
        """What it holds.

        Args:
            token: of the grant under which is read, or the grant. Without it a fenced resource does not know that
                somebody has begun, and lets in who was there before.

        Raises:
            StaleToken: it is fenced, and has seen a larger token.
        """
        agent = self._agent()
        return await self._asked(agent, partial(self._read, _Asker.of(agent), _number(token)))

    async def write(self, value: Any, token: int | Held | None = None) -> None:
        """Puts a value in place of what it holds.

        Args:
            token: of the grant under which is written, or the grant.

        Raises:
            StaleToken: it is fenced, and has seen a larger token. Nothing was written.
            BadInput: it is fenced, and no token came.
        """
        agent = self._agent()
        await self._asked(agent, partial(self._write, _Asker.of(agent), copy.deepcopy(value), _number(token)))

    @property
    def sync(self) -> SyncResource:
        """The same for agents that are plain functions."""
        return SyncResource(self)

    def get(self) -> Any:
        """Reads at once: for plain functions, such as those behind a cache."""
        return self._read(_Asker.of(self._agent()), None)

    def put(self, value: Any) -> None:
        """Writes at once: for plain functions, such as what a `FencedResource` of the program's own applies."""
        self._put(_Asker.of(self._agent()), copy.deepcopy(value), None)

    # -- on its side of the network

    async def _asked(self, agent: AgentRun, request: Callable[[], Any]) -> Any:
        process = agent.process
        assert process is not None
        answer: asyncio.Future[Any] = process.loop.create_future()
        self._ask(agent, request, lambda *told: process.loop.call_soon(_settle, answer, *told))
        return await answer

    def _ask(self, agent: AgentRun, request: Callable[[], Any], told: Answered) -> None:
        """Sends a request, and its answer back: its result, or its error."""
        scheduler, process = agent.scheduler, agent.process
        assert process is not None

        def arrived() -> None:
            result, error = None, None
            try:
                result = request()
            except Exception as refused:
                error = refused
            process.call_later(self._latency_ms(), lambda: told(result, error))

        scheduler.call_later(self._latency_ms(), arrived)

    def _read(self, asker: _Asker, token: int | None) -> Any:
        if self._guard is not None and token is not None:
            return self._admitted(asker, token, None, partial(self._get, asker, token))
        return self._get(asker, token)

    def _write(self, asker: _Asker, value: Any, token: int | None) -> None:
        if self._guard is None:
            self._put(asker, value, token)
            return
        if token is None:
            raise BadInput(
                f"{self.name} is fenced: a write needs the token of its grant.",
                remedy=f"await {self.name}.write(value, token=grant)",
            )
        self._admitted(asker, token, value, partial(self._put, asker, value, token))

    def _admitted(self, asker: _Asker, token: int, value: Any, do: Callable[[], Any]) -> Any:
        """Does something, if the token is not outdated."""
        assert self._guard is not None
        try:
            return self._guard.write(token, do)
        except StaleToken as error:
            what = f"it has seen {error.details['highest_token']}"
            self._happened("refused", asker, value, token=token, what=what)
            raise

    def _get(self, asker: _Asker, token: int | None) -> Any:
        self._seen[asker.life] = self._version
        self._happened("read", asker, self._value, token=token)
        return copy.deepcopy(self._value)

    def _put(self, asker: _Asker, value: Any, token: int | None) -> None:
        based_on = self._seen.get(asker.life)
        self._value = value
        self._version += 1
        self._seen[asker.life] = self._version
        self._happened("wrote", asker, value, token=token, based_on=based_on)

    def _happened(
        self, kind: Kind, asker: _Asker, value: Any, *, token: int | None, based_on: int | None = None, what: str = ""
    ) -> None:
        trial = self._trial
        assert trial is not None
        value, (agent, life) = copy.deepcopy(value), asker.life
        trial.happened(
            Happened(
                trial.now_ms,
                kind,
                agent,
                life,
                self.name,
                what,
                value,
                self._version,
                based_on,
                token,
                section=asker.section,
            )
        )

    def _agent(self) -> AgentRun:
        agent = current.get()
        if agent is None or self._trial is None:
            raise BadInput(
                f"{self.name} was used outside of a simulated agent.",
                remedy="Use it in functions given to accord_sim.agent(); invariants look at .value.",
            )
        return agent

    def _latency_ms(self) -> float:
        return self._random.random() * 2 * LATENCY_MS


class SyncResource:
    """A resource for agents that are plain functions: what they ask for, they wait for."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def read(self, token: int | Held | None = None) -> Any:
        """As `Resource.read`."""
        resource, agent = self._resource, self._resource._agent()
        return self._asked(agent, partial(resource._read, _Asker.of(agent), _number(token)))

    def write(self, value: Any, token: int | Held | None = None) -> None:
        """As `Resource.write`."""
        resource, agent = self._resource, self._resource._agent()
        self._asked(agent, partial(resource._write, _Asker.of(agent), copy.deepcopy(value), _number(token)))

    def _asked(self, agent: AgentRun, request: Callable[[], Any]) -> Any:
        assert agent.runtime is not None
        answer = agent.runtime.future()
        self._resource._ask(agent, request, lambda *told: _settle(answer, *told))
        return answer.result()


def _done(do: Callable[[], Any]) -> Any:
    return do()


def _number(token: int | Held | None) -> int | None:
    return token.token if isinstance(token, Held) else token


def _settle(answer: asyncio.Future[Any] | Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
