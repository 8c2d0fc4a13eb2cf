"""A stand-in for a model's endpoint: OpenAI's protocol over HTTP, and no model behind it.

    with ModelServer() as server:
        settings = LlmSettings(base_url=server.base_url, model=MODEL)

For tests, examples and the demo without a key: programs run the client that they run with a real endpoint, against
`/v1/chat/completions` or `/v1/responses`, or against Azure's paths for the same (`azure_url`). It judges nothing and
says so: its model is called `stand-in`, and the same question always gets the same answer. Beyond `limit` requests at a
time it answers 429, as providers do.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

MODEL: Final = "stand-in"
LIMIT_DEFAULT: Final = 64
BODY_BYTES_MAX: Final = 1 << 20
READ_TIMEOUT_S: Final = 30.0

Answer = Callable[[str], str]
Form = Callable[[dict[str, Any], Answer], dict[str, Any]]


def pick(prompt: str) -> str:
    """The default answer: one of the lines of the prompt that start with `- `, by a hash of the prompt.

    Without such lines it says what it is.
    """
    digest = hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()
    options = [line.strip()[2:] for line in prompt.splitlines() if line.strip().startswith("- ")]
    if options:
        return options[int(digest, 16) % len(options)]
    return f"I am a stand-in, not a model. Your question has {len(prompt.split())} words and the hash {digest}."


class Counts(NamedTuple):
    """What a server saw: requests answered, refused (429) and under way, and the most that were so at a time."""

    answered: int
    refused: int
    running: int
    running_most: int


class ModelServer:
    """The endpoint, on a free port of the loopback interface; a context manager.

    Args:
        answer: gives the text for a prompt (the last user message); must depend on it alone.
        delay_ms: how long an answer takes.
        limit: most requests at a time; one more is refused with 429.
        api_key: the only key that is let in; None takes any.
        retry_after_ms: what a refusal tells the client to wait.
    """

    def __init__(
        self,
        answer: Answer = pick,
        *,
        delay_ms: int = 0,
        limit: int = LIMIT_DEFAULT,
        api_key: str | None = None,
        retry_after_ms: int = 100,
    ) -> None:
        if limit < 1 or delay_ms < 0:
            raise ValueError(f"limit={limit}, delay_ms={delay_ms}: the limit is 1 or more, the delay 0 or more")
        self.answer = answer
        self.delay_ms = delay_ms
        self.limit = limit
        self.api_key = api_key
        self.retry_after_ms = retry_after_ms
        self._lock = threading.Lock()
        self.last_path, self.last_body = "", dict[str, Any]()
        """The request that was let in last, for tests of what a client sends."""
        self._answered = self._refused = self._running = self._running_most = 0
        self._server: _Server | None = None
        self.base_url = self.azure_url = ""

    def __enter__(self) -> Self:
        self._server = server = _Server(self)
        self.azure_url = f"http://127.0.0.1:{server.server_address[1]}"
        self.base_url = f"{self.azure_url}/v1"
        threading.Thread(target=server.serve_forever, args=(0.05,), name="stand-in-model", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    @property
    def counts(self) -> Counts:
        """What it saw so far."""
        with self._lock:
            return Counts(self._answered, self._refused, self._running, self._running_most)

    def admit(self) -> bool:
        """Takes a place for a request; False: all are taken."""
        with self._lock:
            if self._running >= self.limit:
                self._refused += 1
                return False
            self._running += 1
            self._running_most = max(self._running_most, self._running)
            return True

    def leave(self) -> None:
        """Gives a place back."""
        with self._lock:
            self._running -= 1
            self._answered += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, model: ModelServer) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that no longer waits for its answer is nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Refusal(Exception):
    def __init__(self, status: HTTPStatus, kind: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.headers = status, kind, headers


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = READ_TIMEOUT_S
    disable_nagle_algorithm = True  # headers and body are two writes: the second one would wait for an acknowledgement

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(HTTPStatus.OK, {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0}]})
        else:
            self._send(HTTPStatus.NOT_FOUND, _error("invalid_request_error", f"There is no {self.path} here."))

    def do_POST(self) -> None:
        try:
            self._send(HTTPStatus.OK, self._answer())
        except _Refusal as refusal:
            self._send(refusal.status, _error(refusal.kind, str(refusal)), **refusal.headers)

    def _answer(self) -> dict[str, Any]:
        body = self._body()
        model = self.server.model
        given = self.headers.get("api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
        if model.api_key is not None and given != model.api_key:
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "invalid_request_error", "Incorrect API key provided.")
        form = _FORMS.get(self.path) or self._form_of_azure()
        if form is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "invalid_request_error", f"There is no {self.path} here.")
        if not model.admit():
            wait_s = f"{model.retry_after_ms / 1_000:g}"
            what = f"Rate limit reached: {model.limit} at a time. Try again in {wait_s} s."
            headers = {"retry-after": wait_s, "retry-after-ms": str(model.retry_after_ms)}
            raise _Refusal(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error", what, **headers)
        model.last_path, model.last_body = self.path, body
        try:
            time.sleep(model.delay_ms / 1_000)
            return form(body, model.answer)
        finally:
            model.leave()

    def _form_of_azure(self) -> Form | None:
        """What Azure's paths ask for; they name the version of the API."""
        url = urlsplit(self.path)
        if not parse_qs(url.query).get("api-version"):
            return None
        return _FORMS.get(f"/v1{_AZURE.sub('', url.path)}")

    def _body(self) -> dict[str, Any]:
        """The request's body. One that is left unread ends the connection: it would look like the next request."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            what = f"{length} bytes; at most {BODY_BYTES_MAX}."
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request_error", what)
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", f"No JSON: {error}.") from None
        if not isinstance(body, dict):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", "The body must be a JSON object.")
        if body.get("stream"):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", "The stand-in does not stream.")
        return body

    def _send(self, status: HTTPStatus, body: dict[str, Any], **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked shows in the program that asked."""


def _chat(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    prompt = _prompt(body.get("messages"))
    text, cut = _cut(answer(prompt), body.get("max_completion_tokens") or body.get("max_tokens"))
    asked, told = len(prompt.split()), len(text.split())
    return {
        "id": f"chatcmpl-{MODEL}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "length" if cut else "stop",
            }
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told},
    }


def _response(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    prompt = _prompt(body.get("input"))
    text, cut = _cut(answer(prompt), body.get("max_output_tokens"))
    asked, told = len(prompt.split()), len(text.split())
    status = "incomplete" if cut else "completed"
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": f"resp-{MODEL}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "model": MODEL,
        "output": [
            {"id": f"msg-{MODEL}", "type": "message", "status": status, "role": "assistant", "content": [content]}
        ],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": told,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + told,
        },
    }


_AZURE: Final = re.compile(r"\A/openai(/deployments/[^/]+)?")
_FORMS: Final[dict[str, Form]] = {"/v1/chat/completions": _chat, "/v1/responses": _response}


def _prompt(messages: Any) -> str:
    """The text of the last message of the user."""
    if isinstance(messages, str):
        return messages
    texts = [
        _text(message.get("content"))
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and message.get("role") == "user"
    ]
    if not texts:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", "There is no message of a user.")
    return texts[-1]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


def _cut(text: str, tokens_max: Any) -> tuple[str, bool]:
    """The first words of a text, and whether it has more; a word counts as a token here."""
    words = text.split(" ")
    if not isinstance(tokens_max, int) or len(words) <= tokens_max:
        return text, False
    return " ".join(words[:tokens_max]), True


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
