"""A question on the log: looked up, called for by one at a time, recorded.

Rules that act here:
- Who asks gets the answer that is kept, or waits for who is calling, or is the one who calls: `found` tells. So a call
  takes two commands, and a reused answer one.
- The lease of who calls is renewed on accord's own thread; so only a call that takes long costs more commands.
- Who lost the lease goes on: the call is being paid for, and its answer is good for who made it.
- An answer that is too large, or no text that UTF-8 can write, is recorded as a call, without its text.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from accord.agents import context
from accord.agents.connection.connection import Answer, future, settle
from accord.agents.leases.leases import RENEWALS_A_LEASE
from accord.agents.llm.question import Question
from accord.agents.locks.arguments import shortened
from accord.agents.signals.signals import current_task
from accord.schemas.headers import TEXT_BYTES_MAX
from accord.schemas.messages.llm import (
    AnswerDenied,
    AnswerReused,
    CallGranted,
    CallRecorded,
    RecordCall,
    RenewalRefused,
    RenewLease,
    RequestAnswer,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.streams.llm.bounds import ABANDONED, ANSWER_BYTES_MAX, ANSWERED, ERROR_CHARS_MAX, FAILED

from accord import logs
from accord.errors import AccordError, BadInput, Degraded, LeaseLost, Overloaded, Unavailable

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.llm")

DOMAIN = "llm"


class Reply(NamedTuple):
    """What a model answered.

    `model` is what the endpoint calls it; token counts are 0 where it tells none. `request` is the question's hash.
    `cached`: the answer was on the log, so nobody was asked. `cost_microusd` is what asking cost now, in millionths of
    a US dollar; None: the price is not known.
    """

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    request: str
    cached: bool
    cost_microusd: int | None


class Made(NamedTuple):
    """A call that was made: requests to the endpoint, for how long, and what the endpoint told if it answered."""

    tries: int
    duration_ms: int
    model: str = ""
    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int | None = None


class LoggedCall:
    """One question of one agent.

    Args:
        agent: whose call it is.
        ttl_ms: how old an answer may be, and how long this one is to be kept; 0: nothing is looked up, nothing kept.
    """

    def __init__(self, hub: Hub, question: Question, agent: str, ttl_ms: int, lease_ms: int) -> None:
        hub.ensure_open("ask()")
        self._connection = hub.connection
        self._agent = agent
        self._key = question.hash
        self._model = question.model
        self._ttl_ms = ttl_ms
        self._lease_ms = lease_ms
        self._task = current_task()
        self._step = context.step()
        self._request = self._connection.new_id()
        self._token: int | None = None
        self._is_over = False
        """The call has ended, or was never made: the lease is not renewed, whatever a timer under way does."""
        self._found: Future[Reply | None] = future()
        self._stop_renewing: Callable[[], None] = _nothing
        self._unwatch: Callable[[], None] = _nothing
        self._no_failure: Callable[[], None] = _nothing

    # -- looking up

    def look_up(self) -> Future[Reply | None]:
        """The answer of the log; None: this one is to call the model, and to tell what came of it.

        Raises (the future, too):
            Unavailable, BadInput: who called the model was told so.
            Overloaded: too many wait for this answer.
            LeaseLost: a later run of the step asks, so this one has ended.
            What `Connection.submit` raises.
        """
        connection = self._connection
        self._unwatch = connection.watch(DOMAIN, self._key, self._heard)
        self._no_failure = connection.on_failure(lambda error: settle(self._found, error))
        step = self._step
        command = RequestAnswer(
            self._agent, self._task or "", step.name, step.run, self._model, self._ttl_ms, self._lease_ms
        )
        try:
            submission = connection.submit(
                DOMAIN,
                self._key,
                command,
                task=self._task,
                message_id=self._request,
                withdrawal=lambda request: WithdrawRequest(self._agent, request),
            )
        except AccordError:
            self._listen_no_more()
            raise
        submission.decided.add_done_callback(self._decided)
        return self._found

    def _decided(self, decided: Future[Answer]) -> None:
        """The answer to the question itself; on accord's thread. The watch has told already whether to call."""
        error = decided.exception()
        if error is not None:
            self._find(error)
            return
        for event in decided.result().events:
            match event:
                case AnswerReused():
                    self._find(self._reply(event))
                case AnswerDenied():
                    self._find(
                        Overloaded(
                            f"{event.waiting} wait for the answer of {self._model} to {self._key} already.",
                            remedy="Ask again later.",
                            key=self._key,
                            position=str(decided.result().position),
                        )
                    )

    def _heard(self, answer: Answer) -> None:
        """A decision about the question; on accord's thread."""
        for event in answer.events:
            match event:
                case CallGranted() if event.request == self._request:
                    self._token = event.token
                    self._renew_later()
                    self._find(None)
                case CallRecorded() if self._request in event.requests:
                    self._find(self._reply(event) if event.outcome == ANSWERED else self._failure(event, answer))
                case RequestWithdrawn(request) if request == self._request:
                    what = f"A later run of the step {self._step.name} asks {self._model} the same: this run has ended."
                    self._find(LeaseLost(what, key=self._key, position=str(answer.position)))

    def _find(self, found: Reply | BaseException | None) -> None:
        self._listen_no_more()
        settle(self._found, found)

    def _listen_no_more(self) -> None:
        self._unwatch()
        self._no_failure()

    def _reply(self, event: AnswerReused | CallRecorded) -> Reply:
        text = event.text or ""
        return Reply(text, event.answered_by, event.input_tokens, event.output_tokens, self._key, True, 0)

    def _failure(self, event: CallRecorded, answer: Answer) -> AccordError:
        kind = BadInput if event.error_type == BadInput.__name__ else Unavailable
        return kind(
            f"{event.agent} asked {event.model} the same, and failed: {event.error}",
            key=self._key,
            position=str(answer.position),
        )

    def withdraw(self) -> None:
        """Takes the question back: nobody waits for its answer, and the model was not called."""
        self._end()
        self._listen_no_more()
        with suppress(AccordError):  # its lease ends by itself
            command = WithdrawRequest(self._agent, self._request)
            self._connection.submit(DOMAIN, self._key, command, task=self._task)

    # -- the lease of who calls

    def _renew_later(self) -> None:
        self._stop_renewing = self._connection.call_later(self._lease_ms / RENEWALS_A_LEASE, self._renew)

    def _end(self) -> None:
        self._is_over = True
        self._stop_renewing()

    def _renew(self) -> None:
        if self._is_over or self._token is None:
            return
        command = RenewLease(self._agent, self._token, self._lease_ms)
        with suppress(AccordError):  # the next one may get through
            submission = self._connection.submit(
                DOMAIN, self._key, command, task=self._task, answer_ms=self._lease_ms, urgent=True
            )
            submission.decided.add_done_callback(self._renewed)
        self._renew_later()

    def _renewed(self, decided: Future[Answer]) -> None:
        if decided.exception() is None and any(isinstance(one, RenewalRefused) for one in decided.result().events):
            logger.info("another caller may ask the model the same", request=self._key, agent=self._agent)
            self._end()

    # -- telling what came of a call

    def record(self, made: Made, error: BaseException | None = None) -> Future[Answer]:
        """Tells the log of a call that was made.

        Args:
            error: what kept it from an answer. One that any other who asks would meet ends the wait of all.

        Returns:
            The decision on it; see `Connection.submit`.
        """
        self._end()
        text = made.text if error is None and _is_recordable(made.text) else None
        outcome = (
            ANSWERED if error is None else FAILED if type(error) in (BadInput, Degraded, Unavailable) else ABANDONED
        )
        command = RecordCall(
            self._agent, self._task or "", self._step.name, self._model, self._token, outcome,
            shortened(made.model, TEXT_BYTES_MAX),
            made.input_tokens, made.output_tokens, made.cost_microusd, made.duration_ms, made.tries, self._ttl_ms,
            "" if error is None else type(error).__name__,
            "" if error is None else shortened(str(error), ERROR_CHARS_MAX), text,
        )  # fmt: skip
        return self._connection.submit(DOMAIN, self._key, command, task=self._task).decided


def _nothing() -> None:
    pass


def _is_recordable(text: str) -> bool:
    try:
        return len(text.encode()) <= ANSWER_BYTES_MAX
    except UnicodeEncodeError:
        return False
