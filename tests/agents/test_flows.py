"""Flows in programs: what they find is emitted, once, whoever runs them and however often they begin again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest
from accord.replay.flows import flow_at
from accord.schemas.topics import events_topic, partition_of
from accord.streams.chain import Chain, genesis
from accord.streams.flows.fold import Fold
from accord.streams.runtime.flows import PART_BYTES, FlowTable

from accord import replay
from accord.embedded import Embedded
from accord.errors import BadInput, ConfigError, FlowFailed, NotConnected
from accord.flows import count, flow, running, sum_of, tumbling
from accord.flows.run import FlowRun, Kept
from accord.flows.running import Running
from tests.agents.test_tasks import MakeHub, in_loop

WAIT_S = 15
MINUTE = tumbling(ms=60_000)


async def told(embedded: Embedded, name: str, least: int) -> list[Any]:
    """The data of a flow's results, oldest first, once there are so many."""

    def read() -> list[Any]:
        with replay.open(embedded.settings) as log:
            views = flow_at(log.source, name)
        assert all(view.results == len(view.recent) for view in views)
        return [one.data for view in views for one in reversed(view.recent)]

    async with asyncio.timeout(WAIT_S):
        while len(found := await asyncio.to_thread(read)) < least:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def until_folded(work: Running, name: str, events: int) -> None:
    """Waits until a flow has folded so many events; a window without results shows nothing yet."""
    async with asyncio.timeout(WAIT_S):
        while work.counts[name].get("taken", 0) < events:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@in_loop
