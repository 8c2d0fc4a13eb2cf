"""Where a call finds its hub: the context variable, else the process's only open hub.

Modules that live as long as an open hub (the handlers of `when`) register with `at_open`. Also here: which step of a
task runs in this context.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, NamedTuple

from accord.errors import NotConnected

if TYPE_CHECKING:
    from accord.agents.hub import Hub

Opener = Callable[["Hub"], "Future[None] | None"]


class Step(NamedTuple):
    """A step by name, and the token of its run, which grows from run to run; outside of steps it is empty."""

    name: str = ""
    run: int = 0


_NO_STEP: Final = Step()
_step: ContextVar[Step | None] = ContextVar("accord_step", default=None)
_current: ContextVar[Hub | None] = ContextVar("accord_hub", default=None)
_open: Final[list[Hub]] = []
_lock: Final = threading.Lock()
_openers: Final[list[Opener]] = []


def current(caller: str) -> Hub:
    """The hub that a call uses.

    Args:
        caller: what was called, for the error's text.

    Raises:
        NotConnected: no hub is open, or several are and the context names none.
    """
    hub = find()
    if hub is not None:
        return hub
    if _open:
        raise NotConnected(
            f"{caller} was called, {len(_open)} hubs are open and none of them in this context.",
            remedy='Call it inside the "async with" of the hub that is meant.',
        )
    raise NotConnected(
        f"{caller} was called but no hub is open.",
        remedy='Wrap the program in "async with accord.local():" (or accord.Accord()).',
    )


def find() -> Hub | None:
    """The hub that a call uses, or None."""
    hub = _current.get()
    if hub is not None and hub.is_open:
        return hub
    with _lock:
        return _open[0] if len(_open) == 1 else None


def at_open(opener: Opener) -> Opener:
    """Has `opener(hub)` called whenever a hub opens; a future that it returns is waited for. Works as a decorator."""
    _openers.append(opener)
    return opener


def openers() -> tuple[Opener, ...]:
    return tuple(_openers)


def enter(hub: Hub) -> Token[Hub | None]:
    """Makes a hub the one of this context."""
    with _lock:
        _open.append(hub)
    return _current.set(hub)


def use(hub: Hub) -> None:
    """Makes an open hub the one of this context: for work that is started elsewhere on its behalf."""
    _current.set(hub)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Inside, hubs that are open outside are not; those of inside that were left open count as open no more."""
    with _lock:
        outside, _open[:] = _open[:], []
    try:
        yield
    finally:
        with _lock:
            _open[:] = outside


def leave(hub: Hub, token: Token[Hub | None]) -> None:
    """Takes it back. In another context than it was entered in (a generator's, a fixture's) there is nothing to."""
    with _lock:
        if hub in _open:
            _open.remove(hub)
    with contextlib.suppress(ValueError):
        _current.reset(token)


@contextlib.contextmanager
def running(name: str, run: int) -> Iterator[None]:
    """What is done inside belongs to a run of this step."""
    token = _step.set(Step(name, run))
    try:
        yield
    finally:
        _step.reset(token)


def step() -> Step:
    """The step that runs in this context."""
    return _step.get() or _NO_STEP
