"""What holds on a ground whatever agents, judges and authorities say, in whatever order."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from accord.schemas.messages import Command
from accord.schemas.messages.conflicts import (
    AppealDecided,
    AppealResolution,
    Capacity,
    CompareFindings,
    ConflictFound,
    ConflictResolved,
    DeclareIntention,
    DeclineJudgement,
    FinishIntention,
    Intent,
    IntentionDeclared,
    IntentionEnded,
    IntentionFavoured,
    JudgeConflict,
    RenewIntention,
    RuleOnConflict,
    TakeVerdict,
    Terms,
    WithdrawIntention,
)
from accord.schemas.messages.log import Tick
from accord.streams.conflicts.collisions import clashes_of
from accord.streams.conflicts.ground import ACTING, HELD, LOST, QUEUED, Ground
from accord.streams.conflicts.rules import DEFAULT, demand, kind_of
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples
from tests.streams.conflicts.played import Played, decider, finding, intent, terms, told

CAPACITY = 4
AGENTS = ("a", "b", "c", "d")
some_agent = st.sampled_from(AGENTS)
windows = st.sampled_from([(None, None), (0, 10), (5, 15), (10, 20), (None, 10), (10, None)])


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    resource = draw(st.sampled_from(["", "gpu"]))
    begin, end = draw(windows)
    return intent(
        draw(st.sampled_from(["write", "read", "create", "delete"])),
        draw(st.sampled_from(["x", "y", "z"])),
        resource=resource,
        amount=draw(st.integers(1, CAPACITY)) if resource else 0,
        topic=draw(st.sampled_from(["", "", "t", "u"])),
        text=draw(st.sampled_from(["", "says"])),
        from_ms=begin,
        until_ms=end,
        priority=draw(st.integers(-1, 1)),
        lease_ms=draw(st.sampled_from([1_000, 30_000])),
        waits=draw(st.booleans()),
    )


rulers = st.sampled_from([{}, {"authority": "chief"}, {"authority": "b"}, {"organisation": "acme"}])
configured = st.builds(
    lambda ruler, **other: terms(**ruler, **other),
    rulers,
    capacities=st.just((Capacity("gpu", CAPACITY),)),
    preemption=st.booleans(),
    semantic=st.booleans(),
    judges=st.sampled_from([("judge",), ("judge", "a"), ()]),
    judging_ms=st.just(2_000),
    authority_ms=st.just(5_000),
)
names = st.sampled_from(["1", "2", "3", "4", "5"])
findings = st.lists(
    st.builds(finding, some_agent, st.sampled_from([None, "37", "42"]), st.integers(-1, 1)),
    max_size=4,
    unique_by=lambda one: one.agent,
).map(tuple)


@st.composite
def commands(draw: st.DrawFn, play: Played) -> Command:  # noqa: PLR0911
    """Any command, of whoever; about what there is, as a rule."""
    speaker = draw(st.sampled_from([*AGENTS, "judge", "chief", "mallory"]))
    known = [one.conflict for one in play.ground.conflicts] or ["f"]
    conflict = draw(st.sampled_from(known))
    party = draw(st.sampled_from(["1", "2", "3", "4", "5", *AGENTS, "mallory"]))
    kind = draw(st.integers(0, 11))
    match kind:
        case 0 | 1 | 2:
            return DeclareIntention(draw(some_agent), draw(names), draw(intents()), ())
        case 3:
            return FinishIntention(draw(some_agent), draw(names))
        case 4:
            return draw(st.sampled_from([RenewIntention(speaker, party), WithdrawIntention(speaker, party, "")]))
        case 5:
            return CompareFindings("boss", draw(st.sampled_from(["f", "g"])), draw(findings), ())
        case 6 | 7:
            return JudgeConflict(
                draw(st.sampled_from(["judge", speaker])),
                conflict,
                draw(st.sampled_from([None, party])),
                draw(st.sampled_from(["findings", "none", "duplicate_work", "contradictory_actions"])),
                draw(st.sampled_from([(), (party,)])),
                "",
                draw(st.sampled_from([-1, 0, 699_999, 700_000, 1_000_000, 1_000_001])),
                "",
            )
        case 8:
            return DeclineJudgement(speaker, conflict, "")
        case 9:
            return AppealResolution(speaker, conflict, party, "")
        case 10:
            requests = [one.request for one in play.ground.conflicts if one.request] or ["1"]
            choices = st.sampled_from([None, *AGENTS, "a 2", "mallory"])
            return TakeVerdict("chief", "acme", draw(st.sampled_from(requests)), draw(choices), "")
    return RuleOnConflict(draw(st.sampled_from([speaker, "chief"])), conflict, party, "")


@given(st.data())
@examples(120)
def test_whatever_is_said(data: st.DataObject) -> None:
    play = Played(data.draw(configured))
    for _ in range(data.draw(st.integers(3, 18))):
        before = play.ground
        play.do(
            data.draw(st.one_of(commands(play), st.just(Tick()))), after_ms=data.draw(st.sampled_from([0, 10, 2_500]))
        )
        _acting_fit_together(before, play.ground)
        _who_waits_has_a_reason(play.ground)
    _resolved_once_and_by_a_party(play)
    _ended_once(play)


def _ended_once(play: Played) -> None:
    """Unless an authority has it stand again."""
    ended: set[str] = set()
    for event in play.events:
        if isinstance(event, IntentionEnded):
            assert event.intention not in ended, event
            ended.add(event.intention)
        elif isinstance(event, IntentionDeclared | IntentionFavoured):
            ended.discard(event.intention)


def _acting_fit_together(before: Ground, ground: Ground) -> None:
    """Of those who act no two collide by rule, and together they use no more than there is."""
    acting = [one for one in ground.live if one.status == ACTING]
    for one, other in combinations(acting, 2):
        assert kind_of(ground.terms, one.intent, other.intent) is None, (one, other)
    for one in acting:
        users = [other for other in acting if other is not one and other.intent.resource == one.intent.resource]
        users = [other for other in users if clashes_at_all(one.intent, other.intent)]
        assert demand(ground.terms, one.intent, users) is None


def clashes_at_all(one: Intent, other: Intent) -> bool:
    begins = max(-1 if i.from_ms is None else i.from_ms for i in (one, other))
    ends = min(10**9 if i.until_ms is None else i.until_ms for i in (one, other))
    return begins < ends


def _who_waits_has_a_reason(ground: Ground) -> None:
    """Who waits collides with who goes before; who is held is so by a conflict that is open."""
    ahead = [one for one in ground.live if one.status == ACTING]
    for one in sorted([one for one in ground.live if one.status != ACTING], key=lambda one: one.rank):
        if one.status == QUEUED:
            assert clashes_of(ground.terms, one, ahead), one
        else:
            assert one.status == HELD
            conflict = ground.conflict(one.conflict)
            assert conflict is not None and conflict.is_open
        ahead.append(one)


def _resolved_once_and_by_a_party(play: Played) -> None:
    resolved = Counter(e.conflict for e in play.told(ConflictResolved))
    assert all(count == 1 for count in resolved.values()), "never two resolutions"
    assert all(count == 1 for count in Counter(e.conflict for e in play.told(AppealDecided)).values())
    parties: dict[str, set[str]] = {}
    for event in play.events:
        if isinstance(event, ConflictFound):
            parties.setdefault(event.conflict, set()).update(party.party for party in event.parties)
        if isinstance(event, ConflictResolved):
            sides = {one.party for one in (*event.winners, *event.losers)}
            assert sides <= parties[event.conflict] and event.winners
            assert not {one.party for one in event.winners} & {one.party for one in event.losers}
            assert 0 <= event.confidence_millionths <= 1_000_000
            assert event.by_rule in parties[event.conflict]
            assert (event.method == "model") <= (event.by in ("judge", "a") and not event.fallback)
            if event.method == "model":
                assert event.confidence_millionths >= DEFAULT.confidence_least_millionths
        if isinstance(event, AppealDecided):
            assert event.winner.party in parties[event.conflict]


@given(st.lists(intents(), min_size=2, max_size=5), st.randoms(use_true_random=False))
@examples(100)
def test_the_order_of_arrival_does_not_change_what_is_found(what: list[Intent], random: Any) -> None:
    """Which collide, and how, is the same whoever comes first: of any two alone, and of more on which targets."""
    named = [(f"{place}", one) for place, one in enumerate(what)]
    for pair in combinations(named, 2):
        assert _found(pair) == _found(pair[::-1])
    calm = [
        (name, intent(one.action, f"{one.target} {name}" if place % 2 else one.target, priority=one.priority))
        for place, (name, one) in enumerate(named)
    ]
    shuffled = list(calm)
    random.shuffle(shuffled)
    groups = _targets_in_conflict(calm)
    assert _targets_in_conflict(shuffled) == groups


def _found(arrivals: Any) -> set[tuple[str, frozenset[str]]]:
    play = Played(terms(capacities=(Capacity("gpu", CAPACITY),)))
    for name, what in arrivals:
        play.declare(name, what)
    return play.found


def _targets_in_conflict(arrivals: Any) -> set[str]:
    play = Played()
    for name, what in arrivals:
        play.declare(name, what)
    return {event.target for event in told(play.events, ConflictFound)}


@given(st.data())
@examples(60)
def test_who_came_earlier_on_another_ground_changes_nothing(data: st.DataObject) -> None:
    """Independent intentions, each on a target of its own, never collide, in whatever order they come and go."""
    play = Played()
    order = data.draw(st.permutations(range(6)))
    for number in order:
        play.declare(f"a{number}", action=data.draw(st.sampled_from(["write", "delete"])), target=f"t{number}")
    for number in data.draw(st.permutations(range(6))):
        play.done(f"a{number}")
    assert not play.found and all(one.status == "done" for one in play.ground.intentions)


@given(configured, st.lists(st.tuples(names, intents()), max_size=12))
@examples(60)
def test_what_is_due_is_done_by_one_tick_and_nothing_stays_for_ever(
    configuration: Terms, arrivals: list[tuple[str, Intent]]
) -> None:
    play = Played(configuration)
    for name, what in arrivals:
        play.declare(name, what)
    for _ in range(40):
        due_ms = None if play.state is None else decider.deadline_ms(play.state)
        if due_ms is None:
            break
        assert due_ms > play.now_ms, "a tick leaves nothing that is due"
        assert play.tick(due_ms - play.now_ms), "what is due brings an event"
    assert play.ground.intentions == () and play.ground.conflicts == ()
    assert {e.outcome for e in play.events if hasattr(e, "outcome")} <= {"expired", *LOST}
