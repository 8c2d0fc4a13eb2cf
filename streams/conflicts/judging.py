"""What rules cannot tell: findings that differ, and intentions whose words may collide.

Judges are asked, and the first judgement counts. What it says is checked again here: it comes from who was asked, its
winner is a party, its confidence a number from 0 to 1. Who sends what cannot be a judgement has declined. If all have
declined, or the time is over, the rule stands in, which is recorded.

A judgement with too little confidence, one that sees a tie, and what a party that lost appeals against goes to the
authority that the terms name, an agent or an organisation; without one, or if it does not rule in time, the rule
decides, which is recorded.

The rule: who acts, else the higher priority, else who came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from accord.schemas.messages.conflicts import (
    AppealDecided,
    AppealRefused,
    AppealResolution,
    CompareFindings,
    ComparisonRefused,
    ConflictEscalated,
    ConflictFound,
    ConflictKnown,
    ConflictResolved,
    ConflictRuledOut,
    DeclineJudgement,
    FindingsAgree,
    IntentionFavoured,
    JudgeConflict,
    JudgementDeclined,
    JudgementGiven,
    JudgementIgnored,
    JudgementWanted,
    Loser,
    Party,
    RuleOnConflict,
    RulingRefused,
    TakeVerdict,
    VerdictIgnored,
)
from accord.streams.conflicts.bounds import MILLION, OPEN_MAX
from accord.streams.conflicts.collisions import ENDS, stoppable
from accord.streams.conflicts.draft import Draft
from accord.streams.conflicts.ground import (
    ACTING,
    BY_AUTHORITY,
    BY_MODEL,
    BY_RULE,
    DENIED,
    FINISHES,
    JUDGING,
    LOST,
    OVERRULED,
    PREEMPTED,
    QUEUED,
    RESOLVED,
    TAKEN,
    Conflict,
    Intention,
)
from accord.streams.conflicts.organisations import options_of
from accord.streams.conflicts.rules import CONTRADICTION, DUPLICATE, FINDINGS, differences
from accord.streams.signals.decider import TRAIL_MAX

NO_CONFLICT: Final = "none"
KINDS: Final = (NO_CONFLICT, DUPLICATE, CONTRADICTION)
"""What a judge may see in intentions."""
NO_PARTY: Final = "the winner is no party"
APPEAL: Final = "appeal"
NOBODY: Final = "no authority is named"
IN_WORDS: Final = "who acts, else the higher priority, else who came first"
"""The rule."""


class Verdict(NamedTuple):
    """Who wins, and who says so: a rule, a model (a judge) or an authority.

    `fallback` is why the rule stands in, empty if it does not; `by` is the judge or the authority.
    """

    winner: Party
    method: str
    reasoning: str
    confidence_millionths: int = 0
    fallback: str = ""
    by: str = ""


# -- findings


def compare(draft: Draft, c: CompareFindings) -> None:
    known = draft.ground.conflict(c.conflict)
    if known is not None:
        same = known.agent == c.agent and known.findings == c.findings
        answer = ConflictKnown(c.agent, c.conflict, known.status) if same else _refused(c, "exists")
        draft.add(answer)
        return
    pairs = differences(c.findings)
    if not pairs:
        said = sum(finding.recommendation is not None for finding in c.findings)
        draft.add(FindingsAgree(c.agent, c.conflict, said))
    elif len(c.trail) > TRAIL_MAX:
        draft.add(_refused(c, "circular_trigger"))
    elif open_count(draft) >= OPEN_MAX:
        draft.add(_refused(c, "full"))
    else:
        parties = tuple([Party(one.agent, one.agent) for one in c.findings if one.recommendation is not None])
        draft.add(
            ConflictFound(
                c.conflict, FINDINGS, "recommendation", parties, "", "", "", None, None, c.findings, pairs, c.agent,
                draft.at.now_ms,
            )
        )  # fmt: skip
        _ask(draft, c, parties)


def _refused(c: CompareFindings, reason: str) -> ComparisonRefused:
    return ComparisonRefused(c.agent, c.conflict, reason)


def _ask(draft: Draft, c: CompareFindings, parties: tuple[Party, ...]) -> None:
    terms = draft.terms
    if terms.judges:
        due_ms = draft.at.now_ms + terms.judging_ms
        draft.add(JudgementWanted(c.conflict, FINDINGS, parties, terms.judges, c.agent, c.trail, due_ms))
    else:
        fall_back(draft, _of(draft, c.conflict), "no judge is named")


def open_count(draft: Draft) -> int:
    """How many conflicts of the ground wait for a judgement or a verdict."""
    return sum(one.is_open for one in draft.ground.conflicts)


# -- judgements


def judge(draft: Draft, conflict: Conflict, c: JudgeConflict) -> None:
    ignored = _why_ignored(conflict, c.agent)
    if ignored is not None:
        draft.add(JudgementIgnored(c.agent, c.conflict, c.winner, ignored))
        return
    problem = _problem_of(conflict, c, {one.intention for one in draft.ground.live})
    if problem is not None:
        _decline(draft, conflict, c.agent, problem)
        return
    draft.add(
        JudgementGiven(
            c.agent, c.conflict, c.winner, c.kind, c.against, c.reasoning, c.confidence_millionths, c.request
        )
    )
    if c.kind == NO_CONFLICT:
        now_ms = draft.at.now_ms
        draft.add(ConflictRuledOut(c.conflict, BY_MODEL, c.reasoning, c.confidence_millionths, "", c.agent, now_ms))
        return
    if not conflict.is_of_findings:
        _found_by_judge(draft, conflict, c)
    judged = _of(draft, c.conflict)
    winner = None if c.winner is None else judged.party(c.winner)
    if winner is None:
        escalate(draft, judged, "tie", c.agent, c.reasoning)
    elif c.confidence_millionths < draft.terms.confidence_least_millionths:
        detail = f"{c.agent} is sure of {winner.agent} by {c.confidence_millionths} millionths"
        escalate(draft, judged, "low_confidence", c.agent, detail)
    else:
        conclude(draft, judged, Verdict(winner, BY_MODEL, c.reasoning, c.confidence_millionths, by=c.agent))


def decline(draft: Draft, conflict: Conflict, c: DeclineJudgement) -> None:
    ignored = _why_ignored(conflict, c.agent)
    if ignored is not None:
        draft.add(JudgementIgnored(c.agent, c.conflict, None, ignored))
    else:
        _decline(draft, conflict, c.agent, c.reason)


def _why_ignored(conflict: Conflict, agent: str) -> str | None:
    if agent not in conflict.judges:
        return "not_asked"
    return "over" if conflict.status != JUDGING or agent in conflict.declined else None


def _decline(draft: Draft, conflict: Conflict, agent: str, reason: str) -> None:
    draft.add(JudgementDeclined(agent, conflict.conflict, reason))
    judged = _of(draft, conflict.conflict)
    if set(judged.declined) == set(judged.judges):
        fall_back(draft, judged, f"{agent}: {reason}")


def _problem_of(conflict: Conflict, c: JudgeConflict, live: set[str]) -> str | None:
    """Why this cannot be a judgement."""
    if not 0 <= c.confidence_millionths <= MILLION:
        return f"a confidence of {c.confidence_millionths} millionths: 0 to {MILLION} are possible"
    names = [party.party for party in conflict.parties]
    if not conflict.is_of_findings:
        return _problem_of_suspicion(names, c, live)
    if c.kind != FINDINGS or c.against:
        return "it is no judgement of findings"
    return None if c.winner is None or c.winner in names else NO_PARTY


def _problem_of_suspicion(names: Sequence[str], c: JudgeConflict, live: set[str]) -> str | None:
    if c.kind not in KINDS:
        return "it is no judgement of intentions"
    if c.kind == NO_CONFLICT:
        return None if c.winner is None and not c.against else "it has a winner of no conflict"
    if not c.against or not live.issuperset(c.against) or not set(names[1:]).issuperset(c.against):
        return "it says of none that stands that the new one is in conflict with it"
    return None if c.winner in (None, names[0], *c.against) else NO_PARTY


def _found_by_judge(draft: Draft, conflict: Conflict, c: JudgeConflict) -> None:
    """What was suspected is a conflict."""
    new, *others = conflict.parties
    subject = draft.ground.intention(new.party)
    assert subject is not None
    parties = (new, *[party for party in others if party.party in c.against])
    draft.add(
        ConflictFound(
            c.conflict, c.kind, "judgement", parties, subject.intent.target, "", subject.intent.topic, None, None, (),
            (), conflict.agent, draft.at.now_ms,
        )
    )  # fmt: skip


# -- without a judgement, without a verdict


def fall_back(draft: Draft, conflict: Conflict, why: str) -> None:
    """There is no judgement: the rule stands in."""
    if conflict.is_of_findings:
        conclude(draft, conflict, Verdict(by_rule(draft, conflict), BY_RULE, IN_WORDS, fallback=why))
    else:
        draft.add(ConflictRuledOut(conflict.conflict, BY_RULE, "rules see none", 0, why, "", draft.at.now_ms))


def by_rule(draft: Draft, conflict: Conflict) -> Party:
    """Who wins where the rule decides: who acts, else the higher priority, else who came first."""
    if conflict.is_of_findings:
        said = [finding for finding in conflict.findings if finding.recommendation is not None]
        first = max(said, key=lambda finding: finding.priority)  # of equal ones the first
        return Party(first.agent, first.agent)
    first_one = min(_sides(draft, conflict), key=lambda one: (one.status != ACTING, one.rank))
    return first_one.party


def _sides(draft: Draft, conflict: Conflict) -> list[Intention]:
    """The intentions that are in conflict and stand, the new one first."""
    names = [conflict.parties[0].party, *conflict.against]
    return [one for name in names if (one := draft.ground.intention(name)) is not None and one.is_live]


# -- resolutions


def conclude(draft: Draft, conflict: Conflict, verdict: Verdict) -> None:
    """Resolves a conflict that was judged, by whoever decides it in the end."""
    ruled = by_rule(draft, conflict)
    losers: tuple[Loser, ...]
    if conflict.is_of_findings:
        winners, losers = _of_findings(conflict, verdict.winner)
    elif verdict.method == BY_AUTHORITY:
        winners, losers = (verdict.winner,), _losers_of_verdict(draft, conflict, verdict.winner)
    else:
        acts = _acts_against(draft, conflict, verdict.winner)
        if acts is not None:
            why = verdict.fallback or f"{acts.agent} acts already and is not stopped for another"
            verdict = Verdict(acts.party, BY_RULE, verdict.reasoning, fallback=why, by=verdict.by)
        winners, losers = _of_intentions(draft, conflict, verdict.winner)
    draft.add(
        ConflictResolved(
            conflict.conflict, conflict.kind, verdict.method, winners, losers, verdict.reasoning,
            verdict.confidence_millionths, verdict.fallback, ruled.party, verdict.by, conflict.agent, draft.at.now_ms,
        )
    )  # fmt: skip
    if not conflict.is_of_findings:
        _carry_out(draft, conflict, verdict, losers)


def _of_findings(conflict: Conflict, winner: Party) -> tuple[tuple[Party, ...], tuple[Loser, ...]]:
    """Who recommends what the winner does, that one first; and the others."""
    said = {finding.agent: finding.recommendation for finding in conflict.findings}
    same = [party for party in conflict.parties if party != winner and said[party.party] == said[winner.party]]
    others = [party for party in conflict.parties if said[party.party] != said[winner.party]]
    return (winner, *same), tuple([Loser(party.party, party.agent, OVERRULED) for party in others])


def _acts_against(draft: Draft, conflict: Conflict, winner: Party) -> Intention | None:
    """Who acts already where the new one should win, and may not be stopped."""
    new, *others = _sides(draft, conflict)
    if winner != new.party:
        return None
    acting = [one for one in others if one.status == ACTING and not stoppable(draft.terms, one, new)]
    return acting[0] if acting else None


def _of_intentions(draft: Draft, conflict: Conflict, winner: Party) -> tuple[tuple[Party, ...], tuple[Loser, ...]]:
    """If the new one wins, all others lose; else it alone does: the others are not in conflict with each other."""
    new, *others = _sides(draft, conflict)
    outcome = ENDS[conflict.kind]
    if winner != new.party:
        rest = [one.party for one in others if one.party != winner]
        return (winner, *rest), (Loser(new.intention, new.agent, outcome),)
    losers = [Loser(one.intention, one.agent, PREEMPTED if one.status == ACTING else outcome) for one in others]
    return (winner,), tuple(losers)


def _losers_of_verdict(draft: Draft, conflict: Conflict, winner: Party) -> tuple[Loser, ...]:
    """The others that stand, and what becomes of them by an authority's verdict."""
    if conflict.is_of_findings:
        return _of_findings(conflict, winner)[1]
    first = draft.ground.intention(winner.party)
    names = [party.party for party in conflict.parties if party.party != winner.party]
    losers = []
    for one in [one for name in names if (one := draft.ground.intention(name)) is not None and one.is_live]:
        outcome = ENDS.get(conflict.kind, QUEUED)
        if one.status == ACTING:
            outcome = PREEMPTED if first is not None and stoppable(draft.terms, one, first) else FINISHES
        losers.append(Loser(one.intention, one.agent, outcome))
    return tuple(losers)


