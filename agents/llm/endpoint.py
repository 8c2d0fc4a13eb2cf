"""The endpoint: whom to ask and how, through the openai client, and what its failures mean.

The key goes to the endpoint that it was set for and nowhere else: with `base_url` set, `OPENAI_API_KEY` is not used.
No error's text holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from accord.agents.llm.prices import cost_microusd
from accord.agents.llm.question import Question

from accord.errors import AccordError, BadInput, ConfigError, Degraded, Unavailable
from accord.settings import LlmSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

NO_KEY: Final = "none"
"""Sent where no key is set: endpoints on one's own machine want none, but the client sends one always."""
TEXT_CHARS_MAX: Final = 300
"""Most of an endpoint's own error text that is passed on."""
STILL: Final = "Still working: answers that the log has, and all that asks no model."
BACKOFF_MS: Final = 500
"""Before the second try; doubled before the third. What the endpoint itself asks for goes before."""
BACKOFF_MS_MAX: Final = 60_000
_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)


class Completion(NamedTuple):
    """What an endpoint sent back. `why` it ends where it does is told where it has no text.

    `model` is what the endpoint calls it; token counts are 0 where it tells none, and `has_usage` is false then.
    """

    text: str
    why: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    has_usage: bool


class Endpoint:
    """Where and whom to ask.

    Raises:
        ConfigError: there is no key for the endpoint, or no address.
    """

    def __init__(self, settings: LlmSettings) -> None:
        self.settings = settings
        self._key = key = settings.api_key or self._key_of_environment()
        if settings.api_version and not settings.base_url:
            raise ConfigError(
                "llm.api_version is set, as for Azure, but llm.base_url is empty.",
                remedy="Set ACCORD_LLM__BASE_URL to the resource, as https://NAME.openai.azure.com.",
            )
        if not settings.base_url and not key:
            raise ConfigError(
                "No language model: llm.api_key and llm.base_url are empty.",
                remedy="Set OPENAI_API_KEY or ACCORD_LLM__API_KEY; for another endpoint, ACCORD_LLM__BASE_URL.",
            )

    def _key_of_environment(self) -> str:
        if self.settings.api_version:
            return os.environ.get("AZURE_OPENAI_API_KEY", "")
        return "" if self.settings.base_url else os.environ.get("OPENAI_API_KEY", "")

    def client(self) -> AsyncOpenAI:
        """A client of the endpoint. It tries once: trying again is counted, and takes a slot, here."""
        from openai import AsyncAzureOpenAI, AsyncOpenAI  # noqa: PLC0415

        settings = self.settings
        options: dict[str, Any] = {
            "api_key": self._key or NO_KEY, "timeout": settings.timeout_ms / 1_000, "max_retries": 0
        }  # fmt: skip
        if settings.api_version:
            return AsyncAzureOpenAI(azure_endpoint=settings.base_url, api_version=settings.api_version, **options)
        if settings.base_url:
            options["base_url"] = settings.base_url
        return AsyncOpenAI(**options)

    async def send(self, client: AsyncOpenAI, question: Question) -> Completion:
        """Asks once. Raises what the openai client raises."""
        asked: dict[str, Any] = {"model": question.model, **question.parameters}
        if self.settings.api == "chat":
            system = [{"role": "system", "content": question.instructions}] if question.instructions else []
            asked["messages"] = [*system, {"role": "user", "content": question.prompt}]
            asked["max_completion_tokens"] = question.max_tokens
            return _of_chat(await client.chat.completions.create(**asked))
        if question.instructions:
            asked["instructions"] = question.instructions
        asked |= {"input": question.prompt, "max_output_tokens": question.max_tokens}
        asked["store"] = False  # the endpoint need not keep what was said: each question stands for itself
        return _of_response(await client.responses.create(**asked))

    def check(self, completion: Completion) -> None:
        """Raises Unavailable: there is no text."""
        if not completion.text:
            cut = completion.why in ("length", "max_output_tokens")
            raise Unavailable(
                f"Model {self.settings.model} at {self._where} gave no text ({completion.why}).",
                remedy="Allow it more tokens: ACCORD_LLM__MAX_TOKENS." if cut else "Ask it another way.",
            )

    def cost(self, completion: Completion) -> int | None:
        """What a call cost, in millionths of a US dollar; None: not known."""
        if not completion.has_usage:
            return None
        c = completion
        models = (c.model, self.settings.model)
        return cost_microusd(self._address, models, c.input_tokens, c.output_tokens, c.cached_tokens)

    @property
    def _address(self) -> str:
        return self.settings.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"

    @property
    def _where(self) -> str:
        """The endpoint for people: without path, name or password."""
        url = urlsplit(self._address)
        return f"{url.hostname}:{url.port}" if url.port else str(url.hostname)

    def error(self, error: Exception) -> AccordError:
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
                remedy = (
                    "Set ACCORD_LLM__MODEL or ACCORD_LLM__BASE_URL, which mostly ends in /v1. An endpoint without the "
                    "Responses API needs ACCORD_LLM__API=chat."
                )
            case openai.BadRequestError() | openai.UnprocessableEntityError():
                kind, what = BadInput, f"{where} refused the question: {said}"
            case openai.RateLimitError():
                what = f"{where} takes no more requests now (429): {said}"
                remedy = "Let fewer agents ask at once, or raise the quota there."
            case openai.APITimeoutError():
                kind, what = (
                    Degraded,
                    f"Model {model} at {where} did not answer in {self.settings.timeout_ms / 1_000:g} s.",
                )
                remedy = f"Allow more time: ACCORD_LLM__TIMEOUT_MS. {STILL}"
            case openai.APIStatusError():
                kind, what, remedy = Degraded, f"{where} failed ({error.status_code}): {said}", STILL
            case openai.APIConnectionError():
                kind, what = Degraded, f"No answer from {where} ({type(error.__cause__ or error).__name__})."
                remedy = f"Is ACCORD_LLM__BASE_URL right, and the endpoint running? {STILL}"
            case _:
                what = f"Asking {where} failed: {type(error).__name__}: {said}"
        return kind(what, remedy=remedy, **({"off": f"{model} at {where}"} if kind is Degraded else {}))

    def _said(self, error: Exception) -> str:
        """The endpoint's own words, cut, and without the key should it repeat it."""
        text = " ".join(str(getattr(error, "message", error)).split())[:TEXT_CHARS_MAX]
        return text.replace(self._key, "***") if self._key else text


