"""The state decider, branch by branch."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import state
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.state import (
    Change,
    ChangesCommitted,
    CommitChanges,
    CommitRefused,
    ConfigureScope,
    Conflict,
    Entry,
    HistoryRead,
    KeyRead,
    RangeRead,
    ReadHistory,
    ReadKey,
    ReadRange,
    ReadRefused,
    ScopeConfigured,
    SeenKey,
    SeenRange,
    Write,
)
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.state.bounds import (
    COMMIT_BYTES_MAX,
    CONFLICTS_MAX,
    HISTORY,
    HISTORY_BYTES_MAX,
    HISTORY_MAX,
    KEY_BYTES_MAX,
    KEYS_MAX,
    NUMBER_MAX,
    PAGE_BYTES_MAX,
    READS_MAX,
    SCOPE_BYTES_MAX,
    VALUE_BYTES_MAX,
    WRITES_MAX,
)
from accord.streams.state.decider import _ANSWERS, DOMAIN, StateDecider
from accord.streams.state.keymap import Item, KeyMap
from accord.streams.state.scope import _CHANGES, NONE, Scope, evolve

from tests.streams.spec import Given, Specification

decider = StateDecider()
given = Specification(decider)
T0 = 1_000


def put(key: str, value: str = "1") -> Write:
    return Write(key, "put", value)


def delete(key: str) -> Write:
    return Write(key, "delete", None)


def commit(*writes: Write, **terms: Any) -> CommitChanges:
    known: dict[str, Any] = {
        "agent": "ada", "isolation": "serializable", "snapshot": None, "reads": (), "ranges": (), "writes": writes,
        "rule": "", "rule_version": "",
    }  # fmt: skip
    return CommitChanges(**(known | terms))


def committed(version: int, *changes: Change, **terms: Any) -> ChangesCommitted:
    known: dict[str, Any] = {
        "agent": "ada", "isolation": "serializable", "version": version, "changes": changes, "rule": "",
        "rule_version": "",
    }  # fmt: skip
    return ChangesCommitted(**(known | terms))


def set_to(key: str, value: str, before: int = 0) -> Change:
    return Change(key, "put", None, value, before)


def gone(key: str, before: int) -> Change:
    return Change(key, "delete", None, None, before)


AB = (committed(1, set_to("a", "1"), set_to("b", "2")),)
"""Two keys at version 1."""
ABA = (*AB, committed(2, set_to("a", "3", 1)), committed(3, gone("b", 1)))
"""One of them changed at 2, the other deleted at 3."""


def refused(reason: str, version: int, *conflicts: Conflict, description: str = "") -> CommitRefused:
    text = description or f"{len(conflicts)} changed since they were read"
    return CommitRefused("ada", reason, text, conflicts, version)


# -- writing


def test_several_keys_change_at_once_and_have_one_version() -> None:
    after = given().when(commit(put("a"), put("b", "2")), T0).then(*AB)
    assert (after.state.version_of("a"), after.state.version_of("b"), after.state.version) == (1, 1, 1)
    assert decider.deadline_ms(after.state) is None


def test_each_commit_has_the_next_version_and_names_the_one_that_it_replaces() -> None:
    given(*AB).when(commit(put("a", "3")), T0).then(ABA[1]).when(commit(delete("b")), T0).then(ABA[2])


def test_a_key_that_was_deleted_has_version_0_and_comes_back_with_a_later_one() -> None:
    after = given(*ABA).when(commit(put("b", "9")), T0).then(committed(4, set_to("b", "9")))
    assert after.state.version_of("b") == 4


def test_what_changes_nothing_has_no_version() -> None:
    given(*ABA).when(commit(delete("b")), T0).then(committed(3))
    given().when(commit(delete("b")), T0).then(committed(0))
    given(*ABA).when(commit(delete("b"), put("a", "3")), T0).then(committed(4, set_to("a", "3", 2)))


def test_the_same_value_written_again_is_a_change() -> None:
    given(*AB).when(commit(put("a")), T0).then(committed(2, set_to("a", "1", 1)))


def test_who_made_the_value_is_recorded() -> None:
    named = {"rule": "raise_limit", "rule_version": "2"}
    given().when(commit(put("a"), **named), T0).then(committed(1, set_to("a", "1"), **named))


# -- what must not have changed


@pytest.mark.parametrize(("key", "version", "found"), [("a", 1, 2), ("a", 0, 2), ("b", 1, 0), ("c", 1, 0), ("a", 9, 2)])
def test_a_key_that_was_read_must_be_as_it_was(key: str, version: int, found: int) -> None:
    stale = commit(put("z"), reads=(SeenKey(key, version),))
    given(*ABA).when(stale, T0).then(refused("conflict", 3, Conflict(key, False, version, found)))


@pytest.mark.parametrize(("key", "version"), [("a", 2), ("b", 0), ("c", 0)])
def test_a_key_that_is_as_it_was_read_stands_in_nobodys_way(key: str, version: int) -> None:
    fresh = commit(put("z"), reads=(SeenKey(key, version),))
    given(*ABA).when(fresh, T0).then(committed(4, set_to("z", "1")))


def test_all_that_was_changed_is_named_up_to_a_bound() -> None:
    stale = commit(put("z"), reads=tuple(SeenKey(f"k{n:02}", 1) for n in range(CONFLICTS_MAX + 5)))
    found = tuple(Conflict(f"k{n:02}", False, 1, 0) for n in range(CONFLICTS_MAX))
    given().when(stale, T0).then(refused("conflict", 0, *found, description="25 changed since they were read"))


RANGE_HISTORY = (
    committed(1, set_to("room/1", "1"), set_to("zoo", "1")),
    committed(2, set_to("room/1", "2", 1)),
    committed(3, set_to("room/2", "1")),
    committed(4, gone("room/2", 3)),
    committed(5, set_to("zoo", "2", 1)),
)


@pytest.mark.parametrize(
    ("version", "values", "found"),
    [
        *[(version, values, 4) for version in range(4) for values in (False, True)],
        *[(4, False, None), (5, False, None), (4, True, None)],
    ],
)
def test_a_prefix_that_was_read_must_have_the_keys_that_it_had(version: int, values: bool, found: int | None) -> None:
    c = commit(put("x"), ranges=(SeenRange("room/", version, values),))
    expected = committed(6, set_to("x", "1"))
    if found is not None:
        given(*RANGE_HISTORY).when(c, T0).then(refused("conflict", 5, Conflict("room/", True, version, found)))
    else:
        given(*RANGE_HISTORY).when(c, T0).then(expected)


def test_another_value_matters_to_who_read_values_alone() -> None:
    names, values = (commit(put("x"), ranges=(SeenRange("room/", 1, values),)) for values in (False, True))
    given(*RANGE_HISTORY[:2]).when(names, T0).then(committed(3, set_to("x", "1")))
    given(*RANGE_HISTORY[:2]).when(values, T0).then(refused("conflict", 2, Conflict("room/", True, 1, 2)))


def test_the_empty_prefix_is_the_whole_scope() -> None:
    c = commit(put("x"), ranges=(SeenRange("", 4, True),))
    given(*RANGE_HISTORY).when(c, T0).then(refused("conflict", 5, Conflict("", True, 4, 5)))


def test_under_snapshot_isolation_what_is_written_must_not_have_changed() -> None:
    c = commit(put("a"), isolation="snapshot", snapshot=1, reads=(SeenKey("b", 1),))
    given(*ABA).when(c, T0).then(refused("conflict", 3, Conflict("a", False, 1, 2)))
    c = commit(put("b"), isolation="snapshot", snapshot=2)
    given(*ABA).when(c, T0).then(refused("conflict", 3, Conflict("b", False, 2, 3)))
    c = commit(put("a"), isolation="snapshot", snapshot=2, reads=(SeenKey("b", 1),))
    given(*ABA).when(c, T0).then(committed(4, set_to("a", "1", 2), isolation="snapshot"))


def test_without_a_snapshot_nothing_was_read_that_could_have_changed() -> None:
    c = commit(put("a"), isolation="snapshot")
    given(*ABA).when(c, T0).then(committed(4, set_to("a", "1", 2), isolation="snapshot"))


def test_under_read_committed_the_last_writer_wins() -> None:
    c = commit(
        put("a"), isolation="read_committed", snapshot=1, reads=(SeenKey("a", 1),), ranges=(SeenRange("", 1, True),)
    )
    given(*ABA).when(c, T0).then(committed(4, set_to("a", "1", 2), isolation="read_committed"))


# -- counters and sets


def increment(key: str, by: str) -> Write:
    return Write(key, "increment", by)


@pytest.mark.parametrize(
    ("now", "by", "after"),
    [(None, "5", "5"), ("37", "5", "42"), ("37", "-40", "-3"), (str(NUMBER_MAX - 1), "1", str(NUMBER_MAX))],
)
def test_a_counter_is_incremented_where_it_is(now: str | None, by: str, after: str) -> None:
    history = () if now is None else (committed(1, set_to("n", now)),)
    version = len(history)
    given(*history).when(commit(increment("n", by)), T0).then(
        committed(version + 1, Change("n", "increment", by, after, version))
    )


@pytest.mark.parametrize("now", ['"7"', "1.5", "01", "null", "[1]", " 1", "1e3", "-", str(NUMBER_MAX + 1)])
def test_what_is_no_whole_number_is_no_counter(now: str) -> None:
    why = f"n is no counter: its value is no whole number up to {NUMBER_MAX}"
    history = committed(1, set_to("n", now))
    given(history).when(commit(increment("n", "1")), T0).then(refused("wrong_type", 1, description=why))


@pytest.mark.parametrize(("now", "by"), [("1", "x"), ("1", "1.0"), (str(NUMBER_MAX), "1"), (f"-{NUMBER_MAX}", "-1")])
def test_a_counter_stays_a_whole_number_within_bounds(now: str, by: str) -> None:
    why = f"n: a counter is a whole number up to {NUMBER_MAX}"
    history = committed(1, set_to("n", now))
    given(history).when(commit(put("other"), increment("n", by)), T0).then(refused("wrong_type", 1, description=why))


@pytest.mark.parametrize(
    ("now", "operation", "members", "after"),
    [
        (None, "add", '["b","a","b"]', '["a","b"]'),
        ('["b"]', "add", '["a"]', '["a","b"]'),
        ('["b","a"]', "add", '["ü"]', '["a","b","ü"]'),
        ('["a","b"]', "discard", '["a","x"]', '["b"]'),
        ('["a"]', "discard", '["a"]', "[]"),
        (None, "add", "[]", "[]"),
    ],
)
def test_a_set_is_merged_where_it_is(now: str | None, operation: str, members: str, after: str) -> None:
    history = () if now is None else (committed(1, set_to("s", now)),)
    version = len(history)
    given(*history).when(commit(Write("s", operation, members)), T0).then(
        committed(version + 1, Change("s", operation, members, after, version))
    )


@pytest.mark.parametrize(
    ("now", "operation", "members"),
    [('["a","b"]', "add", '["a"]'), ('["a"]', "discard", '["b"]'), (None, "discard", '["b"]')],
)
def test_members_that_are_there_or_not_change_nothing(now: str | None, operation: str, members: str) -> None:
    history = () if now is None else (committed(1, set_to("s", now)),)
    given(*history).when(commit(Write("s", operation, members)), T0).then(committed(len(history)))


@pytest.mark.parametrize(
    "now", ["1", '{"a":1}', '["a",1]', '[["a"]]', '["a",]', '["a"', '["\\ud800"]', "[" * 60_000], ids=range(8)
)
def test_what_is_no_array_of_texts_is_no_set(now: str) -> None:
    why = "s is no set: its value is no JSON array of texts"
    history = committed(1, set_to("s", now))
    given(history).when(commit(Write("s", "add", '["a"]')), T0).then(refused("wrong_type", 1, description=why))


def test_members_are_an_array_of_texts() -> None:
    why = "s: members of a set are a JSON array of texts"
    given().when(commit(Write("s", "add", '"a"')), T0).then(refused("wrong_type", 0, description=why))


def test_a_set_has_a_bound() -> None:
    half = '["' + "a" * (VALUE_BYTES_MAX // 2) + '"]'
    other = '["' + "b" * (VALUE_BYTES_MAX // 2) + '"]'
    why = f"the value of s would have more than {VALUE_BYTES_MAX} bytes"
    given(committed(1, set_to("s", half))).when(commit(Write("s", "add", other)), T0).then(
        refused("full", 1, description=why)
    )


# -- reading, now and at a version


@pytest.mark.parametrize(
    ("key", "version", "value", "came"),
    [
        *[("a", None, "3", 2), ("a", 3, "3", 2), ("a", 2, "3", 2), ("a", 1, "1", 1), ("a", 0, None, 0)],
        *[("b", None, None, 0), ("b", 2, "2", 1), ("b", 1, "2", 1), ("c", 1, None, 0)],
    ],
)
def test_a_key_is_read_at_a_version(key: str, version: int | None, value: str | None, came: int) -> None:
    at = 3 if version is None else version
    given(*ABA).when(ReadKey("bob", key, version), T0).then(KeyRead("bob", key, value, came, at))


def test_nothing_is_read_of_a_scope_that_there_is_not() -> None:
    after = given().when(ReadKey("bob", "a", None), T0).then(KeyRead("bob", "a", None, 0, 0))
    assert after.state is None
    given().when(ReadRange("bob", "", "", True, None), T0).then(RangeRead("bob", "", (), False, 0))
    given().when(ReadHistory("bob", "a", None), T0).then(HistoryRead("bob", "a", (), False, 0, 0))


def test_a_version_that_there_is_not_yet_cannot_be_read() -> None:
    for c in (ReadKey("bob", "a", 4), ReadRange("bob", "", "", True, 4), ReadHistory("bob", "a", 4)):
        given(*ABA).when(c, T0).then(ReadRefused("bob", "not_yet", 4, 0, 3))


@pytest.mark.parametrize(
    ("version", "entries"),
    [
        (None, [("room/1", "2", 2)]),
        (4, [("room/1", "2", 2)]),
        (3, [("room/1", "2", 2), ("room/2", "1", 3)]),
        (2, [("room/1", "2", 2)]),
        (1, [("room/1", "1", 1)]),
        (0, []),
    ],
)
def test_a_prefix_is_read_at_a_version(version: int | None, entries: list[tuple[str, str, int]]) -> None:
    at = 5 if version is None else version
    found = tuple(Entry(*entry) for entry in entries)
    given(*RANGE_HISTORY).when(ReadRange("bob", "room/", "", True, version), T0).then(
        RangeRead("bob", "room/", found, False, at)
    )
    names = tuple(Entry(entry.key, None, entry.version) for entry in found)
    given(*RANGE_HISTORY).when(ReadRange("bob", "room/", "", False, version), T0).then(
        RangeRead("bob", "room/", names, False, at)
    )


def test_what_one_answer_does_not_hold_is_asked_for_again() -> None:
    value = '"' + "x" * 60_000 + '"'
    scope = given(*[committed(n + 1, set_to(f"k{n}", value)) for n in range(9)])
    seen: list[str] = []
    while True:
        page = ReadRange("bob", "k", seen[-1] if seen else "", True, None)
        (event,) = decider.decide(scope.state, page, At(T0, 1, "r"))
        assert isinstance(event, RangeRead)
        assert len(events_codec("state").encode([event])) < PAGE_BYTES_MAX + 1_000
        seen += [entry.key for entry in event.entries]
        if not event.more:
            break
    assert seen == [f"k{n}" for n in range(9)]


def test_the_versions_of_a_key_that_are_kept() -> None:
    a = (Entry("a", "1", 1), Entry("a", "3", 2))
    b = (Entry("b", "2", 1), Entry("b", None, 3))
    given(*ABA).when(ReadHistory("bob", "a", None), T0).then(HistoryRead("bob", "a", a, False, 0, 3))
    given(*ABA).when(ReadHistory("bob", "b", None), T0).then(HistoryRead("bob", "b", b, False, 0, 3))
    given(*ABA).when(ReadHistory("bob", "a", 1), T0).then(HistoryRead("bob", "a", a[1:], False, 0, 3))
    given(*ABA).when(ReadHistory("bob", "a", 2), T0).then(HistoryRead("bob", "a", (), False, 0, 3))


# -- how much of the past is kept


def test_what_is_too_old_is_refused_and_says_from_where_on_it_could_be_read() -> None:
    kept = given(*ABA).when(ConfigureScope("ada", 2), T0).then(ScopeConfigured("ada", 2))
    assert kept.state.oldest == 1, "the two changes of version 1 go together"
    kept.when(ReadKey("bob", "b", 1), T0).then(KeyRead("bob", "b", "2", 1, 1))
    for c in (ReadKey("bob", "b", 0), ReadRange("bob", "", "", True, 0), ReadHistory("bob", "b", 0)):
        kept.when(c, T0).then(ReadRefused("bob", "too_old", 0, 1, 3))
    history = (Entry("b", "2", 1), Entry("b", None, 3))
    kept.when(ReadHistory("bob", "b", None), T0).then(HistoryRead("bob", "b", history, False, 1, 3))


def test_who_read_longer_ago_than_is_kept_cannot_commit() -> None:
    kept = given(*ABA).when(ConfigureScope("ada", 1), T0).then(ScopeConfigured("ada", 1))
    why = "version 1 is kept no more, 2 is the oldest"
    for c in (
        commit(put("z"), ranges=(SeenRange("nothing/", 1, False),)),
        commit(put("z"), isolation="snapshot", snapshot=1),
    ):
        kept.when(c, T0).then(refused("too_old", 3, description=why))
    kept.when(commit(put("z"), reads=(SeenKey("a", 2),)), T0).then(committed(4, set_to("z", "1")))


def test_without_a_past_the_newest_can_be_read() -> None:
    kept = given(*ABA).when(ConfigureScope("ada", 0), T0).then(ScopeConfigured("ada", 0))
    assert kept.state.past == () and kept.state.past_bytes == 0 and kept.state.oldest == 3
    kept.when(ReadKey("bob", "a", 3), T0).then(KeyRead("bob", "a", "3", 2, 3))


def test_the_past_is_bounded_by_count_and_by_bytes() -> None:
    scope: Scope | None = None
    for n in range(HISTORY + 50):
        scope = evolve(scope, committed(n + 1, set_to("a", str(n), n)))
    assert scope is not None
    assert len(scope.past) == HISTORY and scope.oldest == 50
    large = '"' + "x" * 60_000 + '"'
    for n in range(HISTORY + 50, HISTORY + 80):
        scope = evolve(scope, committed(n + 1, set_to("a", large, n)))
    assert scope is not None
    assert scope.past_bytes == sum(past.size for past in scope.past) <= HISTORY_BYTES_MAX
    assert len(scope.past) == HISTORY_BYTES_MAX // 60_003
    assert scope.at("a", scope.oldest) == Item("a", large, scope.oldest)


# -- bounds


def full(keys: int = 0, size: int = 0) -> Given:
    """A scope of so many keys, and of so many bytes."""
    items = [Item(f"k{n:05}", "1", 1) for n in range(keys)]
    return Given(decider, Scope(1, KeyMap.of(items), size or keys * 7))


def test_a_scope_has_so_many_keys() -> None:
    scope = full(KEYS_MAX)
    why = f"the scope would have {KEYS_MAX + 1} keys; at most {KEYS_MAX} are possible"
    scope.when(commit(put("a")), T0).then(refused("full", 1, description=why))
    scope.when(commit(put("k00000", "2")), T0).then(committed(2, set_to("k00000", "2", 1)))
    scope.when(commit(put("a"), delete("k00001")), T0).then(committed(2, set_to("a", "1"), gone("k00001", 1)))


def test_a_scope_has_so_many_bytes() -> None:
    scope = full(1, SCOPE_BYTES_MAX)
    why = f"the scope would have {SCOPE_BYTES_MAX + 1} bytes; at most {SCOPE_BYTES_MAX} are possible"
    scope.when(commit(put("k00000", "12")), T0).then(refused("full", 1, description=why))
    scope.when(commit(put("k00000", "2")), T0).then(committed(2, set_to("k00000", "2", 1)))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (commit(), f"a commit writes 1 to {WRITES_MAX} keys, this one 0"),
        (
            commit(*[put(f"k{n}") for n in range(WRITES_MAX + 1)]),
            f"a commit writes 1 to {WRITES_MAX} keys, this one 501",
        ),
        (commit(put("a"), delete("a")), "writes: a key is named twice"),
        (commit(put("")), f"a key has 1 to {KEY_BYTES_MAX} bytes, '' has 0"),
        (commit(put("x" * 256)), f"a key has 1 to {KEY_BYTES_MAX} bytes, {'x' * 40!r} has 256"),
        (commit(put("a", "x" * (VALUE_BYTES_MAX + 1))), f"the value of a has more than {VALUE_BYTES_MAX} bytes"),
        (
            commit(*[put(f"k{n}", "x" * VALUE_BYTES_MAX) for n in range(9)]),
            f"a commit writes at most {COMMIT_BYTES_MAX} bytes",
        ),
        (commit(Write("a", "put", None)), "a: put needs an operand"),
        (commit(Write("a", "delete", "1")), "a: delete takes no operand"),
        (commit(Write("a", "swap", "1")), "operation='swap': one of put, delete, increment, add, discard is needed"),
        (
            commit(put("a"), isolation="none"),
            "isolation='none': one of serializable, snapshot, read_committed is needed",
        ),
        (
            commit(put("a"), reads=tuple(SeenKey("a", 1) for _ in range(READS_MAX + 1))),
            f"a commit names at most {READS_MAX} keys and {READS_MAX} prefixes that were read",
        ),
        (commit(put("a"), reads=(SeenKey("", 1),)), f"a key has 1 to {KEY_BYTES_MAX} bytes, '' has 0"),
        (commit(put("a"), reads=(SeenKey("a", -1),)), f"a version is 0 to {2**62}"),
        (commit(put("a"), ranges=(SeenRange("x" * 256, 1, True),)), f"a prefix has at most {KEY_BYTES_MAX} bytes"),
        (commit(put("a"), snapshot=-1), f"snapshot=-1: 0 to {2**62} are possible"),
        (commit(put("a"), rule="x" * 256), "rule has more than 255 bytes"),
        (ReadKey("a", "", None), f"a key has 1 to {KEY_BYTES_MAX} bytes, '' has 0"),
        (ReadKey("a", "k", -1), f"at_version=-1: 0 to {2**62} are possible"),
        (ReadRange("a", "", "x" * 256, True, None), f"a prefix has at most {KEY_BYTES_MAX} bytes"),
        (ReadHistory("a", "k", -1), f"after_version=-1: 0 to {2**62} are possible"),
        (ConfigureScope("a", HISTORY_MAX + 1), f"history={HISTORY_MAX + 1}: 0 to {HISTORY_MAX} are possible"),
    ],
)
def test_what_is_out_of_bounds_is_rejected(command: Any, problem: str) -> None:
    given().when(command, T0).then(CommandRejected("invalid", problem))


def test_the_largest_decisions_fit() -> None:
    key = "ü" * 100
    writes = [put(f"{key}{n}", "x" * (COMMIT_BYTES_MAX // WRITES_MAX)) for n in range(WRITES_MAX)]
    (event,) = decider.decide(None, commit(*writes), At(T0, 1, "r"))
    assert isinstance(event, ChangesCommitted) and len(event.changes) == WRITES_MAX
    assert len(events_codec("state").encode([event])) < DECISION_BYTES_MAX


# -- the rest


def test_a_tick_brings_nothing() -> None:
    given(*ABA).when(Tick(), T0).then_nothing()


def test_a_state_is_the_same_after_a_dump() -> None:
    scope = given(*RANGE_HISTORY, ScopeConfigured("ada", 3)).state
    assert restore(dump(scope), StateDecider.state_type) == scope


def test_what_is_of_another_domain_is_a_bug() -> None:
    with pytest.raises(TypeError, match="the state domain has no command ReleaseLock"):
        decider.decide(None, ReleaseLock("ada", 1, None), At(T0, 1, "r"))
    with pytest.raises(TypeError, match="the state domain has no event"):
        evolve(None, LockReleased("ada", 1, None))


def test_every_command_and_event_has_its_rule() -> None:
    assert set(_ANSWERS) == {*state.COMMANDS, Tick}
    assert set(_CHANGES) == set(state.EVENTS)
    assert DOMAINS["state"] is DOMAIN and DOMAIN.newest == 1
    assert SwitchRules not in _ANSWERS
    assert Scope() == NONE
