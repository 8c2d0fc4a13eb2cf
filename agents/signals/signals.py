"""User events: `emit` records one under its name, `when` (handlers.py) reacts to it.

Rules that act here:
- `emit` enqueues and returns at once, in sync and async code alike. An event exists when its receipt has a position.
- A loss is never silent: whoever waits for the receipt gets the error, else the `_complete` of the coordinated body in
  which it was emitted, else `drain` and closing the hub.
- An event carries its trail: the names of the events whose handlers led to it, and the task it belongs to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from accord.agents.connection import runtime
from accord.agents.context import current
from accord.agents.operations import Operation
from accord.agents.signals.plain import NotPlain, as_json
from accord.schemas.clock import VectorClock
from accord.schemas.messages.signals import EmitInGroup, EmitSignal, SignalRefused
from accord.schemas.position import Position
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.signals.causal import Missing

from accord.errors import BadInput, CircularTrigger, OutcomeUnknown
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.connection.connection import Answer, Submission
    from accord.agents.hub import Hub

DOMAIN: Final = "signals"
NAME_CHARS_MAX: Final = 200
DATA_BYTES_MAX: Final = 850_000
"""Largest data of an event, as JSON: a decision (`DECISION_BYTES_MAX`) must hold it beside a trail, or beside the error
of a handler that failed on it."""
LOST_MAX: Final = 100
"""Losses that are kept one by one until somebody hears of them; beyond it they are counted."""

trail: Final[ContextVar[tuple[str, ...]]] = ContextVar("accord_trail", default=())
"""Names of the events whose handlers led to what runs now, oldest first."""
_task: Final[ContextVar[str | None]] = ContextVar("accord_task", default=None)
_scope: Final[ContextVar[Outbox | None]] = ContextVar("accord_scope", default=None)


class Event(NamedTuple):
    """A recorded user event, as a handler with two parameters gets it.

    `id` is the idempotency key: the same each time that the event is delivered. `data` is what `event_data` is, a
    read-only mapping. `position` is where the event stands, `cause` the command that brought it. `redelivered` is true
    when it may have been delivered before: on a retry, and for what was waiting when this process took over. `group` is
    the group that it was emitted in, if any, and `number` its place in the group's order. `missing` is empty but for a
    handler with `on_missing="deliver"`.
    """

    id: str
    name: str
    data: Mapping[str, Any]
    position: Position
    clock: VectorClock
    cause: Position
    redelivered: bool
    task_id: str | None
    group: str | None = None
    number: int | None = None
    missing: tuple[Missing, ...] = ()


class Receipt:
    """What `emit` returns. `await receipt`, or `receipt.wait()`, gives the position once the event is recorded.

    Both raise what kept it from being recorded: `CircularTrigger`, or `Unavailable` errors, where `OutcomeUnknown` and
    `NoWorker` mean that it may yet be. `id` is the id of the event.
    """

    __slots__ = ("_decided", "event", "id", "noticed")

    def __init__(self, event: str, submission: Submission) -> None:
        self.event = event
        self.id = submission.id
        self.noticed = False
        self._decided = submission.decided

    def wait(self, *, wait_ms: int | None = None) -> Position:
        """Blocks until the event is recorded.

        Args:
            wait_ms: how long at most; None: until it is recorded or lost.

        Returns:
            Where it is recorded.

        Raises:
            OutcomeUnknown: it is not recorded after `wait_ms`, but may be later.
            AccordError: it is lost; see the class.
        """
        if wait_ms is not None and (type(wait_ms) is not int or wait_ms < 0):
            raise BadInput(f"wait_ms={wait_ms!r}: a whole number of ms from 0 is needed. For 5 seconds: 5_000.")
        try:
            answer = self._decided.result(None if wait_ms is None else wait_ms / 1_000)
        except TimeoutError:
            if self._decided.done():
                raise
            raise OutcomeUnknown(
                f"{self.event} (event {self.id}) is not recorded after {wait_ms} ms.",
                remedy="It may be later: wait for the receipt again.",
                key=self.event,
                command_id=self.id,
            ) from None
        finally:
            self.noticed = self._decided.done()
        return self._position(answer)

    def __await__(self) -> Generator[Any, None, Position]:
        try:
            answer = yield from asyncio.wrap_future(self._decided).__await__()
        finally:
            self.noticed = self._decided.done()
        return self._position(answer)

    @property
    def done(self) -> bool:
        """Whether it is known to be recorded or lost."""
        return self._decided.done()

    def loss(self) -> BaseException | None:
        """What kept the event from being recorded, or None. Only once it is `done`."""
        error = self._decided.exception()
        if error is not None:
            return error
        try:
            self._position(self._decided.result())
        except CircularTrigger as refused:
            return refused
        return None

    def on_done(self, callback: Any) -> None:
        self._decided.add_done_callback(lambda _: callback(self))

    def _position(self, answer: Answer) -> Position:
        event = answer.events[0]
        if not isinstance(event, SignalRefused):
            return answer.position
        names = (*event.trail, self.event)
        raise CircularTrigger(
            f"{self.event} is not recorded: {len(names) - 1} events in a row triggered it: {' -> '.join(names)}.",
            remedy="Break the circle: let one of these handlers end without emitting.",
            key=self.event,
            position=str(answer.position),
            chain=names,
        )


class Outbox:
    """Receipts of what was emitted in one place (a hub, a coordinated body), to wait for all of them at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: set[Receipt] = set()
        self._lost: list[Receipt] = []
        self._lost_count = 0
        self.count = 0

    def add(self, receipt: Receipt) -> None:
        with self._lock:
            self.count += 1
            self._pending.add(receipt)
        receipt.on_done(self._done)

    def _done(self, receipt: Receipt) -> None:
        with self._lock:
            self._pending.discard(receipt)
            if receipt.loss() is not None:
                self._lost_count += 1
                if len(self._lost) < LOST_MAX:
                    self._lost.append(receipt)

    def settled(self) -> Future[None]:
        """Done when everything added so far is recorded or lost. Raises the first loss that nobody noticed."""
        done: Future[None] = runtime.current().future()
        with self._lock:
            pending = list(self._pending)
        remaining = len(pending)

        def another(_: Receipt) -> None:
            nonlocal remaining
            with self._lock:
                remaining -= 1
                if remaining:
                    return
            self._finish(done)

        if not pending:
            self._finish(done)
        for receipt in pending:
            receipt.on_done(another)
        return done

    def _finish(self, done: Future[None]) -> None:
        with self._lock:
            lost = [receipt for receipt in self._lost if not receipt.noticed]
            uncounted = self._lost_count - len(self._lost)
            self._lost.clear()
            self._lost_count = 0
            for receipt in lost:
                receipt.noticed = True
        if not done.set_running_or_notify_cancel():
            return
        if not lost:
            done.set_result(None)
            return
        error = lost[0].loss()
        assert error is not None
        if len(lost) + uncounted > 1:
            error.add_note(f"{len(lost) + uncounted - 1} more events were not recorded either.")
        done.set_exception(error)


