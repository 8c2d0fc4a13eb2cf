"""ZooKeeper and the lock recipe of kazoo."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.peer import Address, Cycle, Peer, directory, free_ports, lacking, server

DURABLE: Final = "fsync of its transaction log (forceSync, its default)"
JAR: Final = Path("/usr/share/java/zookeeper.jar")
"""Where Debian's package puts it; the jar names what else it needs."""
CONFIGURATION: Final = """\
dataDir={place}/data
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
"""


@contextmanager
def serve() -> Iterator[Address]:
    (port,) = free_ports(1)
    with directory() as place:
        settings = place / "zoo.cfg"
        settings.write_text(CONFIGURATION.format(place=place, port=port))
        java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=yes", "-cp", str(JAR)]
        command = [*java, "org.apache.zookeeper.server.ZooKeeperServerMain", str(settings)]
        with server(command, place, lambda: _serves(port)):
            yield {"port": port}


def _serves(port: int) -> bool:
    """It accepts connections, and drops them, before it serves."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"srvr")
            return b"Mode:" in connection.recv(4_096)
    except OSError:
        return False


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    from kazoo.client import KazooClient  # noqa: PLC0415

    kazoo = KazooClient(hosts=f"127.0.0.1:{address['port']}")
    kazoo.start(timeout=60)
    locks: dict[str, Any] = {}  # a lock makes sure of its path the first time

    def cycle(name: str) -> float:
        lock = locks.get(name)
        if lock is None:
            lock = locks[name] = kazoo.Lock(f"/locks/{name}", f"client-{number}")
        lock.acquire()
        granted_s = time.perf_counter()
        lock.release()
        return granted_s

    try:
        yield cycle
    finally:
        kazoo.stop()
        kazoo.close()


def missing() -> str | None:
    return lacking("kazoo", "java") or (None if JAR.exists() else f"no {JAR}")


ZOOKEEPER: Final = Peer("zookeeper", DURABLE, missing, serve, client)
