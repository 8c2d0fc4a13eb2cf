"""Transfers between scopes, whatever happens on the way: all or nothing, and it comes to an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from accord.schemas.messages import Event
from accord.schemas.messages.state import ChangesPrepared, PreparedAborted, PreparedCommitted
from accord.schemas.messages.transactions import (
    Guard,
    Participant,
    PrepareAsked,
    TransactionDecided,
    TransactionEnded,
)
from accord.streams.decider import dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.transactions.transaction import Transaction
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.counts import examples
from tests.streams.transfers import ACCOUNTS, LOCK, MONEY, POOL, SCOPES, Cluster, Seen, problem_of

PAIRS = [(one, other) for one in SCOPES for other in SCOPES if one != other]


def begin(cluster: Cluster, n: int) -> None:
    (one, other), account = PAIRS[n % len(PAIRS)], ACCOUNTS[n % 2]
    parts = cluster.part(one, account, -n), cluster.part(other, account, n)
    cluster.begin(f"t{len(cluster.seen)}", parts)


def begin_everywhere(cluster: Cluster, n: int) -> None:
    parts = tuple([cluster.part(scope, ACCOUNTS[n % 2], by) for scope, by in zip(SCOPES, (-n, n, 0), strict=True)])
    cluster.begin(f"t{len(cluster.seen)}", parts)


def begin_guarded(cluster: Cluster, n: int) -> None:
    """By whoever was granted the lock, or a part of the pool, last, and may hold it no more."""
    (one, other), account = PAIRS[n % len(PAIRS)], ACCOUNTS[n % 2]
    parts = cluster.part(one, account, -n), cluster.part(other, account, n)
    lock, part = cluster.of_lock, cluster.of_pool
    guards: tuple[tuple[Guard, ...], ...] = ((lock, part), (lock,), (part,))
    cluster.begin(f"t{len(cluster.seen)}", parts, *guards[n % 3])


def change_hands(cluster: Cluster, n: int) -> None:
    """The lock is asked for, given back, or both."""
    if n % 3:
        cluster.acquire(f"o{n}")
    if n % 2:
        cluster.release()


def change_parts(cluster: Cluster, n: int) -> None:
    """Likewise a part of the pool."""
    if n % 3:
        cluster.request(f"o{n}")
    if n % 2:
        cluster.give_back()


def roll_back(cluster: Cluster, n: int) -> None:
    names = [key for domain, key in cluster.states if domain == "transactions"]
    if names:
        cluster.roll_back(names[n % len(names)])


def deliver(cluster: Cluster, n: int) -> None:
    if cluster.bag:
        cluster.take(cluster.bag.pop(n % len(cluster.bag)))


def deliver_all(cluster: Cluster, n: int) -> None:
    for order in [cluster.bag.pop(0) for _ in cluster.bag[: n % 8]]:
        cluster.take(order)


def deliver_twice(cluster: Cluster, n: int) -> None:
    if cluster.bag:
        cluster.take(cluster.bag[n % len(cluster.bag)])


def lose(cluster: Cluster, n: int) -> None:
    if cluster.bag:
        cluster.bag.pop(n % len(cluster.bag))


def let_time_pass(cluster: Cluster, n: int) -> None:
    cluster.now_ms += n * n * 3
    cluster.tick()


def change_inside(cluster: Cluster, n: int) -> None:
    cluster.transfer_inside(SCOPES[n % 3], n)


ACTIONS: list[Callable[[Cluster, int], None]] = [
    begin, begin_everywhere, deliver, deliver_all, deliver, deliver_twice, lose, let_time_pass, change_inside,
    begin_guarded, change_hands, change_parts, roll_back,
]  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Callable[[Cluster, int], None], int]]:
    """Long ones, so that much is on its way at once. From a seed: what Hypothesis draws itself is short."""
    if draw(st.booleans()):
        return draw(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), max_size=20))
    random = draw(st.randoms(use_true_random=False))
    weights = [random.choice((0, 1, 1, 2, 8)) for _ in ACTIONS[:-1]]
    return [
        (random.choices(ACTIONS, [*weights, 1])[0], random.randrange(100)) for _ in range(random.randrange(20, 120))
    ]  # fmt: skip


def total(cluster: Cluster) -> int:
    return sum(cluster.balance(scope, account)[0] for scope in SCOPES for account in ACCOUNTS)


@given(histories())
@examples(100)
def test_whatever_happens_all_is_done_or_nothing_and_nobody_is_stuck(steps: list[tuple[Any, int]]) -> None:
    cluster = Cluster()
    for act, n in steps:
        act(cluster, n)
    cluster.settle()
    assert problem_of(cluster.seen) is None
    assert not cluster.bag
    assert not any(cluster.states["state", scope].prepared for scope in SCOPES)
    lock = cluster.states.get(("locks", LOCK))
    pool = cluster.states["limits", POOL]
    assert (lock is None or not lock.pins) and not pool.pins and not pool.kept
    assert total(cluster) == MONEY * len(SCOPES) * len(ACCOUNTS)
    for (domain, key), state in cluster.states.items():
        fresh: Any = None
        for seen in cluster.seen:
            if (seen.domain, seen.key) == (domain, key):
                fresh = DOMAINS[domain].versions[1].evolve(fresh, seen.event)
        assert fresh == state
        if state is not None:
            kind = DOMAINS[domain].versions[1].state_type
            assert dump(restore(dump(state), kind)) == dump(state)


def test_a_transfer_in_peace_is_committed() -> None:
    cluster = Cluster()
    begin(cluster, 7)
    while cluster.bag:
        deliver(cluster, 0)
    assert problem_of(cluster.seen) is None
    transaction = next(state for (domain, _), state in cluster.states.items() if domain == "transactions")
    assert isinstance(transaction, Transaction) and transaction.status == "committed" and transaction.ended_ms
    one, other = PAIRS[7 % len(PAIRS)]
    assert (cluster.balance(one, "y")[0], cluster.balance(other, "y")[0]) == (93, 107)


OF_LOCK = (7, Cluster.acquire, Cluster.release)
OF_POOL = (8, Cluster.request, Cluster.give_back)
"""How a transfer is guarded, and how that changes hands."""


@pytest.mark.parametrize(
    ("guarded", "granted", "gone"),
    [(OF_LOCK, "LockGranted", "LockReleased"), (OF_POOL, "CapacityGranted", "CapacityReleased")],
)
def test_who_gets_it_next_comes_after_what_was_committed_under_it(guarded: Any, granted: str, gone: str) -> None:
    n, ask, leave = guarded
    cluster = Cluster()
    ask(cluster, "ada")
    begin_guarded(cluster, n)
    for _ in range(3):
        deliver(cluster, 0)  # all are asked; no vote is counted yet
    ask(cluster, "bob")
    leave(cluster)
    while cluster.bag:
        deliver(cluster, len(cluster.bag) - 1)
    assert problem_of(cluster.seen) is None
    kinds = [type(one.event).__name__ for one in cluster.seen]
    assert kinds.count(granted) == 2 and kinds.index(gone) < kinds.index("PreparedCommitted")
    assert kinds.index("GuardsReleased") < len(kinds) - 1 - kinds[::-1].index(granted)


@pytest.mark.parametrize(("guarded", "place"), [(OF_LOCK, LOCK), (OF_POOL, POOL)])
def test_who_lost_it_before_the_vote_commits_nothing(guarded: Any, place: str) -> None:
    n, ask, leave = guarded
    cluster = Cluster()
    ask(cluster, "ada")
    begin_guarded(cluster, n)
    leave(cluster)
    while cluster.bag:
        deliver(cluster, 0)
    assert problem_of(cluster.seen) is None
    (decided,) = [one.event for one in cluster.seen if isinstance(one.event, TransactionDecided)]
    assert (decided.outcome, decided.reason, decided.refused_by) == ("aborted", "not_holder", place)


def at_once(transaction: Transaction) -> tuple[Participant, ...]:
    """Whom a transaction would tell if locks and pools were as scopes."""
    return tuple([Participant(one.domain, one.key) for one in transaction.parties if not one.outcome])


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("guarded", "place"), [(OF_LOCK, LOCK), (OF_POOL, POOL)])
def test_were_guards_told_with_the_scopes_another_would_see_half_of_it(
    monkeypatch: pytest.MonkeyPatch, guarded: Any, place: str, *, early: bool
) -> None:
    n, ask, leave = guarded
    if early:
        monkeypatch.setattr(Transaction, "to_tell", at_once)
    cluster = Cluster()
    ask(cluster, "ada")
    begin_guarded(cluster, n)
    ask(cluster, "bob")
    for _ in range(3):
        deliver(cluster, 0)
    leave(cluster)
    for _ in range(3):
        deliver(cluster, 0)  # all votes are counted: it is committed
    deliver(cluster, len(cluster.bag) - 1)  # who is told last is there first
    cluster.settle()
    assert (f"when another got its {place}" in str(problem_of(cluster.seen))) is early


@pytest.mark.parametrize("lost", range(6))
def test_whichever_command_is_lost_it_comes_to_an_end_without_help(lost: int) -> None:
    cluster = Cluster()
    begin(cluster, 7)
    for n in range(20):
        if cluster.bag and n == lost:
            cluster.bag.pop(0)
        deliver(cluster, 0)
    cluster.settle()
    assert problem_of(cluster.seen) is None and total(cluster) == MONEY * len(SCOPES) * len(ACCOUNTS)


# -- the checker finds what is wrong


def committed() -> list[Seen]:
    cluster = Cluster()
    begin(cluster, 7)
    cluster.settle()
    return cluster.seen


def without(kind: type[Event]) -> list[Seen]:
    seen = committed()
    index = next(n for n, one in enumerate(seen) if type(one.event) is kind)
    return [*seen[:index], *seen[index + 1 :]]


def instead(seen: list[Seen], kind: type[Event], other: Callable[[Any], Event]) -> list[Seen]:
    """With another event in place of the first of a kind."""
    index = next(n for n, one in enumerate(seen) if type(one.event) is kind)
    return [*seen[:index], seen[index]._replace(event=other(seen[index].event)), *seen[index + 1 :]]


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (without(PreparedCommitted), "in doubt in the end"),
        (without(TransactionDecided), "which was not committed"),
        (without(TransactionEnded), "is stuck"),
        (instead(committed(), PreparedCommitted, lambda e: PreparedAborted(e.agent, e.transaction)), "was committed"),
        (instead(committed(), PrepareAsked, lambda e: replace(e, changes=e.changes[:1])), "mixed"),
        (instead(committed(), PrepareAsked, lambda e: replace(e, due_ms=1)), "after its time"),
        (instead(committed(), ChangesPrepared, lambda e: replace(e, changes=e.changes * 2)), "something else"),
    ],
)
def test_the_checker_finds_what_is_wrong(seen: list[Seen], problem: str) -> None:
    assert problem_of(committed()) is None
    assert problem in str(problem_of(seen))


def test_a_prepare_that_comes_again_after_the_end_does_nothing() -> None:
    cluster = Cluster()
    begin(cluster, 7)
    again = list(cluster.bag)
    while cluster.bag:
        deliver(cluster, 0)
    before = [cluster.balance(scope, account) for scope in SCOPES for account in ACCOUNTS]
    for late_ms in (0, 5_000, 20_000):
        cluster.now_ms += late_ms
        for order in again:
            cluster.take(order)
        while cluster.bag:
            deliver(cluster, 0)
        assert not any(cluster.states["state", scope].prepared for scope in SCOPES)
    assert [cluster.balance(scope, account) for scope in SCOPES for account in ACCOUNTS] == before
