"""PostgreSQL and a table of locks: a row stands there while its lock is held, committed before the grant is told.

That is the lock which outlives its connection and names its holder, as the others do; who finds the row tries again
after a millisecond. (`SELECT ... FOR UPDATE` over the whole cycle would be quicker: it makes nothing durable before
the release, and its lock is gone with the connection.)
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.peers.peer import Address, Cycle, Peer, accepts, as_user, directory, free_ports, lacking, server

DURABLE: Final = "fsync of its write-ahead log (synchronous_commit)"
POLL_S: Final = 0.001
USER: Final = "postgres"
CONNECTION: Final = "host=127.0.0.1 port={port} user=postgres dbname=postgres"
INSERT: Final = "INSERT INTO locks VALUES (%s, %s) ON CONFLICT DO NOTHING"
DELETE: Final = "DELETE FROM locks WHERE name = %s AND holder = %s"


@contextmanager
def serve() -> Iterator[Address]:
    (port,) = free_ports(1)
    user = USER if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with directory(user) as place:
        data = str(place / "data")
        initdb = ["initdb", "--pgdata", data, "--username", USER, "--auth", "trust"]
        subprocess.run(initdb, cwd=place, check=True, capture_output=True, **as_user(user))
        settings = {"fsync": "on", "synchronous_commit": "on", "unix_socket_directories": ""}
        command = ["postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with server(command, place, lambda: accepts(port) and _makes_table(port), user):
            yield {"port": port}


def _makes_table(port: int) -> bool:
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(CONNECTION.format(port=port)) as connection:
            connection.execute("CREATE TABLE locks (name text PRIMARY KEY, holder int NOT NULL)")
    except psycopg.OperationalError:
        return False  # it accepts connections before it takes commands
    return True


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(CONNECTION.format(port=address["port"]), autocommit=True) as connection:

        def cycle(name: str) -> float:
            while connection.execute(INSERT, [name, number]).rowcount == 0:
                time.sleep(POLL_S)
            granted_s = time.perf_counter()
            connection.execute(DELETE, [name, number])
            return granted_s

        yield cycle


def missing() -> str | None:
    return lacking("psycopg", "postgres", "initdb")


POSTGRESQL: Final = Peer("postgresql", DURABLE, missing, serve, client)
