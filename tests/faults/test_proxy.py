"""The proxy that cuts processes off: what passes, what is held, what is reset."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Link, Network


@pytest.fixture
def link() -> Iterator[Link]:
    """Leads to a server that sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server, Network() as network:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        link = network.link()
        link.target = server.getsockname()[1]
        yield link


def serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection: socket.socket) -> None:
    with connection:
        while data := received(connection):
            connection.sendall(data)


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""


def client(link: Link, timeout_s: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=timeout_s)


def test_all_passes_in_order_however_much(link: Link) -> None:
    sent = bytes(range(256)) * (1 << 14)
    with client(link) as connection:
        threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
        back = bytearray()
        while len(back) < len(sent):
            back += connection.recv(1 << 16)
    assert bytes(back) == sent


def test_what_is_held_comes_when_the_link_is_whole_again(link: Link) -> None:
    with client(link, 0.2) as connection:
        connection.sendall(b"a")
        assert connection.recv(9) == b"a"
        link.hold()
        connection.sendall(b"b")
        with client(link, 0.2) as late:
            late.sendall(b"c")
            for one in (connection, late):
                with pytest.raises(TimeoutError):
                    one.recv(9)
            link.heal()
            for one, expected in ((connection, b"b"), (late, b"c")):
                one.settimeout(10)
                assert one.recv(9) == expected


def test_a_dropped_connection_is_reset_and_the_next_one_passes(link: Link) -> None:
    with client(link) as connection:
        connection.sendall(b"a")
        assert connection.recv(9) == b"a"
        assert link.drop() == 1
        assert received(connection) == b""
    with client(link) as connection:
        connection.sendall(b"b")
        assert connection.recv(9) == b"b"


def test_what_is_slow_comes_late_and_in_order(link: Link) -> None:
    with client(link) as connection:
        began = time.monotonic()
        link.slow(0.5)
        connection.sendall(b"a")
        time.sleep(0.05)
        link.slow(0)
        connection.sendall(b"b")
        back = b""
        while len(back) < 2:
            back += connection.recv(9)
        assert back == b"ab" and time.monotonic() - began > 0.5


def test_without_a_target_whoever_comes_is_reset(link: Link) -> None:
    link.target = 1
    with client(link) as connection:
        assert received(connection) == b""
