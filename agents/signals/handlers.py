"""`when`: functions that are called with the user events of a name.

Rules that act here:
- A handler is called after its event is recorded, at least once; `Event.id` is the idempotency key. Over all processes
  that declare a handler under one name, one of them is called (a consumer group; subscription.py).
- Each handler has a thread and a queue of its own: one that fails or is slow stops no other. One handler's events are
  taken one after the other, those of one event name, or of one group, in the order of the log, and those of several
  names with causes first if it asks for that. An async handler runs on its hub's loop.
- What a handler emits is recorded before its event counts as done. It carries the event's task and trail.
- A handler that raises is called again `retries` times, each time after a longer wait; then the failure is recorded
  (`HandlerFailed`, from which the dead letter is derived) and the next event is its turn.
- Handlers run live only: nothing here is part of any fold, so replay calls none.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from accord.agents import context
from accord.agents.connection.runtime import Joinable, current
from accord.agents.connection.underway import future
from accord.agents.operations import Operation
from accord.agents.signals import signals
from accord.agents.signals.signals import DOMAIN, Event
from accord.agents.signals.subscription import NOW, START, Delivery, Since, Subscription, as_text, log_ends
from accord.agents.signals.wanted import MISSING_AFTER_MS, OnMissing, Ordered, Wanted, wanted
from accord.schemas.clock import VectorClock
from accord.schemas.messages.signals import ReportHandlerFailure, ReportMissingCauses, SignalNumbered
from accord.schemas.position import Position
from accord.streams.signals.causal import Missing

from accord import logs
from accord.errors import AccordError, BadInput, CircularTrigger, NotConnected, OutcomeUnknown, Rejected
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.handlers")

RETRIES_MAX: Final = 20
ERROR_CHARS_MAX: Final = 2_000
REPORT_RETRY_S: Final = 1.0
MISSING_REPORT_S: Final = 5.0
"""How long the record of a missing cause is waited for."""
STOP_S: Final = 10.0
"""How long closing a hub waits for handlers that run. Their events are delivered again if it is not enough."""

F = TypeVar("F", bound=Callable[..., Any])


class Handler(NamedTuple):
    """A declared handler."""

    name: str
    wanted: Wanted
    function: Callable[..., Any]
    takes_event: bool
    retries: int
    since: Since = NOW

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it is defined: module, file and line."""
        inner = inspect.unwrap(self.function)
        code = getattr(inner, "__code__", None)
        return inner.__module__, getattr(code, "co_filename", ""), getattr(code, "co_firstlineno", 0)

    def replaces(self, other: Handler) -> bool:
        """Whether this is the other one defined again: its module loaded twice, or its notebook cell run again."""
        (module, file, line), (module_before, file_before, line_before) = self.place, other.place
        again = line == line_before if file == file_before else module == module_before
        return again and self.function is not other.function


def when(
    event: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    retries: int = 3,
    since: Since = NOW,
    order: Ordered = "name",
    group: str | None = None,
    on_missing: OnMissing = "stop",
    missing_after_ms: int = MISSING_AFTER_MS,
) -> Callable[[F], F]:
    """Has the decorated function called with every event of a name, of several names or of a group, at least once each.

    The function takes `event_data`, a read-only mapping with what was emitted (`event_data["result"]` for the
    `_complete` events of `coordinate`), and, if it declares a second parameter, the `Event`. It may be plain or async,
    and can still be called directly. Events recorded since the handler was first run by any process (or earlier ones:
    `since`), or left over from the last time, are delivered while a hub is open.

    Args:
        event: name of the events, or several names, at most 64. With `group` it may be left away: all of the group.
        name: the handler's name: handlers of one name share the events, over all processes. Without it, the function's
            `__qualname__`. Never change it, or the events waiting for it are lost.
        retries: how often it is called again when it raises, 0 to 20.
        since: from where on a handler that no process has run before gets events: "now", "start" of the log, or a time
            of the log, as an aware datetime. Where there was one of its name, it goes on where that was.
        order: "name": events of one name in one order, the same for all handlers. "causal": besides, no event before
            another, of these names, that it was caused by; then one process at a time is called.
        group: events emitted in this group, in its one order; `Event.number` is the place in it.
        on_missing: with "causal", what to do if a cause does not come: "stop" the handler, with `MissingCause`, until
            it is started again; or "deliver" what waits for it, with what is missing in `Event.missing`. Either is
            logged as an error and recorded (`CausesMissing`).
        missing_after_ms: after how long without it a cause counts as missing, 1,000 to 86,400,000.

    Raises:
        BadInput: an argument cannot be right, the function takes no argument or more than two, or the handler's name
            is taken.
    """
    return _declare(None, wanted(event, order, group, on_missing, missing_after_ms), name, retries, since)


