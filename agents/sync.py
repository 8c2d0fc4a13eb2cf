"""What every sync hub has: entering, leaving, and an event loop on a thread of its own for what needs one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from accord.agents.connection.runtime import countdown
from accord.agents.hub import Hub, not_drained
from accord.agents.leases.call_chain import one_chain, runs
from accord.agents.locks.arguments import check_wait_ms
from anyio.from_thread import BlockingPortal

from accord.errors import DeadlockVictim

P = ParamSpec("P")
R = TypeVar("R")


class SyncHub(Hub):
    """What a sync hub has of no domain."""

    _steps: BlockingPortal | None = None

    @property
    def _loop(self) -> BlockingPortal:
        """The event loop, on a thread of its own, in which tasks are waited for and their steps run."""
        if self._steps is None:
            self._steps = self._at_end.enter_context(self.connection.runtime.portal())
        return self._steps

    def __enter__(self) -> Self:
        opening = self._connect()
        self._at_end = ExitStack()
        try:
            opening.result()
            for opener in self._enter():
                _finish(opener())
        except BaseException:
            self._shut()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()

    def _shut(self) -> None:
        problem: BaseException | None = None
        hooks = self._take_close_hooks()
        for hook in hooks:
            try:
                _finish(hook())
            except BaseException as error:
                problem = problem or error
        self._leave().result()
        self._at_end.close()
        self._steps = None
        if problem is not None:
            raise problem

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function, and again if it was a deadlock's victim; as `accord.Accord.run`."""
        with one_chain():
            for last in runs():
                try:
                    return function(*args, **kwargs)
                except DeadlockVictim:
                    if last:
                        raise
        raise AssertionError("returned or raised")

    def drain(self, *, wait_ms: int | None = None) -> None:
        """Returns when all that was emitted is recorded and the handlers of this hub have caught up.

        Arguments and errors are those of `accord.Accord.drain`.
        """
        self.ensure_open("drain()")
        check_wait_ms(wait_ms)
        left_ms = countdown(wait_ms)
        for hook in list(self._drain_hooks):
            waiting = hook()
            if waiting is None:
                continue
            left = left_ms()
            try:
                waiting.result(None if left is None else left / 1_000)
            except TimeoutError:
                if waiting.done():
                    raise
                raise not_drained(wait_ms) from None


def _finish(waiting: Future[None] | None) -> None:
    if waiting is not None:
        waiting.result()