def _carry_out(
    draft: Draft, conflict: Conflict, verdict: Verdict, losers: Sequence[Loser], *, favours: bool | None = None
) -> None:
    """What a resolution means for the intentions: who lost ends or waits; an authority's winner goes first."""
    for loser in losers:
        one = draft.ground.intention(loser.party)
        if one is not None and one.is_live and loser.outcome in (DENIED, TAKEN, PREEMPTED):
            draft.end(one, loser.outcome, conflict=conflict.conflict, by=[verdict.winner], reason=verdict.reasoning)
    favours = verdict.method == BY_AUTHORITY if favours is None else favours
    first = draft.ground.intention(verdict.winner.party)
    if favours and first is not None and first.status != ACTING and (first.is_live or first.status in LOST):
        deadline_ms = draft.at.now_ms + first.intent.lease_ms
        draft.add(IntentionFavoured(first.agent, first.intention, conflict.conflict, deadline_ms))


# -- escalation


def escalate(draft: Draft, conflict: Conflict, reason: str, agent: str, detail: str) -> None:
    """Asks the authority; if there is none, the rule decides."""
    terms = draft.terms
    parties = conflict.parties
    if not conflict.is_of_findings and reason != APPEAL:
        parties = tuple([one.party for one in _sides(draft, conflict)])
    organisation = terms.organisation if options_of(parties) else ""
    asks = bool(terms.authority or organisation)
    draft.add(
        ConflictEscalated(
            conflict.conflict, reason, agent, detail, parties, terms.authority, organisation,
            str(draft.at.seq) if organisation else "", conflict.trail,
            draft.at.now_ms + terms.authority_ms if asks else None,
        )
    )  # fmt: skip
    if not asks:
        why = f"the parties have no names that {terms.organisation} could choose by" if terms.organisation else NOBODY
        _without_verdict(draft, _of(draft, conflict.conflict), f"{reason}, and {why}")


