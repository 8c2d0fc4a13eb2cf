"""Access to a language model, through the openai client: OpenAI itself or any endpoint that speaks its protocol.

    async with Model(settings.llm) as model:
        reply = await model.ask("Which of these hotels is quiet?")

It asks by chat completions, which every compatible endpoint has. A call is an effect: it belongs into an agent's body,
never into a decision. What may pass (429, 5xx, a lost connection) is tried three times, with backoff, within
`timeout_ms` a try; then it is `Unavailable`.

With `llm.limit` set, every try takes a slot of that limit (`hub.limit`) for the tokens that it may need, and tells the
limit what it took: so agents in all processes share the endpoint. Where the endpoint says 429, nobody is let in for as
long as it asks.

The key goes to the endpoint that it was set for and nowhere else: with `base_url` set, `OPENAI_API_KEY` is not used.
No error's text holds it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from accord.agents.context import current
from accord.agents.limits.limits import Reporting, Request
from accord.agents.operations import ModelCall
from accord.streams.limits.bounds import TOKENS_MAX

from accord.errors import AccordError, BadInput, ConfigError, Unavailable
from accord.settings import LlmSettings, Settings

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

NO_KEY: Final = "none"
"""Sent where no key is set: endpoints on one's own machine want none, but the client sends one always."""
TEXT_CHARS_MAX: Final = 300
"""Most of an endpoint's own error text that is passed on."""
TRIES: Final = 3
BACKOFF_MS: Final = 500
"""Before the second try; doubled before the third. What the endpoint itself asks for goes before."""
BACKOFF_MS_MAX: Final = 60_000
CHARS_A_TOKEN: Final = 3
"""Fewer than English has, so that the guess of a prompt's tokens is rather too high; corrected after the call."""


class Reply(NamedTuple):
    """What a model answered. `model` is what the endpoint calls it; token counts are 0 where it tells none."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int


class _Endpoint:
    """What both forms share: where and whom to ask, and what its failures mean.

    Raises:
        ConfigError: there is no key for the endpoint.
    """

    def __init__(self, settings: LlmSettings | None = None) -> None:
        self.settings = settings = settings or Settings.load().llm
        key = settings.api_key
        if not settings.base_url:
            key = key or os.environ.get("OPENAI_API_KEY", "")
            if not key:
                raise ConfigError(
                    "No language model: llm.api_key and llm.base_url are empty.",
                    remedy="Set OPENAI_API_KEY or ACCORD_LLM__API_KEY; for another endpoint, ACCORD_LLM__BASE_URL.",
                )
        self._key = key
        self._options: dict[str, Any] = {"api_key": key or NO_KEY, "timeout": settings.timeout_ms / 1_000}
        if settings.base_url:
            self._options["base_url"] = settings.base_url

    def _request(self, prompt: str, instructions: str, max_tokens: int | None) -> dict[str, Any]:
        if not prompt.strip():
            raise BadInput("ask(): the prompt is empty.")
        if max_tokens is not None and max_tokens < 1:
            raise BadInput(f"ask(): max_tokens={max_tokens}; the least is 1.")
        system = [{"role": "system", "content": instructions}] if instructions else []
        return {
            "model": self.settings.model,
            "messages": [*system, {"role": "user", "content": prompt}],
            "max_completion_tokens": max_tokens or self.settings.max_tokens,
        }

    def _reply(self, completion: ChatCompletion) -> Reply:
        choice = completion.choices[0] if completion.choices else None
        if choice is None or not choice.message.content:
            why = choice.finish_reason if choice is not None else "no choices"
            raise Unavailable(
                f"Model {self.settings.model} at {self._where} gave no text ({why}).",
                remedy="Allow it more tokens: ACCORD_LLM__MAX_TOKENS." if why == "length" else "Ask it another way.",
            )
        usage = completion.usage
        return Reply(
            choice.message.content,
            completion.model,
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )

    @property
    def _where(self) -> str:
        """The endpoint for people: without path, name or password."""
        url = urlsplit(self.settings.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com")
        return f"{url.hostname}:{url.port}" if url.port else str(url.hostname)

    def _error(self, error: Exception) -> AccordError:
        """What a failure of the client means for the reader."""
        import openai  # noqa: PLC0415  takes half a second: only for who asks a model

        where, model, said = self._where, self.settings.model, self._said(error)
        kind: type[AccordError] = Unavailable
        remedy = ""
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                kind, what = ConfigError, f"{where} refused the key ({error.status_code}) for model {model}."
                remedy = f"Set {'' if self.settings.base_url else 'OPENAI_API_KEY or '}ACCORD_LLM__API_KEY."
            case openai.NotFoundError():
                kind, what = ConfigError, f"{where} has no model {model}, or the base URL has the wrong path: {said}"
                remedy = "Set ACCORD_LLM__MODEL or ACCORD_LLM__BASE_URL, which mostly ends in /v1."
            case openai.BadRequestError() | openai.UnprocessableEntityError():
                kind, what = BadInput, f"{where} refused the question: {said}"
            case openai.RateLimitError():
                what = f"{where} takes no more requests now (429): {said}"
                remedy = "Let fewer agents ask at once, or raise the quota there."
            case openai.APITimeoutError():
                what = f"Model {model} at {where} did not answer in {self.settings.timeout_ms / 1_000:g} s."
                remedy = "Allow more time: ACCORD_LLM__TIMEOUT_MS."
            case openai.APIStatusError():
                what = f"{where} failed ({error.status_code}): {said}"
            case openai.APIConnectionError():
                what = f"No answer from {where} ({type(error.__cause__ or error).__name__})."
                remedy = "Is ACCORD_LLM__BASE_URL right, and the endpoint running?"
            case _:
                what = f"Asking {where} failed: {type(error).__name__}: {said}"
        return kind(what, remedy=remedy)

    def _said(self, error: Exception) -> str:
        """The endpoint's own words, cut, and without the key should it repeat it."""
        text = " ".join(str(getattr(error, "message", error)).split())[:TEXT_CHARS_MAX]
        return text.replace(self._key, "***") if self._key else text


