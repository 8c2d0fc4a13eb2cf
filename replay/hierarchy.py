"""Organisations: the tree of who may decide what, what is asked and was decided, and how each level does.

Keys are added, never renamed. Figures are read off all events, those about decisions that are not remembered any more
included. Amounts are text, exact, in the type's own unit.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import hierarchy as events
from accord.schemas.messages.hierarchy import Authority, Step
from accord.streams.hierarchy.bounds import MILLION
from accord.streams.hierarchy.organisation import DECIDED, DELEGATION, OPEN, Case, Organisation, evolve
from accord.streams.hierarchy.tree import Tree
from accord.streams.partition import Decided

DOMAIN: Final = "hierarchy"
_P95: Final = 0.95
_CHANGES: Final = (
    events.DelegationGranted, events.DelegationsRevoked, events.DelegationsExpired, events.AbsenceBegan,
    events.AbsenceEnded, events.DecisionRequested, events.AuthorityAsked, events.AuthorityPassed,
    events.DecisionWithdrawn,
)  # fmt: skip
"""Events that change the state and no figures."""
_REFUSALS: Final = (
    events.DecisionRefused, events.AnswerRefused, events.DelegationRefused, events.OrganisationRefused,
    events.RevocationRefused, events.AbsenceRefused, events.WithdrawalRefused, events.OutcomeRefused,
)  # fmt: skip


class MemberView(msgspec.Struct, frozen=True):
    """A member; `decides` says up to what amount, by type."""

    name: str
    reports_to: str | None
    level: int
    decides: dict[str, str]
    deputy: str | None
    absent: bool
    answer_ms: int


class DelegationView(msgspec.Struct, frozen=True):
    """A delegation in force. `worth` is what it comes to now along its chain; None: nothing."""

    id: str
    delegator: str
    delegate: str
    type: str
    limit: str
    worth: str | None
    rests_on: str | None
    until: str


class StepView(msgspec.Struct, frozen=True):
    """Who was asked in whose place, and what came of it; empty `ended`: it is asked now."""

    member: str
    asked: str
    level: int
    asked_at: str
    ended_at: str | None
    ended: str
    reason: str


class AuthorityView(msgspec.Struct, frozen=True):
    """By what a decision was, or may be, made; `delegations` are ids, the one from a boundary first."""

    member: str
    basis: str
    limit: str
    delegations: tuple[str, ...]


class DecisionView(msgspec.Struct, frozen=True):
    """A decision, or a request for one: `status` is open, decided, defaulted or withdrawn."""

    id: str
    status: str
    requester: str
    type: str
    amount: str
    subject: str
    options: tuple[str, ...]
    verdict: str | None
    decider: str | None
    reason: str
    authority: AuthorityView | None
    path: tuple[StepView, ...]
    opened_at: str
    due_at: str | None
    ended_at: str | None
    outcome: str | None


class LevelView(msgspec.Struct, frozen=True):
    """How a level does; the top has 1.

    `decided` counts its decisions, of which `own` without being asked, `by_deputy` and `by_delegation`. `reached` are
    requests with a verdict that were put to it, `passed` those of them that it did not decide. Durations are from
    when it was first asked to its decision; p95 by nearest rank. Rates are None where there is nothing to count.
    """

    level: int
    members: int
    decided: int
    own: int
    by_deputy: int
    by_delegation: int
    reached: int
    passed: int
    escalation_rate: float | None
    avg_ms: float | None
    p95_ms: int | None
    success: int
    failure: int
    success_rate: float | None


class OrganisationView(msgspec.Struct, frozen=True):
    """An organisation. `requests` are open; `decisions` those that are remembered, the latest last; `made`, `defaulted`
    and `refused` count all that there were. `position` is its last event."""

    name: str
    owner: str
    revision: int
    span: int
    members: tuple[MemberView, ...]
    delegations: tuple[DelegationView, ...]
    requests: tuple[DecisionView, ...]
    decisions: tuple[DecisionView, ...]
    levels: tuple[LevelView, ...]
    made: int
    defaulted: int
    refused: int
    position: str


class Level(msgspec.Struct):
    """What is counted of a level."""

    decided: int = 0
    own: int = 0
    by_deputy: int = 0
    by_delegation: int = 0
    reached: int = 0
    passed: int = 0
    success: int = 0
    failure: int = 0
    durations_ms: array[int] = msgspec.field(default_factory=lambda: array("q"))


class Kept(msgspec.Struct):
    """An organisation as the events tell it, and what is counted."""

    state: Organisation
    levels: dict[int, Level] = {}
    level_of: dict[str, int] = {}
    defaulted: int = 0
    refused: int = 0
    position: str = ""

    def level(self, number: int) -> Level:
        return self.levels.setdefault(number, Level())

    def made(self, e: events.DecisionMade) -> None:
        level = self.level(e.level)
        level.decided += 1
        level.own += not e.path
        level.by_deputy += e.agent != e.authority.member
        level.by_delegation += e.authority.basis == DELEGATION
        self.level_of[e.decision] = e.level
        self.went(e.path)

    def went(self, path: tuple[Step, ...]) -> None:
        """Counts the way of a request with a verdict. A member and its deputy are asked as one."""
        for _, together in groupby(path, key=lambda step: (step.level, step.member)):
            steps = [*together]
            level, first, last = self.level(steps[0].level), steps[0], steps[-1]
            level.reached += 1
            if last.ended == DECIDED and last.ended_ms is not None:
                level.durations_ms.append(last.ended_ms - first.asked_ms)
            else:
                level.passed += 1

    def reported(self, e: events.OutcomeReported) -> None:
        level = self.level(self.level_of[e.decision])
        level.success += e.outcome == "success"
        level.failure += e.outcome == "failure"


class Organisations(History[Kept]):
    """The organisations of a partition, by name."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        for event in decided.events:
            if isinstance(event, events.OrganisationDefined) and key not in self.kept:
                first = evolve(None, event)
                assert first is not None
                self.kept[key] = Kept(first)
            elif key in self.kept:
                self._see(self.kept[key], event)
            if key in self.kept:
                self.kept[key].position = at

    def _see(self, kept: Kept, event: object) -> None:
        match event:
            case events.DecisionMade():
                kept.made(event)
            case events.DecisionDefaulted(path=path):
                kept.defaulted += 1
                kept.went(path)
            case events.OutcomeReported():
                kept.reported(event)
            case events.OrganisationDefined():
                pass
            case _ if isinstance(event, _CHANGES):
                pass
            case _:
                kept.refused += isinstance(event, _REFUSALS)
                return
        after = evolve(kept.state, event)
        assert after is not None
        kept.state = after