async def test_windows_go_on_after_a_restart_with_and_without_what_was_kept(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    seen: list[str] = []

    def see(paid: Mapping[str, Any]) -> bool:
        seen.append(paid["room"])
        return True

    figures = {"n": count(), "total": sum_of("amount")}
    sales = flow("sales").of("sales.paid").filter(see).by("room").window(MINUTE).aggregate(**figures).emit("sales.told")
    async with make_hub("ada") as hub:
        async with running(hub, sales, group="one") as work:
            assert work.here == ("sales",)
            await hub.emit("sales.paid", {"room": "before", "amount": 9})  # it began with the log's end
            await until_folded(work, "sales", 1)
            await hub.emit("sales.paid", {"room": "x", "amount": 1})
            await until_folded(work, "sales", 2)
        await hub.emit("sales.paid", {"room": "x", "amount": 2.5})
        async with running(hub, sales, group="one") as work:
            await until_folded(work, "sales", 3)
            await asyncio.to_thread(embedded.advance, 60_000)
            found = await told(embedded, "sales", 2)
            assert [(one["room"], one["n"], one["total"]) for one in found] == [("before", 1, 9), ("x", 2, 3.5)]
            assert found[0]["to_ms"] - found[0]["from_ms"] == 60_000
        assert seen == ["before", "x", "x"], "it went on from its checkpoint"
        await hub.emit("sales.paid", {"room": "y", "amount": 7})
        async with running(hub, sales, group="another"):  # it has no checkpoint, and folds all of it again
            await asyncio.to_thread(embedded.advance, 60_000)
            found = await told(embedded, "sales", 3)
            assert [one["room"] for one in found] == ["before", "x", "y"]
        assert seen[3:] == ["before", "x", "x", "y"]


@in_loop
async def test_a_join_over_partitions_waits_for_nobody_for_ever(make_hub: MakeHub, embedded: Embedded) -> None:
    names = next(
        (f"order{n}", f"payment{n}")
        for n in range(99)
        if partition_of(f"order{n}".encode(), 4) != partition_of(f"payment{n}".encode(), 4)
    )
    joined = flow("settled").of(names[0]).join(names[1], on="id", within_ms=60_000).emit("order.settled")
    found: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async with make_hub("ada") as hub:

        @hub.when("order.settled")
        async def settled(event_data: Mapping[str, Any]) -> None:
            found.put_nowait(event_data)

        async with running(hub, joined):
            first = await hub.emit(names[0], {"id": 7})
            second = await hub.emit(names[1], {"id": 7})  # and then both partitions are silent
            data = await asyncio.wait_for(found.get(), WAIT_S)
        assert data["causes"] == [str(first), str(second)] and data[names[0]] == {"id": 7}


@in_loop
async def test_one_flow_that_fails_stops_and_the_others_go_on(make_hub: MakeHub, embedded: Embedded) -> None:
    bad = flow("bad").of("common").map(lambda data: {"half": 1 // data["n"]}).emit("bad.told")
    good = flow("good").of("common").emit("good.told")
    mended = flow("bad").of("common").map(lambda data: {"half": 1}).emit("bad.told")
    async with make_hub("ada") as hub:
        async with running(hub, bad, good) as work:
            await hub.emit("common", {"n": 1})
            zero = await hub.emit("common", {"n": 0})
            assert len(await told(embedded, "good", 2)) == 2
            async with asyncio.timeout(WAIT_S):
                while not work.failures:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            failure = work.failures["bad"]
            assert isinstance(failure, FlowFailed) and failure.position == str(zero)
            assert work.here == ("good",) and work.counts["good"] == {"taken": 2}
            assert [one["half"] for one in await told(embedded, "bad", 1)] == [1]
        async with running(hub, mended):  # the first result is on the log
            assert [one["half"] for one in await told(embedded, "bad", 2)] == [1, 1]
        with pytest.raises(ConfigError, match="another name"):
            async with running(hub, flow("bad").of("common", "other").emit("bad.told")):
                pass


@in_loop
async def test_late_events_have_a_name_of_their_own(make_hub: MakeHub, embedded: Embedded) -> None:
    made = (
        flow("own").of("own.paid", at="at").window(MINUTE, late="side").aggregate(n=count()).emit("own.told")
    )  # fmt: skip
    async with make_hub("ada") as hub, running(hub, made.since("start")):
        await hub.emit("own.paid", {"at": 0, "x": 1})
        (late,) = await told(embedded, "own", 1)
        assert (late["reason"], late["at_ms"], late["data"]) == ("late", 0, {"at": 0, "x": 1})


@in_loop
async def test_what_cannot_be_run_is_refused(make_hub: MakeHub) -> None:
    hub, made = make_hub("ada"), flow("f").of("a").emit("b")
    for flows, group in (((), None), ((made, made), None), ((flow("f").of("a"),), None), ((made,), "a b")):
        with pytest.raises(BadInput):
            async with running(hub, *flows, group=group):
                pass
    with pytest.raises(NotConnected):
        async with running(hub, made):
            pass


@in_loop
async def test_checkpoints_that_lie_elsewhere(make_hub: MakeHub, embedded: Embedded) -> None:
    """What lies before the beginning is read for the chain's sake; a checkpoint may be made in the middle of that. One
    that is of another log is not used."""
    made = flow("middle").of("middle.paid").emit("middle.told")
    kept: list[bytes] = []

    def save(data: bytes) -> Future[None]:
        kept.append(data)
        saved: Future[None] = Future()
        saved.set_result(None)
        return saved

    class Blind(FlowRun):
        def _read(self, message: object) -> None:
            """Nothing has come yet."""

    async def run(last: bytes | None, until: int, kind: type[FlowRun] = FlowRun) -> None:
        flow_run = kind(made, hub, last, save)
        flow_run.start()
        async with asyncio.timeout(WAIT_S):
            while flow_run.counts.get("taken", 0) < until or not flow_run.begun.done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.to_thread(flow_run.stop)
        assert flow_run.failure is None

    async with make_hub("ada") as hub:
        for number in range(3):
            await hub.emit("middle.paid", {"n": number})
        await run(None, 0)
        await hub.emit("middle.paid", {"n": 3})
        first = msgspec.msgpack.decode(kept[-1], type=Kept)
        partition = partition_of(b"middle.paid", 4)
        with replay.open(embedded.settings) as log:
            source = log.source
            chain = Chain(genesis(source.cluster, events_topic("signals", source.prefix), partition))
            opened = next(one for record in source.read("signals", partition, 0) if (one := chain.accept(record)))
        early = {partition: (opened.offset, opened.seq, opened.digest.hex())}
        another_log = {partition: (opened.offset, opened.seq, "00" * 16)}
        longer_log = {partition: (10_000, 10_000, "00" * 16)}
        for places in (early, {}, another_log, longer_log):
            await run(msgspec.msgpack.encode(Kept(first.definition, places, first.fold)), 1)
            assert Fold(made, msgspec.msgpack.decode(kept[-1], type=Kept).fold.encode()).counts == {"taken": 1}
        assert [one["n"] for one in await told(embedded, "middle", 1)] == [3]
        count = len(kept)
        await run(kept[-1], 0, Blind)
        assert len(kept) == count, "nothing has changed"


@in_loop
async def test_a_checkpoint_in_parts_is_whole_or_none(embedded: Embedded) -> None:
    async def nothing(_: frozenset[int]) -> None:
        pass

    table = FlowTable(embedded.settings, "parts", embedded=True, assigned=nothing, revoked=nothing)
    await table.start()
    try:
        assert table.load("f") is None
        for size in (PART_BYTES * 3 + 1, 7, 0, PART_BYTES, PART_BYTES * 2):
            data = bytes([size % 251]) * size
            await table.save("f", data)
            assert table.load("f") == data
        place, rows = table.place_of("f"), table._domain.table
        head = rows.get_row(place, b"f")
        await table.save("f", b"newer")
        await rows.write_rows(place, {b"f": head})  # as if it had not been written to its end
        assert table.load("f") == data
        (part, *_) = [key for key, value in rows.rows(place) if key != b"f" and len(value) == PART_BYTES]
        await rows.write_rows(place, {part: b"damaged"})
        assert table.load("f") is None
        await rows.write_rows(place, {b"f": b"damaged"})
        assert table.load("f") is None
        await table.save("f", b"again")
        assert table.load("f") == b"again"
    finally:
        await table.stop()
