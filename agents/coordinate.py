"""`coordinate`: one body at a time, and events that say what became of it.

    (lock_name) --LockQueued--> NAME_waiting --granted--> NAME_started --returned--> NAME_complete, the lock is freed
                                                                      --raised--> NAME_failed, the lock is freed

Rules that act here:
- `_started` is recorded before the body runs; `_complete` is recorded after everything that the body emitted, and
  before the lock is freed and the caller has its result.
- The result goes to the caller unchanged, and as JSON into `event_data["result"]`; one that JSON cannot express makes
  the call a failed one.
- A lease that is lost while the body runs cancels it (an async one; a plain one goes on, and hears of it when it ends),
  is recorded as `_failed`, and surfaces as LeaseLost. Once `_complete` is sent, a loss changes nothing any more.
- Decorating declares. Which hub is meant is found at each call.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from accord.agents import context
from accord.agents.connection import runtime
from accord.agents.locks.arguments import check_lease_ms, check_name, check_wait_ms
from accord.agents.locks.locks import Lock
from accord.agents.operations import Operation
from accord.agents.signals import signals
from accord.agents.signals.plain import NotPlain
from accord.agents.signals.signals import NAME_CHARS_MAX, Receipt

from accord import logs
from accord.errors import AccordError, BadInput, LeaseLost, Refused, ResultNotSerializable, Unavailable

if TYPE_CHECKING:
    from accord.agents.hub import Hub
    from accord.agents.leases.leases import Queued
    from accord.agents.locks.locks import Asked, Held

logger = logs.get("accord.coordinate")

P = ParamSpec("P")
R = TypeVar("R")
L = TypeVar("L", bound="Asked")

NAME_CHARS: Final = NAME_CHARS_MAX - len("_complete")
ERROR_CHARS_MAX: Final = 2_000

LockName = str | Callable[..., str]

_granted: Final[ContextVar[Held | None]] = ContextVar("accord_granted", default=None)


def grant() -> Held:
    """The grant under which a coordinated body runs: its `token` is what guarded resources ask for.

    Of bodies within one another, the innermost that has a lock counts.

    Raises:
        BadInput: nothing that runs here is coordinated with a lock.
    """
    held = _granted.get()
    if held is None:
        raise BadInput("grant() was called outside a body that is coordinated with a lock.", remedy="Give lock_name.")
    return held


def coordinate(
    name: str, lock_name: LockName | None = None, *, lease_ms: int | None = None, wait_ms: int | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Coordinates the decorated function, sync or async: its calls are recorded and, with a lock, take turns.

    Each call emits `<name>_started`, then `<name>_complete` with the return value in `event_data["result"]`, or
    `<name>_failed` with `error_type` and `error`; with a lock that others hold, `<name>_waiting` first. All but
    `_waiting` carry `duration_ms`, `lock_wait_ms` and `status`, and with a lock `lock` and `token`. Result, exceptions,
    signature and docstring stay as they are.

    Args:
        name: what the events are named after, 1 to 191 characters.
        lock_name: the lock to hold while the body runs: a name, a template over the arguments (`room_{room}`), or a
            function of the arguments that returns a name. None: no lock.
        lease_ms: how long the lock outlives this process, in ms; it is renewed meanwhile. None: `locks.lease_ms`.
        wait_ms: how long to wait for the lock, in ms; 0 tries once, None is without limit.

    Raises:
        BadInput: when decorating: an argument cannot be right, or the template names what the function does not take.

    Calls raise, beside what the function raises: NotConnected; what `hub.lock(...)` raises on acquiring; LeaseLost;
    ResultNotSerializable; what kept an event of the call from being recorded.
    """
    return _coordinate(None, name, lock_name, lease_ms, wait_ms)