def emit(event: str, data: Mapping[str, Any], *, group: str | None = None) -> Receipt:
    """Records an event under its name. A plain call in sync and async code: it enqueues, and returns at once.

    Args:
        event: the event's name, 1 to 200 characters.
        data: the event's data, a mapping of JSON types (dataclasses and pydantic models are written as objects).
        group: a name, 1 to 200 characters. Then the event is the group's: all events of a group have one order, and
            their numbers in it. Handlers of the group are called with it, those of the event's name alone are not.

    Returns:
        The receipt: `await` it, or call `.wait()`, when you need to know that the event is recorded.

    Raises:
        BadInput: the name or the data cannot be right; NotConnected: no hub is open. Nothing was emitted.
        Overloaded: `client.unsent_max` commands are under way. Nothing was emitted.
    """
    check_name("event", event)
    return emit_on(current(f"emit({event!r})"), event, data, group=group)


def emit_on(
    hub: Hub, event: str, data: Mapping[str, Any], *, group: str | None = None, once: str | None = None
) -> Receipt:
    """`emit` on a given hub.

    Args:
        once: a name for this event: emitted again by this agent under the same one, it is the event that was, for as
            long as the log knows a command's id again (10 minutes).
    """
    check_name("event", event)
    if group is not None:
        check_name("group", group)
    text, names = encoded(event, data), trail.get()
    command = EmitSignal(hub.agent, text, names) if group is None else EmitInGroup(hub.agent, event, text, names)
    task_id = _task.get() or new_task()
    with Operation(hub, "emit", task_id, kind=SpanKind.PRODUCER, event=event):
        message_id = None if once is None else hub.connection.id_of(f"{event}/{once}")
        submission = hub.connection.submit(DOMAIN, group or event, command, task=task_id, message_id=message_id)
    receipt = Receipt(event, submission)
    outbox(hub).add(receipt)
    scope = _scope.get()
    if scope is not None:
        scope.add(receipt)
    return receipt