def organisations_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[OrganisationView, ...]:
    """Every organisation that was defined up to a point, by name.

    Raises:
        What `state_at` raises.
    """
    found = everything(source, DOMAIN, Organisations, point, processes)
    return tuple(sorted([_view(key, kept) for key, kept in found], key=lambda view: view.name))


def organisation_at(source: Source, name: str, point: Point = None) -> OrganisationView | None:
    """An organisation at a point, or None. Only its partition is read."""
    found = one_of(source, DOMAIN, Organisations, point, name)
    return None if found is None else _view(name, found)


def _view(name: str, kept: Kept) -> OrganisationView:
    org = kept.state
    tree = Tree(org.members)
    members = [
        MemberView(
            m.name, m.reports_to, tree.level(m.name), {b.type: _units(b.limit_millionths) for b in m.boundaries},
            m.deputy, m.name in org.absent, m.answer_ms,
        )
        for m in org.members
    ]  # fmt: skip
    return OrganisationView(
        name,
        org.owner,
        org.revision,
        org.span,
        tuple(members),
        tuple(_delegations(org, tree)),
        tuple([_decision(case) for case in org.open.values()]),
        tuple([_decision(case) for case in org.ended.values()]),
        tuple(_levels(kept, [member.level for member in members])),
        sum(level.decided for level in kept.levels.values()),
        kept.defaulted,
        kept.refused,
        kept.position,
    )


def _delegations(org: Organisation, tree: Tree) -> Iterator[DelegationView]:
    for one in org.delegations:
        found = org.by_delegation(tree, one)
        yield DelegationView(
            one.delegation, one.delegator, one.delegate, one.type, _units(one.limit_millionths),
            None if found is None else _units(found.limit_millionths), one.rests_on, iso(one.until_ms),
        )  # fmt: skip


def _decision(c: Case) -> DecisionView:
    steps = [
        StepView(
            s.member, s.asked, s.level, iso(s.asked_ms), None if s.ended_ms is None else iso(s.ended_ms), s.ended,
            s.reason,
        )
        for s in c.path
    ]  # fmt: skip
    return DecisionView(
        c.decision, c.status, c.agent, c.type, _units(c.amount_millionths), c.subject, c.options, c.verdict, c.decider,
        c.reason, _authority(c.authority), tuple(steps), iso(c.opened_ms), iso(c.due_ms) if c.status == OPEN else None,
        None if c.ended_ms is None else iso(c.ended_ms), c.outcome,
    )  # fmt: skip


def _authority(a: Authority | None) -> AuthorityView | None:
    if a is None:
        return None
    links = tuple([link.delegation for link in a.delegations])
    return AuthorityView(a.member, a.basis, _units(a.limit_millionths), links)


def _levels(kept: Kept, levels: list[int]) -> Iterator[LevelView]:
    for number in sorted({*levels, *kept.levels}):
        one = kept.levels.get(number, Level())
        ordered, reported = sorted(one.durations_ms), one.success + one.failure
        yield LevelView(
            number,
            levels.count(number),
            one.decided,
            one.own,
            one.by_deputy,
            one.by_delegation,
            one.reached,
            one.passed,
            round(one.passed / one.reached, 3) if one.reached else None,
            round(sum(ordered) / len(ordered), 1) if ordered else None,
            ordered[math.ceil(_P95 * len(ordered)) - 1] if ordered else None,
            one.success,
            one.failure,
            round(one.success / reported, 3) if reported else None,
        )


def _units(millionths: int) -> str:
    """An amount of the log in the type's own unit."""
    whole, rest = divmod(millionths, MILLION)
    return f"{whole}.{rest:06}".rstrip("0") if rest else str(whole)