def when_on(
    hub: Hub,
    event: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    retries: int = 3,
    since: Since = NOW,
    order: Ordered = "name",
    group: str | None = None,
    on_missing: OnMissing = "stop",
    missing_after_ms: int = MISSING_AFTER_MS,
) -> Callable[[F], F]:
    """`when` for one hub alone."""
    return _declare(hub, wanted(event, order, group, on_missing, missing_after_ms), name, retries, since)


def _declare(hub: Hub | None, what: Wanted, name: str | None, retries: int, since: Since) -> Callable[[F], F]:
    if name is not None:
        signals.check_name("handler", name)
    if type(retries) is not int or not 0 <= retries <= RETRIES_MAX:
        raise BadInput(f"retries={retries!r}: a whole number from 0 to {RETRIES_MAX} is needed.")
    if since not in (NOW, START) and (not isinstance(since, datetime) or since.tzinfo is None):
        raise BadInput(
            f'since={since!r}: "now", "start" or an aware datetime is needed.', remedy="For example datetime.now(UTC)."
        )

    def declare(function: F) -> F:
        handler = Handler(name or name_of(function), what, function, _takes_event(function), retries, since)
        signals.check_name("handler", handler.name)
        before = find(handler.name, hub)
        if before is not None and not handler.replaces(before):
            module, _, line = before.place
            raise BadInput(
                f"handler name {handler.name!r} is taken by a handler of {before.wanted} ({module}, line {line}).",
                remedy='Handlers of one name share their events; give this one another: when(..., name="...").',
            )
        known = _process if hub is None else _of_hub.setdefault(hub, {})
        known[handler.name] = handler
        running = hub or context.find()
        if running is not None and running.is_open:
            _handlers(running).start(handler).result()
        return function

    return declare


_process: Final[dict[str, Handler]] = {}
_of_hub: Final[WeakKeyDictionary[Hub, dict[str, Handler]]] = WeakKeyDictionary()
_running: Final[WeakKeyDictionary[Hub, Handlers]] = WeakKeyDictionary()


@contextmanager
def apart() -> Iterator[None]:
    """What is declared inside for every hub of the process ends with it."""
    before = dict(_process)
    try:
        yield
    finally:
        _process.clear()
        _process.update(before)


def find(name: str, hub: Hub | None = None) -> Handler | None:
    """The handler of a name, as the process or the hub knows it."""
    return (_of_hub.get(hub, {}).get(name) if hub is not None else None) or _process.get(name)


def _handlers(hub: Hub) -> Handlers:
    found = _running.get(hub)
    if found is None:
        found = _running[hub] = Handlers(hub, _loop_of(hub))
        hub.on_drain(found.drain)
        hub.on_close(found.close)
    return found


def _loop_of(hub: Hub) -> asyncio.AbstractEventLoop | None:
    """The loop that an async hub is opened in. A sync hub's thread may have one, too, but it stands still."""
    try:
        return asyncio.get_running_loop() if isinstance(hub, AbstractAsyncContextManager) else None
    except RuntimeError:
        return None


@context.at_open
def _open(hub: Hub) -> Future[None]:
    """Starts the handlers of a hub that opens."""
    handlers = _handlers(hub)
    return _all([handlers.start(handler) for handler in (*_process.values(), *_of_hub.get(hub, {}).values())])


class Handlers:
    """The handlers that run on one hub, from its opening to its close.

    Args:
        loop: where async handlers run; None: each in a loop of its own.
    """

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop | None) -> None:
        self._hub = hub
        self._loop = loop
        self._runners: dict[str, Runner] = {}
        self._monotonic = hub.connection.monotonic
        self._stopping = hub.connection.runtime.event()

    def start(self, handler: Handler) -> Future[None]:
        """Starts a handler, or replaces the one of its name; done once it is fixed from where on it gets events."""
        before = self._runners.pop(handler.name, None)
        if before is not None:
            before.stop()
            before.join(STOP_S)
        runner = self._runners[handler.name] = Runner(self._hub, handler, self._loop)
        return runner.start()

    def drain(self) -> Future[None]:
        """Done when the handlers are through with what was recorded before, and with what that made them emit.

        Raises the first loss of an event that nobody waited for, and what keeps a handler from reading the log.
        """
        if not self._runners:
            return signals.outbox(self._hub).settled()
        return in_thread("accord-drain", self._drain)

    def _drain(self) -> None:
        outbox = signals.outbox(self._hub)
        while not self._stopping.is_set():
            emitted = outbox.count
            outbox.settled().result()
            ends = log_ends(self._hub.settings, self._hub.connection.runtime)
            for runner in tuple(self._runners.values()):
                runner.wait_for(ends)
            if outbox.count == emitted:
                return

    def close(self) -> Future[None]:
        """Stops all handlers; those that run may finish, for at most `STOP_S` seconds."""
        if not self._runners:
            self._close()
            return _all([])
        return in_thread("accord-handlers-close", self._close)

    def _close(self) -> None:
        self._stopping.set()
        _running.pop(self._hub, None)
        runners = tuple(self._runners.values())
        self._runners.clear()
        for runner in runners:
            runner.stop()
        deadline = self._monotonic() + STOP_S
        for runner in runners:
            runner.join(max(0.0, deadline - self._monotonic()))


