"""Conflicts that an organisation rules on: from the ground to the organisation and back, over both deciders."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.messages import Command, Event, hierarchy
from accord.schemas.messages.conflicts import (
    AppealDecided,
    AppealResolution,
    ConfigureGround,
    ConflictEscalated,
    ConflictFound,
    ConflictResolved,
    Party,
    TakeVerdict,
    VerdictIgnored,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.conflicts.organisations import ASKER, DOMAIN, REACTIONS, options_of
from accord.streams.decider import At, Order
from accord.streams.domains import DOMAINS

from tests.streams.conflicts.played import Played, finding, only, resolution, terms, told

A, B = finding("ann", "42"), finding("ben", "37")
RULED = terms(organisation="acme", authority_ms=60_000)
MEMBERS = (
    hierarchy.Member("top", None, (hierarchy.Boundary("conflict", 0),), None, 1_000),
    hierarchy.Member("chief", "top", (hierarchy.Boundary("conflict", 0),), None, 1_000),
    hierarchy.Member("ann", "chief", (), None, 1_000),
    hierarchy.Member("ben", "chief", (), None, 1_000),
)


class Both:
    """A ground and an organisation, and what the process managers of each send to the other."""

    def __init__(self, configured: Any = RULED, members: tuple[hierarchy.Member, ...] = MEMBERS) -> None:
        self.play = Played(configured)
        self.org: Any = None
        self.asked: list[str] = []
        self.requests: list[hierarchy.RequestDecision] = []
        if members:
            self.decide(hierarchy.DefineOrganisation("owner", members, 7))

    def on_ground(self, events: list[Event]) -> list[Event]:
        """Sends what follows from events of the ground; twice, as may happen."""
        return self._follow("conflicts", "shop", events)

    def decide(self, command: Command, *, after_ms: int = 0) -> list[Event]:
        """Has the organisation decide, and sends what follows."""
        self.play.now_ms += after_ms
        decider = DOMAINS["hierarchy"].versions[1]
        events = list(decider.decide(self.org, command, At(self.play.now_ms, 1, "r")))
        for event in events:
            assert not isinstance(event, CommandRejected), event
            self.org = decider.evolve(self.org, event)
        return events + self._follow("hierarchy", "acme", events)

    def answer(self, member: str, choice: str) -> list[Event]:
        (request,) = self.org.open.values()
        return self.decide(hierarchy.AnswerRequest(member, request.decision, choice, "I know"))

    def _follow(self, domain: str, key: str, events: list[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            react = DOMAINS[domain].reactions.get(type(event))
            for order in react(key, event) if react else ():
                for _ in range(2):
                    found += self._deliver(order)
        return found

    def _deliver(self, order: Order) -> list[Event]:
        match order:
            case Order("signals", name, EmitSignal()):
                self.asked.append(name)
                return []
            case Order("hierarchy", "acme", hierarchy.RequestDecision() as request):
                self.requests.append(request)
                return self.decide(request)
            case Order("conflicts", "shop", TakeVerdict() as verdict):
                return self.on_ground(self.play.do(verdict))
        raise AssertionError(order)

    def judged(self, *, findings: tuple[Any, ...] = (A, B), conflict: str = "f") -> None:
        """Findings that the judge is not sure about."""
        self.play.compare(*findings, conflict=conflict)
        self.on_ground(self.play.judge(findings[0].agent, conflict, confidence_millionths=500_000))


def test_the_lowest_superior_of_the_parties_is_asked_and_its_word_counts() -> None:
    both = Both()
    both.judged()
    request = both.requests[0]
    assert (request.agent, request.about, request.type, request.options) == (
        ASKER, ("ann", "ben"), "conflict", ("ann", "ben"),
    )  # fmt: skip
    assert request.subject == "Who wins the conflict f?" and '"ground":"shop"' in request.inputs
    assert [name for name in both.asked if name.startswith("decision_wanted")] == ["decision_wanted:chief"] * 2
    both.answer("chief", "ben")
    e = only(both.play.events, ConflictResolved)
    assert resolution([e]) == (["ben"], {"ann": "overruled"})
    assert (e.method, e.by, e.reasoning, e.confidence_millionths) == ("authority", "chief", "I know", 1_000_000)
    assert only(both.play.events, VerdictIgnored).verdict == "ben", "the repeat"


def test_no_party_rules_on_itself() -> None:
    both = Both()
    both.judged(findings=(finding("chief", "1"), finding("ben", "2")))
    assert {name for name in both.asked if name.startswith("decision")} == {"decision_wanted:top"}


def test_a_silent_organisation_leaves_it_to_the_rule() -> None:
    both = Both()
    both.judged()
    for _ in range(2):
        both.decide(Tick(), after_ms=1_000)
    e = only(both.play.events, ConflictResolved)
    assert (e.method, e.winners[0].party) == ("rule", "ann")
    assert e.fallback.startswith("acme has not ruled: ")


@pytest.mark.parametrize(
    ("members", "findings", "why"),
    [
        ((), (A, B), "acme has not ruled: there is no such organisation"),
        (MEMBERS, (A, finding("stranger", "37")), "acme has not ruled: unknown_member"),
        (MEMBERS, (A, finding("ANN", "37")), "the parties have no names that acme could choose by"),
    ],
)
def test_who_cannot_be_asked_leaves_it_to_the_rule(
    members: tuple[hierarchy.Member, ...], findings: tuple[Any, ...], why: str
) -> None:
    both = Both(members=members)
    both.judged(findings=findings)
    e = only(both.play.events, ConflictResolved)
    assert e.winners == (Party("ann", "ann"),) and why in e.fallback


def test_an_appeal_is_another_request_and_a_late_verdict_does_not_count_for_it() -> None:
    both = Both()
    both.judged()
    first = only(both.play.events, ConflictEscalated)
    both.play.tick(60_000)
    assert only(both.play.events, ConflictResolved).fallback == "acme did not rule by the deadline"
    both.on_ground(both.play.do(AppealResolution("ben", "f", "ben", "no")))
    late = both.play.do(TakeVerdict("chief", "acme", first.request, "ben", ""))
    assert told(late, VerdictIgnored) and not told(both.play.events, AppealDecided)
    second = told(both.play.events, ConflictEscalated)[1]
    both.on_ground(both.play.do(TakeVerdict("chief", "acme", second.request, "ben", "yes")))
    assert only(both.play.events, AppealDecided).upheld is False
    other = both.play.do(TakeVerdict("chief", "other", second.request, "ann", ""))
    assert told(other, VerdictIgnored)


def test_intentions_of_one_agent_are_told_apart() -> None:
    both = Both()
    both.play.do(ConfigureGround("owner", RULED))
    both.play.declare("ann", name="1", action="approve", target="x")
    both.play.declare("ann", name="2", action="reject", target="x")
    conflict = only(both.play.events, ConflictFound).conflict
    both.on_ground(both.play.do(AppealResolution("ann", conflict, "2", "")))
    assert both.requests[0].options == ("ann", "ann 2")
    both.answer("chief", "ann 2")
    assert only(both.play.events, AppealDecided).winner == Party("2", "ann")


def test_requests_that_others_make_bring_no_verdict() -> None:
    origin = hierarchy.Origin(DOMAIN, "shop", "f")
    withdrawn = hierarchy.DecisionWithdrawn("x", "mallory", "", (), origin, 1)
    assert REACTIONS[hierarchy.DecisionWithdrawn]("acme", withdrawn) == []
    elsewhere = hierarchy.DecisionWithdrawn("x", ASKER, "", (), hierarchy.Origin("tasks", "shop", "f"), 1)
    assert REACTIONS[hierarchy.DecisionWithdrawn]("acme", elsewhere) == []
    assert (
        REACTIONS[hierarchy.DecisionWithdrawn]("acme", hierarchy.DecisionWithdrawn("x", ASKER, "", (), None, 1)) == []
    )


def test_parties_without_names_of_their_own_are_no_options() -> None:
    assert options_of([Party("1", "a"), Party("2", "b"), Party("3", "a")]) == ("a", "b", "a 2")
    assert options_of([Party("1", "approve"), Party("2", "b")]) is None
    assert options_of([Party(f"{n}", f"a{n}") for n in range(17)]) is None


def test_an_agent_and_an_organisation_are_too_many() -> None:
    rejected = only(Played().do(ConfigureGround("o", terms(authority="a", organisation="b"))), CommandRejected)
    assert "one of them rules" in rejected.description
