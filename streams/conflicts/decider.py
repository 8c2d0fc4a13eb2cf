"""Conflicts: one aggregate a ground, on which agents could get in each other's way: a project, a team, a customer.

Rules:
- An agent declares what it is about to do. What collides is found by rule (`rules`), who goes first is decided by rule
  (`collisions`): who acts, then the higher priority, then who came first. Who waits acts once nobody who goes before is
  in the way; nobody overtakes for being the smaller.
- An intention is the agent's that sent it. It stands under a lease: who does not renew it is gone, by the log's
  clock.
- What rules cannot see is put before judges; what a judge is not sure of goes to an authority (`judging`). A conflict
  is resolved once; a party that lost may appeal once.
- A model's words decide nothing but what a judgement may: who of the parties wins, if a judge that was asked says so.
- What ended is remembered for a while. The terms of a ground are changed only by who set them first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.conflicts import (
    AppealResolution,
    CompareFindings,
    ConfigurationRefused,
    ConfigureGround,
    ConflictEscalated,
    ConflictRead,
    ConflictUnknown,
    DeclareIntention,
    DeclineJudgement,
    FinishIntention,
    GroundConfigured,
    GroundRead,
    IntentionDeclared,
    IntentionKnown,
    IntentionRefused,
    IntentionRenewed,
    IntentionUnknown,
    JudgeConflict,
    JudgementWanted,
    ReadConflict,
    ReadGround,
    RenewIntention,
    RuleOnConflict,
    TakeVerdict,
    WithdrawIntention,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.conflicts import judging, organisations
from accord.streams.conflicts.bounds import DUE_MAX, LIVE_MAX, OPEN_MAX, problem_of
from accord.streams.conflicts.collisions import collide
from accord.streams.conflicts.draft import Draft
from accord.streams.conflicts.ground import (
    ACTING,
    DENIED,
    DONE,
    EXPIRED,
    WITHDRAWN,
    Conflict,
    Ground,
    Intention,
    evolve,
)
from accord.streams.conflicts.rules import capacity_of, knows_mode, mode_of
from accord.streams.decider import At, Domain, Order
from accord.streams.signals.decider import TRAIL_MAX


class ConflictDecider:
    """Version 1."""

    state_type = Ground

    def decide(self, state: Ground | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(state, at)
        _let_time_pass(draft)
        _ANSWERS[type(command)](draft, command)
        draft.advance()
        draft.forget()
        return draft.events

    def evolve(self, state: Ground | None, event: Event) -> Ground | None:
        return evolve(state, event)

    def deadline_ms(self, state: Ground) -> int | None:
        keep_ms = state.terms.keep_ms
        leases = [one.deadline_ms if one.ended_ms is None else one.ended_ms + keep_ms for one in state.intentions]
        conflicts = [_due_ms(one, keep_ms) for one in state.conflicts]
        return min([due_ms for due_ms in (*leases, *conflicts) if due_ms is not None], default=None)


def _due_ms(conflict: Conflict, keep_ms: int) -> int | None:
    if conflict.due_ms is not None:
        return conflict.due_ms
    return None if conflict.ended_ms is None else conflict.ended_ms + keep_ms


def _let_time_pass(draft: Draft) -> None:
    """What is due by now, in its order; then those act who waited for it."""
    now_ms = draft.at.now_ms
    leases = [(one.deadline_ms, one.intention) for one in draft.ground.live if one.deadline_ms <= now_ms]
    waits = [(c.due_ms, c.conflict) for c in draft.ground.conflicts if c.due_ms is not None and c.due_ms <= now_ms]
    for _, name in sorted(leases):
        one = draft.ground.intention(name)
        if one is not None and one.is_live and one.deadline_ms <= now_ms:
            draft.end(one, EXPIRED, reason="it was not renewed")
    for _, name in sorted(waits)[:DUE_MAX]:
        judging.let_time_pass(draft, name)
    draft.advance()
    draft.forget()


# -- the ground


def _configure(draft: Draft, c: ConfigureGround) -> None:
    owner = draft.ground.owner
    if owner and owner != c.agent:
        draft.add(ConfigurationRefused(c.agent, owner))
        return
    draft.add(GroundConfigured(c.agent, c.terms))
    for one in draft.ground.live:
        capacity = capacity_of(c.terms, one.intent.resource)
        if one.status != ACTING and capacity is not None and one.intent.amount > capacity:
            draft.end(one, DENIED, reason=f"there are {capacity} of {one.intent.resource} now")


def _read(draft: Draft, c: ReadGround) -> None:
    ground = draft.ground
    standing = tuple([one.standing for one in ground.intentions])
    briefs = tuple([one.brief for one in ground.conflicts])
    draft.add(GroundRead(c.agent, ground.owner, ground.terms, standing, briefs))


# -- intentions


def _declare(draft: Draft, c: DeclareIntention) -> None:
    known = draft.ground.intention(c.intention)
    if known is not None and known.agent == c.agent and known.intent == c.intent:
        draft.add(_known(known))
        return
    refused = ("exists", "another intention has this id") if known is not None else _why_not(draft, c)
    if refused is not None:
        draft.add(IntentionRefused(c.agent, c.intention, *refused))
        return
    deadline_ms = draft.at.now_ms + c.intent.lease_ms
    draft.add(IntentionDeclared(c.agent, c.intention, c.intent, draft.at.seq, deadline_ms))
    new = draft.ground.intention(c.intention)
    assert new is not None
    collide(draft, new, c.trail)


def _why_not(draft: Draft, c: DeclareIntention) -> tuple[str, str] | None:
    """Why an intention cannot be, whatever others intend: a reason, and what about it."""
    capacity = capacity_of(draft.terms, c.intent.resource)
    if capacity is not None and c.intent.amount > capacity:
        return "over_capacity", f"there are {capacity}"
    if not knows_mode(draft.terms, c.intent):
        return "unknown_mode", f"nothing says what goes with the mode {mode_of(c.intent)}"
    if len(c.trail) > TRAIL_MAX:
        return "circular_trigger", f"more than {TRAIL_MAX} events in a row led to it"
    if len(draft.ground.live) >= LIVE_MAX:
        return "full", f"{LIVE_MAX} intentions stand"
    if draft.terms.semantic and judging.open_count(draft) >= OPEN_MAX:
        return "full", f"{OPEN_MAX} conflicts wait for a judgement"
    return None


def _known(one: Intention) -> IntentionKnown:
    return IntentionKnown(one.agent, one.intention, one.status, one.conflict, one.by)


def _own(draft: Draft, agent: str, name: str, command: Command) -> Intention | None:
    """The agent's intention that stands; if there is none, this is told."""
    one = draft.ground.intention(name)
    if one is None or one.agent != agent:
        draft.add(IntentionUnknown(agent, name, type(command).__name__))
        return None
    if not one.is_live:
        draft.add(_known(one))
        return None
    return one


