"""TCP proxies between the processes of a fault run and their broker, one for each that may be cut off by itself.

A connection that is held loses nothing: what was sent lies in buffers, as it does when a network is divided, and goes
on when the link is whole again, however late that is. What is dropped is reset on both sides.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, cast

T = TypeVar("T")


class Network:
    """The links, served by an event loop in a thread while this is open as a context."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            link.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def link(self) -> Link:
        """A new link, at a port of its own; until it has a target, whoever comes is reset."""
        link = Link(self._loop)
        self._links.append(link)
        return link


class Link:
    """One proxy: `port` leads to `target`, a port on loopback. Its methods are for any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pairs: set[_Pair] = set()
        self.target = 0
        self.held = False
        self.delay_s = 0.0
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(listening.getsockname()[1])
        self._server: asyncio.Server = asyncio.run_coroutine_threadsafe(self._serve(listening), loop).result()

    def hold(self) -> None:
        """Nothing passes any more, in either direction; connections stay, and new ones get no answer."""
        self._do(lambda: self._held(True))

    def heal(self) -> None:
        """All passes again, what was held first."""
        self._do(lambda: self._held(False))

    def drop(self) -> int:
        """Resets all connections; returns how many there were. New ones may come at once."""
        return self._do(self._drop)

    def slow(self, delay_s: float) -> None:
        """What comes from now on passes so much later, in order; 0 is at once."""
        self._do(lambda: setattr(self, "delay_s", delay_s))

    def close(self) -> None:
        self._do(lambda: (self._server.close(), self._drop()))

    async def _serve(self, listening: socket.socket) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Pair(self, self._pairs).near, sock=listening)

    def _held(self, held: bool) -> None:
        self.held = held
        for pair in self._pairs:
            pair.changed()

    def _drop(self) -> int:
        for pair in (pairs := list(self._pairs)):
            pair.reset()
        return len(pairs)

    def _do(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()


class _Pair:
    """A connection of a client and the one to the broker that belongs to it."""

    def __init__(self, link: Link, pairs: set[_Pair]) -> None:
        self.link = link
        self._pairs = pairs
        self.near = _End(self)
        self.far = _End(self)
        self.near.other, self.far.other = self.far, self.near
        self._connecting: asyncio.Task[None] | None = None

    def opened(self) -> None:
        """The client is there."""
        self._pairs.add(self)
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, "127.0.0.1", self.link.target)
        except OSError:
            self.reset()
        else:
            self.changed()

    def changed(self) -> None:
        """The link is held or healed, or a buffer is full or empty."""
        for end in (self.near, self.far):
            end.read(not self.link.held and not end.other.full and end.other.transport is not None)

    def reset(self) -> None:
        """Ends both connections without a farewell."""
        self._pairs.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()


class _End(asyncio.Protocol):
    """One of the two connections: what it receives goes out at the other."""

    other: _End

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self.transport: asyncio.Transport | None = None
        self.full = False
        self._reading = True
        self._last_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self is self._pair.near:
            self.read(False)  # until there is a way on
            self._pair.opened()

    def data_received(self, data: bytes) -> None:
        loop, delay_s = asyncio.get_running_loop(), self._pair.link.delay_s
        now_s = loop.time()
        if delay_s == 0 and self._last_s <= now_s:
            self.other.write(data)
            return
        self._last_s = max(self._last_s, now_s + delay_s)  # nothing overtakes what is on its way
        loop.call_at(self._last_s, self.other.write, data)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._pair.reset()

    def pause_writing(self) -> None:
        self.full = True
        self._pair.changed()

    def resume_writing(self) -> None:
        self.full = False
        self._pair.changed()

    def read(self, wanted: bool) -> None:
        if self.transport is None or self.transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
