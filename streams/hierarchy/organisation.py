"""An organisation: its tree, what was delegated, who is away, what is asked and was decided; what events make of it.

What a member may decide is worked out when it is needed, from the tree and the delegations of that moment: so a
boundary that was narrowed narrows all that was delegated from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.hierarchy import (
    EVENTS,
    AbsenceBegan,
    AbsenceEnded,
    Authority,
    AuthorityAsked,
    AuthorityPassed,
    Decide,
    DecisionDefaulted,
    DecisionMade,
    DecisionRequested,
    DecisionWithdrawn,
    Delegation,
    DelegationGranted,
    DelegationsExpired,
    DelegationsRevoked,
    Member,
    OrganisationDefined,
    Origin,
    OutcomeReported,
    RequestDecision,
    Step,
)
from accord.streams.hierarchy.bounds import ENDED_MAX
from accord.streams.hierarchy.tree import Tree

OPEN: Final = "open"
DECIDED: Final = "decided"
DEFAULTED: Final = "defaulted"
WITHDRAWN: Final = "withdrawn"
STATUSES: Final = (OPEN, DECIDED, DEFAULTED, WITHDRAWN)

TIMEOUT: Final = "timeout"
ESCALATED: Final = "escalated"
ABSENT: Final = "absent"
AUTHORITY_LOST: Final = "authority_lost"

BOUNDARY: Final = "boundary"
DELEGATION: Final = "delegation"

_replace: Final = msgspec.structs.replace


class Case(msgspec.Struct, frozen=True):
    """A decision, or a request for one.

    `terms` are a hash of what makes it the same when it is sent again. `path` has who was asked; the last step of a
    request that is open has not ended. `authority` is that of who is asked, later that by which it was decided. Once it
    has ended, `inputs` and `trail` are on the log alone. `lost`: who is asked may not decide it any more: it is to go
    on at once.
    """

    decision: str
    agent: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    proposed: str | None
    origin: Origin | None
    trail: tuple[str, ...]
    opened_ms: int
    terms: bytes
    status: str = OPEN
    path: tuple[Step, ...] = ()
    authority: Authority | None = None
    due_ms: int = 0
    lost: bool = False
    verdict: str | None = None
    decider: str | None = None
    reason: str = ""
    ended_ms: int | None = None
    outcome: str | None = None

    @property
    def next_ms(self) -> int:
        """When it goes on of itself."""
        return 0 if self.lost else self.due_ms


class Organisation(msgspec.Struct, frozen=True):
    """An organisation. `open` and `ended` have decisions by id, in the order in which they came and ended."""

    owner: str
    members: tuple[Member, ...]
    span: int
    revision: int
    absent: tuple[str, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    open: dict[str, Case] = {}
    ended: dict[str, Case] = {}

    @property
    def due_ms(self) -> int | None:
        """When something happens of itself."""
        times = [delegation.until_ms for delegation in self.delegations] + [case.next_ms for case in self.open.values()]
        return min(times, default=None)

    def case(self, decision: str) -> Case | None:
        return self.open.get(decision) or self.ended.get(decision)

    def delegation(self, name: str) -> Delegation | None:
        return next((one for one in self.delegations if one.delegation == name), None)

    def chain(self, delegation: Delegation) -> Iterator[Delegation]:
        """A delegation and those that it rests on, up to the one from a boundary; less if one of them has ended."""
        at: Delegation | None = delegation
        while at is not None:
            yield at
            at = None if at.rests_on is None else self.delegation(at.rests_on)

    def resting_on(self, name: str) -> tuple[str, ...]:
        """The ids of a delegation and of all that rest on it."""
        found = [one for one in self.delegations if name in [link.delegation for link in self.chain(one)]]
        return tuple([one.delegation for one in found])

    def by_delegation(self, tree: Tree, delegation: Delegation) -> Authority | None:
        """What a delegation is worth; None: nothing."""
        chain = [*self.chain(delegation)]
        root = chain[-1]
        boundary = None if root.rests_on is not None else tree.limit(root.delegator, root.type)
        if boundary is None:
            return None
        limit = min(boundary, *[link.limit_millionths for link in chain])
        return Authority(delegation.delegate, DELEGATION, limit, tuple(reversed(chain)))

    def authority(self, tree: Tree, name: str, kind: str, amount_millionths: int) -> Authority | None:
        """By what a member may decide: its own boundary, else the delegation that lasts longest; None: it may not.

        Delegations whose time is over have ended before anything is decided.
        """
        limit = tree.limit(name, kind)
        if limit is not None and limit >= amount_millionths:
            return Authority(name, BOUNDARY, limit, ())
        held = [one for one in self.delegations if (one.delegate, one.type) == (name, kind)]
        for one in sorted(held, key=lambda one: -one.until_ms):
            found = self.by_delegation(tree, one)
            if found is not None and found.limit_millionths >= amount_millionths:
                return found
        return None

    def answers(self, tree: Tree, case: Case) -> Authority | None:
        """By what the member that is asked may decide a request; None: it is away, or may not, or not any more."""
        step = case.path[-1]
        member = tree.member(step.member)
        if member is None or step.asked not in tree or step.asked in self.absent:
            return None
        if step.asked not in (member.name, member.deputy):
            return None
        return self.authority(tree, member.name, case.type, case.amount_millionths)


def terms_of(c: Decide | RequestDecision | DecisionRequested | DecisionMade, agent: str) -> bytes:
    """A hash of what makes a decision, or a request for one, the same.

    Args:
        agent: who sent it.
    """
    match c:
        case Decide():
            what: tuple[Any, ...] = (agent,), (), c.verdict
        case RequestDecision():
            what = c.about, c.options, None
        case DecisionRequested():
            what = c.about, c.options, c.proposed
        case DecisionMade():
            what = c.about, c.options, c.verdict
    terms = (agent, c.type, c.amount_millionths, c.subject, c.inputs, *what)
    return blake2b(msgspec.json.encode(terms), digest_size=16).digest()


def evolve(state: Organisation | None, event: Event) -> Organisation | None:
    """The organisation after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the hierarchy domain has no event {type(event).__name__}")
    return change(state, event)


