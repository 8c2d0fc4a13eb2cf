"""What holds for every organisation, whatever comes in whatever order; `tests/authority.py` judges its events."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from accord.schemas.messages import Command, Event
from accord.schemas.messages import hierarchy as h
from accord.schemas.messages.log import CommandRejected, Tick
from accord.streams.decider import At, dump
from accord.streams.hierarchy.bounds import APPROVE, DENY, ESCALATE
from accord.streams.hierarchy.decider import HierarchyDecider
from accord.streams.hierarchy.organisation import Organisation
from accord.streams.hierarchy.tree import problem_of_members
from hypothesis import given
from hypothesis import strategies as st

from tests.authority import Judge
from tests.counts import examples

DECIDER = HierarchyDecider()
NAMES = ("ada", "bob", "cleo", "dan", "eve", "fay")
KINDS = ("spend", "hire")
ANSWER_MS = 100
OWNER = "owner"
NEVER = {
    h.OrganisationUnknown, h.OrganisationRead, h.OrganisationKnown, h.OutcomeReported, h.OutcomeRefused, h.DecisionRead,
    h.DelegationKnown,
}  # fmt: skip
"""Events of no consequence, or of commands that are not drawn."""
Step = tuple[Command, int]


def tree_of(random: Random, *, flat: bool = False) -> tuple[h.Member, ...]:
    """Members of some tree.

    Args:
        flat: the top alone may decide, whatever others may was delegated.
    """
    names = NAMES if flat else NAMES[: random.randint(3, len(NAMES))]
    limits: dict[str, dict[str, int]] = {}
    members: list[h.Member] = []
    for index, name in enumerate(names):
        superior = random.choice(names[:index]) if index else None
        above = dict.fromkeys(KINDS, 12) if superior is None else limits[superior]
        may = 1 if index == 0 else 0 if flat else 0.7
        limits[name] = {kind: random.randint(most // 3, most) for kind, most in above.items() if random.random() < may}
        deputy = random.choice([None, *[one for one in names if one != name]])
        boundaries = tuple(h.Boundary(kind, limit) for kind, limit in limits[name].items())
        members.append(h.Member(name, superior, boundaries, deputy, ANSWER_MS))
    return tuple(members)


def chained(random: Random, org: Organisation, number: int) -> Command:
    """A command about what was delegated: more of it, less of it, decisions by it, a tree that allows less."""
    top, *others = [member.name for member in org.members]
    kind, amount = random.choice(KINDS), random.randint(0, 12)
    agent = top
    if org.delegations and random.random() < 0.8:
        held = random.choice(org.delegations)
        agent, kind, amount = (
            held.delegate,
            held.type,
            random.randint(held.limit_millionths // 2, held.limit_millionths),
        )
    delegations = [one.delegation for one in org.delegations] or ["none"]
    likely: list[tuple[int, Command]] = [
        (1, h.DefineOrganisation(OWNER, tree_of(random, flat=True), 7)),
        (
            8,
            h.DelegateAuthority(agent, f"g{number}", random.choice(others), kind, amount, random.choice((90, 900)), ""),
        ),
        (1, h.RevokeDelegation(OWNER, random.choice(delegations), "")),
        (8, h.Decide(agent, f"d{number}", kind, amount, "", "", APPROVE, "", False, ())),
    ]
    return random.choices([command for _, command in likely], [weight for weight, _ in likely])[0]


def drawn(random: Random, org: Organisation, number: int) -> Command:
    """A command that might well be of consequence: about what there is, near the limits, mostly by who may send it."""
    members = [member.name for member in org.members]
    agent, other = random.choice([*members, *members, OWNER, "fay"]), random.choice([*members, *members, "fay"])
    kind, amount, decision = random.choice(KINDS), random.randint(0, 13), f"d{random.randint(number // 2, number)}"
    given_out = [(one.delegation, one.delegator) for one in org.delegations] or [("none", agent)]
    delegation, delegator = random.choice(given_out)
    asked = [(case.decision, case.path[-1].asked) for case in org.open.values()] or [(decision, agent)]
    wanted, member = random.choice(asked)
    choice = random.choice((APPROVE, DENY, ESCALATE, "ada", "x"))
    options = random.choice(((), (), ("ada", "cleo"), ("x", "y")))
    about = tuple(random.sample(members, random.randint(0, 2)))
    is_told = random.random() < 0.7
    if org.delegations and is_told:  # by what was delegated
        held = random.choice(org.delegations)
        agent, kind, amount = (
            held.delegate,
            held.type,
            random.randint(held.limit_millionths // 2, held.limit_millionths),
        )
    likely: list[tuple[int, Command]] = [
        (1, h.DefineOrganisation(OWNER if is_told else agent, tree_of(random), 7)),
        (6, h.DelegateAuthority(agent, f"g{number}", other, kind, amount, random.choice((50, 150, 900)), "")),
        (1, h.RevokeDelegation(delegator if is_told else agent, delegation, "")),
        (1, h.BeginAbsence(other if is_told else agent, other, "")),
        (2, h.EndAbsence(other if is_told else agent, other)),
        (9, h.Decide(agent, decision, kind, amount, "", "", APPROVE, "", random.random() < 0.5, ())),
        (6, h.RequestDecision(agent, decision, about, kind, amount, "", "", options, None, ())),
        (9, h.AnswerRequest(member if is_told else agent, wanted, choice, "")),
        (1, h.WithdrawRequest(agent, wanted, "")),
    ]
    return random.choices([command for _, command in likely], [weight for weight, _ in likely])[0]


def busy(seed: int, count: int = 70) -> list[Step]:
    """Commands in the life of an organisation, each so many ms after the one before; half of them `chained`."""
    random = Random(seed)
    flat = seed % 2 == 1
    steps: list[Step] = [(h.DefineOrganisation(OWNER, tree_of(random, flat=flat), 7), 0)]
    state, now_ms = play(steps)[0], 1_000
    for number in range(count):
        assert state is not None
        after_ms = random.choice((0, 0, 0, 1, 30, 120))
        now_ms += after_ms
        command = (chained if flat else drawn)(random, state, number)
        steps.append((command, after_ms))
        for event in DECIDER.decide(state, command, At(now_ms, number, "r")):
            state = DECIDER.evolve(state, event)
    return steps


seeds, names = st.integers(0, 10**9), st.sampled_from(NAMES)


def play(commands: Sequence[Step]) -> tuple[Organisation | None, list[tuple[int, Event]], int]:
    """The state after commands, each so many ms after the one before; all events with their times; the time."""
    state: Organisation | None = None
    events: list[tuple[int, Event]] = []
    now_ms = 1_000
    for seq, (command, after_ms) in enumerate(commands, start=1):
        now_ms += after_ms
        for event in DECIDER.decide(state, command, At(now_ms, seq, f"r{seq}")):
            assert not isinstance(event, CommandRejected)
            events.append((now_ms, event))
            state = DECIDER.evolve(state, event)
    return state, events, now_ms


@given(seeds)
@examples(80)
def test_nobody_decides_or_delegates_beyond_its_authority(seed: int) -> None:
    _, events, _ = play(busy(seed))
    judge = Judge().see_all(events)
    assert not judge.faults


def test_in_the_life_of_an_organisation_much_happens() -> None:
    """Else what holds of it says little."""
    events = [event for seed in range(30) for _, event in play(busy(seed))[1]]
    made = [event for event in events if isinstance(event, h.DecisionMade)]
    assert set(map(type, events)) >= set(h.EVENTS) - NEVER
    assert sum(event.agent != event.authority.member for event in made) > 3, "deputies decide"
    assert sum(len(event.authority.delegations) > 1 for event in made) > 3, "by chains"
    assert sum(len(event.path) > 1 for event in made) > 3, "after others were asked"


@given(seeds)
@examples(40)
def test_every_request_ends(seed: int) -> None:
    """Whoever stays silent: at most a member and its deputy a level, each for its time."""
    state, events, _ = play([*busy(seed), *[(Tick(), ANSWER_MS)] * (2 * len(NAMES))])
    judge = Judge().see_all(events)
    assert not judge.open and state is not None and not state.open


@given(seeds, st.lists(st.integers(0, 60), min_size=5))
@examples(30)
def test_ticks_and_repeats_of_requests_change_nothing(seed: int, again: list[int]) -> None:
    """What was sent may be sent again, at once or later, as long as it is remembered."""
    noisy: list[Step] = []
    plain: list[Step] = []
    for index, (command, after_ms) in enumerate(busy(seed)):
        plain.extend([(command, after_ms), (Tick(), 0)])
        noisy.extend([(command, after_ms), *[(Tick(), 0)] * (1 + again.count(index))])
        if index in again and isinstance(command, (h.Decide, h.RequestDecision, h.DelegateAuthority)):
            noisy.append((command, 0))
    assert dump(play(plain)[0]) == dump(play(noisy)[0])


@given(seeds, st.permutations(range(4)))
@examples(30)
def test_who_is_asked_does_not_depend_on_the_order_of_requests(seed: int, order: list[int]) -> None:
    random = Random(seed)
    members = tree_of(random)
    about = random.choice(members).name
    matters = [(f"d{n}", random.choice(KINDS), random.randint(0, 12)) for n in range(4)]
    found = []
    for numbers in (range(4), order):
        wanted: list[Step] = [
            (h.RequestDecision("x", name, (about,), kind, amount, "?", "", (), None, ()), 0)
            for name, kind, amount in [matters[number] for number in numbers]
        ]
        _, events, _ = play([(h.DefineOrganisation(OWNER, members, 7), 0), *wanted, *[(Tick(), ANSWER_MS)] * 6])
        by_request: dict[str, list[Any]] = {}
        for now_ms, event in events:
            if isinstance(event, (h.AuthorityAsked, h.AuthorityPassed, h.DecisionDefaulted)):
                by_request.setdefault(event.decision, []).append((now_ms, event))
        found.append(by_request)
    assert found[0] == found[1]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.sampled_from(NAMES)), min_size=1, max_size=8),
    st.integers(1, 4),
)
@examples(100)
def test_what_is_taken_for_a_tree_is_one(pairs: list[tuple[str, str | None]], span: int) -> None:
    members = [h.Member(name, superior, (), None, 1) for name, superior in pairs]
    superiors = dict(pairs)

    def reaches_top(name: str | None) -> bool:
        for _ in range(len(members) + 1):
            if name is None:
                return True
            if name not in superiors:
                return False
            name = superiors[name]
        return False

    is_tree = (
        len(superiors) == len(pairs)
        and all(map(reaches_top, superiors))
        and list(superiors.values()).count(None) == 1
        and all([*superiors.values()].count(name) <= span for name in superiors)
    )
    assert (problem_of_members(members, span) is None) == is_tree


def test_the_judge_sees_what_is_wrong() -> None:
    """It is no use if it finds nothing: events that the rules never bring."""
    top = h.Member("ada", None, (h.Boundary("spend", 10),), None, 1)
    defined = h.OrganisationDefined("owner", (top, h.Member("bob", "ada", (), None, 1)), 7, 1, 0)

    def made(agent: str, amount: int, authority: h.Authority, decision: str = "d") -> h.DecisionMade:
        return h.DecisionMade(
            decision, agent, agent, (), "spend", amount, "", "", (), "approve", "", authority, 1, (), None, 1, 0, 0
        )

    own = h.Authority("ada", "boundary", 10, ())
    given_to_bob = h.Delegation("x", "ada", "bob", "spend", 11, None, 100)
    assert Judge().see_all([(0, defined), (0, made("ada", 10, own))]).faults == []
    wrong: list[list[Event]] = [
        [made("ada", 11, own)],
        [made("bob", 1, own)],
        [made("mallory", 1, h.Authority("mallory", "boundary", 10, ()))],
        [h.AbsenceBegan("ada", "ada", "", 0), made("ada", 1, own)],
        [made("ada", 1, own), made("ada", 1, own)],
        [h.DelegationGranted(given_to_bob, "", 0)],
        [made("bob", 1, h.Authority("bob", "delegation", 1, (given_to_bob,)))],
        [h.OrganisationDefined("mallory", (top,), 7, 2, 0)],
    ]
    for events in wrong:
        assert Judge().see_all([(0, defined), *[(0, event) for event in events]]).faults, events
