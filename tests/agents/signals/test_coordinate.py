"""`coordinate`: what is recorded of a call, whose turn it is, and what a caller sees."""

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.signals import signals
from accord.schemas.messages.locks import ReleaseLock
from accord.schemas.topics import commands_topic, partition_of

import accord
from accord import (
    BadInput,
    CircularTrigger,
    Event,
    LeaseLost,
    LockTimeout,
    NotConnected,
    ResultNotSerializable,
    WouldSelfDeadlock,
    coordinate,
    emit,
    when,
)
from accord.kafka import bounds, consumer, read
from accord.settings import Settings

EVENTS = ("waiting", "started", "complete", "failed")


class Seen(list[Event]):
    """The events about coordinated calls, by several names, in the order of the log's clocks."""

    def listen(self, *names: str) -> "Seen":
        for name in names:
            when(name, name=f"seen-{name}")(self.take)
        return self

    def calls(self, *names: str) -> "Seen":
        return self.listen(*(f"{name}_{event}" for name in names for event in EVENTS))

    def take(self, event_data: Any, event: Event) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        return [event.name for event in sorted(self, key=lambda event: event.clock.lamport)]

    def data(self, name: str) -> dict[str, Any]:
        (event,) = [event for event in self if event.name == name]
        return dict(event.data)


@pytest.fixture
def hub(settings: Settings) -> Iterator[accord.sync.Accord]:
    """An open hub, without the handlers of the test: they are to be declared with `hub.when`."""
    with accord.sync.Accord(settings=settings, agent="ada") as opened:
        yield opened


def test_a_call_is_recorded_and_its_result_returned_unchanged(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("plain")
    result = {"hotel": ("Astoria", 12)}

    @coordinate("plain")
    def research(city: str, *, stars: int = 3) -> dict[str, Any]:
        """Finds a hotel."""
        time.sleep(0.02)
        return result

    assert research("Bonn") is result
    hub.drain()
    assert seen.names == ["plain_started", "plain_complete"]
    complete = seen.data("plain_complete")
    assert complete.pop("duration_ms") >= 20
    assert complete == {"result": {"hotel": ["Astoria", 12]}, "lock_wait_ms": 0, "status": "complete"}
    assert research.__doc__ == "Finds a hotel." and research.__name__ == "research"
    assert list(inspect.signature(research).parameters) == ["city", "stars"]


def test_async_functions_stay_async(settings: Settings) -> None:
    seen = Seen().calls("async")

    @coordinate("async")
    async def research(city: str) -> str:
        await asyncio.sleep(0)
        return city

    assert inspect.iscoroutinefunction(research)

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            assert await research("Bonn") == "Bonn"
            await hub.drain()

    asyncio.run(main())
    assert seen.names == ["async_started", "async_complete"]


def test_a_failure_is_recorded_and_raised_again(hub: accord.sync.Accord, settings: Settings) -> None:
    seen = Seen().calls("broken", "broken_async")
    error = RuntimeError("no \ud800 hotel")

    @coordinate("broken", lock_name="broken")
    def research() -> None:
        raise error

    @coordinate("broken_async", lock_name="broken")
    async def research_async() -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        research()
    assert raised.value is error
    with pytest.raises(RuntimeError):
        asyncio.run(research_async())
    with hub.lock("broken", wait_ms=0):
        pass  # it was freed
    hub.drain()
    assert seen.names == ["broken_started", "broken_failed", "broken_async_started", "broken_async_failed"]
    failed = seen.data("broken_failed")
    assert (failed["error_type"], failed["error"], failed["status"]) == ("RuntimeError", "no ? hotel", "failed")
    assert failed["lock"] == "broken" and failed["token"] > 0


def test_bodies_take_turns_in_the_order_of_arrival(settings: Settings) -> None:
    seen = Seen().calls("turns")
    running: list[str] = []
    order: list[str] = []

    @coordinate("turns", lock_name="room_{room}")
    async def book(room: str, guest: str) -> str:
        running.append(room)
        assert running.count(room) == 1
        order.append(guest)
        await asyncio.sleep(0.02)
        running.remove(room)
        return guest

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            guests = ["ada", "bob", "cyd", "dan"]
            assert await asyncio.gather(*(book("12", guest) for guest in guests)) == guests
            assert order == guests
            await hub.drain()

    asyncio.run(main())
    waited = [event for event in seen if event.name == "turns_waiting"]
    assert sorted(event.data["place"] for event in waited) == [1, 2, 3]
    assert {event.data["lock"] for event in waited} == {"room_12"}
    complete = [event.data for event in seen if event.name == "turns_complete"]
    assert [data["result"] for data in complete] == ["ada", "bob", "cyd", "dan"]
    tokens = [data["token"] for data in complete]
    assert tokens == sorted(set(tokens))
    assert complete[0]["lock_wait_ms"] < complete[3]["lock_wait_ms"] and complete[3]["lock_wait_ms"] >= 60
    assert len(seen) == 3 + 4 + 4


def test_other_locks_are_not_waited_for(settings: Settings) -> None:
    both = asyncio.Barrier(2)

    @coordinate("concurrent", lock_name="customer_{customer_id}")
    async def update(customer_id: int) -> None:
        async with asyncio.timeout(5):
            await both.wait()

    async def main() -> None:
        async with Accord(settings=settings):
            await asyncio.gather(update(456), update(457))

    asyncio.run(main())


def test_sync_bodies_run_in_threads_and_under_a_running_loop(settings: Settings) -> None:
    seen = Seen().calls("threads")
    count = 0

    @coordinate("threads", lock_name="counter")
    def add() -> int:
        nonlocal count
        before = count
        time.sleep(0.005)
        count = before + 1
        return count

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            add()  # the loop of this thread stands still; accord's own does not
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: add(), range(7)))
            await hub.drain()

    asyncio.run(main())
    assert count == 8
    assert sorted(event.data["result"] for event in seen if event.name == "threads_complete") == list(range(1, 9))


