"""The labelled set of conflicts (`cases.json`, explained in `cases.md`), and how well rules do on it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from accord.schemas.messages.conflicts import Capacity, Intent, Pair, Terms
from accord.streams.conflicts.rules import DEFAULT

from tests.streams.conflicts.played import Played, intent

CASES: Final = Path(__file__).with_name("cases.json")
RULE: Final = "rule"
SEMANTIC: Final = "semantic"

Conflicts = frozenset[tuple[str, frozenset[str]]]
"""Kinds, each with its parties."""


class Case(NamedTuple):
    """Intentions that are declared one after the other, by agents a, b, c and so on, and what collides in truth."""

    name: str
    label: str
    terms: Terms
    intents: tuple[Intent, ...]
    expected: Conflicts


class Figures(NamedTuple):
    """How many conflicts were found rightly, wrongly, and not."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed)


def cases() -> list[Case]:
    return [_case(given) for given in json.loads(CASES.read_text(encoding="utf-8"))]


def _case(given: dict[str, Any]) -> Case:
    return Case(
        given["name"],
        given["label"],
        _terms(**given.get("terms", {})),
        tuple([intent(**{"target": "", **fields}) for fields in given["intentions"]]),
        frozenset((one["kind"], frozenset(one["parties"])) for one in given["expected"]),
    )


def _terms(**given: Any) -> Terms:
    known: dict[str, Any] = {}
    if "capacities" in given:
        known["capacities"] = tuple([Capacity(*pair) for pair in given.pop("capacities").items()])
    known |= {name: tuple([Pair(*pair) for pair in pairs]) for name, pairs in given.items()}
    return msgspec.structs.replace(DEFAULT, **known)


def found_by_rule(case: Case) -> Conflicts:
    """What the decider finds in a case, without a judge."""
    play = Played(case.terms)
    for place, what in enumerate(case.intents):
        play.declare("abcdefgh"[place], what)
    return frozenset(play.found)


def figures(chosen: Iterable[Case]) -> Figures:
    """How well rules do on cases."""
    right = wrong = missed = 0
    for case in chosen:
        found = found_by_rule(case)
        right += len(found & case.expected)
        wrong += len(found - case.expected)
        missed += len(case.expected - found)
    return Figures(right, wrong, missed)
