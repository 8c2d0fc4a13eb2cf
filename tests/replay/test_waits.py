"""The wait-for graph: who is in whose way, over locks and pools, and what is a ring."""

import pytest
from accord.replay.sharing import encloses, sharing_at
from accord.replay.waits import Edge, deadlocks, wait_graph, youngest
from accord.schemas.messages.limits import ConfigurePool, ReleaseCapacity, RequestCapacity
from accord.schemas.messages.locks import AcquireLock, ReachBarrier

from tests.histories.play import Play


@pytest.fixture
def play() -> Play:
    return Play(locks=2, limits=2)


def lock(play: Play, name: str, owner: str, permits: int | None = None, priority: int = 0) -> None:
    play.send(name, AcquireLock(owner[0], owner, 60_000, None, permits, priority))


def ask(play: Play, name: str, owner: str, amount: int = 1, mode: str = "shared", tokens: int = 0) -> int:
    command = RequestCapacity(owner[0], owner, "", amount, mode, 0, tokens, 60_000, None, False)
    return play.send(name, command, domain="limits", message_id=owner).decision.seq


def configure(play: Play, name: str, capacity: int, tokens_per_minute: int | None = None) -> None:
    play.send(name, ConfigurePool("ops", capacity, None, tokens_per_minute, (), (), ()), domain="limits")


def seen(play: Play) -> list[str]:
    """The edges as short text; `>` is a wait for who holds, `)` for who comes before."""
    edges = wait_graph(sharing_at(play))
    return [f"{edge.waiter}{')' if edge.token is None else '>'}{edge.holder} {edge.lock}" for edge in edges]


def test_who_waits_for_a_mutex_waits_for_its_holder_and_who_comes_before(play: Play) -> None:
    lock(play, "m", "a/1")
    for owner in ("b/1", "c/1", "d/1"):
        lock(play, "m", owner)
    lock(play, "m", "e/1", priority=1)
    assert seen(play) == ["e>a m", "b>a m", "b)e m", "c>a m", "c)b m", "d>a m", "d)c m"]


def test_who_would_share_waits_for_a_writer_before_it_but_not_for_readers(play: Play) -> None:
    lock(play, "r", "a/1", 0)
    lock(play, "r", "b/1")
    lock(play, "r", "c/1", 0)
    assert seen(play) == ["b>a r", "c)b r"]


def test_who_wants_a_permit_waits_for_all_who_have_one(play: Play) -> None:
    for owner in ("a/1", "b/1", "c/1", "d/1"):
        lock(play, "s", owner, 2)
    assert seen(play) == ["c>a s", "c>b s", "d>a s", "d>b s", "d)c s"]


def test_who_wants_capacity_waits_for_who_holds_it_only_while_there_is_too_little(play: Play) -> None:
    configure(play, "p", 8)
    ask(play, "p", "a/1", 3)
    ask(play, "p", "b/1", 4)
    ask(play, "p", "c/1", 2)
    ask(play, "p", "d/1", 1)
    assert seen(play) == ["c>a p", "c>b p", "d)c p"]
    configure(play, "x", 8)
    ask(play, "x", "a/2")
    ask(play, "x", "b/2", mode="exclusive")
    assert seen(play)[3:] == ["b>a x"]


def test_who_waits_for_time_alone_waits_for_nobody(play: Play) -> None:
    configure(play, "rate", 8, tokens_per_minute=100)
    ask(play, "rate", "a/1", tokens=80)
    ask(play, "rate", "b/1", tokens=80)
    configure(play, "paused", 8)
    token = ask(play, "paused", "a/2")
    play.send("paused", ReleaseCapacity("a", token, "a/2", None, 60_000), domain="limits")
    ask(play, "paused", "b/2")
    assert [len(pool.waiters) for pool in sharing_at(play).pools] == [1, 1]
    assert seen(play) == []


def test_parties_of_a_barrier_wait_for_nobody_in_particular(play: Play) -> None:
    play.send("gate", ReachBarrier("a", 3, 60_000, None))
    play.send("gate", ReachBarrier("b", 3, 60_000, None))
    assert seen(play) == []


