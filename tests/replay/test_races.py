"""Races: each kind that is planted is found and named; where agents keep to their locks, none is."""

from collections.abc import Callable
from random import Random

import pytest
from accord.replay.causality import causality
from accord.replay.races import Race, Races, races
from accord.replay.source import open_source
from accord.schemas.messages.limits import ConfigurePool, ReportStaleWrite
from accord.schemas.messages.locks import ReportStaleWrite as ReportStaleLockWrite
from accord.schemas.messages.log import Tick
from accord.schemas.messages.state import CommitChanges, SeenKey, Write
from accord.schemas.messages.transactions import BeginTransaction, CommitTransaction, EnlistChanges, ScopeChanges
from accord.schemas.position import Position

from accord.errors import NotFound
from tests.histories.crowd import Crowd, token_of
from tests.histories.office import Office, step
from tests.histories.record import HERE, SOUND_NAMES


def crowd() -> Crowd:
    return Crowd(locks=2, signals=2, limits=1)


def two_writers() -> Crowd:
    play = crowd()
    play.emit("ada", "booked", writes="rooms/12")
    play.emit("bob", "booked", writes=["rooms/12", "rooms/13"])
    return play


def two_writers_of_whom_one_has_a_lock() -> Crowd:
    play = crowd()
    play.acquire("ada", "room_12")
    play.emit("ada", "booked", writes="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    return play


def two_writers_with_different_locks() -> Crowd:
    play = crowd()
    play.acquire("ada", "room_12")
    play.acquire("bob", "room_twelve")
    play.emit("ada", "booked", writes="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    return play


def a_reader_beside_a_writer() -> Crowd:
    play = crowd()
    play.emit("ada", "looked", reads="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    return play


def a_reader_who_wrote_by_what_it_read() -> Crowd:
    play = crowd()
    play.emit("ada", "looked", reads="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    play.emit("ada", "booked", writes="rooms/12")
    return play


def a_writer_who_let_go_too_early() -> Crowd:
    play = crowd()
    token = token_of(play.acquire("ada", "room_12"), "ada")
    play.release("ada", "room_12", token)
    play.acquire("bob", "room_12")
    play.emit("bob", "booked", writes="rooms/12")
    play.emit("ada", "booked", writes="rooms/12")
    return play


def a_writer_whose_lease_was_over() -> Crowd:
    play = crowd()
    play.acquire("ada", "room_12", lease_ms=1_000)
    play.ask("ops", "room_12", Tick(), after_ms=2_000)
    play.acquire("bob", "room_12")
    play.emit("bob", "booked", writes="rooms/12")
    play.emit("ada", "booked", writes="rooms/12")
    return play


def two_readers_of_whom_one_wrote() -> Crowd:
    play = crowd()
    play.acquire("ada", "shelf", permits=0)
    play.acquire("bob", "shelf", permits=0)
    play.emit("ada", "sorted", writes="shelf")
    play.emit("bob", "looked", reads="shelf")
    return play


def a_body_that_outlived_its_lease() -> Crowd:
    play = crowd()
    mine = token_of(play.acquire("ada", "room_12", lease_ms=1_000), "ada")
    play.body("ada", "booker", "started", "room_12", mine)
    play.ask("ops", "room_12", Tick(), after_ms=2_000)
    theirs = token_of(play.acquire("bob", "room_12"), "bob")
    play.body("bob", "booker", "started", "room_12", theirs)
    play.body("ada", "booker", "complete", "room_12", mine)
    play.body("bob", "booker", "complete", "room_12", theirs)
    return play


def a_body_without_its_lock() -> Crowd:
    play = crowd()
    token = token_of(play.acquire("ada", "room_12"), "ada")
    play.body("ada", "booker", "started", "room_12", token)
    play.body("bob", "booker", "started")
    play.body("bob", "booker", "complete")
    play.body("ada", "booker", "complete", "room_12", token)
    return play


def two_terms_for_a_pool() -> Crowd:
    play = crowd()
    play.ask("ada", "gpu", ConfigurePool("ada", 2, None, None, (), (), ()), domain="limits")
    play.ask("bob", "gpu", ConfigurePool("bob", 3, None, None, (), (), ()), domain="limits")
    return play


def put(play: Crowd, agent: str, key: str, value: str, seen: int | None = None) -> None:
    reads = () if seen is None else (SeenKey(key, seen),)
    changes = CommitChanges(agent, "serializable", None, reads, (), (Write(key, "put", value),), "", "")
    play.ask(agent, "customer", changes, domain="state")


def two_blind_puts() -> Crowd:
    play = Crowd(state=1)
    put(play, "ada", "limit", "1")
    put(play, "bob", "limit", "2")
    return play


def transfer(play: Crowd, agent: str, name: str, value: str, *, other: str = "b", abort: bool = False) -> None:
    """A transaction that writes blindly in two scopes."""
    seen = (SeenKey("limit", 99),) if abort else ()
    parts = tuple(
        [ScopeChanges(scope, "serializable", None, seen, (), (Write("limit", "put", value),)) for scope in ("a", other)]
    )
    command = BeginTransaction(agent, (), parts, True, 60_000, 60_000)
    play.follow("transactions", play.ask(agent, name, command, domain="transactions"))


def two_blind_transactions() -> Crowd:
    play = Crowd(state=1, transactions=2)
    transfer(play, "ada", "t1", "1")
    transfer(play, "eve", "t2", "3", abort=True)
    transfer(play, "bob", "t4", "2", other="c")
    return play


def a_stale_write_to_what_a_lock_guards() -> Crowd:
    play = crowd()
    old = token_of(play.acquire("ada", "room_12", lease_ms=1_000), "ada")
    play.ask("ops", "room_12", Tick(), after_ms=2_000)
    new = token_of(play.acquire("bob", "room_12"), "bob")
    play.ask("ada", "room_12", ReportStaleLockWrite("ada", "rooms/12", old, new))
    return play


def a_stale_write_to_what_a_pool_guards() -> Crowd:
    play = crowd()
    play.ask("ada", "gpu", ReportStaleWrite("ada", "models/gpu", 2, 9), domain="limits")
    return play


def a_result_that_came_after_another_had_taken_over() -> Office:
    office = Office()
    office.submit("t1", step("write"))
    office.join("ada", "write")
    first = office.start("t1", "write", "ada")
    office.fail("t1", "write", "ada", first)
    office.tell("tasks", "t1", Tick(), task="t1", after_ms=600_000)
    office.join("bob", "write")
    office.start("t1", "write", "bob", attempt=2)
    office.complete("t1", "write", "ada", first)
    return office


PLANTED: dict[Callable[[], Crowd | Office], tuple[str, str]] = {
    two_writers: ("write_write", "rooms/12"),
    two_writers_of_whom_one_has_a_lock: ("write_write", "rooms/12"),
    two_writers_with_different_locks: ("write_write", "rooms/12"),
    a_reader_beside_a_writer: ("read_write", "rooms/12"),
    a_reader_who_wrote_by_what_it_read: ("lost_update", "rooms/12"),
    a_writer_who_let_go_too_early: ("write_write", "rooms/12"),
    a_writer_whose_lease_was_over: ("lost_lease", "rooms/12"),
    two_readers_of_whom_one_wrote: ("shared_lock", "shelf"),
    a_body_that_outlived_its_lease: ("lost_lease", "room_12"),
    a_body_without_its_lock: ("unguarded", "booker"),
    two_blind_puts: ("write_write", "customer/limit"),
    two_blind_transactions: ("write_write", "a/limit"),
    two_terms_for_a_pool: ("write_write", "pool gpu"),
    a_stale_write_to_what_a_lock_guards: ("stale_token", "rooms/12"),
    a_stale_write_to_what_a_pool_guards: ("stale_token", "models/gpu"),
    a_result_that_came_after_another_had_taken_over: ("stale_token", "t1 write"),
}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_a_planted_race_is_found_and_named(planted: Callable[[], Crowd | Office]) -> None:
    found = races(planted())
    (race,) = found.races
    assert (race.kind, race.resource) == PLANTED[planted], race.text
    assert race.sure and race.times == 1 and not found.untold and not found.unknown and not found.is_cut


def only(play: Crowd) -> Race:
    (race,) = races(play).races
    return race


def test_both_histories_are_told_each_without_what_the_other_knew() -> None:
    play = crowd()
    opened = play.emit("desk", "opened")
    for agent in ("ada", "bob"):
        play.tell(agent, opened, "signals", "opened")
    play.acquire("ada", "room_12")
    play.emit("ada", "booked", writes="rooms/12")
    play.emit("bob", "noted", told=False)
    play.emit("bob", "booked", writes="rooms/12")
    race = only(play)
    assert race.second is not None
    assert {race.first.agent, race.second.agent} == {"ada", "bob"}
    graph = causality(play)
    for side, other in ((race.first, race.second), (race.second, race.first)):
        assert side.command is not None and other.command is not None
        against = graph.at(Position.parse(other.command))
        assert side.history[-1].position == side.command
        for one in side.history:
            node = graph.at(Position.parse(one.position))
            assert node is not None and against is not None and graph.order(node, against) == "concurrent"
    ada = race.first if race.first.agent == "ada" else race.second
    assert ada.locks == {"room_12": 2} and ada.history[0].text == "ada: AcquireLock room_12"
    assert "under room_12 (token 2)" in race.text and "under no lock" in race.text


def test_a_refused_write_is_told_with_the_grant_that_came_before_it() -> None:
    race = only(a_stale_write_to_what_a_lock_guards())
    assert race.second is not None
    assert (race.first.agent, race.second.agent, race.second.event) == ("ada", "bob", "LockGranted")
    token = next(iter(race.second.locks.values()))
    assert race.text == f"ada came to rooms/12 with token 2, but token {token} had been there: refused"


def test_the_same_two_are_told_once_with_how_often() -> None:
    play = crowd()
    for _ in range(3):
        play.emit("ada", "booked", writes="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    play.emit("bob", "booked", writes="rooms/12")
    race = only(play)
    assert race.times == 3, "bob's first write, against each of ada's; before his second he was told of them"


def test_what_others_have_enlisted_is_theirs() -> None:
    play = Crowd(state=1, transactions=2)
    part = ScopeChanges("a", "serializable", None, (), (), (Write("limit", "put", "1"),))
    own = ScopeChanges("c", "serializable", None, (), (), (Write("limit", "put", "1"),))
    play.ask("ada", "t2", BeginTransaction("ada", ("eve",), (), False, 60_000, 60_000), domain="transactions")
    play.ask("eve", "t2", EnlistChanges("eve", (part,)), domain="transactions")
    asked = play.ask("ada", "t2", CommitTransaction("ada", (own,)), domain="transactions")
    play.follow("transactions", asked)
    transfer(play, "bob", "t1", "2", other="d")
    race = only(play)
    assert (race.kind, race.resource) == ("write_write", "a/limit")
    assert race.second is not None and {race.first.agent, race.second.agent} == {"eve", "bob"}


@pytest.mark.parametrize(
    "kind", ["told", "two_readers", "same_terms", "same_grant", "one_process", "another_resource", "version"]
)
def test_what_is_no_race(kind: str) -> None:
    play = Crowd(state=1) if kind == "version" else crowd()
    match kind:
        case "version":
            put(play, "ada", "limit", "1", seen=0)
            put(play, "bob", "limit", "2", seen=0)  # refused: he was told, and tries again
            assert "CommitRefused" in str(play.log_events["state", 0][-1].headers)
            put(play, "bob", "limit", "2", seen=1)
        case "told":
            wrote = play.emit("ada", "booked", writes="rooms/12")
            play.tell("bob", wrote, "signals", "booked")
            play.emit("bob", "booked", writes="rooms/12")
        case "two_readers":
            play.emit("ada", "looked", reads="rooms/12")
            play.emit("bob", "looked", reads="rooms/12")
        case "same_terms":
            for agent in ("ada", "bob"):
                terms = ConfigurePool(agent, 2, None, None, (), (), ())
                play.ask(agent, "gpu", terms, domain="limits")
        case "same_grant":
            token = token_of(play.acquire("boss", "room_12"), "boss")
            for agent in ("ada", "bob"):
                play.emit(agent, "booked", writes="rooms/12", lock="room_12", token=token)
        case "one_process":
            play.emit("ada", "booked", writes="rooms/12")
            play.emit("ada", "booked", writes="rooms/12")
        case "another_resource":
            play.emit("ada", "booked", writes="rooms/12")
            play.emit("bob", "booked", writes="rooms/13")
    found = races(play)
    assert found.races == () and found.accesses == 2


@pytest.mark.parametrize("seed", range(10))
def test_agents_that_keep_to_their_locks_do_not_race(seed: int) -> None:
    """They read and write under the lock of the room, as readers or alone, in bodies and by themselves."""
    play = disciplined(Random(seed), careless=False)
    found = races(play)
    assert found.races == (), [race.text for race in found.races]
    assert found.accesses > 30 and found.resources >= 3


@pytest.mark.parametrize("seed", range(3))
def test_one_who_does_not_is_found_among_them(seed: int) -> None:
    found = races(disciplined(Random(seed), careless=True))
    assert found.races and all("mallory" in race.text for race in found.races), [race.text for race in found.races]


def disciplined(chance: Random, *, careless: bool) -> Crowd:
    play = crowd()
    for number in range(60):
        agent, room = chance.choice(("ada", "bob", "eve", "kim")), f"room_{chance.randrange(3)}"
        token = token_of(play.acquire(agent, room), agent)
        if chance.random() < 0.5:
            play.body(agent, "booker", "started", room, token)
            play.emit(agent, "looked", reads=room)
            play.emit(agent, "booked", writes=room)
            play.body(agent, "booker", "complete", room, token)
        else:
            play.emit(agent, chance.choice(("looked", "booked")), **{chance.choice(("reads", "writes")): room})
        play.release(agent, room, token)
        if careless and number == 30:
            play.emit("mallory", "booked", writes=room)
    return play


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_recorded_histories_have_none_but_refused_writes(name: str) -> None:
    """`hotel` reports writes with outdated tokens; these are told, and nothing else is."""
    with open_source(HERE / f"{name}.accord") as source:
        found = races(source)
    assert {race.kind for race in found.races} == ({"stale_token"} if name == "hotel" else set())
    assert found.unknown == 0


def test_accesses_whose_commands_are_gone_are_counted() -> None:
    play = two_writers()
    play.log_commands = {where: [] for where in play.log_commands}
    found: Races = races(play)
    assert (found.races, found.unknown) == ((), 3)


def test_a_domain_that_is_not_there() -> None:
    assert races(two_writers(), domains=("locks",)).accesses == 0
    with pytest.raises(NotFound):
        races(two_writers(), domains=("tasks",))
