"""Access to a language model, through the openai client: OpenAI, Azure, or any endpoint that speaks its protocol.

    async with hub.model() as model:                    # calls are on the log, answers are reused
        reply = await model.ask("Which of these hotels is quiet?")
    async with Model(settings.llm) as model: ...        # without a log: every question is a call, and none is recorded

It asks by the Responses API; `llm.api = "chat"` is for endpoints without it. A call is an effect: it belongs into an
agent's body, never into a decision. What may pass (429, 5xx, a lost connection) is tried three times, with backoff,
within `timeout_ms` a try; then it is `Unavailable`.

With `llm.limit` set, every try takes a slot of that limit (`hub.limit`) for the tokens that it may need, and tells the
limit what it took: so agents in all processes share the endpoint. Where the endpoint says 429, nobody is let in for as
long as it asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from accord.agents.connection import runtime
from accord.agents.connection.connection import Answer
from accord.agents.context import current
from accord.agents.limits.limits import Request
from accord.agents.llm.endpoint import Completion, Endpoint, may_pass, wait_ms
from accord.agents.llm.logged import DOMAIN, LoggedCall, Made, Reply
from accord.agents.llm.question import Question, checked
from accord.agents.locks.arguments import check_name, check_number
from accord.agents.operations import ModelCall
from accord.schemas.messages.llm import AnswerForgotten, ForgetAnswer
from accord.streams.llm.bounds import TTL_MS_MAX
from anyio.from_thread import BlockingPortal

from accord import logs
from accord.errors import AccordError, NotConnected
from accord.settings import LlmSettings, Settings

if TYPE_CHECKING:
    from accord.agents.hub import Hub

__all__ = ["Model", "Reply", "SyncModel"]

logger = logs.get("accord.llm")

TRIES: Final = 3


class _Attempt:
    """A call as it goes: how many requests were sent, and how long the endpoint took."""

    def __init__(self) -> None:
        self.tries = 0
        self.spent_s = 0.0
        self.completion: Completion | None = None
        self.cost: int | None = None

    @property
    def made(self) -> Made:
        duration_ms, c = round(self.spent_s * 1_000), self.completion
        if c is None:
            return Made(self.tries, duration_ms)
        return Made(self.tries, duration_ms, c.model, c.text, c.input_tokens, c.output_tokens, self.cost)


class Model:
    """A model, for async code. Use it with `async with`; one serves a whole process, its connections are pooled.

    Args:
        settings: where and whom to ask; None for the hub's, without a hub for the settings in force.
        hub: on whose log calls are recorded and answers are looked up; None: on none. `hub.model()` sets it.
        agent: whose calls they are, for `accord llm costs`; None: the hub's agent.

    Raises:
        ConfigError: there is no key for the endpoint.
    """

    def __init__(
        self, settings: LlmSettings | None = None, *, hub: Hub | None = None, agent: str | None = None
    ) -> None:
        if settings is None:
            settings = (hub.settings if hub else Settings.load()).llm
        self.settings: Final = settings
        self._hub = hub
        self._agent = None if agent is None else check_name(agent, "agent")
        self._endpoint = Endpoint(settings)
        self._client = self._endpoint.client()

    async def ask(
        self,
        prompt: str,
        *,
        instructions: str = "",
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        ttl_ms: int | None = None,
        agent: str | None = None,
    ) -> Reply:
        """Asks the model one question. With a hub, the answer of the log is taken if it is there, and of those who ask
        the same at once, one calls the model.

        Args:
            prompt: the question.
            instructions: what holds for every question, as the system's message.
            max_tokens: most tokens of the answer; None for the setting's. OpenAI takes no less than 16.
            parameters: others that the endpoint knows, as `{"temperature": 0}`; part of the question.
            ttl_ms: how old an answer of the log may be, and how long this one is kept there; 0: neither; None: the
                setting `llm.cache_ttl_ms`. At most 30 days.
            agent: whose call it is; None: the model's.

        Raises:
            Unavailable: no endpoint there, no answer in time, no text in it, or it takes no more requests.
            ConfigError: the endpoint refuses the key or does not know the model; names what to set.
            BadInput: the endpoint cannot take the question.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        cap = self.settings.max_tokens if max_tokens is None else max_tokens
        question = checked(self.settings.model, prompt, instructions, cap, parameters)
        ttl_ms = self.settings.cache_ttl_ms if ttl_ms is None else check_number("ttl_ms", ttl_ms, 0, TTL_MS_MAX)
        if self._hub is None:
            with ModelCall(self.settings.model):
                return await self._call(question, None)
        whose = check_name(agent, "agent") if agent else self._agent or self._hub.agent
        logged = LoggedCall(self._hub, question, whose, ttl_ms, self.settings.lease_ms)
        if ttl_ms:
            try:
                known = await asyncio.wrap_future(logged.look_up())
            except asyncio.CancelledError:
                logged.withdraw()
                raise
            if known is not None:
                return known
        with ModelCall(self.settings.model, self._hub, whose):
            return await self._call(question, logged)

    async def forget(self, request: str) -> bool:
        """Has the log forget the answer to a question; the next who asks it calls the model.

        Args:
            request: the question's hash, `Reply.request`.

        Returns:
            Whether an answer was kept.

        Raises:
            NotConnected: the model has no hub.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        if self._hub is None:
            raise NotConnected("forget(): this model has no log.", remedy="Make it by hub.model().")
        connection = self._hub.connection
        command = ForgetAnswer(self._agent or connection.agent)
        answer = await asyncio.wrap_future(connection.submit(DOMAIN, request, command).decided)
        return any(isinstance(event, AnswerForgotten) and event.was_kept for event in answer.events)

    async def _call(self, question: Question, logged: LoggedCall | None) -> Reply:
        """Calls the model, and tells the log what came of it."""
        from openai import OpenAIError  # noqa: PLC0415

        attempt = _Attempt()
        try:
            completion = await self._tried(question, attempt)
            self._endpoint.check(completion)
        except OpenAIError as error:
            told = self._endpoint.error(error)
            await self._tell(logged, attempt, told)
            raise told from None
        except Exception as error:
            await self._tell(logged, attempt, error)
            raise
        except BaseException as error:  # cancelled: there is no time to wait for the log's word
            if logged is not None:
                self._submit(logged, attempt, error)
            raise
        await self._tell(logged, attempt, None)
        c = completion
        return Reply(c.text, c.model, c.input_tokens, c.output_tokens, question.hash, False, attempt.cost)

    async def _tell(self, logged: LoggedCall | None, attempt: _Attempt, error: Exception | None) -> None:
        """Records a call, and returns when the log has it, or it is known that it has not."""
        if logged is None:
            return
        try:
            recorded = self._submit(logged, attempt, error)
            if recorded is not None:
                await asyncio.wrap_future(recorded)
        except AccordError as lost:
            logger.warning("a call of a model could not be recorded", model=self.settings.model, why=str(lost))

    @staticmethod
    def _submit(logged: LoggedCall, attempt: _Attempt, error: BaseException | None) -> Future[Answer] | None:
        if attempt.tries:
            return logged.record(attempt.made, error)
        logged.withdraw()
        return None

    # -- trying

    async def _tried(self, question: Question, attempt: _Attempt) -> Completion:
        """The answer. Who waits between two tries holds no slot."""
        from openai import OpenAIError, RateLimitError  # noqa: PLC0415

        while True:
            try:
                return await self._in_slot(question, attempt)
            except OpenAIError as error:
                if attempt.tries >= TRIES or not may_pass(error):
                    raise
                pause_ms = wait_ms(error, attempt.tries)
                if self.settings.limit and isinstance(error, RateLimitError):
                    pause_ms = 0  # the limit has everybody wait, this one included
            await asyncio.sleep(pause_ms / 1_000)

    async def _in_slot(self, question: Question, attempt: _Attempt) -> Completion:
        """A try in a slot of the limit, which is told what it took."""
        from openai import OpenAIError, RateLimitError  # noqa: PLC0415

        limit = self.settings.limit
        if not limit:
            return await self._sent(question, attempt)
        hub = self._hub or current(f"A model with llm.limit={limit}")
        async with Request(hub, limit, tokens=question.tokens) as slot:
            try:
                completion = await self._sent(question, attempt)
            except OpenAIError as error:
                slot.used(0)
                if isinstance(error, RateLimitError):
                    slot.retry_after(wait_ms(error, attempt.tries))
                raise
            if completion.has_usage:
                slot.used(completion.input_tokens + completion.output_tokens)
            return completion

    async def _sent(self, question: Question, attempt: _Attempt) -> Completion:
        attempt.tries += 1
        since_s = time.monotonic()
        try:
            completion = await self._endpoint.send(self._client, question)
        finally:
            attempt.spent_s += time.monotonic() - since_s
        attempt.completion, attempt.cost = completion, self._endpoint.cost(completion)
        return completion

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()


class SyncModel:
    """The same for plain functions: use it with `with`. Arguments and errors are those of `Model`."""

    def __init__(
        self, settings: LlmSettings | None = None, *, hub: Hub | None = None, agent: str | None = None
    ) -> None:
        self._model = Model(settings, hub=hub, agent=agent)
        self._at_end = ExitStack()
        self._loop: BlockingPortal | None = None

    def ask(
        self,
        prompt: str,
        *,
        instructions: str = "",
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        ttl_ms: int | None = None,
        agent: str | None = None,
    ) -> Reply:
        """Asks the model one question; see `Model.ask`."""
        asked = partial(self._model.ask, prompt, instructions=instructions, max_tokens=max_tokens)
        return self._entered.call(partial(asked, parameters=parameters, ttl_ms=ttl_ms, agent=agent))

    def forget(self, request: str) -> bool:
        """Has the log forget the answer to a question; see `Model.forget`."""
        return self._entered.call(self._model.forget, request)

    @property
    def _entered(self) -> BlockingPortal:
        if self._loop is None:
            raise NotConnected("A model was asked outside of its `with`.", remedy="Enter it first.")
        return self._loop

    def __enter__(self) -> Self:
        self._loop = self._at_end.enter_context(runtime.current().portal())
        self._at_end.callback(self._loop.call, self._model._client.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop = None
        self._at_end.__exit__(kind, error, trace)
