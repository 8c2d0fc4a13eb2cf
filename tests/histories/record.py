"""Records the histories that lie beside this file: `python -m tests.histories.record NAME...` in the checkout.

A history that a release could verify is never recorded again: later releases must still verify it. Record a new one
under a new name when the rules, the headers or the schemas change.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from accord.replay.export import export
from accord.replay.source import open_source
from accord.replay.state import state_at
from accord.schemas.codec import commands_codec
from accord.schemas.messages import Command
from accord.schemas.messages.locks import (
    AcquireLock,
    LockGranted,
    NotifyCondition,
    ReachBarrier,
    ReleaseLock,
    RenewLease,
    ReportStaleWrite,
    RevokeLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import EmitSignal, ReportHandlerFailure

import accord
from tests.counts import only_long
from tests.histories import busy
from tests.histories.answers import answers
from tests.histories.failover import failover
from tests.histories.payments import payments
from tests.histories.play import Play
from tests.histories.scenarios import SCENARIOS
from tests.histories.shop import shop
from tests.histories.transcripts import TRANSCRIPTS, transcript
from tests.histories.transfers import transfers
from tests.histories.trips import trips

HERE = Path(__file__).parent
AGENTS = ("ada", "bob", "eve", "kim")
SCENARIO_S = 90.0


def hotel() -> Play:
    """Agents race for rooms for a while: leases lost, renewed and released, waits given up, stale writes, signals."""
    play = Play(cluster="history-hotel", locks=3, signals=2)
    chance = Random(7)
    held: dict[str, tuple[str, int]] = {}
    for number in range(300):
        agent, room = chance.choice(AGENTS), f"room_{chance.randrange(6)}"
        after_ms = chance.choice((0, 1, 5, 40, 900))
        holder, token = held.get(room, ("", 0))
        kind = chance.randrange(10)
        if kind < 4:
            wait_ms = chance.choice((None, 0, 1_500))
            asked = AcquireLock(agent, f"{agent}/{number}", 2_000, wait_ms)
            decided = play.send(room, asked, after_ms=after_ms, task=f"trip-{number}")
        elif kind < 6:
            decided = play.send(room, ReleaseLock(holder or agent, token), after_ms=after_ms)
        elif kind == 6:
            decided = play.send(room, RenewLease(holder or agent, token, 3_000), after_ms=after_ms)
        elif kind == 7:
            decided = play.send(room, Tick(), after_ms=after_ms)
        elif kind == 8:
            decided = play.send(room, WithdrawRequest(agent, f"c{max(1, number - 3)}"), after_ms=after_ms)
        else:
            decided = play.send(room, ReportStaleWrite(agent, f"rooms/{room}", token, token + 1), after_ms=after_ms)
        for event in decided.events:
            if isinstance(event, LockGranted):
                held[room] = (event.agent, event.token)
                play.send(
                    f"{event.agent}_started", EmitSignal(event.agent, f'{{"room": "{room}"}}', ("hotel",)),
                    domain="signals",
                )  # fmt: skip
    return play


def family() -> Play:
    """Every kind of lock: permits, priorities, conditions, barriers; leases that end, an operator's word."""
    play = Play(cluster="history-family", locks=3)
    chance = Random(11)
    grants: dict[str, list[LockGranted]] = {}
    requests: dict[str, list[str]] = {}
    names = {"gpu": 2, "report": 0, "stock": None, "desk": None, "ready": 3}
    for number in range(400):
        agent, name = chance.choice(AGENTS), chance.choice(list(names))
        after_ms, permits = chance.choice((0, 1, 5, 40, 900)), names[name]
        asked = requests.setdefault(name, ["c0"])
        granted = grants.setdefault(name, [LockGranted("c0", agent, "nobody", 0, 1_000, 0)])
        last = granted[-chance.randrange(min(3, len(granted))) - 1]
        told = None if last.permits is None else last.request
        wait_ms = chance.choice((None, None, 0, 1_500))
        if name == "report":
            permits = chance.choice((0, 0, None))
        commands: list[Command]
        if name == "ready":
            commands = [
                ReachBarrier(agent, 3, 2_000, wait_ms),
                RenewLease(agent, 0, 2_000, asked[-1]),
                WithdrawRequest(agent, asked[-1]),
                Tick(),
                AcquireLock(agent, f"{agent}/{number}", 2_000, 0),
            ]
            chosen = chance.choices(commands, (8, 3, 1, 1, 1))[0]
        else:
            commands = [
                AcquireLock(agent, f"{agent}/{number}", 2_000, wait_ms, permits, chance.choice((0, 0, 0, 2, -1))),
                ReleaseLock(last.agent, last.token, told),
                RenewLease(last.agent, last.token, 3_000, told),
                WithdrawRequest(agent, asked[-1]),
                RevokeLease("ops", last.token, "an operator's word", told),
                WaitOnCondition(last.agent, last.token, chance.choice((None, 700))),
                NotifyCondition(last.agent, last.token, chance.choice((None, 1, 2))),
                Tick(),
                ReachBarrier(agent, 2, 2_000, None),
            ]
            chosen = chance.choices(commands, (12, 8, 2, 2, 1, 5, 4, 2, 1))[0]
        if isinstance(chosen, AcquireLock | WaitOnCondition | ReachBarrier):
            asked.append(f"c{number + 1}")
        decided = play.send(name, chosen, after_ms=after_ms)
        granted += [event for event in decided.events if isinstance(event, LockGranted)]
    return play


