"""Conflicts that an organisation rules on: the way there, and the verdict's way back.

A ground's terms may name an organisation (`accord.streams.hierarchy`). What is escalated is asked of the lowest of its
members at or above the parties that may decide on conflicts (the type `conflict`, amount 0) and is no party itself;
from there it goes up, with deputies and time limits. Both hops are process managers': what they send follows from a
confirmed event alone, with ids made of it, so a repeat changes nothing.

A request is known by the ground and by the number of the decision that escalated: an appeal is another request than the
one before it, and a verdict on that one does not count for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.conflicts import ConflictEscalated, Party, TakeVerdict
from accord.schemas.messages.hierarchy import (
    DecisionDefaulted,
    DecisionMade,
    DecisionRefused,
    DecisionWithdrawn,
    OrganisationUnknown,
    Origin,
    RequestDecision,
)
from accord.streams.decider import Order
from accord.streams.hierarchy.bounds import (
    ABOUT_MAX,
    INPUTS_BYTES_MAX,
    NAME_OF_MEMBER_BYTES_MAX,
    problem_of_options,
)

DOMAIN: Final = "conflicts"
ASKER: Final = "accord conflicts"
"""The name in which organisations are asked."""
TYPE: Final = "conflict"
"""The type of decision, as boundaries name it."""


def options_of(parties: Sequence[Party]) -> tuple[str, ...] | None:
    """The names by which a verdict chooses a party: those of their agents, so that none of these is asked; a number
    after the second and later ones of one agent. None: they cannot be told apart so."""
    seen: Counter[str] = Counter()
    names = []
    for party in parties:
        seen[party.agent] += 1
        names.append(party.agent if seen[party.agent] == 1 else f"{party.agent} {seen[party.agent]}")
    return None if problem_of_options(tuple(names)) else tuple(names)


def ask(key: str, e: ConflictEscalated) -> list[Order]:
    """The request to the organisation, if one is asked."""
    options = options_of(e.parties)
    if not e.organisation or options is None:
        return []
    agents = tuple(dict.fromkeys([party.agent for party in e.parties]))
    is_told = len(agents) <= ABOUT_MAX and all(len(one.encode()) <= NAME_OF_MEMBER_BYTES_MAX for one in agents)
    choices = [{"option": option, "party": party.party} for option, party in zip(options, e.parties, strict=True)]
    told: dict[str, Any] = {"ground": key, "conflict": e.conflict, "reason": e.reason, "detail": e.detail}
    inputs = msgspec.json.encode(told | {"options": choices})
    if len(inputs) > INPUTS_BYTES_MAX:
        inputs = msgspec.json.encode(told)
    subject = f"Who wins the conflict {e.conflict}?".encode()[:255].decode(errors="ignore")
    request = RequestDecision(
        ASKER, _prefix(key) + e.request, agents if is_told else (), TYPE, 0, subject, inputs.decode(), options,
        Origin(DOMAIN, key, e.conflict), e.trail,
    )  # fmt: skip
    return [Order("hierarchy", e.organisation, request)]


def _prefix(ground: str) -> str:
    """What tells the requests of a ground from those of others."""
    return f"{blake2b(ground.encode(), digest_size=8).hexdigest()}/"


def _answered(requester: str, member: str, verdict: Callable[[Any], str | None]) -> Callable[[str, Any], list[Order]]:
    """The reaction to an end of a request.

    Args:
        requester, member: fields that name who asked, and who decided; no field for nobody.
        verdict: the option that was chosen; None: none was.
    """

    def react(key: str, e: Any) -> list[Order]:
        if e.origin is None or e.origin.domain != DOMAIN or getattr(e, requester) != ASKER or not e.decision:
            return []
        request = e.decision.removeprefix(_prefix(e.origin.key))
        reason = getattr(e, "reason", "there is no such organisation")
        decided_by = getattr(e, member) if member else ""
        return [Order(DOMAIN, e.origin.key, TakeVerdict(decided_by, key, request, verdict(e), reason))]

    return react


REACTIONS: Final[Mapping[type[Event], Callable[[str, Any], Sequence[Order]]]] = {
    DecisionMade: _answered("requester", "agent", lambda e: e.verdict),
    DecisionDefaulted: _answered("agent", "", lambda _: None),
    DecisionWithdrawn: _answered("agent", "", lambda _: None),
    DecisionRefused: _answered("agent", "", lambda _: None),
    OrganisationUnknown: _answered("agent", "", lambda _: None),
}
"""What follows from an organisation's events for the ground that has asked it."""
