"""What becomes of a new intention where it collides with others, by rule.

Who acts is not stopped, unless the terms allow it and the new one's priority is higher. Of those who do not act yet the
higher priority goes first, then who came first. Who loses over a target or a resource waits in line for it; who would
contradict is denied; who would do the same work is told who does it. If two rules speak, the harder one decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from accord.schemas.messages.conflicts import (
    ConflictFound,
    ConflictResolved,
    IntentionAllowed,
    IntentionQueued,
    JudgementWanted,
    Loser,
    Party,
    Terms,
)
from accord.streams.conflicts.bounds import MILLION, SUSPECTS_MAX
from accord.streams.conflicts.draft import Draft
from accord.streams.conflicts.ground import (
    ACTING,
    BY_RULE,
    DENIED,
    PREEMPTED,
    QUEUED,
    SUSPECTED,
    TAKEN,
    Intention,
)
from accord.streams.conflicts.rules import (
    CONTRADICTION,
    DEMAND,
    DUPLICATE,
    MODES,
    Demand,
    demand,
    kind_of,
    overlap,
    users,
)

RULES: Final = {DUPLICATE: "topic", CONTRADICTION: "actions", MODES: "modes", DEMAND: "capacity"}
"""What a rule goes by."""
ENDS: Final = {DUPLICATE: TAKEN, CONTRADICTION: DENIED}
"""How an intention ends that loses a conflict of this kind; of the others it waits."""


class Clash(NamedTuple):
    """A new intention collides with others."""

    kind: str
    others: tuple[Intention, ...]
    demand: Demand | None = None


def clashes_of(terms: Terms, new: Intention, others: Sequence[Intention]) -> list[Clash]:
    """In which ways an intention collides with others, the hardest first."""
    by_kind: dict[str, list[Intention]] = {DUPLICATE: [], CONTRADICTION: [], MODES: []}
    for other in others:
        kind = kind_of(terms, new.intent, other.intent)
        if kind is not None:
            by_kind[kind].append(other)
    found = [Clash(kind, tuple(colliding)) for kind, colliding in by_kind.items() if colliding]
    using = _users(new, others)
    wanted = demand(terms, new.intent, using)
    if wanted is not None and using:
        found.append(Clash(DEMAND, tuple(using), wanted))
    return found


def _users(new: Intention, others: Sequence[Intention]) -> list[Intention]:
    return [one for one in users(new.intent.resource, new.intent, others) if isinstance(one, Intention)]


def suspects_of(terms: Terms, new: Intention, others: Sequence[Intention]) -> list[Intention]:
    """Those of others of which only a judge can say whether a new intention collides with them; the last that came."""
    if not (terms.semantic and terms.judges and _speaks(new)):
        return []
    found = [
        one
        for one in others
        if _speaks(one) and overlap(new.intent, one.intent) and kind_of(terms, new.intent, one.intent) is None
    ]
    return found[-SUSPECTS_MAX:]


def _speaks(one: Intention) -> bool:
    return bool(one.intent.text or one.intent.topic)


def collide(draft: Draft, new: Intention, trail: tuple[str, ...]) -> None:
    """Finds what a new intention collides with, and says who goes first."""
    terms = draft.terms
    others = [one for one in draft.ground.live if one.intention != new.intention]
    clashes = clashes_of(terms, new, others)
    suspects = suspects_of(terms, new, others)
    stops = terms.preemption and not suspects and not any(_ahead(terms, new, clash, stops=True) for clash in clashes)
    ahead = [_ahead(terms, new, clash, stops=stops) for clash in clashes]
    for place, (clash, before) in enumerate(zip(clashes, ahead, strict=True), start=1):
        if before and (clash.kind in ENDS or not new.intent.waits):
            _lose(draft, new, clash, before, f"{draft.at.seq}.{place}")
            return
    behind: list[Intention] = []
    for place, (clash, before) in enumerate(zip(clashes, ahead, strict=True), start=1):
        left = _left(draft, new, clash)
        if left is not None:
            _resolve(draft, new, left, before, f"{draft.at.seq}.{place}")
        behind += [one for one in before if one not in behind]
    if behind:
        draft.add(IntentionQueued(new.agent, new.intention, tuple([one.party for one in behind])))
    if suspects:
        draft.add(
            JudgementWanted(
                f"{draft.at.seq}.0", SUSPECTED, (new.party, *(one.party for one in suspects)), terms.judges,
                new.agent, trail, draft.at.now_ms + terms.judging_ms,
            )
        )  # fmt: skip
    elif not behind:
        draft.add(IntentionAllowed(new.agent, new.intention, draft.at.now_ms))


def _left(draft: Draft, new: Intention, clash: Clash) -> Clash | None:
    """What is left of a clash with those that have not ended by a harder one; None: nothing is in the way any more."""
    live = {one.intention for one in draft.ground.live}
    others = tuple([one for one in clash.others if one.intention in live])
    if len(others) == len(clash.others):
        return clash
    if clash.kind != DEMAND:
        return Clash(clash.kind, others) if others else None
    wanted = demand(draft.terms, new.intent, others)
    return None if wanted is None else Clash(DEMAND, others, wanted)


def stoppable(terms: Terms, acting: Intention, new: Intention) -> bool:
    """Whether who acts may be stopped for another."""
    return terms.preemption and new.intent.priority > acting.intent.priority


def _goes_before(terms: Terms, one: Intention, new: Intention, *, stops: bool) -> bool:
    if one.status == ACTING:
        return not (stops and stoppable(terms, one, new))
    return one.rank < new.rank


def _ahead(terms: Terms, new: Intention, clash: Clash, *, stops: bool) -> list[Intention]:
    """Those who go before a new intention and are in its way.

    Args:
        stops: whether those who act may be stopped for it, if that is enough for it to act.
    """
    before = [one for one in clash.others if _goes_before(terms, one, new, stops=stops)]
    if clash.kind == DEMAND and demand(terms, new.intent, before) is None:
        return []
    return before


def _found(draft: Draft, new: Intention, clash: Clash, others: Sequence[Intention], conflict: str) -> None:
    intent = new.intent
    is_demand = clash.kind == DEMAND
    draft.add(
        ConflictFound(
            conflict, clash.kind, RULES[clash.kind], (*[one.party for one in others], new.party),
            "" if is_demand else intent.target, intent.resource if is_demand else "",
            intent.topic if clash.kind == DUPLICATE else "", clash.demand and clash.demand.demanded,
            clash.demand and clash.demand.capacity, (), (), new.agent, draft.at.now_ms,
        )
    )  # fmt: skip


def _lose(draft: Draft, new: Intention, clash: Clash, before: Sequence[Intention], conflict: str) -> None:
    """A new intention ends at once."""
    outcome = ENDS.get(clash.kind, DENIED)
    _found(draft, new, clash, before, conflict)
    winners = tuple([one.party for one in before])
    reason = why(before[0], new)
    _resolved(draft, new, clash, conflict, winners, [Loser(new.intention, new.agent, outcome)], reason)
    draft.end(new, outcome, conflict=conflict, by=winners, reason=reason)


def _resolve(draft: Draft, new: Intention, clash: Clash, before: Sequence[Intention], conflict: str) -> None:
    """A new intention goes on, or waits in line."""
    _found(draft, new, clash, clash.others, conflict)
    if before:
        losers = [one for one in clash.others if one not in before]
        outcomes = [Loser(one.intention, one.agent, QUEUED) for one in (*losers, new)]
        _resolved(draft, new, clash, conflict, [one.party for one in before], outcomes, why(before[0], new))
        return
    stopped = _stopped(draft.terms, new, clash)
    kept = [one for one in clash.others if one.status == ACTING and one not in stopped]
    winners = [one.party for one in (*kept, new)]
    losers = [one for one in clash.others if one not in kept]
    waiting = ENDS.get(clash.kind, QUEUED)
    outcomes = [Loser(one.intention, one.agent, PREEMPTED if one in stopped else waiting) for one in losers]
    reason = why(new, losers[0]) if losers else "there is enough once the others are stopped"
    _resolved(draft, new, clash, conflict, winners, outcomes, reason)
    for one, loser in zip(losers, outcomes, strict=True):
        if loser.outcome != QUEUED:
            draft.end(one, loser.outcome, conflict=conflict, by=[new.party], reason=reason)


def _stopped(terms: Terms, new: Intention, clash: Clash) -> list[Intention]:
    """Those who act and are stopped: all that collide, or as many as it takes, the last in rank first."""
    acting = [one for one in clash.others if one.status == ACTING]
    if clash.kind != DEMAND:
        return acting
    stopped: list[Intention] = []
    for one in sorted([one for one in acting if stoppable(terms, one, new)], key=lambda one: one.rank, reverse=True):
        left = [other for other in acting if other not in stopped]
        if demand(terms, new.intent, left) is None:
            break
        stopped.append(one)
    return stopped


def _resolved(
    draft: Draft,
    new: Intention,
    clash: Clash,
    conflict: str,
    winners: Sequence[Party],
    losers: Sequence[Loser],
    reason: str,
) -> None:
    draft.add(
        ConflictResolved(
            conflict, clash.kind, BY_RULE, tuple(winners), tuple(losers), reason, MILLION, "", winners[0].party, "",
            new.agent, draft.at.now_ms,
        )
    )  # fmt: skip


def why(winner: Intention, loser: Intention) -> str:
    """Why one goes before another, in words."""
    if winner.status == ACTING:
        return f"{winner.agent} acts already"
    if winner.favoured and not loser.favoured:
        return f"{winner.agent} goes first by the authority's word"
    if winner.intent.priority != loser.intent.priority:
        return f"{winner.agent} has the higher priority: {winner.intent.priority}, not {loser.intent.priority}"
    return f"{winner.agent} came first"