def rejections() -> Play:
    """Everything that can be wrong with a command, repeats among it."""
    play = Play(cluster="history-rejections", locks=2, signals=1)
    acquire = AcquireLock("ada", "ada/1", 5_000, None)
    play.send("room_1", acquire, message_id="once")
    play.send("room_1", acquire, message_id="once")
    play.send("room_1", AcquireLock("ada", "ada/2", 30, None))
    play.send("room_1", AcquireLock("ada", "ada/2", 5_000, -1))
    play.send("room_1", AcquireLock("a" * 300, "ada/2", 5_000, None))
    play.send("r" * 300, acquire)
    for number in range(8):
        play.send(f"room_{number}", acquire, partition=0)
    for where in (("locks", 0), ("locks", 1), ("signals", 0)):
        play.append(where, None, b"x", [])
        play.append(where, b"", b"x", [])
        play.append(where, b"\xff\xfe", b"x", [])
        play.append(where, b"room_1", None, [])
        play.append(where, b"room_1", b"garbage", [("ce_id", b"two words")])
        play.append(where, b"room_1", b"\xc3\x01unknown!", [("accord-clock", b"")])
        play.append(where, b"room_1", b"\x00\x00\x00\x00\x09x", [("accord-clock", b"not a clock")])
        play.append(where, b"room_1", b"x" * 20_000, [("traceparent", b"t" * 600)])
    play.send("note", EmitSignal("ada", "no json", ()), domain="signals")
    play.send("note", EmitSignal("ada", "{}", tuple(f"event_{n}" for n in range(33))), domain="signals")
    play.send(
        "note", ReportHandlerFailure("ada", "note", "signals/0:1", "signals/0@1", "{}", "KeyError", "'x'", 3),
        domain="signals",
    )  # fmt: skip
    return play


def clocks() -> Play:
    """A broker whose clock steps back, a window of ids that moves on, a lease that ends by the next command."""
    play = Play(cluster="history-clocks", locks=1)
    for number, after_ms in enumerate((10, -4_000, 10, 700_000, -1, 0, 3_600_000, -3_600_000, 5)):
        play.send("room_1", AcquireLock("ada", f"ada/{number}", 5_000, 60_000), after_ms=after_ms, message_id="same")
        play.send("room_2", AcquireLock("bob", f"bob/{number}", 5_000, 0), after_ms=after_ms)
    return play


def wrong_grant() -> Play:
    """Wrong on purpose: a decision grants a lock that another holds, and the chain was made to fit."""
    play = Play(cluster="history-wrong-grant", locks=1)
    play.send("room_1", AcquireLock("ada", "ada/1", 60_000, None))
    where = ("locks", 0)
    state = play.states[where]
    asked = commands_codec("locks").encode(AcquireLock("bob", "bob/1", 60_000, None))
    honest = play.append(where, b"room_1", asked, [("ce_id", b"bobs")], decide=False)
    granted = [LockGranted("bobs", "bob", "bob/1", 3, 60_000, play.now_ms + 60_000)]
    forged = state._decision(honest.decision.cause, "bobs", play.now_ms, 1, honest.clock, b"", b"", b"room_1", granted)
    play.record(where, forged)
    play.send("room_1", ReleaseLock("bob", 3))
    return play