def _renew(draft: Draft, c: RenewIntention) -> None:
    one = _own(draft, c.agent, c.intention, c)
    if one is not None:
        draft.add(IntentionRenewed(c.agent, c.intention, draft.at.now_ms + one.intent.lease_ms))


def _finish(draft: Draft, c: FinishIntention) -> None:
    one = _own(draft, c.agent, c.intention, c)
    if one is not None and one.status == ACTING:
        draft.end(one, DONE)
    elif one is not None:
        draft.end(one, WITHDRAWN, reason="it never acted")


def _withdraw(draft: Draft, c: WithdrawIntention) -> None:
    one = _own(draft, c.agent, c.intention, c)
    if one is not None:
        draft.end(one, WITHDRAWN, reason=c.reason)


# -- conflicts


def _about(answer: Callable[[Draft, Conflict, Any], None]) -> Callable[[Draft, Any], None]:
    """The answer to a command about a conflict; if there is none, that is told."""

    def answered(draft: Draft, command: Any) -> None:
        conflict = draft.ground.conflict(command.conflict)
        if conflict is None:
            draft.add(ConflictUnknown(command.agent, command.conflict, type(command).__name__))
        else:
            answer(draft, conflict, command)

    return answered


def _read_conflict(draft: Draft, one: Conflict, c: ReadConflict) -> None:
    names = {party.party for party in one.parties}
    standing = [] if one.is_of_findings else [i.standing for i in draft.ground.intentions if i.intention in names]
    judged = (*one.declined, *([one.judge] if one.judge else []))
    draft.add(
        ConflictRead(
            c.agent, one.conflict, one.status, one.kind, one.parties, tuple(standing), one.findings, one.pairs,
            one.due_ms, judged, one.authority, one.organisation, one.method, one.winners, one.losers, one.reasoning,
            one.confidence_millionths, one.fallback, one.by_rule, one.by, one.appealed,
        )
    )  # fmt: skip


def _tick(_: Draft, __: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Any], None]]] = {
    ConfigureGround: _configure,
    DeclareIntention: _declare,
    RenewIntention: _renew,
    FinishIntention: _finish,
    WithdrawIntention: _withdraw,
    CompareFindings: judging.compare,
    JudgeConflict: _about(judging.judge),
    DeclineJudgement: _about(judging.decline),
    AppealResolution: _about(judging.appeal),
    RuleOnConflict: _about(judging.rule),
    TakeVerdict: judging.take_verdict,
    ReadGround: _read,
    ReadConflict: _about(_read_conflict),
    Tick: _tick,
}


# -- what follows elsewhere


def judgement_wanted(judge: str) -> str:
    """The name of the signals by which a judge is asked. What it is asked stands in the conflict."""
    return f"judgement_wanted:{judge}"


def ruling_wanted(authority: str) -> str:
    """The name of the signals by which an authority is asked."""
    return f"ruling_wanted:{authority}"


def _signal(name: str, key: str, agent: str, conflict: str, trail: tuple[str, ...]) -> Order:
    data = {"ground": key, "conflict": conflict}
    return Order("signals", name, EmitSignal(agent, msgspec.json.encode(data).decode(), trail))


def _ask_judges(key: str, e: JudgementWanted) -> list[Order]:
    return [_signal(judgement_wanted(judge), key, e.agent, e.conflict, e.trail) for judge in e.judges]


def _ask_authority(key: str, e: ConflictEscalated) -> list[Order]:
    """Asks whom the terms name: an agent, or an organisation."""
    if e.authority:
        return [_signal(ruling_wanted(e.authority), key, e.agent, e.conflict, e.trail)]
    return organisations.ask(key, e)


DOMAIN: Final = Domain(
    "conflicts",
    {1: ConflictDecider()},
    reactions={JudgementWanted: _ask_judges, ConflictEscalated: _ask_authority},
)
"""Grounds, by name."""
