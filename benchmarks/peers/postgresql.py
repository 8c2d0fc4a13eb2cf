"""PostgreSQL and a table of locks: a cycle is a transaction that holds a row by `SELECT ... FOR UPDATE`.

That is the quickest way to lock with its rows, and it gives less than the others: the lock is gone with the
connection, and nothing tells of its holder.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.peers.peer import Address, Cycle, Peer, accepts, as_user, directory, free_ports, lacking, server

DURABLE: Final = "nothing at the grant; fsync of its write-ahead log at the release (synchronous_commit)"
USER: Final = "postgres"
CONNECTION: Final = "host=127.0.0.1 port={port} user=postgres dbname=postgres"


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
            connection.execute("CREATE TABLE locks (name text PRIMARY KEY)")
    except psycopg.OperationalError:
        return False  # it accepts connections before it takes commands
    return True


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    import psycopg  # noqa: PLC0415

    del number
    with psycopg.connect(CONNECTION.format(port=address["port"])) as connection:
        known: set[str] = set()

        def cycle(name: str) -> float:
            if name not in known:
                connection.execute("INSERT INTO locks VALUES (%s) ON CONFLICT DO NOTHING", [name])
                connection.commit()
                known.add(name)
            connection.execute("SELECT name FROM locks WHERE name = %s FOR UPDATE", [name])
            granted_s = time.perf_counter()
            connection.commit()
            return granted_s

        yield cycle


def missing() -> str | None:
    return lacking("psycopg", "postgres", "initdb")


POSTGRESQL: Final = Peer("postgresql", DURABLE, missing, serve, client)