WRONG = ("wrong_grant",)
STATES = HERE / "states.json"
"""The hash of the state that each sound history ends with."""

HISTORIES: dict[str, Callable[[], Play]] = {
    "hotel": hotel,
    "family": family,
    "rejections": rejections,
    "clocks": clocks,
    "wrong_grant": wrong_grant,
    "answers": answers,
    "office": lambda: busy.office(seed=8, count=250),
    "failover": failover,
    "pools": busy.pools,
    "victims": busy.victims,
    "groups": busy.groups,
    "payments": payments,
    "shop": shop,
    "transfers": transfers,
    "trips": lambda: trips().play,
    **{name: partial(transcript, name) for name in TRANSCRIPTS},
}


async def embedded(path: Path) -> None:
    """A real run: worker, client, decorators and broker in this process; no two are the same.

    Guests race for rooms; a handler fails for good; a holder that nobody hears of again loses its lease to the next in
    the queue, and its release comes too late.
    """
    async with accord.local(keep=path, agent="ada") as hub:

        @accord.coordinate("hotel_booker", lock_name="room_{room}")
        async def book(room: int, guest: str) -> str:
            await asyncio.sleep(0.02)
            return f"{guest}: booked"

        @accord.when("hotel_booker_complete", retries=0)
        def note(event_data: Mapping[str, Any]) -> None:
            raise ValueError(f"no printer for {event_data['result']}")

        await asyncio.gather(book(12, "ada"), book(12, "bob"), book(14, "eve"))
        await hub.drain()
        submit = hub.connection.submit
        crashed = submit("locks", "room_15", AcquireLock("bob", "bob/crashed", 5_000, None))
        token = (await asyncio.wrap_future(crashed.decided)).events[0].token
        queued = submit("locks", "room_15", AcquireLock("eve", "eve/waits", 5_000, None))
        await asyncio.wrap_future(queued.decided)
        await hub.advance(6_000)
        late = submit("locks", "room_15", ReleaseLock("bob", token))
        await asyncio.wrap_future(late.decided)


async def scenario(name: str, path: Path) -> None:
    """Plays a scenario; the domains that were told nothing are left out of its archive."""
    with tempfile.TemporaryDirectory() as folder:
        async with accord.local(keep=Path(folder) / "whole.accord", agent="ada") as hub:
            await asyncio.wait_for(SCENARIOS[name](hub), SCENARIO_S)
        with open_source(Path(folder) / "whole.accord") as log:
            told = {of for of, number in log.all_partitions() if log.bounds(of, number, commands=True)[1]}
            shutil.rmtree(path, ignore_errors=True)
            export(log, path, domains=tuple(of for of in log.partitions if of in told))


RUNS: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "embedded": embedded,
    **{name: partial(scenario, name) for name in SCENARIOS},
}
"""Histories of real runs, which cannot be recorded again to the byte."""


SOUND_NAMES = [
    *("clocks", "embedded", "family", "hotel", "rejections"),
    *[pytest.param(name, marks=only_long) for name in SCENARIOS],
]
"""Histories whose clocks tell truly who knew what, for tests of what is read off those; scenarios in the long run. The
other plays have commands that follow from nothing on their log."""


def archive_of(name: str) -> Path:
    """Where a history lies."""
    return HERE / f"{name}.accord"


def main(names: list[str]) -> None:
    for name in names:
        path = archive_of(name)
        shutil.rmtree(path, ignore_errors=True)
        if name in RUNS:
            asyncio.run(RUNS[name](path))
        else:
            HISTORIES[name]().save(path)
        if name not in WRONG:
            note_state(path)
        print(f"{path.name}: {sum(file.stat().st_size for file in path.iterdir()):,} bytes")


def note_state(path: Path) -> None:
    """Writes down the state that a history ends with."""
    states: dict[str, str] = json.loads(STATES.read_text()) if STATES.exists() else {}
    with open_source(path) as log:
        states[path.name] = state_at(log).hash
    STATES.write_text(json.dumps(dict(sorted(states.items())), indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or sorted([*HISTORIES, *RUNS]))
