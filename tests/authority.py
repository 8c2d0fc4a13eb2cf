"""An independent judge of an organisation's log: events alone, in order, and nothing of the rules that made them.

It keeps by its own reckoning who may decide what, and finds every decision that its maker was not allowed to make,
every delegation that gave more than there was to give, and every request that ended twice or was asked out of turn.
"""

from __future__ import annotations

from collections.abc import Iterable

from accord.schemas.messages import Event
from accord.schemas.messages import hierarchy as h


class Judge:
    """Is told events with their times; `faults` are what is wrong, `open` the requests that have no end."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.open: set[str] = set()
        self.made = 0
        self._ended: set[str] = set()
        self._asked: dict[str, h.AuthorityAsked] = {}
        self._members: dict[str, h.Member] = {}
        self._owner = ""
        self._away: set[str] = set()
        self._given: dict[str, h.Delegation] = {}

    def see_all(self, events: Iterable[tuple[int, Event]]) -> Judge:
        for now_ms, event in events:
            self.see(now_ms, event)
        return self

    def see(self, now_ms: int, event: Event) -> None:
        match event:
            case h.OrganisationDefined():
                self._defined(event)
            case h.AbsenceBegan(member=name):
                self._away.add(name)
            case h.AbsenceEnded(member=name):
                self._away.discard(name)
            case h.DelegationGranted(delegation):
                self._granted(delegation, now_ms)
            case h.DelegationsRevoked(delegations=names) | h.DelegationsExpired(delegations=names):
                for name in names:
                    del self._given[name]
                left = [d.delegation for d in self._given.values() if d.rests_on in names]
                self._check(not left, f"{left} rest on nothing")
            case h.DecisionRequested(decision=name):
                self.open.add(name)
            case h.AuthorityAsked():
                self._was_asked(event, now_ms)
            case h.AuthorityPassed(decision=name):
                self._asked.pop(name, None)
            case h.DecisionMade():
                self._was_made(event, now_ms)
            case h.DecisionDefaulted(decision=name, verdict=verdict):
                self._check(verdict == "deny", f"{name}: the policy says {verdict}")
                self._end(name)
            case h.DecisionWithdrawn(decision=name):
                self._end(name)

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    def _end(self, name: str) -> None:
        self._check(name in self.open, f"{name} ended, and was not open")
        self._check(name not in self._ended, f"{name} ended twice")
        self.open.discard(name)
        self._asked.pop(name, None)
        self._ended.add(name)

    def _defined(self, e: h.OrganisationDefined) -> None:
        self._check(self._owner in ("", e.agent), f"{e.agent} changed the tree of {self._owner}")
        self._owner, self._members = e.agent, {member.name: member for member in e.members}
        self._away &= set(self._members)
        for m in e.members:
            for boundary in m.boundaries:
                if m.reports_to is not None:
                    above = self._own(m.reports_to, boundary.type)
                    self._check(above >= boundary.limit_millionths, f"{m.name} may decide more than {m.reports_to}")

    def _own(self, name: str, kind: str) -> int:
        """-1: not at all."""
        member = self._members.get(name)
        return max([b.limit_millionths for b in member.boundaries if b.type == kind] if member else [], default=-1)

    def _worth(self, d: h.Delegation, now_ms: int) -> int:
        if d.delegation not in self._given or d.until_ms <= now_ms or d.delegate not in self._members:
            return -1
        if d.rests_on is None:
            return min(d.limit_millionths, self._own(d.delegator, d.type))
        below = self._given.get(d.rests_on)
        if below is None or (below.delegate, below.type) != (d.delegator, d.type):
            return -1
        return min(d.limit_millionths, self._worth(below, now_ms))

    def may(self, name: str, kind: str, now_ms: int) -> int:
        """Up to what a member may decide; -1: not at all."""
        held = [self._worth(d, now_ms) for d in self._given.values() if (d.delegate, d.type) == (name, kind)]
        return max([self._own(name, kind), *held])

    def _granted(self, d: h.Delegation, now_ms: int) -> None:
        self._given[d.delegation] = d
        self._check(d.delegator in self._members, f"{d.delegation} is by {d.delegator}, who is no member")
        self._check(self._worth(d, now_ms) == d.limit_millionths, f"{d.delegation} gives more than there was to give")
        below = self._given.get(d.rests_on or "")
        self._check(below is None or d.until_ms <= below.until_ms, f"{d.delegation} outlives what it rests on")
        self._check(d.delegator not in self._away, f"{d.delegation} is by {d.delegator}, who was away")

    def _was_asked(self, e: h.AuthorityAsked, now_ms: int) -> None:
        self._check(e.decision in self.open and e.decision not in self._asked, f"{e.decision}: asked out of turn")
        self._check(e.agent not in self._away, f"{e.decision}: {e.agent} was asked, who is away")
        self._asked[e.decision] = e

    def _was_made(self, e: h.DecisionMade, now_ms: int) -> None:
        self.made += 1
        name, whose, asked = e.decision, e.authority.member, self._asked.get(e.decision)
        worth = self.may(whose, e.type, now_ms)
        self._check(e.amount_millionths <= worth, f"{name}: {e.amount_millionths} of {e.type}, {whose} may {worth}")
        self._check(e.authority.limit_millionths <= worth, f"{name}: the record says more than {whose} may")
        known = all(self._given.get(link.delegation) == link for link in e.authority.delegations)
        self._check(known, f"{name}: the record names delegations that there were not")
        self._check(e.agent in self._members and e.agent not in self._away, f"{name}: {e.agent} was no member, or away")
        self._check(e.agent not in e.options, f"{name}: {e.agent} decided about itself")
        self._check(e.verdict in (e.options or ("approve", "deny")), f"{name}: {e.verdict} is no verdict")
        if name in self.open:
            in_time = asked is not None and asked.agent == e.agent and asked.asked_ms <= now_ms < asked.due_ms
            self._check(in_time, f"{name}: {e.agent} was not asked, or late")
            stands = asked is not None and asked.authority.member == whose
        else:
            self._check(e.requester == e.agent, f"{name}: nobody asked {e.agent}")
            self._check(name not in self._ended, f"{name} ended twice")
            self.open.add(name)
            stands = whose in self._away
        deputy = self._members[whose].deputy if whose in self._members else None
        self._check(e.agent == whose or (stands and deputy == e.agent), f"{name}: {e.agent} does not stand for {whose}")
        self._end(name)
