"""An agent that answers whenever it is asked, by a function or a model: how the answer is had, and what counts as one.

A word counts if it is one of those that may be said, in any case, with nothing but blanks around it. Of any other
answer nothing is guessed, whatever it contains; nor is one had from who fails or takes too long.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from accord.agents.locks.arguments import check_name
from accord.agents.signals.handlers import RETRIES_MAX, STOP_S, Handler, Runner
from accord.agents.signals.wanted import Wanted
from accord.streams.tasks.bounds import NAME_BYTES_MAX

from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.agents.hub import Hub

ANSWER_CHARS_MAX: Final = 80
"""Of an answer that does not count, in the reason for that."""


class AsksModel(Protocol):
    """`accord.Model`, or whatever asks like it; what it returns has a `text`."""

    async def ask(self, prompt: str, *, instructions: str = "") -> Any: ...


def word_in(answer: Any, words: Iterable[str], otherwise: str) -> tuple[str | None, str]:
    """The word that an answer is; or None, and what was said after what it is then: `no vote: I am not sure`."""
    plain = answer.strip().casefold() if isinstance(answer, str) else None
    word = next((word for word in words if word.strip().casefold() == plain), None)
    if word is not None:
        return word, ""
    said = answer if isinstance(answer, str) else repr(answer)
    cut = said if len(said) <= ANSWER_CHARS_MAX else f"{said[:ANSWER_CHARS_MAX]}..."
    return None, f"{otherwise}: {' '.join(cut.split())}"


async def word_from(
    ask: Callable[[], Any], limit_ms: int, words: Iterable[str], otherwise: str
) -> tuple[str | None, str]:
    """The word that somebody answers, as `word_in`; None also if it fails, or takes longer than `limit_ms`.

    Args:
        ask: what gives the answer to wait for.
    """
    limit = asyncio.timeout(limit_ms / 1_000)
    try:
        async with limit:
            return word_in(await ask(), words, otherwise)
    except Exception as error:
        if limit.expired():
            return None, f"failed: no answer within {limit_ms} ms"
        return None, f"failed: {type(error).__name__}: {error}"


async def answer_of(who: Any, question: Any, prompt: str, instructions: str) -> Any:
    """What a function returns to the question, or a model's answer to the prompt.

    Args:
        who: a function, plain (it has a thread) or async; or a model.
    """
    if callable(who):
        return await called(who, question)
    reply = await who.ask(prompt, instructions=instructions)
    return reply.text


async def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a user's function returns; a plain one has a thread, and the context."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **named)
    found = await asyncio.to_thread(function, *arguments, **named)
    return await found if inspect.isawaitable(found) else found


def name_of(noun: str, name: str) -> str:
    """Checks the name by which somebody is asked. Raises BadInput, saying what it is the name of."""
    if len(check_name(name, noun).encode()) > NAME_BYTES_MAX:
        raise BadInput(f"{noun} {name[:40]!r}...: a name has at most {NAME_BYTES_MAX} bytes.")
    return name


def check_answers(whose: str, who: Any) -> None:
    """Raises BadInput unless it is a function or a model."""
    if not callable(who) and not callable(getattr(who, "ask", None)):
        raise BadInput(f"{whose}: {who!r} is neither a function nor a model.")


class Asked:
    """Is asked by signals for as long as `async with` lasts: at least once each, one process of a name at a time."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._runner: Runner | None = None

    def _listens(self) -> tuple[str, str]:
        """The name of the signals, and of the handler: processes with the same one share the signals."""
        raise NotImplementedError

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        """Answers a signal."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        event, name = self._listens()
        handler = Handler(name, Wanted((event,)), self._asked, takes_event=False, retries=RETRIES_MAX)
        self._runner = Runner(self._hub, handler, asyncio.get_running_loop())
        await asyncio.wrap_future(self._runner.start())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop()
            await asyncio.to_thread(runner.join, STOP_S)