def _of_response(response: Response) -> Completion:
    usage, incomplete = response.usage, response.incomplete_details
    why = (incomplete.reason if incomplete else None) or response.status or "no output"
    if usage is None:
        return Completion(response.output_text, why, response.model, 0, 0, 0, has_usage=False)
    cached = getattr(usage.input_tokens_details, "cached_tokens", None) or 0
    return Completion(
        response.output_text,
        why,
        response.model,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        cached,
        has_usage=True,
    )


def _of_chat(completion: ChatCompletion) -> Completion:
    choice = completion.choices[0] if completion.choices else None
    text = (choice.message.content if choice else None) or ""
    why = choice.finish_reason if choice else "no choices"
    usage = completion.usage
    if usage is None:
        return Completion(text, why, completion.model, 0, 0, 0, has_usage=False)
    cached = getattr(usage.prompt_tokens_details, "cached_tokens", None) or 0
    return Completion(
        text, why, completion.model, usage.prompt_tokens or 0, usage.completion_tokens or 0, cached, has_usage=True
    )


def may_pass(error: Exception) -> bool:
    """Whether another try may succeed; as the openai client decides it."""
    import openai  # noqa: PLC0415

    if isinstance(error, openai.APIStatusError):
        return error.status_code in _PASSING or error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, openai.APIConnectionError)


def wait_ms(error: Exception, tries: int) -> int:
    """How long to wait after so many tries: what the endpoint asks for, `retry-after-ms` or `retry-after` in seconds,
    else the backoff."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1_000)):
        with suppress(KeyError, ValueError):
            return min(max(0, int(float(headers[name]) * factor)), BACKOFF_MS_MAX)
    return BACKOFF_MS << (tries - 1)
