"""The wait-for graph: who is in whose way, over locks and pools, and what is a ring."""

import pytest
from accord.replay.sharing import sharing_at
from accord.replay.waits import rings, wait_graph
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


def test_who_would_share_waits_for_readers_too_behind_a_writer(play: Play) -> None:
    lock(play, "r", "a/1", 0)
    lock(play, "r", "b/1")
    lock(play, "r", "c/1", 0)
    assert seen(play) == ["b>a r", "c>a r", "c)b r"]


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
    assert seen(play) == ["c>a p", "c>b p", "d>a p", "d>b p", "d)c p"]
    configure(play, "x", 8)
    ask(play, "x", "a/2")
    ask(play, "x", "b/2", mode="exclusive")
    assert seen(play)[5:] == ["b>a x"]


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
    assert seen(play) == ["b>a m", "b)a m", "a)b m", "a)b m"]


# -- rings


def ring_of(play: Play) -> list[list[tuple[str, str, str]]]:
    return [[(edge.waiter, edge.lock, edge.holder) for edge in ring] for ring in rings(sharing_at(play))]


def test_a_ring_over_locks_and_pools_in_several_partitions(play: Play) -> None:
    lock(play, "m", "a/1")
    ask(play, "p", "b/1")
    lock(play, "n", "c/1")
    ask(play, "p", "a/1/1")
    lock(play, "n", "b/1/1")
    assert ring_of(play) == []
    lock(play, "m", "c/1/1")
    lock(play, "m", "d/1")
    assert ring_of(play) == [[("c", "m", "a"), ("a", "p", "b"), ("b", "n", "c")]], "the youngest first"
    (ring,) = rings(sharing_at(play))
    assert set(ring) <= set(wait_graph(sharing_at(play))), "its edges are those of the graph"


def test_a_ring_through_the_queue(play: Play) -> None:
    """c would fit beside a, but comes after b, which waits for a, which waits for what c holds."""
    lock(play, "other", "c/1")
    lock(play, "rw", "a/1", 0)
    lock(play, "rw", "b/1")
    lock(play, "rw", "c/1/1", 0)
    assert ring_of(play) == []
    lock(play, "other", "a/1/1")
    assert ring_of(play) == [[("c", "rw", "a"), ("a", "other", "c")]]


def test_who_can_get_what_it_wants_from_another_is_in_no_ring(play: Play) -> None:
    """a and b wait for each other, but b's permit may also come from c, which waits for nobody."""
    lock(play, "m", "b/1")
    for owner in ("a/1", "c/1", "b/1/1"):
        lock(play, "s", owner, 2)
    lock(play, "m", "a/1/1")
    assert ring_of(play) == [] and "b>a s" in seen(play) and "a>b m" in seen(play)
    lock(play, "m", "c/1/1")
    assert len(ring_of(play)) == 1


def test_what_was_taken_beside_a_wait_does_not_close_a_ring(play: Play) -> None:
    lock(play, "m", "a/1/1")
    lock(play, "n", "b/1")
    lock(play, "m", "b/1/1")
    lock(play, "n", "a/1/2")
    assert ring_of(play) == []


def test_rings_that_have_nothing_in_common_are_all_told_once(play: Play) -> None:
    for one, other in (("a", "b"), ("c", "d")):
        lock(play, f"{one}1", f"{one}/1")
        lock(play, f"{other}1", f"{other}/1")
        lock(play, f"{other}1", f"{one}/1/1")
        lock(play, f"{one}1", f"{other}/1/1")
    assert ring_of(play) == [[("b", "a1", "a"), ("a", "b1", "b")], [("d", "c1", "c"), ("c", "d1", "d")]]


def test_who_waits_shows_what_its_wait_keeps(play: Play) -> None:
    lock(play, "m", "a/1")
    lock(play, "n", "a/2")
    ask(play, "p", "a/1/1")
    lock(play, "busy", "b/1")
    lock(play, "busy", "a/1/1/1")
    (waiter,) = next(view for view in sharing_at(play).locks if view.name == "busy").waiters
    assert waiter.holds == ("m", "p")