def _tokens(request: dict[str, Any]) -> int:
    """How many tokens a request may take."""
    chars = sum(len(message["content"]) for message in request["messages"])
    return min(chars // CHARS_A_TOKEN + 1 + int(request["max_completion_tokens"]), TOKENS_MAX)


def _may_pass(error: Exception, attempt: int) -> bool:
    """Whether another try may succeed, and is left; as the openai client decides it."""
    import openai  # noqa: PLC0415

    if isinstance(error, openai.APIStatusError):
        passing = error.status_code in _PASSING or error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    else:
        passing = isinstance(error, openai.APIConnectionError)
    return passing and attempt + 1 < TRIES


_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)


def _wait_ms(error: Exception, attempt: int) -> int:
    """How long to wait before the next try: what the endpoint asks for, `retry-after-ms` or `retry-after` in seconds,
    else the backoff."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1_000)):
        with suppress(KeyError, ValueError):
            return min(max(0, int(float(headers[name]) * factor)), BACKOFF_MS_MAX)
    return BACKOFF_MS << attempt


def _used(completion: ChatCompletion, slot: Reporting) -> ChatCompletion:
    """Tells the limit what an answer took."""
    if completion.usage:
        slot.used(completion.usage.total_tokens)
    return completion


def _failed(error: Exception, attempt: int, slot: Reporting) -> int:
    """Tells the limit of a try that failed; returns for how many ms this caller waits beside what all have to."""
    from openai import RateLimitError  # noqa: PLC0415

    slot.used(0)
    wait_ms = _wait_ms(error, attempt)
    if not isinstance(error, RateLimitError):
        return wait_ms
    slot.retry_after(wait_ms)
    return 0


class Model(_Endpoint):
    """A model, for async code. Use it with `async with`; one serves a whole process, its connections are pooled.

    Args:
        settings: where and whom to ask; None for the settings in force.

    Raises:
        ConfigError: there is no key for the endpoint.
    """

    def __init__(self, settings: LlmSettings | None = None) -> None:
        super().__init__(settings)
        from openai import AsyncOpenAI  # noqa: PLC0415

        self._client = AsyncOpenAI(**self._options)

    async def ask(self, prompt: str, *, instructions: str = "", max_tokens: int | None = None) -> Reply:
        """Asks the model one question.

        Args:
            prompt: the question.
            instructions: what holds for every question, as the system's message.
            max_tokens: most tokens of the answer; None for the setting's.

        Raises:
            Unavailable: no endpoint there, no answer in time, no text in it, or it takes no more requests.
            ConfigError: the endpoint refuses the key or does not know the model; names what to set.
            BadInput: the endpoint cannot take the question.
        """
        from openai import OpenAIError  # noqa: PLC0415

        request = self._request(prompt, instructions, max_tokens)
        with ModelCall(self.settings.model):
            try:
                if self.settings.limit:
                    return self._reply(await self._in_slots(request))
                return self._reply(await self._client.chat.completions.create(**request))
            except OpenAIError as error:
                raise self._error(error) from None

    async def _in_slots(self, request: dict[str, Any]) -> ChatCompletion:
        """The answer, each try in a slot of the limit: who waits between two holds none."""
        from openai import OpenAIError  # noqa: PLC0415

        hub, client = current(f"A model with llm.limit={self.settings.limit}"), self._client.with_options(max_retries=0)
        for attempt in range(TRIES):
            async with Request(hub, self.settings.limit, tokens=_tokens(request)) as slot:
                try:
                    return _used(await client.chat.completions.create(**request), slot)
                except OpenAIError as error:
                    wait_ms = _failed(error, attempt, slot)
                    if not _may_pass(error, attempt):
                        raise
            await asyncio.sleep(wait_ms / 1_000)
        raise AssertionError("the last try returns or raises")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()


class SyncModel(_Endpoint):
    """The same for plain functions. Use it with `with`."""

    def __init__(self, settings: LlmSettings | None = None) -> None:
        super().__init__(settings)
        from openai import OpenAI  # noqa: PLC0415

        self._client = OpenAI(**self._options)

    def ask(self, prompt: str, *, instructions: str = "", max_tokens: int | None = None) -> Reply:
        """Asks the model one question; see `Model.ask`."""
        from openai import OpenAIError  # noqa: PLC0415

        request = self._request(prompt, instructions, max_tokens)
        with ModelCall(self.settings.model):
            try:
                if self.settings.limit:
                    return self._reply(self._in_slots(request))
                return self._reply(self._client.chat.completions.create(**request))
            except OpenAIError as error:
                raise self._error(error) from None

    def _in_slots(self, request: dict[str, Any]) -> ChatCompletion:
        """The answer, each try in a slot of the limit: who waits between two holds none."""
        from openai import OpenAIError  # noqa: PLC0415

        from accord import sync  # noqa: PLC0415

        hub, client = current(f"A model with llm.limit={self.settings.limit}"), self._client.with_options(max_retries=0)
        for attempt in range(TRIES):
            with sync.Request(hub, self.settings.limit, tokens=_tokens(request)) as slot:
                try:
                    return _used(client.chat.completions.create(**request), slot)
                except OpenAIError as error:
                    wait_ms = _failed(error, attempt, slot)
                    if not _may_pass(error, attempt):
                        raise
            time.sleep(wait_ms / 1_000)
        raise AssertionError("the last try returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