class Runner:
    """Calls one handler, in a thread of its own."""

    def __init__(self, hub: Hub, handler: Handler, loop: asyncio.AbstractEventLoop | None) -> None:
        self._runtime = hub.connection.runtime
        self._hub = hub
        self._handler = handler
        self._loop = loop
        self._subscription = Subscription(
            hub.settings, handler.name, handler.wanted, handler.since, self._report_missing, self._runtime
        )
        self._stopping = self._runtime.event()
        self._pending: Future[Any] | None = None
        self._thread: Joinable | None = None

    def start(self) -> Future[None]:
        self._thread = self._runtime.run(self._main, f"accord-runs-{self._handler.name}")
        return self._subscription.open()

    def wait_for(self, ends: dict[int, int]) -> None:
        """Blocks until the handler is through with everything before these offsets, or stops."""
        self._subscription.wait_for(ends)

    def stop(self) -> None:
        self._stopping.set()
        self._subscription.stop()

    def join(self, timeout_s: float) -> None:
        """Waits for the running call; one that takes longer is left alone, and its event is delivered again."""
        monotonic, thread = self._runtime.monotonic, self._thread
        assert thread is not None
        deadline = monotonic() + timeout_s
        thread.join(timeout_s)
        if thread.is_alive():
            logger.warning("a handler is still running; its event will be delivered again", handler=self._handler.name)
            pending = self._pending
            if pending is not None:
                pending.cancel()
        self._subscription.join(max(0.0, deadline - monotonic()))

    def _main(self) -> None:
        try:
            while (delivery := self._subscription.take()) is not None:
                done = self._handle(delivery)
                self._subscription.returned(delivery, done=done)
                if not done:
                    return
        except BaseException as error:
            self._subscription.fail(error)
            raise

    def _handle(self, delivery: Delivery) -> bool:
        """Calls the handler as often as it may be; False if it is stopped before that came to an end."""
        attempt = 0
        while True:
            attempt += 1
            event = self._event(delivery, attempt)
            self._hub.connection.received(delivery.decision.clock)
            try:
                contextvars.copy_context().run(self._call, event, delivery)
                return True
            except (Exception, SystemExit) as error:
                if self._stopping.is_set() and isinstance(error, NotConnected):
                    return False
                last = attempt > self._handler.retries or isinstance(error, CircularTrigger)
                logger.warning(
                    "handler failed" + ("" if last else ", calling it again"),
                    handler=self._handler.name,
                    of=event.name,
                    position=str(event.position),
                    attempt=attempt,
                    error=f"{type(error).__name__}: {error}",
                    agent=self._hub.agent,
                    task=event.task_id,
                    action=self._handler.name,
                )
                if last:
                    return self._report(delivery, event, error, attempt)
            if self._stopping.wait(self._hub.settings.client.handler_retry_ms * attempt / 1_000):
                return False

    def _event(self, delivery: Delivery, attempt: int) -> Event:
        decision, partition = delivery.decision, delivery.place.partition
        return Event(
            id=decision.command_id,
            name=delivery.name,
            data=signals.decoded(delivery.event.data),
            position=delivery.position,
            clock=VectorClock.decode(decision.clock),
            cause=Position(DOMAIN, partition, decision.cause, commands=True),
            redelivered=delivery.repeated or attempt > 1,
            task_id=decision.task.decode() or None,
            group=self._handler.wanted.group,
            number=delivery.event.number if isinstance(delivery.event, SignalNumbered) else None,
            missing=delivery.missing,
        )

    def _call(self, event: Event, delivery: Delivery) -> None:
        """One call, in a context of its own, and then what it emitted."""
        context.use(self._hub)
        signals.trail.set((*delivery.event.trail, event.name))
        name, parent = self._handler.name, delivery.decision.trace.decode(errors="replace")
        run = Operation(self._hub, name, event.task_id, parent=parent, kind=SpanKind.CONSUMER, event=event.name)
        with signals.task(event.task_id), run, signals.scope() as emitted:
            arguments = (event.data, event) if self._handler.takes_event else (event.data,)
            returned = self._handler.function(*arguments)
            if inspect.isawaitable(returned):
                self._await(returned)
            emitted.settled().result()

    def _await(self, returned: Awaitable[Any]) -> None:
        """Runs an async handler on the hub's loop; on one of its own when the hub has none."""
        coroutine = returned if inspect.iscoroutine(returned) else _awaited(returned)
        if self._loop is None:
            asyncio.run(coroutine)
            return
        self._pending = self._runtime.in_loop(coroutine, self._loop)
        try:
            self._pending.result()
        finally:
            self._pending = None

    def _report(self, delivery: Delivery, event: Event, error: BaseException, attempts: int) -> bool:
        """Records the failure; until that is done the event stays. False if it is stopped before."""
        command = ReportHandlerFailure(
            agent=self._hub.agent,
            handler=self._handler.name,
            event_id=event.id,
            position=str(event.position),
            data=delivery.event.data,
            error_type=type(error).__name__,
            error=str(error)[:ERROR_CHARS_MAX].encode(errors="replace").decode(),
            attempts=attempts,
        )
        message_id = self._hub.connection.new_id()
        while True:
            try:
                submission = self._hub.connection.submit(
                    DOMAIN, event.group or event.name, command, task=event.task_id, message_id=message_id
                )
                submission.decided.result()
                return True
            except NotConnected:
                return False
            except (Rejected, BadInput, OutcomeUnknown) as problem:
                logger.error("the failure of a handler could not be recorded", why=str(problem))
                return True
            except AccordError as problem:
                logger.warning("the failure of a handler is not recorded yet", why=str(problem))
            if self._stopping.wait(REPORT_RETRY_S):
                return False

    def _report_missing(self, delivery: Delivery, missing: tuple[Missing, ...]) -> None:
        """Logs and records that causes of an event are missing. Called by the thread that reads."""
        causal = self._handler.wanted.causal
        assert causal is not None
        logger.error(
            "what caused an event is missing: "
            + ("it is delivered without" if causal.delivers else "the handler gets no more events"),
            handler=self._handler.name,
            of=delivery.name,
            position=str(delivery.position),
            missing="; ".join(map(as_text, missing)),
            agent=self._hub.agent,
        )
        command = ReportMissingCauses(
            agent=self._hub.agent,
            handler=self._handler.name,
            event_id=delivery.decision.command_id,
            position=str(delivery.position),
            causes=tuple([one.partition if one.needed is None else f"{one.partition}:{one.needed}" for one in missing]),
            waited_ms=causal.missing_after_ms,
            delivered=causal.delivers,
        )
        try:
            self._hub.connection.submit(DOMAIN, delivery.name, command).decided.result(MISSING_REPORT_S)
        except (AccordError, TimeoutError) as problem:
            logger.error("the missing cause could not be recorded", handler=self._handler.name, why=str(problem))


