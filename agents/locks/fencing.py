"""Fencing: a resource that refuses writes of a holder whose lease has passed on.

A lease alone cannot keep a paused program from writing after its lease ended; the token can, if the resource itself
compares. `FencedResource` guards what lives in this process or behind one writer. A database compares best itself:

    UPDATE rooms SET guest = :guest, token = :token WHERE id = 12 AND token <= :token    -- 0 rows: StaleToken

Rules that act here:
- A token smaller than the largest one seen is refused, for ever; the same one may write again. So it guards what is
  held alone: a mutex, a writer, a pool of 1 or an exclusive part of one. Who hold permits or capacity side by side
  would refuse each other. Tokens of different locks or pools do not compare: one resource, one lock or pool.
- Check and write are one step: no write that started with a smaller token can land after one with a larger.
- What is read to be written over needs the token, too (`read`). Else one who holds it no more can still write after the
  next one has read, and that one writes over it.
- A refused write is reported to the log, by the hub of the grant, or for a bare token if one is open; it is never
  waited for.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from accord.agents import context
from accord.agents.locks.locks import Held
from accord.schemas.messages import limits, locks

from accord import logs
from accord.errors import AccordError, BadInput, StaleToken

logger = logs.get("accord.locks")

P = ParamSpec("P")
T = TypeVar("T")
Q = ParamSpec("Q")
R = TypeVar("R")


class FencedResource(Generic[P, T]):
    """A resource behind a fencing token.

    Args:
        name: what it is called in errors and in the log, as `rooms/12`.
        apply: does the write; a plain function or a coroutine function. Called by one writer at a time. An `async`
            one belongs to one event loop.
        lock: the lock whose tokens guard it, under which refused writes of bare tokens are reported; those of a grant
            are under what it is a grant of. None: `name`.
        pool: the pool whose tokens guard it, where it is no lock.
        load: gives the largest token seen so far, where it outlives the process; called once, at the first write.
        save: keeps a larger token; called before the first write with it.

    Raises:
        BadInput: both a lock and a pool.
    """

    def __init__(
        self,
        name: str,
        apply: Callable[P, T],
        *,
        lock: str | None = None,
        pool: str | None = None,
        load: Callable[[], int] | None = None,
        save: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        if lock is not None and pool is not None:
            raise BadInput(f"{name}: lock={lock!r} and pool={pool!r}: one of them guards it.")
        self._guard: Final = ("locks", lock or name) if pool is None else ("limits", pool)
        self._apply = apply
        self._load = load
        self._save = save
        self._highest: int | None = None
        self._granted: Held | None = None
        self._mutex = threading.RLock()
        self._writing = asyncio.Lock()
        self._is_async = inspect.iscoroutinefunction(apply)

    @property
    def highest_token(self) -> int:
        """The largest token seen; 0 before the first."""
        with self._mutex:
            if self._highest is None:
                self._highest = self._load() if self._load is not None else 0
            return self._highest

    def write(self, token: int | Held, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Writes, if the token is not outdated.

        Args:
            token: of the grant under which is written, or the grant itself; then errors can name who came later.
            args, kwargs: for `apply`.

        Returns:
            What `apply` returns; to be awaited if it is a coroutine function.

        Raises:
            StaleToken: a larger token has been here. Nothing was written.
            BadInput: the token is no positive whole number.
        """
        return self._call(token, self._apply, args, kwargs, is_write=True)

    def read(self, token: int | Held, function: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """Reads, if the token is not outdated; from then on nothing is written under a smaller one.

        Args:
            token: as of `write`.
            function: does the reading; a coroutine function if `apply` is one. No write goes on meanwhile.
            args, kwargs: for `function`.

        Returns:
            What `function` returns; to be awaited if it is a coroutine function.

        Raises:
            StaleToken: a larger token has been here.
            BadInput: the token is no positive whole number, or of `function` and `apply` one is a coroutine function.
        """
        if inspect.iscoroutinefunction(function) is not self._is_async:
            raise BadInput(f"{self.name}: what reads must be a coroutine function if, and only if, what writes is one.")
        return self._call(token, function, args, kwargs, is_write=False)

    def _call(self, token: int | Held, function: Callable[..., R], args: Any, kwargs: Any, *, is_write: bool) -> R:
        if self._is_async:
            return cast("R", self._call_async(token, function, args, kwargs, is_write=is_write))
        with self._mutex:
            self._admit(token, is_write=is_write)
            return function(*args, **kwargs)

    async def _call_async(
        self, token: int | Held, function: Callable[..., Any], args: Any, kwargs: Any, *, is_write: bool
    ) -> Any:
        async with self._writing:
            self._admit(token, is_write=is_write)
            return await function(*args, **kwargs)

    def _admit(self, token: int | Held, *, is_write: bool) -> None:
        grant = token if isinstance(token, Held) else None
        number = grant.token if grant is not None else token
        if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
            raise BadInput(f"{self.name}: token {number!r} is no fencing token; give that of the grant.")
        with self._mutex:
            highest = self.highest_token
            if number > highest:
                if self._save is not None:
                    self._save(number)
                self._highest, self._granted = number, grant
            elif number < highest:
                guard = self._guard if grant is None else (grant.position.domain, grant.key)
                if is_write:
                    self._report(guard, grant, number, highest)
                raise self._stale(guard[1], number, highest, "write to" if is_write else "read of")

    def _stale(self, key: str, token: int, highest: int, what: str) -> StaleToken:
        later = f"{highest} has been there since"
        if self._granted is not None:
            later = f"{highest} was granted to {self._granted.agent} ({self._granted.position})"
        return StaleToken(
            f"{what} {self.name} with token {token} refused; {later}.",
            remedy="Acquire again and re-read before writing.",
            key=key,
            holder=self._granted.agent if self._granted is not None else None,
            position=str(self._granted.position) if self._granted is not None else None,
            token=token,
            highest_token=highest,
        )

    def _report(self, guard: tuple[str, str], grant: Held | None, token: int, highest: int) -> None:
        """Tells the log, best effort: by the hub whose grant it was, else by the one that is open here."""
        hub = context.find()
        connection = grant.connection if grant is not None else hub.connection if hub is not None else None
        if connection is None:
            return
        domain, key = guard
        report = limits.ReportStaleWrite if domain == "limits" else locks.ReportStaleWrite
        try:
            connection.submit(domain, key, report(connection.agent, self.name, token, highest))
        except AccordError as error:
            logger.warning("a stale write was refused but not reported", resource=self.name, why=str(error))
