"""Redis, every write appended to its file and flushed, and redis-py's own Lock, which polls each millisecond."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.peers.peer import Address, Cycle, Peer, accepts, directory, free_ports, lacking, server

DURABLE: Final = "fsync of its append-only file (appendfsync always)"
LEASE_S: Final = 60
POLL_S: Final = 0.001


@contextmanager
def serve() -> Iterator[Address]:
    (port,) = free_ports(1)
    with directory() as place:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(place), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        with server(command, place, lambda: accepts(port)):
            yield {"port": port}


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    from redis import Redis  # noqa: PLC0415

    with Redis(port=address["port"], client_name=f"client-{number}") as redis:

        def cycle(name: str) -> float:
            lock = redis.lock(name, timeout=LEASE_S, sleep=POLL_S)
            lock.acquire()
            granted_s = time.perf_counter()
            lock.release()
            return granted_s

        yield cycle


REDIS: Final = Peer("redis", DURABLE, lambda: lacking("redis", "redis-server"), serve, client)
