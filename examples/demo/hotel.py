"""The hotel's reservation system, as a service that knows nothing of agents: prices, payments, a ledger.

Its ledger would take two guests for one room. What protects it is the lock that its clients take and, on its own side,
the fencing token: a write whose token is older than one it has seen is refused.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from accord import FencedResource, StaleToken

PAYMENT_S = 0.4
CLIENT_TIMEOUT_S = 60.0


class Booking(NamedTuple):
    """A line of the ledger. `token` is that of the lock under which it was written; None without locks."""

    room: str
    guest: str
    agent: str
    token: int | None


class Hotel:
    """The service, on a free port of the loopback interface; a context manager.

    Args:
        rooms: their numbers.
        at_payment: called with agent and room while a payment is under way; may take its time.
    """

    def __init__(self, rooms: tuple[str, ...], at_payment: Callable[[str, str], None]) -> None:
        self.bookings: list[Booking] = []
        self.at_payment = at_payment
        self._changed = threading.Condition()
        self._guarded = {room: FencedResource(f"rooms/{room}", self._write, lock=f"room_{room}") for room in rooms}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def guest_of(self, room: str) -> str | None:
        with self._changed:
            return next((booking.guest for booking in self.bookings if booking.room == room), None)

    def pay(self, room: str, agent: str) -> None:
        """Takes a payment, which takes a while."""
        time.sleep(PAYMENT_S)
        self.at_payment(agent, room)

    def book(self, booking: Booking) -> None:
        """Writes a line. Raises StaleToken if somebody with a newer token has written for this room."""
        if booking.token is None:
            self._write(booking)
        else:
            self._guarded[booking.room].write(booking.token, booking)

    def _write(self, booking: Booking) -> None:
        with self._changed:
            self.bookings.append(booking)
            self._changed.notify_all()

    def wait_until_booked(self, room: str, timeout_s: float) -> bool:
        """Returns whether the room is booked, at the latest after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: any(b.room == room for b in self.bookings), timeout_s)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hotel", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(hotel: Hotel) -> type[BaseHTTPRequestHandler]:
    """`GET /rooms/12`, `POST /rooms/12/payment`, `POST /rooms/12`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"guest": hotel.guest_of(self._room())})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/payment"):
                hotel.pay(self._room(), body["agent"])
                self._answer(200, {})
                return
            try:
                hotel.book(Booking(self._room(), body["guest"], body["agent"], body["token"]))
                self._answer(201, {})
            except StaleToken as error:
                self._answer(409, error.as_json())

        def _room(self) -> str:
            return self.path.split("/")[2]

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:
                pass  # who asked is dead: that is part of the plot

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the agents tell what they do."""

    return Handler


class Desk:
    """The hotel as its clients see it."""

    def __init__(self, url: str, agent: str) -> None:
        self._url, self._agent = url, agent

    def guest_of(self, room: str) -> str | None:
        guest: str | None = self._ask(f"/rooms/{room}")["guest"]
        return guest

    def pay(self, room: str) -> None:
        self._ask(f"/rooms/{room}/payment", {})

    def book(self, room: str, guest: str, token: int | None) -> None:
        """Raises StaleToken if somebody with a newer token has written for this room."""
        try:
            self._ask(f"/rooms/{room}", {"guest": guest, "token": token})
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            refusal = json.load(error)
            raise StaleToken(refusal["error"], key=refusal["key"], position=refusal["position"]) from None

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps({"agent": self._agent, **body}).encode()
        request = urllib.request.Request(self._url + path, data=content)
        with urllib.request.urlopen(request, timeout=CLIENT_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