def test_started_is_recorded_before_the_body_and_what_it_emits_before_complete(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("order").listen("order_found")

    @coordinate("order")
    def research() -> None:
        hub.drain()
        assert seen.names == ["order_started"]
        emit("order_found", {"n": 1})
        emit("order_found", {"n": 2})

    research()
    hub.drain()
    assert seen.names == ["order_started", "order_found", "order_found", "order_complete"]


def test_an_event_lost_in_the_body_makes_the_call_fail(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("loses")

    @coordinate("loses")
    def research() -> None:
        token = signals.trail.set(("a",) * 33)
        emit("loses_found", {})
        signals.trail.reset(token)

    with pytest.raises(CircularTrigger):
        research()
    hub.drain()
    assert seen.names == ["loses_started", "loses_failed"]


def test_a_result_that_json_cannot_express_is_a_failure_that_names_it(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("database")

    class Connection: ...

    @coordinate("database")
    def book(result: Any) -> Any:
        return result

    with pytest.raises(
        ResultNotSerializable,
        match=r"book\(\) returned a Connection at \$.db; recorded as database_failed. Return JSON types, dataclasses",
    ):
        book({"db": Connection()})
    with pytest.raises(ResultNotSerializable, match=r"an object at \$\[1\]"):
        book([1, object()])
    with pytest.raises(ResultNotSerializable, match="more than 850000 bytes of JSON"):
        book("x" * 1_000_000)
    hub.drain()
    assert seen.names == ["database_started", "database_failed"] * 3
    assert {event.data["error_type"] for event in seen if "failed" in event.name} == {"ResultNotSerializable"}


def take_away(hub: Any, key: str, token: int) -> None:
    """Ends a lease in the log, as an operator may."""
    hub.connection.submit("locks", key, ReleaseLock("operator", token)).decided.result(5)


def test_a_lost_lease_cancels_an_async_body(settings: Settings) -> None:
    seen = Seen().calls("lease")
    reached = asyncio.Event()

    @coordinate("lease", lock_name="lease")
    async def book() -> None:
        reached.set()
        await asyncio.sleep(20)
        raise AssertionError("not cancelled")

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            task = asyncio.create_task(book())
            await reached.wait()
            await hub.drain()
            await asyncio.to_thread(take_away, hub, "lease", seen.data("lease_started")["token"])
            with pytest.raises(LeaseLost):
                await task
            await hub.drain()

    asyncio.run(main())
    assert seen.names == ["lease_started", "lease_failed"]
    assert seen.data("lease_failed")["error_type"] == "LeaseLost"


def test_a_lost_lease_fails_a_sync_body_at_its_end(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("sync_lease")

    @coordinate("sync_lease", lock_name="sync_lease")
    def book() -> str:
        hub.drain()
        take_away(hub, "sync_lease", seen.data("sync_lease_started")["token"])
        return "too late"

    with pytest.raises(LeaseLost):
        book()
    hub.drain()
    assert seen.names == ["sync_lease_started", "sync_lease_failed"]


def test_a_lease_that_is_lost_after_complete_was_sent_changes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen().calls("late")

    @coordinate("late", lock_name="late")
    async def book() -> str:
        await asyncio.sleep(0)
        return "booked"

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            send = signals.emit_on

            def emit_on(hub: Any, event: str, data: Any) -> Any:
                receipt = send(hub, event, data)
                if event == "late_complete":
                    threading.Thread(target=take_away, args=(hub, "late", data["token"])).start()
                    time.sleep(0.3)  # the loop hears of the loss first
                return receipt

            monkeypatch.setattr(signals, "emit_on", emit_on)
            assert await book() == "booked"
            await hub.drain()

    asyncio.run(main())
    assert seen.names == ["late_started", "late_complete"]


def test_a_lock_that_is_not_granted_in_time(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("patient", "hasty")

    @coordinate("patient", lock_name="taken", wait_ms=50)
    def patient() -> None:
        raise AssertionError

    @coordinate("hasty", lock_name="taken", wait_ms=0)
    def hasty() -> None:
        raise AssertionError

    with hub.lock("taken"), ThreadPoolExecutor(1) as other:
        with pytest.raises(LockTimeout, match=r"taken not granted within 50 ms. Held by ada"):
            other.submit(patient).result()
        with pytest.raises(LockTimeout, match="taken is not free"):
            other.submit(hasty).result()
    hub.drain()
    assert seen.names == ["patient_waiting", "patient_failed", "hasty_failed"]
    assert seen.data("hasty_failed")["error_type"] == "LockTimeout"


def test_the_same_lock_within_one_call_chain_is_refused(hub: accord.sync.Accord) -> None:
    @coordinate("inner", lock_name="mine")
    def inner() -> None: ...

    @coordinate("outer", lock_name="mine")
    def outer() -> None:
        inner()

    with pytest.raises(WouldSelfDeadlock):
        outer()
    with hub.lock("mine", wait_ms=0):
        pass


def test_a_cancelled_call_is_recorded_as_failed_and_frees_its_lock(settings: Settings) -> None:
    seen = Seen().calls("cancelled")
    started = asyncio.Event()

    @coordinate("cancelled", lock_name="cancelled")
    async def book() -> None:
        started.set()
        await asyncio.sleep(20)

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            task = asyncio.create_task(book())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with hub.lock("cancelled", wait_ms=0):
                pass
            await hub.drain()

    asyncio.run(main())
    assert seen.names == ["cancelled_started", "cancelled_failed"]
    assert seen.data("cancelled_failed")["error_type"] == "CancelledError"


def test_one_task_from_the_outermost_call_through_handlers(hub: accord.sync.Accord) -> None:
    seen = Seen().calls("outer", "inner", "reaction")

    @coordinate("reaction")
    def react() -> None: ...

    @coordinate("inner", lock_name="task")
    def inner() -> None: ...

    @coordinate("outer")
    def outer() -> None:
        inner()

    @hub.when("outer_complete")
    def follow(event_data: Any) -> None:
        react()

    outer()
    hub.drain()
    assert len(seen) == 6
    assert len({event.task_id for event in seen}) == 1
    outer()
    hub.drain()
    assert len({event.task_id for event in seen}) == 2


def test_the_commands_about_its_lock_belong_to_the_task(hub: accord.sync.Accord, settings: Settings) -> None:
    @coordinate("correlated", lock_name="correlated")
    def book() -> None: ...

    with signals.task("task-9"):
        book()
    client = consumer(settings.kafka)
    topic = commands_topic("locks", settings.topics.prefix)
    partition = partition_of(b"correlated", settings.topics.partitions)
    records = [r for r in read(client, topic, partition, *bounds(client, topic, partition)) if r.key == b"correlated"]
    client.close()
    assert [dict(record.headers)["accord-task"] for record in records] == [b"task-9"] * 2


def key_of(order: dict[str, Any]) -> str:
    return f"order_{order['id']}"


@pytest.mark.parametrize(
    ("lock_name", "args", "kwargs", "lock"),
    [
        ("customer_456", (1,), {}, "customer_456"),
        ("a{{b}}", (1,), {}, "a{b}"),
        ("o_{order}", (7,), {}, "o_7"),
        ("o_{order[id]}", ({"id": 9},), {}, "o_9"),
        ("c_{city}", (1,), {}, "c_Bonn"),
        ("c_{city}", (1, "Ulm"), {}, "c_Ulm"),
        ("c_{city:_>5}", (1,), {"city": "Ulm"}, "c___Ulm"),
        ("x_{extra}", (1,), {"extra": "more"}, "x_more"),
        (key_of, ({"id": 3},), {}, "order_3"),
        (lambda city: f"in_{city}", (1,), {}, "in_Bonn"),
        (lambda *args, **kwargs: f"n_{len(args)}_{len(kwargs)}", (1,), {"a": 1, "b": 2}, "n_1_2"),
        (lambda first, second="": f"as_{first}_{second}", (1, 2), {}, "as_1_2"),
    ],
)
def test_the_lock_is_named_by_the_arguments(
    hub: accord.sync.Accord, lock_name: Any, args: Any, kwargs: Any, lock: str
) -> None:
    names: list[str] = []
    hub.when("named_started", name=f"named-{lock}")(lambda event_data: names.append(event_data["lock"]))

    @coordinate("named", lock_name=lock_name)
    def book(order: Any, city: str = "Bonn", **more: Any) -> None: ...

    book(*args, **kwargs)
    hub.drain()
    assert names == [lock]


def update_profile(customer_id: str, data: Any) -> None: ...


def generate() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": ""}, "coordinate name '' has 0 characters"),
        ({"name": 7}, "text is needed"),
        ({"name": "x" * 192}, "1 to 191 are allowed"),
        (
            {"name": "x", "lock_name": "customer_{custid}"},
            r'lock_name "customer_{custid}": update_profile\(\) has no argument custid. It has: customer_id, data.',
        ),
        ({"name": "x", "lock_name": "customer_{}"}, r"has no argument {}"),
        ({"name": "x", "lock_name": "customer_{"}, "written twice"),
        ({"name": "x", "lock_name": ""}, "lock name"),
        ({"name": "x", "lock_name": 7}, "lock's name is text"),
        ({"name": "x", "lock_name": "l", "lease_ms": 30}, "lease_ms=30 is 30 milliseconds; the least is 1000"),
        ({"name": "x", "lock_name": "l", "wait_ms": -1}, "wait_ms=-1"),
        ({"name": "x", "lock_name": "l", "wait_ms": 0.5}, "whole milliseconds"),
        ({"name": "x", "wait_ms": 5}, "lock_name is not given"),
    ],
)
def test_bad_input_is_refused_when_decorating(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        coordinate(**arguments)(update_profile)


def test_a_generator_cannot_be_coordinated() -> None:
    with pytest.raises(BadInput, match=r"generate\(\) yields"):
        coordinate("x")(generate)


def test_a_lock_name_from_a_function_is_checked_at_the_call(hub: accord.sync.Accord) -> None:
    with pytest.raises(BadInput, match="lock"):
        coordinate("x", lock_name=lambda data: "")(update_profile)("456", {})


def test_a_call_with_wrong_arguments_fails_as_it_does_undecorated(hub: accord.sync.Accord) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'data'"):
        coordinate("x", lock_name="c_{customer_id}")(update_profile)("456")  # type: ignore[call-arg]


def test_without_a_hub_the_error_says_what_to_do() -> None:
    coordinated = coordinate("hotel_booker")(update_profile)
    with pytest.raises(NotConnected, match=r"hotel_booker was called but no hub is open. Wrap the program"):
        coordinated("456", {})


def test_a_hub_of_its_own(settings: Settings) -> None:
    agents: list[str] = []
    first, second = (accord.sync.Accord(settings=settings, agent=agent) for agent in ("ada", "bob"))

    @first.coordinate("owned", lock_name="owned")
    def book() -> None:
        with pytest.raises(LockTimeout, match="Held by ada"), ThreadPoolExecutor(1) as other:
            other.submit(lambda: second.lock("owned", wait_ms=0).acquire()).result()
        agents.append("ada")

    with first, second:
        book()
    assert agents == ["ada"]
    with pytest.raises(NotConnected):
        book()
