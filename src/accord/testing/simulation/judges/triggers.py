"""Triggers: a signal that a pattern of single events takes is a match, once; no match comes of signals that were not
taken; each match is told by a signal, once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from accord.schemas.messages.signals import SignalEmitted
from accord.schemas.messages.triggers import SignalTaken, TriggerMatched
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

EACH: Final = "each"
"""The trigger that is about single events."""


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    taken: dict[str, set[str]] = defaultdict(set)
    matches: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    told: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    for one in seen:
        for event in one.events:
            match event:
                case SignalTaken(source=source):
                    demand(source not in taken[one.key], f"{source} is taken twice for {one.key}")
                    taken[one.key].add(source)
                case TriggerMatched(trigger=trigger, by=by, causes=causes):
                    demand(set(causes) <= taken[one.key], f"{one.key} matches by what it has not taken: {causes}")
                    matches[trigger, by, causes] += 1
                    demand(matches[trigger, by, causes] == 1, f"{one.key} matches twice by {causes}")
                case SignalEmitted(data=data) if one.domain == "signals" and one.key.startswith("matched:"):
                    match_ = json.loads(data)
                    told[match_["trigger"], match_["key"], tuple(match_["causes"])] += 1
                case _:
                    pass
    demand(told == matches, f"matches that are not told once: {(matches - told) + (told - matches)}")
    singles = {causes for trigger, _, causes in matches if trigger == EACH}
    missing = [
        source
        for key, all_ in taken.items()
        if key.startswith(f"{EACH}|")
        for source in all_
        if (source,) not in singles
    ]
    demand(not missing, f"signals that {EACH} has taken, and that are no match: {missing}")