def coordinate_on(
    hub: Hub, name: str, lock_name: LockName | None = None, *, lease_ms: int | None = None, wait_ms: int | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`coordinate` for one hub alone."""
    return _coordinate(hub, name, lock_name, lease_ms, wait_ms)


def _coordinate(
    hub: Hub | None, name: str, lock_name: LockName | None, lease_ms: int | None, wait_ms: int | None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    signals.check_name("coordinate", name, NAME_CHARS)
    check_wait_ms(wait_ms)
    if lease_ms is not None:
        check_lease_ms(lease_ms, 0)
    if lock_name is None and (lease_ms, wait_ms) != (None, None):
        raise BadInput(f"coordinate({name!r}): lease_ms and wait_ms are for a lock, and lock_name is not given.")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadInput(
                f"coordinate({name!r}): {_name(function)}() yields; its body would run after the call is over.",
                remedy="Coordinate a function that returns.",
            )
        key_of = None if lock_name is None else _key_of(function, lock_name)

        def begin(args: Any, kwargs: Any) -> _Call:
            found = hub or context.current(name)
            key = None if key_of is None else key_of(args, kwargs)
            return _Call(found, name, _name(function), key, lease_ms, wait_ms)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coordinated_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                call = begin(args, kwargs)
                with signals.task() as task_id, call.operation(task_id):
                    return await _run_async(call, lambda: function(*args, **kwargs))

            return coordinated_async  # type: ignore[return-value]

        @functools.wraps(function)
        def coordinated(*args: P.args, **kwargs: P.kwargs) -> R:
            call = begin(args, kwargs)
            with signals.task() as task_id, call.operation(task_id):
                result: R = _run(call, lambda: function(*args, **kwargs))
            return result

        return coordinated

    return decorate


async def _run_async(call: _Call, body: Callable[[], Any]) -> Any:
    try:
        if call.key is None:
            return await _body_async(call, body)
        async with call.lock(Lock) as grant:
            with call.granted(grant):
                return await _body_async(call, body)
    except BaseException as error:
        if call.completed is not None and isinstance(error, LeaseLost):
            await call.completed
            return call.result
        await _fail_async(call, error)
        raise


async def _body_async(call: _Call, body: Callable[[], Any]) -> Any:
    try:
        await call.start()
        call.running()
        with signals.scope() as emitted:
            call.result = await body()
            await asyncio.wrap_future(emitted.settled())
        await call.complete()
    except Exception as error:
        await _fail_async(call, error)
        raise
    return call.result


async def _fail_async(call: _Call, error: BaseException) -> None:
    receipt = call.fail(error)
    if receipt is not None:
        try:
            await receipt
        except AccordError as lost:
            error.add_note(f"{receipt.event} is not recorded: {lost}")


def _run(call: _Call, body: Callable[[], Any]) -> Any:
    """As `_run_async`, for a thread; its event loop, if it has one, stands still meanwhile."""
    from accord.agents.locks.sync import Lock as SyncLock  # noqa: PLC0415  it imports the hub, which imports this

    try:
        if call.key is None:
            return _body(call, body)
        with call.lock(SyncLock) as grant, call.granted(grant):
            return _body(call, body)
    except BaseException as error:
        if call.completed is not None and isinstance(error, LeaseLost):
            call.completed.wait()
            return call.result
        _fail(call, error)
        raise


def _body(call: _Call, body: Callable[[], Any]) -> Any:
    try:
        call.start().wait()
        call.running()
        with signals.scope() as emitted:
            call.result = body()
            emitted.settled().result()
        call.complete().wait()
    except Exception as error:
        _fail(call, error)
        raise
    return call.result


def _fail(call: _Call, error: BaseException) -> None:
    receipt = call.fail(error)
    if receipt is not None:
        try:
            receipt.wait()
        except AccordError as lost:
            error.add_note(f"{receipt.event} is not recorded: {lost}")


class _Call:
    """One call of a coordinated function: its lock, its times, the events about it."""

    def __init__(
        self, hub: Hub, name: str, function: str, key: str | None, lease_ms: int | None, wait_ms: int | None
    ) -> None:
        self.key = key
        self.result: Any = None
        self.completed: Receipt | None = None
        self._hub = hub
        self._name = name
        self._function = function
        self._lease_ms = lease_ms
        self._wait_ms = wait_ms
        self._monotonic = runtime.current().monotonic
        self._began_s = self._monotonic()
        self._started_s: float | None = None
        self._lock_wait_ms = 0
        self._grant: Held | None = None
        self._told = False
        self._over = False

    def operation(self, task_id: str) -> Operation:
        """What it is to who observes it."""
        return Operation(self._hub, self._name, task_id, key=self.key or "")

    def lock(self, kind: Callable[..., L]) -> L:
        """The lock, asynchronous or not; `_waiting` is emitted if the request for it has to queue."""
        lock = kind(self._hub, self.key, self._lease_ms, self._wait_ms)
        inherited = copy_context()
        lock.on_queued = lambda queued: inherited.run(self._waiting, queued)
        return lock

    def _waiting(self, queued: Queued) -> None:
        """On accord's thread. A loss here must not cost the call its lock: it is told by drain and closing."""
        self._told = True
        try:
            self._emit("waiting", {"place": queued.place})
        except AccordError as error:
            logger.warning("contention is not recorded", name=self._name, lock=self.key, why=str(error))

    @contextmanager
    def granted(self, grant: Held) -> Iterator[None]:
        """While the lock is held; `grant()` gives it."""
        self._grant = grant
        self._lock_wait_ms = self._ms_since(self._began_s)
        before = _granted.set(grant)
        try:
            yield
        finally:
            _granted.reset(before)

    def _ms_since(self, start_s: float) -> int:
        return round((self._monotonic() - start_s) * 1_000)

    def start(self) -> Receipt:
        """Emits `_started`."""
        self._told = True
        return self._emit("started", {"lock_wait_ms": self._lock_wait_ms, "status": "started"})

    def running(self) -> None:
        self._started_s = self._monotonic()

    def complete(self) -> Receipt:
        """Emits `_complete`; from then on the call is a complete one, whatever becomes of its lock.

        Raises:
            ResultNotSerializable: JSON cannot express the result, or it is too large.
            LeaseLost: the lock was lost while the body ran.
        """
        if self._grant is not None:
            self._grant.check()
        try:
            self.completed = self._emit("complete", {"result": self.result, **self._facts(), "status": "complete"})
        except BadInput as error:
            raise self._not_serializable(error) from error
        self._over = True
        return self.completed

    def _not_serializable(self, error: BadInput) -> ResultNotSerializable:
        cause = error.__cause__
        if isinstance(cause, NotPlain):
            path = cause.path.replace("$.result", "$", 1)
            what, remedy = f"{cause.what} at {path}", "Return JSON types, dataclasses or pydantic models."
        else:
            what, remedy = f"more than {signals.DATA_BYTES_MAX} bytes of JSON", "Store it, and return where it is."
        return ResultNotSerializable(
            f"{self._function}() returned {what}; recorded as {self._name}_failed.", remedy=remedy, key=self.key
        )

    def fail(self, error: BaseException) -> Receipt | None:
        """Emits `_failed`, once a call, if anything of it can have been seen.

        Returns:
            The receipt, if it is worth waiting for: not when the call is cancelled, nor when the log does not answer.
        """
        if self._over or not (self._told or isinstance(error, Refused)):
            return None
        self._over = True
        text = str(error)[:ERROR_CHARS_MAX].encode(errors="replace").decode()
        facts = {"error_type": type(error).__name__, "error": text, **self._facts(), "status": "failed"}
        try:
            receipt = self._emit("failed", facts)
        except AccordError as lost:
            error.add_note(f"{self._name}_failed is not recorded: {lost}")
            return None
        if isinstance(error, Exception) and not isinstance(error, Unavailable):
            return receipt
        receipt.noticed = True
        return None

    def _facts(self) -> dict[str, Any]:
        duration_ms = 0 if self._started_s is None else self._ms_since(self._started_s)
        return {"duration_ms": duration_ms, "lock_wait_ms": self._lock_wait_ms}

    def _emit(self, what: str, facts: Mapping[str, Any]) -> Receipt:
        data = dict(facts)
        if self.key is not None:
            data["lock"] = self.key
        if self._grant is not None:
            data["token"] = self._grant.token
        return signals.emit_on(self._hub, f"{self._name}_{what}", data)


def _key_of(function: Callable[..., Any], lock_name: LockName) -> Callable[[Any, Any], str]:
    """The function from a call's arguments to the name of its lock.

    Raises:
        BadInput: the template cannot be one, or names what the function does not take.
    """
    if callable(lock_name):
        return _by_function(function, lock_name)
    check_name(lock_name)
    signature = inspect.signature(function)
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(lock_name) if field is not None]
    except ValueError as error:
        raise BadInput(f'lock_name "{lock_name}": {error}.', remedy="A brace that is meant is written twice.") from None
    any_name = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for field in fields:
        argument = field.partition(".")[0].partition("[")[0]
        if argument not in signature.parameters and not (any_name and argument.isidentifier()):
            takes = ", ".join(signature.parameters) or "none"
            raise BadInput(
                f'lock_name "{lock_name}": {_name(function)}() has no argument {argument or "{}"}. It has: {takes}.'
            )
    if not fields:
        literal = lock_name.format()
        return lambda args, kwargs: literal
    return lambda args, kwargs: lock_name.format_map(_arguments(signature, args, kwargs))


def _by_function(function: Callable[..., Any], lock_name: Callable[..., str]) -> Callable[[Any, Any], str]:
    """Called with the arguments that it names, if it names arguments of the function, else with all as they come."""
    signature = inspect.signature(function)
    wanted = inspect.signature(lock_name).parameters
    if wanted and all(name in signature.parameters for name in wanted):
        return lambda args, kwargs: _checked(
            lock_name(**{name: value for name, value in _arguments(signature, args, kwargs).items() if name in wanted})
        )
    return lambda args, kwargs: _checked(lock_name(*args, **kwargs))


def _checked(key: Any) -> str:
    return check_name(key)


def _arguments(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """A call's arguments by name, defaults included. Raises TypeError as the call itself would."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    extra = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    arguments = dict(bound.arguments)
    return arguments | arguments.get(extra, {}) if extra is not None else arguments


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