def rule(draft: Draft, conflict: Conflict, c: RuleOnConflict) -> None:
    """An authority's verdict."""
    party = conflict.party(c.winner)
    if not conflict.authority or c.agent != conflict.authority:
        problem = "not_asked"
    elif conflict.status == JUDGING or not conflict.is_open:
        problem = "over"
    elif party is None or not _may_win(draft, conflict, party):
        problem = "no_party"
    else:
        _ruled(draft, conflict, Verdict(party, BY_AUTHORITY, c.reasoning, MILLION, by=c.agent))
        return
    draft.add(RulingRefused(c.agent, c.conflict, c.winner, problem))


def _ruled(draft: Draft, conflict: Conflict, verdict: Verdict) -> None:
    """There is a verdict, on the conflict or on an appeal."""
    if conflict.status == RESOLVED:
        _decide_appeal(draft, conflict, verdict)
    else:
        conclude(draft, conflict, verdict)


def take_verdict(draft: Draft, c: TakeVerdict) -> None:
    """What came of a request to an organisation."""
    asked = (c.organisation, c.request)
    conflict = next((one for one in draft.ground.conflicts if (one.organisation, one.request) == asked), None)
    if conflict is None or not conflict.is_open:
        draft.add(VerdictIgnored(c.agent, c.organisation, c.request, c.verdict))
        return
    chosen = dict(zip(options_of(conflict.contenders) or (), conflict.contenders, strict=True))
    party = None if c.verdict is None else chosen.get(c.verdict)
    if party is None:
        _without_verdict(draft, conflict, f"{c.organisation} has not ruled: {c.reason}")
    elif not _may_win(draft, conflict, party):
        _without_verdict(draft, conflict, f"{party.agent}, for whom {c.organisation} ruled, is gone")
    else:
        _ruled(draft, conflict, Verdict(party, BY_AUTHORITY, c.reason, MILLION, by=c.agent))