def _defined(org: Organisation | None, e: OrganisationDefined) -> Organisation:
    if org is None:
        return Organisation(e.agent, e.members, e.span, e.revision)
    names = {member.name for member in e.members}
    absent = tuple([name for name in org.absent if name in names])
    return _marked(_replace(org, members=e.members, span=e.span, revision=e.revision, absent=absent))


def _granted(org: Organisation, e: DelegationGranted) -> Organisation:
    return _replace(org, delegations=(*org.delegations, e.delegation))


def _ended(org: Organisation, e: DelegationsRevoked | DelegationsExpired) -> Organisation:
    gone = set(e.delegations)
    left = tuple([one for one in org.delegations if one.delegation not in gone])
    return _marked(_replace(org, delegations=left))


def _absence_began(org: Organisation, e: AbsenceBegan) -> Organisation:
    return _marked(_replace(org, absent=(*org.absent, e.member)))


def _absence_ended(org: Organisation, e: AbsenceEnded) -> Organisation:
    return _marked(_replace(org, absent=tuple([name for name in org.absent if name != e.member])))


def _marked(org: Organisation) -> Organisation:
    """With a mark on every request whose asked is away, or may not decide it any more."""
    tree = Tree(org.members)
    lost = {name: org.answers(tree, case) is None for name, case in org.open.items()}
    marked = {name: _replace(case, lost=lost[name]) for name, case in org.open.items()}
    return _replace(org, open=marked)


def _requested(org: Organisation, e: DecisionRequested) -> Organisation:
    case = Case(
        e.decision, e.agent, e.about, e.type, e.amount_millionths, e.subject, e.inputs, e.options, e.proposed, e.origin,
        e.trail, e.opened_ms, terms_of(e, e.agent),
    )  # fmt: skip
    return _replace(org, open={**org.open, e.decision: case})


def _asked(org: Organisation, e: AuthorityAsked) -> Organisation:
    case = org.open[e.decision]
    step = Step(e.authority.member, e.agent, e.level, e.asked_ms, None, "", "")
    case = _replace(case, path=(*case.path, step), authority=e.authority, due_ms=e.due_ms, lost=False)
    return _replace(org, open={**org.open, e.decision: case})


def _passed(org: Organisation, e: AuthorityPassed) -> Organisation:
    case = org.open[e.decision]
    path, last = case.path, case.path[-1] if case.path else None
    if last is not None and last.ended_ms is None:
        path, asked_ms = path[:-1], last.asked_ms
    else:  # it was away, and not asked
        asked_ms = e.ended_ms
    step = Step(e.member, e.asked, e.level, asked_ms, e.ended_ms, e.ended, e.reason)
    case = _replace(case, path=(*path, step), authority=None)
    return _replace(org, open={**org.open, e.decision: case})


def _made(org: Organisation, e: DecisionMade) -> Organisation:
    case = org.open.get(e.decision)
    if case is None:
        case = Case(
            e.decision, e.requester, e.about, e.type, e.amount_millionths, e.subject, "", e.options, e.verdict,
            e.origin, (), e.opened_ms, terms_of(e, e.agent),
        )  # fmt: skip
    return _closed(org, case, DECIDED, e, verdict=e.verdict, decider=e.agent, authority=e.authority)


def _defaulted(org: Organisation, e: DecisionDefaulted) -> Organisation:
    return _closed(org, org.open[e.decision], DEFAULTED, e, verdict=e.verdict)


def _withdrawn(org: Organisation, e: DecisionWithdrawn) -> Organisation:
    return _closed(org, org.open[e.decision], WITHDRAWN, e)


def _closed(
    org: Organisation, case: Case, status: str, e: DecisionMade | DecisionDefaulted | DecisionWithdrawn, **ended: Any
) -> Organisation:
    """With a decision that has ended; the oldest of more than `ENDED_MAX` is forgotten."""
    ended = {"authority": None} | ended
    case = _replace(
        case, status=status, inputs="", trail=(), path=e.path, reason=e.reason, ended_ms=e.ended_ms, **ended
    )
    left = {name: one for name, one in org.open.items() if name != e.decision}
    kept = {**org.ended, e.decision: case}
    if len(kept) > ENDED_MAX:
        del kept[next(iter(kept))]
    return _replace(org, open=left, ended=kept)


def _reported(org: Organisation, e: OutcomeReported) -> Organisation:
    case = _replace(org.ended[e.decision], outcome=e.outcome)
    return _replace(org, ended={**org.ended, e.decision: case})


def _unchanged(org: Organisation | None, _: Event) -> Organisation | None:
    return org


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Organisation | None]]] = {
    **dict.fromkeys(EVENTS, _unchanged),
    OrganisationDefined: _defined,
    DelegationGranted: _granted,
    DelegationsRevoked: _ended,
    DelegationsExpired: _ended,
    AbsenceBegan: _absence_began,
    AbsenceEnded: _absence_ended,
    DecisionRequested: _requested,
    AuthorityAsked: _asked,
    AuthorityPassed: _passed,
    DecisionMade: _made,
    DecisionDefaulted: _defaulted,
    DecisionWithdrawn: _withdrawn,
    OutcomeReported: _reported,
}
