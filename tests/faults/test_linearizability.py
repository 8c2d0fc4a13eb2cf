"""The judge of histories finds what is wrong on purpose, and nothing in what is right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import porcupine
from tests.faults.history import Operation

S = 1_000_000_000
READER, WRITER = 0, None


def acquire(
    op: int,
    token: int | None,
    start: int,
    end: int | None,
    *,
    permits: int | None = None,
    error: str = "",
    decided: bool = True,
    belief: tuple[int, int] | None = None,
) -> Operation:
    """An acquire, of seconds `start` to `end`, with a lease of 10 s; granted if it has a token."""
    position = "locks/0@1" if decided else ""
    return Operation(
        "p",
        op,
        "acquire",
        "room",
        start * S,
        None if end is None else end * S,
        token is not None,
        error,
        token,
        position,
        permits=permits,
        lease_ms=10_000 + porcupine.EARLY_MS,
        belief=belief and (belief[0] * S, belief[1] * S),
    )


def release(of: int, start: int, end: int | None, error: str = "") -> Operation:
    ok = end is not None and not error
    ended_ns = None if end is None else end * S
    return Operation("p", 1_000 + of, "release", "room", start * S, ended_ns, ok, error, of=of)


def wait(op: int, start: int, end: int | None, place: int | None = None, error: str = "BrokenBarrier") -> Operation:
    """A wait at a barrier of two; it broke if there is no place, and its end is not known if there is none."""
    ended_ns = None if end is None else end * S
    error = "" if place is not None or end is None else error
    ok = place is not None
    return Operation(
        "p", op, "wait", "gate", start * S, ended_ns, ok, error, position="locks/0@1", place=place, parties=2
    )


GOOD: dict[str, list[Operation]] = {
    "one after the other": [acquire(1, 3, 0, 1), release(1, 2, 3), acquire(2, 7, 0, 4), release(2, 5, 6)],
    "released while the next one waits": [acquire(1, 3, 0, 1), acquire(2, 4, 1, 9), release(1, 2, 9)],
    "the token is smaller of who asked later": [
        acquire(1, 4, 0, 9),
        acquire(2, 3, 1, 2),
        release(2, 2, 3),
        release(1, 9, 10),
    ],
    "the next one after the lease of one that vanished": [acquire(1, 1, 0, 1), acquire(2, 2, 2, 11)],
    "renewed, then given on": [acquire(1, 1, 0, 1, belief=(1, 20)), acquire(2, 2, 2, 21)],
    "lost early, as its holder says": [
        acquire(1, 1, 0, 1, belief=(1, 2)),
        release(1, 4, 5, "LeaseLost"),
        acquire(2, 2, 2, 3),
    ],
    "a release that nobody acknowledged": [acquire(1, 1, 0, 1), release(1, 2, None), acquire(2, 2, 3, 4)],
    "denied while it was held": [acquire(1, 1, 0, 1), acquire(2, None, 2, 3, error="LockTimeout"), release(1, 4, 5)],
    "denied for one that was killed": [acquire(1, None, 0, None), acquire(2, None, 2, 3, error="LockTimeout")],
    "gave up without an answer": [acquire(2, None, 2, 3, error="LockTimeout", decided=False)],
    "three of three permits": [acquire(n, n, 0, n, permits=3) for n in (1, 2, 3)],
    "a permit passed on": [
        *[acquire(n, n, 0, n, permits=2) for n in (1, 2)],
        release(1, 3, 4),
        acquire(3, 3, 3, 5, permits=2),
    ],
    "readers together with one token": [acquire(1, 5, 0, 1, permits=READER), acquire(2, 5, 0, 1, permits=READER)],
    "readers, then a writer": [
        acquire(1, 1, 0, 1, permits=READER),
        acquire(2, 2, 0, 2, permits=READER),
        release(1, 3, 4),
        acquire(3, 3, 3, 6, permits=WRITER),
        release(2, 5, 6),
    ],
    "a barrier passed twice": [wait(1, 0, 2, 0), wait(2, 1, 2, 1), wait(3, 3, 5, 1), wait(4, 2, 5, 0)],
    "a barrier passed with one that was killed": [wait(1, 0, None), wait(2, 1, 2, 1)],
    "a barrier that broke for one that was killed": [
        wait(1, 0, None),
        wait(2, 1, 4),
        wait(3, 4, 6, 0),
        wait(4, 5, 6, 1),
    ],
}

BAD: dict[str, list[Operation]] = {
    "two holders": [acquire(1, 1, 0, 1), acquire(2, 2, 2, 3), release(1, 4, 5)],
    "two holders, one of them killed": [acquire(1, 1, 0, 1), acquire(2, 2, 2, 9)],
    "two holders, for one renews": [acquire(1, 1, 0, 1, belief=(1, 20)), acquire(2, 2, 2, 19)],
    "two holders, for one still believed": [
        acquire(1, 1, 0, 1, belief=(1, 5)),
        release(1, 6, 7, "LeaseLost"),
        acquire(2, 2, 2, 4),
    ],
    "the same token twice": [acquire(1, 1, 0, 1), release(1, 1, 2), acquire(2, 1, 3, 4)],
    "a token that goes back": [acquire(1, 5, 0, 1), release(1, 2, 3), acquire(2, 4, 4, 5)],
    "a token that goes back, of a semaphore": [acquire(1, 5, 0, 1, permits=2), acquire(2, 4, 2, 3, permits=2)],
    "one permit more": [acquire(n, n, 0, n, permits=3) for n in (1, 2, 3, 4)],
    "a reader beside a writer": [
        acquire(1, 1, 0, 1, permits=WRITER),
        acquire(2, 2, 0, 2, permits=READER),
        release(1, 3, 4),
    ],
    "a writer beside a reader": [
        acquire(1, 1, 0, 1, permits=READER),
        acquire(2, 2, 0, 2, permits=WRITER),
        release(1, 3, 4),
    ],
    "a writer with the token of a reader": [
        acquire(1, 1, 0, 1, permits=READER),
        release(1, 1, 2),
        acquire(2, 1, 0, 3, permits=WRITER),
    ],
    "denied though nobody held it": [
        acquire(1, 1, 0, 1),
        release(1, 2, 3),
        acquire(2, None, 4, 5, error="LockTimeout"),
        acquire(3, 2, 6, 7),
    ],
    "granted after it was denied": [
        acquire(1, 1, 0, 3),
        acquire(2, None, 1, 2, error="LockTimeout"),
        release(2, 4, 5),
    ],
    "released twice": [acquire(1, 1, 0, 1), release(1, 2, 3), release(1, 4, 5)],
    "a barrier passed alone": [wait(1, 0, 1, 0)],
    "a barrier passed before the last one came": [wait(1, 0, 1, 0), wait(2, 2, 3, 1)],
    "a barrier passed by one, broken for the other": [wait(1, 0, 5, 0), wait(2, 1, 4)],
    "the first place twice": [wait(1, 0, 2, 0), wait(2, 0, 2, 0)],
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """Of all histories above, judged at once."""
    judged = [(name, *porcupine.histories(operations)) for name, operations in (GOOD | BAD).items()]
    found = porcupine.judge([one | {"key": name} for name, one in judged])
    return {one.key: one.verdict for one in found}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_is_found_right(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts[name] == "ok"


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found_wrong(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts[name] == "violation"


def test_a_violation_names_the_lock_and_what_does_not_fit() -> None:
    (found,) = porcupine.linearizable(BAD["two holders"])
    assert found.rule == "linearizable"
    assert "room: violation after" in found.what and "grant: acquire room (p #2, token 2" in found.what


def test_a_long_history_of_many_who_wait_is_judged() -> None:
    """Each of 400 grants overlaps with the calls of 20 who wait."""
    history = [acquire(n, n, max(0, n - 20), n + 1) for n in range(1, 401)]
    history += [release(n, n + 1, n + 2) for n in range(1, 401)]
    assert list(porcupine.linearizable(history)) == []


def test_a_history_that_is_none_is_refused() -> None:
    wrong: dict[str, Any] = {"key": "room", "model": "table", "parties": 0, "operations": []}
    with pytest.raises(RuntimeError, match="there is no model"):
        porcupine.judge([wrong])