async def _awaited(returned: Awaitable[Any]) -> None:
    await returned


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _takes_event(function: Callable[..., Any]) -> bool:
    """Whether a handler takes the event beside its data.

    Raises:
        BadInput: it cannot be called as a handler.
    """
    name = f"handler {name_of(function)}()"
    remedy = "Write def {0}(event_data) or def {0}(event_data, event).".format(name_of(function).rpartition(".")[2])
    if not callable(function):
        raise BadInput(f"{function!r} is no function.", remedy="Put @when(...) above a def.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadInput(f"{name} yields, so calling it would run nothing.", remedy=remedy)
    parameters = tuple(inspect.signature(function).parameters.values())
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if places and places[0].name in ("self", "cls"):
        raise BadInput(
            f"{name} is a method, and there is no object to call it on.",
            remedy='Declare it on one: when("...")(thing.method).',
        )
    required = sum(1 for p in places if p.default is p.empty)
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if keywords:
        raise BadInput(f"{name} needs the keyword argument {keywords[0]}.", remedy=remedy)
    if not places:
        raise BadInput(f"{name} takes no argument.", remedy=remedy)
    if required > 2:
        raise BadInput(f"{name} takes {required} arguments.", remedy=remedy)
    return required == 2


def _all(futures: list[Future[None]]) -> Future[None]:
    """Done when all are; raises what the first failed one raised."""
    if not futures:
        nothing = future()
        nothing.set_result(None)
        return nothing

    def wait() -> None:
        for one in futures:
            one.result()

    return in_thread("accord-handlers-open", wait)


def in_thread(name: str, work: Callable[[], None]) -> Future[None]:
    """Runs blocking work in a thread; the future has its outcome."""
    outcome: Future[None] = future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    current().run(run, name)
    return outcome