def test_tasks_of_one_chain_are_no_edge_but_others_before_them_are(play: Play) -> None:
    lock(play, "m", "a/1", 0)
    for owner in ("a/2", "b/1", "a/3", "a/4"):
        lock(play, "m", owner, None if owner != "b/1" else 0)
    assert seen(play) == ["b)a m", "a)b m", "a)b m"]


# -- rings


def ring_of(play: Play) -> list[set[tuple[str, str, str]]]:
    rings = deadlocks(wait_graph(sharing_at(play)))
    return [{(edge.waiter, edge.lock, edge.holder) for edge in ring} for ring in rings]


def test_a_ring_over_locks_and_pools_in_several_partitions(play: Play) -> None:
    lock(play, "m", "a/1")
    ask(play, "p", "b/1")
    lock(play, "n", "c/1")
    ask(play, "p", "a/2")
    lock(play, "n", "b/2")
    assert ring_of(play) == []
    lock(play, "m", "c/2")
    lock(play, "m", "d/1")
    assert ring_of(play) == [{("a", "p", "b"), ("b", "n", "c"), ("c", "m", "a")}]
    (ring,) = deadlocks(wait_graph(sharing_at(play)))
    assert [edge.holder for edge in ring] == [edge.waiter for edge in [*ring[1:], ring[0]]]
    assert youngest(ring) == "c"


def test_a_ring_through_the_queue(play: Play) -> None:
    """c would fit beside a, but comes after b, which waits for a, which waits for what c holds."""
    lock(play, "other", "c/1")
    lock(play, "rw", "a/1", 0)
    lock(play, "rw", "b/1")
    lock(play, "rw", "c/2", 0)
    assert ring_of(play) == []
    lock(play, "other", "a/2")
    assert ring_of(play) == [{("c", "rw", "b"), ("b", "rw", "a"), ("a", "other", "c")}]


def test_rings_that_have_nothing_in_common_are_all_told(play: Play) -> None:
    for one, other in (("a", "b"), ("c", "d")):
        lock(play, f"{one}1", f"{one}/1")
        lock(play, f"{other}1", f"{other}/1")
        lock(play, f"{other}1", f"{one}/2")
        lock(play, f"{one}1", f"{other}/2")
    assert len(ring_of(play)) == 2


def edge(waiter: str, holder: str, token: int | None = 7) -> Edge:
    return Edge(waiter[0], waiter[0], "m", holder[0], holder[0], token, "locks", waiter, holder, 1)


def test_a_wait_keeps_only_what_was_taken_around_it() -> None:
    """b waits for what one task of a holds; another task of a waits for b, beside that hold or within it."""
    assert deadlocks([edge("b/5/6", "a/1/2"), edge("a/1/3", "b/5")]) == []
    (ring,) = deadlocks([edge("b/5/6", "a/1/2"), edge("a/1/2/3", "b/5")])
    assert len(ring) == 2


def test_who_comes_before_is_waited_for_as_a_request_not_as_a_holder() -> None:
    """a comes after a request of b, which waits for c, which waits for a; another request of b has nothing to do."""
    others = [edge("c/1/2", "a/1"), edge("a/1/2", "b/1/2", None)]
    assert len(deadlocks([*others, edge("b/1/2", "c/1")])) == 1
    assert deadlocks([*others, edge("b/1/2/3", "c/1")]) == []


@pytest.mark.parametrize(
    ("holder", "waiter", "expected"),
    [
        ("a/1", "a/1/2", True),
        ("a/1/2", "a/1/2/3", True),
        ("a/1", "a/12/3", False),
        ("a/1/2", "a/1/3", False),
        ("a/1/2", "a/1", False),
        ("a/1/2", "a/1/2", False),
        ("a/1", "b/1/2", False),
        ("a/1", "a/2", True),  # numbers that do not tell
        ("a/1", "b/2", False),
    ],
)
def test_what_a_wait_keeps(holder: str, waiter: str, expected: bool) -> None:
    assert encloses(holder, waiter) is expected
