"""What was done to a log, judged by its chain: the name of the damage, and which records it is about.

| kind | |
| --- | --- |
| `edited` | a record was changed after it was written: the next decision continues what it was |
| `dropped` | decisions are missing: later ones continue what is not there |
| `reordered` | a decision lies before the one that it continues |
| `forked` | two decisions continue the same one, and the log goes on from the other than readers take |
| `clock` | all is right but the time or the vector clock, which are not those that the commands give |
| `rules` | it was decided by another version of the rules than was in force |
| `decision` | the chain holds, but today's code decides otherwise: other code made it, or somebody who may write |
| `undecided` | a command was passed over |
| `foreign` | the records start no chain of this partition: another cluster, prefix or log |

The whole partition is read again for it, so only where something is wrong. What follows a decision is what tells an
edit from a wrong decision; of the last one of a log the two look the same, and it is called by what differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from accord.replay.source import Source
from accord.schemas.position import Position
from accord.streams.chain import Decision, Head, parse

_OF_CLOCKS: Final = frozenset({"now_ms", "clock"})
_DERIVED: Final = frozenset({"digest", "value"})


Kind = Literal["edited", "dropped", "reordered", "forked", "clock", "rules", "decision", "undecided", "foreign"]


class Damage(NamedTuple):
    """A kind of the table above, and a sentence that names the records."""

    kind: Kind
    told: str


def of_decision(
    source: Source, domain: str, number: int, decision: Decision, again: Decision | None, differing: frozenset[str]
) -> Damage:
    """What is wrong with an accepted decision that is not the one that its command brings.

    Args:
        again: what it should be; None: that cannot be said.
        differing: the names of the fields that differ.
    """
    name = Position(domain, number, decision.offset)
    fields = ", ".join(sorted(differing - _DERIVED)) or "its bytes"
    damage = _by_what_follows(source, name, decision, again, fields)
    if damage is not None:
        return damage
    if again is None:
        return Damage("edited", f"{name} holds bytes that are no decision.")
    if "rules" in differing:
        return Damage("rules", f"{name} was decided by version {decision.rules}; version {again.rules} was in force.")
    if differing - _DERIVED <= _OF_CLOCKS:
        return Damage("clock", f"{name} carries another clock ({fields}) than its command gives.")
    return Damage("decision", f"{name} differs in {fields}: other code decided it, and the chain was made to fit.")


def _by_what_follows(
    source: Source, name: Position, decision: Decision, again: Decision | None, fields: str
) -> Damage | None:
    """Whether the log itself shows that a decision is not what was there, or that another one was."""
    numbered = list(_records(source, name.domain, name.partition, decision.seq))
    rivals = {one.digest: one for one in numbered if one.digest != decision.digest}
    for following in _records(source, name.domain, name.partition, decision.seq + 1):
        if following.prev == decision.digest:
            break
        after = name._replace(offset=following.offset)
        if following.prev in rivals:
            return Damage("forked", _forked(name, rivals[following.prev], after))
        if again is None or following.prev == again.digest:
            return Damage("edited", f"{name} was changed after it was written ({fields}): {after} continues another.")
    if again is not None and again.digest in rivals:
        return Damage("forked", _forked(name, rivals[again.digest], None))
    return None


def of_chain(source: Source, domain: str, number: int, head: Head) -> Damage:
    """Why a chain does not go on after `head`, though there are later decisions."""
    name = Position(domain, number, head.offset)
    if head.seq == 0:
        low, _ = source.bounds(domain, number)
        return Damage("foreign", f"From {name._replace(offset=low)} on, no record starts the chain of this partition.")
    for following in _records(source, domain, number, head.seq + 1):
        after = name._replace(offset=following.offset)
        if following.prev == head.digest:
            return Damage("reordered", _reordered(source, name, head, following))
        for rival in _records(source, domain, number, head.seq):
            if rival.digest == following.prev:
                return Damage("forked", _forked(name, rival, after))
        return Damage("edited", f"{name} was changed after it was written: {after} continues another.")
    following_one = next((one for one in _records(source, domain, number) if one.seq > head.seq), None)
    if following_one is None:
        return Damage("dropped", f"What followed decision {head.seq} at {name} is missing.")
    first, last = head.seq + 1, following_one.seq - 1
    which = f"Decision {first} is" if first == last else f"Decisions {first} to {last} are"
    after = name._replace(offset=following_one.offset)
    return Damage("dropped", f"{which} missing, between {name} and {after}.")


def differing_fields(expected: dict[str, Any], got: dict[str, Any]) -> frozenset[str]:
    """The names of the fields in which two decisions as plain data differ."""
    return frozenset(name for name in expected if expected[name] != got.get(name))


def _reordered(source: Source, name: Position, head: Head, following: Decision) -> str:
    """Which of two decisions lies before the other, though it comes after it."""
    if following.offset < head.offset:
        early, late = following, head
    else:
        later = (one for one in _records(source, name.domain, name.partition) if one.seq > following.seq)
        early, late = next(later, following), following
    at, then = name._replace(offset=early.offset), name._replace(offset=late.offset)
    return f"Decision {early.seq} at {at} lies before decision {late.seq} at {then}."


def _forked(name: Position, rival: Decision, after: Position | None) -> str:
    other = name._replace(offset=rival.offset)
    goes_on = "its commands bring" if after is None else f"the log goes on at {after} from"
    return f"Two chains part: readers take decision {rival.seq} at {name}, {goes_on} that at {other}."


def _records(source: Source, domain: str, number: int, seq: int | None = None) -> Iterator[Decision]:
    """The decisions of a partition's log, accepted or not: all, or those with one number."""
    root = source.root(domain, number)
    for record in source.events(domain, number):
        try:
            decision = parse(root, record)
        except ValueError:
            continue
        if seq is None or decision.seq == seq:
            yield decision
