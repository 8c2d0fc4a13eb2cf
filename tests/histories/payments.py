"""A log on which triggers look for orders that are not paid."""

from __future__ import annotations

import json
from typing import Any

from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.triggers import DeclareTrigger, DropTrigger, ReadTrigger
from accord.streams.triggers.pattern import Node, Rule, absence, count, encode, sequence

from tests.histories.play import Play

UNPAID = sequence("ordered", absence("paid")).by("order").within_ms(1_000).late_ms(100)
LOOP = sequence("ping", "pong").within_ms(1_000).late_ms(0)


def declare(play: Play, name: str, rule: Rule | Node) -> None:
    text = encode((rule if isinstance(rule, Rule) else Rule(rule)).definition)
    play.follow("triggers", play.send(name, DeclareTrigger("ada", name, text), domain="triggers"))


def emit(play: Play, name: str, *, after_ms: int = 10, trail: tuple[str, ...] = (), **data: Any) -> list[str]:
    """Returns the types of all decisions that follow."""
    decided = play.send(name, EmitSignal("bob", json.dumps(data), trail), domain="signals", after_ms=after_ms)
    followed = [decided, *play.follow("signals", decided)]
    return [one.decision.type.decode().rpartition(".")[2] for one in followed]


def tick(play: Play, key: str, after_ms: int) -> None:
    play.follow("triggers", play.send(key, Tick(), domain="triggers", after_ms=after_ms))


def payments() -> Play:
    """Of three orders one is paid in time, one not; of the payment of the third a worker tells too late. A trigger that
    was dropped, and one that was changed."""
    play = Play(signals=2, triggers=2)
    declare(play, "unpaid", UNPAID)
    declare(play, "[often]", count("ordered", 5).within_ms(9_000))
    declare(play, "[often]", count("ordered", 2).within_ms(9_000))
    declare(play, "gone", LOOP)
    play.follow("triggers", play.send("gone", DropTrigger("ada"), domain="triggers"))
    for order in ("a", "b", 3):
        emit(play, "ordered", order=order)
    emit(play, "paid", order="b")
    untold = play.send("paid", EmitSignal("bob", '{"order":3}', ()), domain="signals")
    tick(play, "unpaid|b", 500)
    tick(play, "unpaid|a", 700)
    tick(play, "unpaid|3", 10)
    play.follow("signals", untold)
    emit(play, "ordered", order="a")
    play.send("unpaid", ReadTrigger("ada"), domain="triggers")
    return play
