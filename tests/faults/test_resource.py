"""The stand-ins that the clients of a fault run use: the guarded counters and the API."""

from __future__ import annotations

import http.client
import threading
from http import HTTPStatus

from tests.faults.api import Api
from tests.faults.checker import Write
from tests.faults.resource import Counter, Counters


def test_counters_refuse_old_tokens_and_tell_what_each_seat_did() -> None:
    with Counters() as counters:
        first, second = Counter(counters.port, "0"), Counter(counters.port, "1")
        assert [first.ask("room", 1), first.ask("room", 1, 1), second.ask("room", 2)] == [0, 1, 1]
        assert first.ask("room", 1, 2) is None and first.ask("room", 1) is None
        assert second.ask("room", 2, 2) == 2 and first.look("room") == counters.value("room") == 2
        first.close()
        assert counters.accepted("0", "room") == 1 and counters.accepted("0", "other") == 0
        assert counters.writes == [
            Write("room", 1, None, True, "0"),
            Write("room", 1, 1, True, "0"),
            Write("room", 2, None, True, "1"),
            Write("room", 1, 2, False, "0"),
            Write("room", 1, None, False, "0"),
            Write("room", 2, 2, True, "1"),
        ]
        second.close()


def call(port: int, statuses: list[int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions")
    statuses.append(connection.getresponse().status)
    connection.close()


def test_the_api_takes_one_call_at_a_time() -> None:
    with Api() as api:
        statuses: list[int] = []
        call(api.port, statuses)
        call(api.port, statuses)
        assert statuses == [HTTPStatus.OK] * 2 and (api.answered, api.rejected) == (2, 0)
        callers = [threading.Thread(target=call, args=(api.port, statuses)) for _ in range(20)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert api.rejected == statuses.count(HTTPStatus.TOO_MANY_REQUESTS) > 0
        assert api.answered == statuses.count(HTTPStatus.OK) == 22 - api.rejected