def encoded(event: str, data: Any) -> str:
    """An event's data as JSON text.

    Raises:
        BadInput: it is no mapping, JSON cannot express it, or it is too large.
    """
    if not isinstance(data, Mapping):
        raise BadInput(
            f"emit({event!r}): data is {type(data).__name__} {str(data)[:40]!r}; a mapping is needed.",
            remedy='For example {"result": ...}.',
        )
    try:
        text = as_json(data)
    except NotPlain as error:
        raise BadInput(
            f"emit({event!r}): {error.what} at {error.path} of the data is no JSON.",
            remedy="Use JSON types, dataclasses or pydantic models.",
        ) from error
    size = len(text.encode())
    if size > DATA_BYTES_MAX:
        raise BadInput(
            f"emit({event!r}): the data has {size} bytes; at most {DATA_BYTES_MAX} are allowed.",
            remedy="Store it elsewhere and emit where it is.",
        )
    return text


def decoded(data: str) -> Mapping[str, Any]:
    """An event's data as handlers get it."""
    return MappingProxyType(json.loads(data))


def check_name(what: str, name: Any, chars_max: int = NAME_CHARS_MAX) -> None:
    """Raises BadInput unless the name is text of 1 to `chars_max` characters and at most 255 bytes."""
    if not isinstance(name, str):
        raise BadInput(f"{what} name {name!r} is a {type(name).__name__}; text is needed.")
    if not name or len(name) > chars_max:
        raise BadInput(f"{what} name {name[:40]!r} has {len(name)} characters; 1 to {chars_max} are allowed.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadInput(f"{what} name {name!r} is no text that UTF-8 can write.") from None
    if size > KEY_BYTES_MAX:
        raise BadInput(f"{what} name {name[:40]!r} has {size} bytes; at most {KEY_BYTES_MAX} are allowed.")


def current_task() -> str | None:
    """The task (correlation id) that what runs here belongs to, if it belongs to one."""
    return _task.get()


def new_task() -> str:
    """A new task id (correlation id)."""
    return runtime.current().new_id()


@contextlib.contextmanager
def task(task_id: str | None = None) -> Iterator[str]:
    """What is emitted inside belongs to this task: the given one, else the one that runs already, else a new one."""
    found = task_id or _task.get() or new_task()
    token = _task.set(found)
    try:
        yield found
    finally:
        _task.reset(token)


@contextlib.contextmanager
def scope() -> Iterator[Outbox]:
    """Collects the receipts of what is emitted inside."""
    collected = Outbox()
    token = _scope.set(collected)
    try:
        yield collected
    finally:
        _scope.reset(token)


_outboxes: Final[WeakKeyDictionary[Hub, Outbox]] = WeakKeyDictionary()
_outboxes_lock: Final = threading.Lock()


def outbox(hub: Hub) -> Outbox:
    """Everything emitted through a hub; `drain` and closing wait for it."""
    found = _outboxes.get(hub)
    if found is None:
        with _outboxes_lock:
            found = _outboxes.get(hub)
            if found is None:
                found = _outboxes[hub] = Outbox()
                hub.on_drain(found.settled)
                hub.on_close(lambda: _outboxes.pop(hub).settled())
    return found
