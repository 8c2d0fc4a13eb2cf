"""Shared state by programs: versions, merges, transactions, watches and replicas; async and plain."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest
from accord.agents.conflicts.judging import Judgement, Matter
from accord.agents.state import feed as feeds
from accord.agents.state.feed import Feed
from accord.agents.state.scope import NAME_BYTES_MAX, Scope
from accord.agents.state.transaction import Transaction
from accord.agents.state.turns import OWN_MAX, SCOPES_MAX, Crowd, _own
from accord.agents.state.values import Versioned, versioned
from accord.schemas.messages.locks import LockGranted
from accord.schemas.messages.state import Change, ChangesCommitted, Entry
from accord.streams.state.bounds import NUMBER_MAX, VALUE_BYTES_MAX

from accord import Accord, sync
from accord.embedded import Embedded
from accord.errors import (
    BadInput,
    ConfigError,
    ExceedsCapacity,
    LogGap,
    NotConnected,
    NotFound,
    Overloaded,
    SchemaError,
    SnapshotTooOld,
    TooLarge,
    VersionConflict,
    WrongType,
)
from accord.settings import Settings
from tests.agents.support import detached
from tests.agents.test_tasks import MakeHub, in_loop

NOTHING = Versioned(None, 0, exists=False)


@in_loop
async def test_a_stale_write_is_refused_with_both_versions(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        mine, other = ada.state("stale"), bob.state("stale")
        assert await mine.get("limit") == NOTHING
        assert await mine.put("limit", 100, if_version=0) == Versioned(100, 1)
        assert await other.put("limit", 200) == Versioned(200, 2), "without a version the last writer wins"
        with pytest.raises(
            VersionConflict, match="limit of stale: version 1 was read, but there is version 2"
        ) as refused:
            await mine.put("limit", 300, if_version=1)
        assert refused.value.key == "stale" and str(refused.value.position).startswith("state/")
        assert (refused.value.details["expected"], refused.value.details["found"]) == (1, 2)
        assert await mine.get("limit") == Versioned(200, 2)
        with pytest.raises(VersionConflict, match="there is none any more"):
            await other.delete("nothing", if_version=2)
        assert await other.delete("limit", if_version=2) and not await other.delete("limit")
        assert await mine.get("limit") == NOTHING and await mine.get("limit", at=1) == Versioned(100, 1)
        assert await mine.history("limit") == [
            Versioned(100, 1),
            Versioned(200, 2),
            Versioned(None, 3, exists=False),
        ]


@in_loop
async def test_counters_and_sets_are_merged_whoever_changes_them(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:

        async def work(scope: Scope, name: str) -> None:
            for n in range(5):
                await scope.increment("calls", n)
                await scope.add("seen", f"{name}{n}")

        one, other = ada.state("merged"), bob.state("merged")
        await asyncio.gather(work(one, "a"), work(other, "b"), work(one, "c"))
        assert (await one.get("calls")).value == 30
        assert (await one.get("seen")).value == sorted(f"{name}{n}" for name in "abc" for n in range(5))
        assert (await one.discard("seen", *[f"{name}{n}" for name in "ab" for n in range(5)], "x")).value == [
            f"c{n}" for n in range(5)
        ]
        before = await one.get("seen")
        assert await one.add("seen", "c1") == before, "what changes nothing makes no version"
        with pytest.raises(WrongType, match="seen is no counter"):
            await one.increment("seen")
        with pytest.raises(WrongType, match="calls is no set"):
            await one.add("calls", "x")
        with pytest.raises(WrongType, match="whole number up to"):
            await one.increment("calls", NUMBER_MAX)


@in_loop
async def test_read_modify_writes_are_exact(make_hub: MakeHub) -> None:
    """Several agents on one key, each from what it has read."""
    agents, times = 6, 4

    async with make_hub("ada") as ada, make_hub("bob") as bob:

        async def work(scope: Scope) -> None:
            for _ in range(times):
                await scope.update("n", lambda n: (n or 0) + 1, version="2")

        await asyncio.gather(*[detached(work((ada if n % 2 else bob).state("counted"))) for n in range(agents)])
        assert await ada.state("counted").get("n") == Versioned(agents * times, agents * times)


@in_loop
async def test_who_changes_a_key_by_a_function_has_its_name_recorded(make_hub: MakeHub) -> None:
    heard: list[ChangesCommitted] = []
    async with make_hub("ada") as ada:
        scope = ada.state("ruled")
        unwatch = ada.connection.watch("state", "ruled", lambda answer: heard.extend(answer.events))

        def raised(limit: int | None) -> int:
            return (limit or 0) + 100

        assert (await scope.update("limit", raised, version="7")).value == 100
        unwatch()
        committed = heard[-1]
        assert committed.rule.endswith("raised") and committed.rule_version == "7" and committed.agent == "ada"

        def failing(_: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await scope.update("limit", failing)
        with pytest.raises(BadInput, match="version"):
            await scope.update("limit", raised, version="x" * 256)


@in_loop
async def test_who_is_in_conflict_each_time_gets_to_know(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        mine, other = ada.state("crowded"), bob.state("crowded")
        loop, tried = asyncio.get_running_loop(), []

        async def interfered(tx: Transaction) -> None:
            tried.append(await tx.get("n"))
            await other.increment("n")
            tx.put("n", "mine")

        with pytest.raises(VersionConflict):
            await mine.run_transaction(interfered, attempts=3)
        assert [read.version for read in tried] == [0, 1, 2]
        assert Crowd(ada, "crowded").is_there and not Crowd(bob, "crowded").is_there
        locked = []

        def stubborn(value: Any) -> Any:
            thread = threading.Thread(target=lambda: locked.append(asyncio.run_coroutine_threadsafe(_held(ada), loop)))
            thread.start()
            thread.join()
            return value

        await mine.update("n", stubborn)
        assert "state/crowded" in await asyncio.wrap_future(locked[0]), "after a conflict one takes turns"


@in_loop
async def test_who_finds_its_own_value_changed_takes_turns(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        mine, crowd = ada.state("lucky"), Crowd(ada, "lucky")
        for _ in range(2):
            await mine.update("n", lambda value: (value or 0) + 1)
            await mine.run_transaction(_write_n)
        assert not crowd.is_there
        await bob.state("lucky").put("other", 1)
        await mine.get("n")
        assert not crowd.is_there, "another key"
        await bob.state("lucky").put("n", 7)
        await mine.get("n", at=1)
        assert not crowd.is_there, "an old version says nothing"
        await mine.get("n")
        assert crowd.is_there and not Crowd(bob, "lucky").is_there
        for number in range(OWN_MAX):
            Crowd(ada, "many").wrote({f"k{number}": "1"})
        assert len(_own[ada]) <= OWN_MAX


async def _write_n(tx: Transaction) -> None:
    tx.put("n", (await tx.get("n")).value + 1)


async def _held(hub: Any) -> list[str]:
    return [lease.key for lease in hub.leases.live]


@in_loop
async def test_a_transaction_sees_its_own_writes_and_nobody_elses_half(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        mine, other = ada.state("tx"), bob.state("tx")
        await mine.put("a", 1)
        await mine.put("b", 2)
        async with mine.transaction() as tx:
            assert (await tx.get("a")).value == 1
            tx.put("a", 10)
            tx.put("c", {"x": [1]})
            tx.delete("b")
            assert await tx.get("a") == Versioned(10, 0) and not (await tx.get("b")).exists
            assert await tx.keys() == ["a", "c"]
            assert {key: read.value for key, read in (await tx.items()).items()} == {"a": 10, "c": {"x": [1]}}
            assert {key: read.value for key, read in (await other.items()).items()} == {"a": 1, "b": 2}
        assert tx.version == 3
        assert {key: read.value for key, read in (await other.items()).items()} == {"a": 10, "c": {"x": [1]}}
        with pytest.raises(ZeroDivisionError):
            async with mine.transaction() as aborted:
                aborted.put("a", 11)
                raise ZeroDivisionError
        assert aborted.version is None and (await mine.get("a")).value == 10
        with pytest.raises(BadInput, match="the transaction is over"):
            tx.put("a", 1)
        with pytest.raises(BadInput, match="a transaction runs once"):
            async with tx:
                pass
        with pytest.raises(VersionConflict, match=r"keys r/\* of tx"):
            async with mine.transaction() as late:
                assert await late.keys("r/") == []
                await other.put("r/1", 1)
                late.put("none", True)
        assert await mine.keys("n") == [], "all or nothing"


@in_loop
async def test_transactions_that_lock_wait_for_each_other(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        inside, most = 0, 0

        async def work(scope: Scope) -> None:
            nonlocal inside, most
            async with scope.transaction(locking="exclusive") as tx:
                inside += 1
                most = max(most, inside)
                tx.put("n", ((await tx.get("n")).value or 0) + 1)
                inside -= 1

        await asyncio.gather(*[detached(work(hub.state("locked"))) for hub in (ada, bob) for _ in range(3)])
        assert (await ada.state("locked").get("n")).value == 6 and most == 1
        async with ada.state("locked").transaction(locking="shared") as tx:
            assert (await tx.get("n")).value == 6
            with pytest.raises(BadInput, match="only reads"):
                tx.put("n", 7)
            async with bob.state("locked").transaction(locking="shared") as together:
                assert (await together.get("n")).value == 6
        for wrong in ({"locking": "none"}, {"isolation": "chaos"}):
            with pytest.raises(BadInput, match=r"one of .* is needed"):
                ada.state("locked").transaction(**wrong)  # type: ignore[arg-type]


@in_loop
async def test_a_watch_begins_with_how_it_is_and_misses_nothing(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        scope = ada.state("watched")
        await scope.put("k", 0)
        seen: list[Versioned] = []

        async def watching() -> None:
            async for version in bob.state("watched").watch("k"):
                seen.append(version)
                if version.value == "end":
                    return

        task = asyncio.create_task(watching())
        for n in range(1, 20):
            await scope.put("k", n)
            await scope.put("other", n)
        await scope.delete("k")
        await scope.put("k", "end")
        await asyncio.wait_for(task, 10)
        versions = await scope.history("k")
        assert seen == versions[versions.index(seen[0]) :] and seen[-2:] == [
            Versioned(None, 40, exists=False),
            Versioned("end", 41),
        ]
        again = scope.watch("k", since=seen[3].version)
        assert [await anext(again) for _ in seen[4:]] == seen[4:]
        await again.aclose()
        assert bob.connection.load["watches"] == ada.connection.load["watches"] == 0
        with pytest.raises(NotFound, match="has no version 99 yet"):
            await anext(scope.watch("k", since=99))


@in_loop
async def test_replicas_follow_and_come_to_the_same(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        mine, other = ada.state("copied"), bob.state("copied")
        await mine.put("a", 1)
        async with mine.replica() as one, other.replica() as two:
            assert one.get("a") == Versioned(1, 1) and one.version == 1
            for n in range(5):
                written = await mine.put("a", n)
                assert await one.read("a") == written, "who writes through the scope reads that"
                await other.put(f"b/{n}", n)
            await mine.delete("b/3")
            last = mine.written
            assert (await two.read("b/4", version=last)).value == 4
            await one.read("a")
            assert one.items() == two.items() == await mine.items() and one.version == two.version == last
            assert list(one.items("b/")) == ["b/0", "b/1", "b/2", "b/4"]
            assert one.get("nothing") == NOTHING
        with pytest.raises(BadInput, match="the replica was closed"):
            one.get("a")
        with pytest.raises(BadInput, match="entered once"):
            async with one:
                pass
        with pytest.raises(BadInput, match="is not open"):
            mine.replica().get("a")
        assert ada.connection.load["watches"] == 0


@in_loop
async def test_what_is_not_kept_is_refused_and_told_where_it_is(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada:
        scope = ada.state("short")
        await scope.configure(history=2)
        for n in range(5):
            await scope.put("k", n)
        assert (await scope.get("k", at=3)).value == 2
        with pytest.raises(SnapshotTooOld, match=r"version 2 is kept no more, 3 is the oldest.*accord state get short"):
            await scope.get("k", at=2)
        calls = []

        async def slow(tx: Transaction) -> None:
            await tx.keys("x")
            calls.append(tx)
            if len(calls) == 1:
                for n in range(3):
                    await scope.put("k", n)
            tx.put("x", 1)

        await ada.state("short").run_transaction(slow)
        assert len(calls) == 2, "it was run again"


@in_loop
async def test_what_cannot_be_right_is_said_before_anything_is_recorded(make_hub: MakeHub) -> None:
    @dataclass
    class Point:
        x: int

    async with make_hub("ada") as ada:
        scope = ada.state("checked")
        with pytest.raises(TooLarge, match=r"at most 65536 are possible.*hub\.artifacts\.put"):
            await scope.put("k", "x" * VALUE_BYTES_MAX)
        with pytest.raises(BadInput, match="the value of k has a set at"):
            await scope.put("k", {"a": {1}})
        for key in ("", "x" * 256, 7, "\ud800"):
            with pytest.raises(BadInput):
                await scope.get(key)  # type: ignore[arg-type]
        for wrong in (-1, True, "1"):
            with pytest.raises(BadInput, match="version"):
                await scope.put("k", 1, if_version=wrong)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="members of k"):
            await scope.add("k")
        with pytest.raises(BadInput, match="attempts"):
            await scope.update("k", lambda _: 1, attempts=0)
        with pytest.raises(BadInput, match="249"):
            ada.state("x" * (NAME_BYTES_MAX + 1))
        assert await scope.keys() == []
        assert await scope.put("k", {"b": Point(1), "a": ()}) == Versioned({"a": [], "b": {"x": 1}}, 1)
        artifact = await ada.artifacts.put("x" * VALUE_BYTES_MAX)
        await scope.put("large", artifact)
        assert len(await ada.artifacts.get((await scope.get("large")).value)) == VALUE_BYTES_MAX
    with pytest.raises(NotConnected):
        await scope.get("k")


@in_loop
async def test_a_scope_that_is_full_takes_no_more(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada:
        scope = ada.state("full")
        large = "x" * (VALUE_BYTES_MAX - 2)
        with pytest.raises(ExceedsCapacity, match=r"at most 8388608 are possible.*Delete keys"):
            for group in range(17):
                async with scope.transaction() as tx:
                    for n in range(8):
                        tx.put(f"{group:02}/{n}", large)
        keys = await scope.keys()
        assert len(keys) == 15 * 8 and list(await scope.items("1")) == [key for key in keys if key[0] == "1"]


@in_loop
async def test_several_keys_are_written_at_once_if_all_are_as_they_were(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada:
        scope = ada.state("several")
        assert await scope.put_all({"a": 1, "b": 2}) == 1
        assert await scope.put_all({"a": 3}, if_versions={"a": 1, "b": 1, "c": 0}) == 2
        with pytest.raises(VersionConflict) as refused:
            await scope.put_all({"b": 4, "d": 5}, if_versions={"a": 1, "b": 1, "c": 7})
        assert [(one["key"], one["expected"], one["found"]) for one in refused.value.details["conflicts"]] == [
            ("a", 1, 2), ("c", 7, 0)
        ]  # fmt: skip
        assert {key: read.value for key, read in (await scope.items()).items()} == {"a": 3, "b": 2}
        with pytest.raises(BadInput, match="nothing to write"):
            await scope.put_all({})


# -- without a log


def committed(version: int) -> ChangesCommitted:
    return ChangesCommitted("ada", "read_committed", version, (Change("k", "put", None, "1", 0),), "", "")


def fed() -> tuple[Feed, Any]:
    """A feed, and what hands it events."""
    hub = Mock(settings=Settings())
    feed = Feed(hub, "scope")
    ((_, __, heard), ___) = hub.connection.watch.call_args
    return feed, lambda *events: heard(Mock(events=events))


def test_a_gap_ends_a_feed_rather_than_pass_in_silence() -> None:
    feed, hear = fed()
    hear(committed(3), committed(4))
    feed.after(3)
    assert feed.next().result(0).version == 4
    waiting = feed.next()
    hear(LockGranted)
    assert not waiting.done()
    hear(committed(6))
    with pytest.raises(LogGap, match="after version 4 comes 6"):
        waiting.result(0)


def test_who_does_not_take_what_comes_is_told_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WAITING_MAX", 3)
    feed, hear = fed()
    feed.after(0)
    hear(committed(1))
    feed.next().result(0)
    hear(*[committed(n) for n in range(2, 6)])
    with pytest.raises(Overloaded, match=r"watch\(key, since=1\)"):
        feed.next().result(0)


def test_who_is_told_its_own_answers_alone_cannot_watch() -> None:
    hub = Mock(settings=Settings(client={"answers": "inbox"}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scope cannot be watched"):
        Feed(hub, "scope")


def test_a_value_that_is_no_json_names_its_place() -> None:
    for text in ("{", "[" * 60_000):
        with pytest.raises(SchemaError, match="k of scope has a value that is no JSON, since version 7"):
            versioned("scope", Entry("k", text, 7))


def test_crowds_are_remembered_of_so_many_scopes() -> None:
    hub = Accord()
    for n in range(SCOPES_MAX + 1):
        Crowd(hub, f"s{n}").met()  # type: ignore[arg-type]
    assert not Crowd(hub, "s0").is_there and Crowd(hub, f"s{SCOPES_MAX}").is_there  # type: ignore[arg-type]


# -- the same for plain programs


def test_the_same_for_plain_programs(embedded: Embedded) -> None:
    hub = sync.Accord(agent="ada")
    hub.use(embedded.settings, embedded.timestamp_ms)
    with hub:
        scope = hub.state("plain")
        assert scope.put("a", 1, if_version=0) == Versioned(1, 1)
        with pytest.raises(VersionConflict):
            scope.put("a", 2, if_version=0)
        assert scope.increment("a", 2).value == 3
        assert scope.add("tags", "vip", "new").value == ["new", "vip"] and scope.discard("tags", "new").value == ["vip"]
        assert scope.update("a", lambda a: a * 2).value == 6
        assert scope.keys() == ["a", "tags"] and list(scope.items("t")) == ["tags"]
        assert [read.value for read in scope.history("a")] == [1, 3, 6]
        assert scope.get("a", at=1).value == 1
        watch = scope.watch("a")
        assert next(watch).value == 6
        with scope.replica() as replica:
            scope.put("a", 7)
            assert replica.read("a").value == 7 and replica.get("a").value == 7 and replica.version == scope.written
            assert list(replica.items("a")) == ["a"]
        assert next(watch).value == 7
        watch.close()  # type: ignore[attr-defined]

        def swap(tx: Any) -> int:
            tx.put("b", tx.get("a").value)
            tx.delete("a")
            return len(tx.keys()) + len(tx.items())

        assert hub.state("plain").run_transaction(swap, locking="exclusive") == 4
        with scope.transaction(locking="exclusive") as tx:
            tx.put("b", tx.get("b").value + 1)
        with scope.transaction(locking="shared") as tx:
            assert tx.get("b").value == 8

        with pytest.raises(ZeroDivisionError), scope.transaction() as tx:
            tx.put("b", "half")
            raise ZeroDivisionError
        assert scope.get("b").value == 8

        def interfered(tx: Any) -> None:
            tx.put("b", tx.get("b").value)
            scope.increment("b")

        with pytest.raises(VersionConflict):
            scope.run_transaction(interfered, attempts=2)
        with pytest.raises(VersionConflict):
            scope.update("b", lambda b: scope.put("b", b).value, attempts=2)
        assert scope.delete("b") and not scope.delete("b")
        scope.configure(history=1)
        with pytest.raises(SnapshotTooOld):
            scope.get("b", at=1)
        assert hub.connection.load["watches"] == 0


# -- put before a judge


async def differ(hub: Accord, scope: str) -> int:
    """A key that somebody else has written since it was read; returns the version that was read."""
    read = await hub.state(scope).put("price", 80)
    await hub.state(scope).put("price", 95)
    return read.version


@in_loop
async def test_a_judge_says_whose_value_stays(make_hub: MakeHub) -> None:
    asked: list[Any] = []

    def judge(matter: Matter) -> Judgement:
        asked.append(matter)
        return Judgement("ada" if matter.ground == "state/j-mine" else "version 2", "so it is", 0.9)

    async with make_hub("ada") as ada, make_hub("bob") as bob, bob.judge(judge):
        read = await differ(bob, "j-mine")
        written = await ada.state("j-mine").put_judged("price", 90, if_version=read)
        assert (written.value, written.version, len(asked)) == (90, 3, 1)
        assert await ada.state("j-mine").get("price") == written
        feed = await ada.state("j-mine").put_judged("price", 91, if_version=3)
        assert (feed.version, len(asked)) == (4, 1), "nobody was faster"
        read = await differ(bob, "j-theirs")
        with pytest.raises(VersionConflict, match="judge has judged that version 2 stays: so it is") as refused:
            await ada.state("j-theirs").put_judged("price", 90, if_version=read)
        assert refused.value.details["resolution"]["winner"] == "version 2"
        assert (refused.value.details["expected"], refused.value.details["found"]) == (1, 2)
        assert (await ada.state("j-theirs").get("price")).value == 95
        same = await ada.state("j-theirs").put_judged("price", 95, if_version=read)
        assert (same.value, same.version, len(asked)) == (95, 2, 2), "there is nothing to judge"
        await bob.state("j-theirs").delete("price")
        with pytest.raises(VersionConflict, match="nobody has judged it"):
            await ada.state("j-theirs").put_judged("price", 90, if_version=read)
        assert asked[-1].parties == ("ada", "version 0")
        assert '"deleted":true' in str(asked[-1].question).replace(" ", "").replace("\\", "")


@in_loop
async def test_without_a_judgement_the_other_value_stays(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        await ada.ground("state/j-none").configure(judging_ms=1_000)
        read = await differ(bob, "j-none")
        with pytest.raises(VersionConflict, match=r"nobody has judged it \(.*\)\."):
            await ada.state("j-none").put_judged("price", 90, if_version=read)
        with pytest.raises(VersionConflict, match=r"it was not judged: .* is not resolved within 0 ms"):
            await ada.state("j-none").put_judged("price", 90, if_version=read, wait_ms=0)
        assert (await ada.state("j-none").get("price")).value == 95


@in_loop
async def test_what_changes_while_it_is_judged_is_judged_anew_three_times(make_hub: MakeHub) -> None:
    count = 0
    async with make_hub("ada") as ada, make_hub("bob") as bob:

        async def judge(matter: Matter) -> Judgement:
            nonlocal count
            if matter.ground == "state/j-again":
                count += 1
                await bob.state("j-again").put("price", 100 + count)
            return Judgement("ada", "she is right", 1)

        async with bob.judge(judge):
            read = await differ(bob, "j-again")
            with pytest.raises(VersionConflict):
                await ada.state("j-again").put_judged("price", 90, if_version=read)
        assert (count, (await ada.state("j-again").get("price")).value) == (3, 103)


@in_loop
async def test_what_a_judge_is_not_sure_of_goes_to_the_authority(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("chief") as chief:
        await ada.ground("j-chief").configure(authority="chief")

        @chief.when("ruling_wanted:chief")
        async def rule(event: Any) -> None:
            await chief.ground(event["ground"]).rule(event["conflict"], "ada", reasoning="yes")

        async with chief.judge(lambda _: Judgement("version 2", "a guess", 0.5)):
            read = await differ(chief, "j-chief")
            written = await ada.state("j-chief").put_judged("price", 90, if_version=read, ground="j-chief")
        assert written.value == 90