def _may_win(draft: Draft, conflict: Conflict, party: Party) -> bool:
    """Whether a verdict may name a party: of what is not resolved yet, one that stands."""
    if conflict.is_of_findings or conflict.status == RESOLVED:
        return True
    return party in [one.party for one in _sides(draft, conflict)]


def _without_verdict(draft: Draft, conflict: Conflict, why: str) -> None:
    """Nobody ruled: the rule does."""
    if conflict.status == RESOLVED:
        ruled = conflict.party(conflict.by_rule)
        assert ruled is not None
        _decide_appeal(draft, conflict, Verdict(ruled, BY_RULE, IN_WORDS, fallback=why))
    else:
        conclude(draft, conflict, Verdict(by_rule(draft, conflict), BY_RULE, IN_WORDS, fallback=why))


def appeal(draft: Draft, conflict: Conflict, c: AppealResolution) -> None:
    party = conflict.party(c.party)
    if party is None or party.agent != c.agent:
        problem = "not_a_party"
    elif conflict.status != RESOLVED:
        problem = "not_resolved"
    elif conflict.appealed:
        problem = "appealed"
    elif c.party not in [loser.party for loser in conflict.losers]:
        problem = "not_lost"
    else:
        escalate(draft, conflict, APPEAL, c.agent, c.reason)
        return
    draft.add(AppealRefused(c.agent, c.conflict, problem))


def _decide_appeal(draft: Draft, conflict: Conflict, verdict: Verdict) -> None:
    upheld = verdict.winner in conflict.winners
    losers = conflict.losers if upheld else _losers_of_verdict(draft, conflict, verdict.winner)
    draft.add(
        AppealDecided(
            conflict.conflict, upheld, verdict.winner, losers, verdict.method, verdict.reasoning, verdict.fallback,
            verdict.by, draft.at.now_ms,
        )
    )  # fmt: skip
    if not upheld and not conflict.is_of_findings:
        _carry_out(draft, conflict, verdict, losers, favours=True)


# -- time


def let_time_pass(draft: Draft, name: str) -> None:
    """A conflict's time is over, if it is still open."""
    conflict = _of(draft, name)
    if not conflict.is_open:
        return
    if conflict.status == JUDGING:
        fall_back(draft, conflict, "no judgement by the deadline")
    else:
        asked = conflict.authority or conflict.organisation
        _without_verdict(draft, conflict, f"{asked} did not rule by the deadline")


def _of(draft: Draft, name: str) -> Conflict:
    conflict = draft.ground.conflict(name)
    assert conflict is not None, name
    return conflict
