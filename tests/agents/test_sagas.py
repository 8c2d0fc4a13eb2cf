"""Sagas by programs: run, compensated, cancelled, taken over, stuck; by one process and by several."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.connection.connection import settle
from accord.agents.sagas.definition import RETRIES, Saga, StepRun
from accord.agents.sagas.handle import End, SagaReport
from accord.agents.sagas.running import Running
from accord.agents.signals import signals
from accord.schemas.messages.sagas import BeginSaga, ReadSaga, SagaOffered, SagaRead, SagaTaken, StepRead
from accord.schemas.messages.tasks import Artifact
from accord.streams.sagas.bounds import RESULT_BYTES_MAX, STEPS_MAX

from accord import GiveUp, emit, sync
from accord.embedded import Embedded
from accord.errors import BadInput, NotConnected, NotFound, OutcomeUnknown, Refused, TermsDiffer, Unavailable
from tests.agents.test_tasks import MakeHub, in_loop, until

ANSWERS = ("events", "inbox")
WAIT_MS = 20_000
LEASE_MS = 10_000


place: ContextVar[str] = ContextVar("place", default="")


class Trip:
    """A saga of three steps that writes down what it does; steps that are named fail, or wait."""

    def __init__(self, name: str, *, fails: str = "", error: type[Exception] = GiveUp, waits: str = "") -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.fails, self.error, self.waits = fails, error, waits
        self.go_on = asyncio.Event()
        self.saga = (
            Saga(name)
            .step(self.reserve, undo=self.unreserve, undo_retries=0)
            .step(self.pay, undo=self.refund, pause_ms=0)
            .step(self.mail, retries=0)
        )

    async def _do(self, what: str, step: StepRun) -> None:
        self.log.append(what)
        self.keys.append(step.key)
        if what == self.waits:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.log.append(f"{what} cancelled")
                raise
        if what == self.fails:
            raise self.error(f"no {what}")

    async def reserve(self, input: dict[str, str], step: StepRun) -> dict[str, Any]:
        await self._do("reserve", step)
        return {"room": 12, "guest": input["guest"]}

    async def unreserve(self, reserve: dict[str, Any] | None, step: StepRun) -> None:
        await self._do(f"unreserve {reserve and reserve['room']}", step)

    async def pay(self, step: StepRun) -> int:
        await self._do("pay", step)
        return 40

    async def refund(self, pay: int | None, reserve: dict[str, Any], step: StepRun) -> None:
        await self._do(f"refund {pay} of {reserve['guest']}", step)

    async def mail(self, reserve: dict[str, Any], pay: int, step: StepRun) -> str:
        await self._do("mail", step)
        return f"{reserve['guest']} has {reserve['room']} for {pay}"


ADA = {"guest": "ada"}


def statuses(report: SagaReport) -> list[str]:
    return [step.status for step in report.steps]


# -- definitions


def nothing() -> None:
    pass


def test_only_the_last_step_may_be_without_undo() -> None:
    saga = Saga("trip").step(nothing, name="pay")
    with pytest.raises(BadInput, match="the step 'pay' has no undo, so 'mail' cannot come after it"):
        saga.step(nothing, name="mail", undo=nothing)


def test_a_definition_stays_as_it_is_when_another_is_made_of_it() -> None:
    short = Saga("trip").step(nothing, name="pay", undo=nothing)
    long = short.step(nothing, name="mail")
    assert [step.name for step in short.steps] == ["pay"] and [step.name for step in long.steps] == ["pay", "mail"]
    assert [(step.undo, step.retries) for step in long.steps] == [(True, RETRIES), (False, RETRIES)]


def takes_mail(mail: str) -> None:
    pass


@pytest.mark.parametrize(
    ("terms", "what"),
    [
        ({"name": ""}, "a name of 1 to 200 bytes"),
        ({"name": "pay"}, "'pay' is defined twice"),
        ({"retries": -1}, "retries=-1"),
        ({"undo_retries": 101}, "undo_retries=101"),
        ({"pause_ms": 0.5}, "pause_ms=0.5"),
        ({"timeout_ms": 1}, "timeout_ms=1"),
        ({"undo": 5}, "undo of mail is 5, which is no function"),
        ({"function": takes_mail}, "has the parameter mail, but comes after no such step"),
    ],
)
def test_what_cannot_be_a_step_is_refused(terms: dict[str, Any], what: str) -> None:
    saga = Saga("trip").step(nothing, name="pay", undo=nothing)
    known: dict[str, Any] = {"function": nothing, "name": "mail", "undo": nothing} | terms
    with pytest.raises(BadInput, match=what):
        saga.step(known.pop("function"), **known)


def test_a_saga_has_so_many_steps() -> None:
    saga = Saga("trip")
    for number in range(STEPS_MAX):
        saga = saga.step(nothing, name=str(number), undo=nothing)
    with pytest.raises(BadInput, match="50 steps are possible"):
        saga.step(nothing, name="last")


# -- running them


@in_loop
async def test_steps_have_the_results_of_those_before(make_hub: MakeHub) -> None:
    trip = Trip("trip")
    async with make_hub("ada") as hub:
        report = await trip.saga.run(hub, ADA, id="t-1")
        assert report.completed and report.has_ended and report.result == "ada has 12 for 40"
        assert report.done == ("reserve", "pay", "mail") and report.compensated == () and report.failed_step is None
        assert trip.log == ["reserve", "pay", "mail"]
        assert trip.keys == ["t-1/reserve/do", "t-1/pay/do", "t-1/mail/do"]
        assert (await hub.saga("t-1").outcome(wait_ms=WAIT_MS)).steps == (await hub.saga("t-1").status()).steps
        assert await hub.saga("t-1").cancel() is False


@in_loop
async def test_what_was_done_is_undone_in_reverse_order(make_hub: MakeHub) -> None:
    trip = Trip("trip", fails="mail")
    async with make_hub("ada") as hub:
        report = await trip.saga.run(hub, ADA, id="t-2")
    assert (report.status, report.failed_step, report.reason) == ("compensated", "mail", "failed")
    assert report.error == "GiveUp: no mail" and report.compensated == ("pay", "reserve") and report.done == ()
    assert trip.log == ["reserve", "pay", "mail", "refund 40 of ada", "unreserve 12"]
    assert trip.keys[-2:] == ["t-2/pay/undo", "t-2/reserve/undo"] and report.result is None
    assert statuses(report) == ["compensated", "compensated", "failed"]


@in_loop
async def test_a_step_is_repeated_as_often_as_it_says(make_hub: MakeHub) -> None:
    trip = Trip("trip", fails="pay", error=ValueError)
    async with make_hub("ada") as hub:
        report = await trip.saga.run(hub, ADA)
    assert trip.log == ["reserve", *["pay"] * (1 + RETRIES), "unreserve 12"]
    assert report.steps[1].tries == 1 + RETRIES and report.steps[1].error == "ValueError: no pay"


@pytest.mark.parametrize("error", [TimeoutError, OutcomeUnknown])
@in_loop
async def test_a_step_of_which_nobody_knows_whether_it_was_done_is_undone_too(
    error: type[Exception], make_hub: MakeHub
) -> None:
    trip = Trip("trip", fails="pay", error=error)
    async with make_hub("ada") as hub:
        report = await trip.saga.run(hub, ADA)
    assert trip.log[-2:] == ["refund None of ada", "unreserve 12"] and report.compensated == ("pay", "reserve")


@in_loop
async def test_a_step_that_takes_too_long_is_cancelled_and_undone(make_hub: MakeHub) -> None:
    trip = Trip("trip", waits="slow")

    async def slow(step: StepRun) -> None:
        await trip._do("slow", step)

    late = Saga("late").step(slow, undo=nothing, retries=0, timeout_ms=100)
    async with make_hub("ada") as hub:
        report = await late.run(hub)
    assert trip.log == ["slow", "slow cancelled"] and report.compensated == ("slow",)
    assert report.reason in ("failed", "timed_out") and "took more than 100 ms" in report.error


@in_loop
async def test_what_json_cannot_express_is_undone(make_hub: MakeHub) -> None:
    undone: list[Any] = []
    saga = Saga("odd").step(lambda: {1}, name="set", undo=lambda: undone.append(1))
    async with make_hub("ada") as hub:
        report = await saga.run(hub)
    assert undone == [1] and report.error.startswith("ResultNotSerializable: it has returned a set at $")


@in_loop
async def test_a_large_result_is_an_artifact(make_hub: MakeHub) -> None:
    text = "x" * (RESULT_BYTES_MAX + 1)
    seen: list[int] = []

    def count(write: str) -> int:
        seen.append(len(write))
        raise GiveUp("enough")

    def unwrite(write: str) -> None:
        seen.append(len(write))

    saga = Saga("large").step(lambda: text, name="write", undo=unwrite).step(count)
    async with make_hub("ada") as hub:
        report = await saga.run(hub, id="large")
        asked = hub.connection.submit("sagas", "large", ReadSaga("ada"))
        (read,) = (await asyncio.wrap_future(asked.decided)).events
    assert seen == [len(text)] * 2 and report.steps[0].result == text
    assert isinstance(read, SagaRead) and isinstance(read.steps[0].result, Artifact)


def test_plain_functions_and_a_plain_hub(embedded: Embedded) -> None:
    threads: list[bool] = []

    def work(input: int) -> int:
        threads.append(threading.current_thread() is threading.main_thread())
        return input + 1

    saga = Saga("plain").step(work, undo=nothing)
    hub = sync.Accord(agent="ada")
    hub.use(embedded.settings, embedded.timestamp_ms)
    with pytest.raises(NotConnected):
        hub.saga("p-1")
    with hub:
        assert saga.run(hub, 1, id="p-1").result == 2 and threads == [False]
        with hub.serve_sagas(saga):
            begun = hub.begin_saga(saga, 2, id="p-2")
            assert begun.id == "p-2" and begun.status().name == "plain"
            assert begun.outcome(wait_ms=WAIT_MS).result == 3
        assert begun.cancel() is False
        with pytest.raises(Refused, match="saga p-2 is not stuck: it is completed"):
            hub.saga("p-2").retry()


# -- by id


@in_loop
async def test_the_same_saga_again_is_the_one_that_was(make_hub: MakeHub) -> None:
    trip = Trip("trip")
    async with make_hub("ada") as hub:
        first = await trip.saga.run(hub, ADA, id="t-3")
        again = await trip.saga.run(hub, ADA, id="t-3")
        assert (first.result, first.steps) == (again.result, again.steps) and len(trip.log) == 3
        with pytest.raises(TermsDiffer, match="t-3 is another saga"):
            await trip.saga.run(hub, {"guest": "bob"}, id="t-3")
        for known in (hub.saga("nobody").status, hub.saga("nobody").outcome, hub.saga("nobody").retry):
            with pytest.raises(NotFound, match="there is no saga nobody"):
                await known()


@in_loop
async def test_bad_arguments_are_refused_before_anything_is_written(make_hub: MakeHub) -> None:
    trip = Trip("trip").saga
    async with make_hub("ada") as hub:
        for wrong in (
            trip.run(hub, {1}),
            hub.run_saga(trip, lease_ms=1),
            hub.run_saga(trip, keep_ms=-1),
            hub.run_saga(trip, id=""),
            Saga("empty").run(hub),
        ):
            with pytest.raises(BadInput):
                await wrong
        for sagas, terms in (((), {}), ((trip, trip), {}), ((trip,), {"slots": 0}), ((Saga("empty"),), {})):
            with pytest.raises(BadInput):
                hub.serve_sagas(*sagas, **terms)


@in_loop
async def test_who_cancels_it_from_outside_has_it_undone_with_the_step_under_way(make_hub: MakeHub) -> None:
    trip = Trip("trip", waits="pay")
    async with make_hub("ada") as hub, make_hub("bob") as other:
        running = asyncio.create_task(trip.saga.run(hub, ADA, id="t-4"))
        await until(lambda: "pay" in trip.log)
        seen = await other.saga("t-4").status()
        assert statuses(seen) == ["completed", "running", "pending"] and seen.runner == "ada" and not seen.has_ended
        with pytest.raises(Unavailable, match="saga t-4 has not ended within 50 ms"):
            await other.saga("t-4").outcome(wait_ms=50)
        waiting = asyncio.create_task(other.saga("t-4").outcome(wait_ms=WAIT_MS))
        assert await other.saga("t-4").cancel("he is ill") is True
        report = await running
        assert (report.status, report.reason, report.error) == ("compensated", "cancelled", "he is ill")
        assert trip.log == ["reserve", "pay", "pay cancelled", "refund None of ada", "unreserve 12"]
        assert (await waiting).status == "compensated"


# -- runners


async def begin_by_ghost(hub: Accord, saga: Saga, saga_id: str) -> None:
    """A saga whose process is dead from the beginning."""
    ghost = BeginSaga("ghost", hub.connection.new_id(), saga.name, saga.steps, '{"guest":"ada"}', LEASE_MS, 10**6, ())
    await asyncio.wrap_future(hub.connection.submit("sagas", saga_id, ghost).decided)


@in_loop
async def test_a_saga_whose_process_died_is_run_on_by_who_serves_it(make_hub: MakeHub, embedded: Embedded) -> None:
    trip, other = Trip("trip-5"), Trip("other-5")
    trails: list[tuple[str, ...]] = []
    places: list[str] = []

    async def tell() -> None:
        trails.append(signals.trail.get())
        places.append(place.get())
        await emit("told", {})

    saga = Saga("trip-5").step(trip.reserve, undo=trip.unreserve).step(tell)
    place.set("where it is served")
    async with make_hub("ada") as hub, hub.serve_sagas(saga, other.saga):
        await begin_by_ghost(hub, saga, "t-5")
        assert trip.log == []
        await asyncio.to_thread(embedded.advance, LEASE_MS)
        report = await hub.saga("t-5").outcome(wait_ms=WAIT_MS)
    assert report.completed and report.steps[0].tries == 2 and trip.log == ["reserve"]
    assert other.log == [] and trails == [()], "what it emits does not follow from the offer"
    assert places == ["where it is served"]


@in_loop
async def test_who_takes_a_saga_that_is_just_being_offered_knows_its_results(make_hub: MakeHub) -> None:
    """One decision may tell all: that the time of an offer had come, then that it is taken, and how it stands."""
    trip = Trip("trip")
    async with make_hub("ada") as hub:
        running = Running(hub, trip.saga, "t-13", LEASE_MS, waits=False)
        steps = tuple(StepRead(one.name, "pending", 0, 0, '"12"', "", "") for one in trip.saga.steps)
        read = SagaRead("ada", "ada", "trip", "running", '"in"', steps, "pay", "", "", "", "ada", 1, (), 0, None)
        offered, taken = SagaOffered("ada", "trip", 2, (), 0), SagaTaken("ada", running.runner, 1, LEASE_MS, LEASE_MS)
        running._note(SimpleNamespace(events=(offered, taken, read)))  # type: ignore[arg-type]
        assert (running.input, set(running._results)) == ('"in"', {"reserve", "pay", "mail"})
        running.forget()
        assert running.over.is_set()


@in_loop
async def test_what_has_other_steps_than_defined_is_left_alone(make_hub: MakeHub) -> None:
    trip = Trip("trip-6")
    async with make_hub("ada") as hub, hub.serve_sagas(trip.saga):
        begun = await hub.begin_saga(Saga("trip-6").step(nothing, name="else"))
        good = await hub.begin_saga(trip.saga, ADA)  # offered after the other one
        assert (await good.outcome(wait_ms=WAIT_MS)).completed
        seen = await begun.status()
        assert seen.runner is None and seen.steps[0].tries == 0 and await begun.cancel() is True


@in_loop
async def test_who_has_lost_its_lease_and_waits_takes_it_again(make_hub: MakeHub, embedded: Embedded) -> None:
    trip = Trip("trip", waits="pay")
    async with make_hub("ada") as hub:
        running = asyncio.create_task(trip.saga.run(hub, ADA, id="t-7"))
        await until(lambda: "pay" in trip.log)
        await asyncio.to_thread(embedded.advance, 2 * LEASE_MS)
        await until(lambda: trip.log.count("pay") == 2)
        assert trip.log == ["reserve", "pay", "pay cancelled", "pay"]
        trip.go_on.set()
        report = await running
    assert report.completed and trip.keys.count("t-7/pay/do") == 2 and report.steps[1].tries == 2


@in_loop
async def test_who_waits_for_what_another_runs_is_told_its_end(make_hub: MakeHub) -> None:
    trip, same = Trip("trip", waits="pay"), Trip("trip")
    async with make_hub("ada") as hub, make_hub("bob") as other:
        running = asyncio.create_task(trip.saga.run(hub, ADA, id="t-8"))
        await until(lambda: "pay" in trip.log)
        waiting = asyncio.create_task(same.saga.run(other, ADA, id="t-8"))
        await asyncio.sleep(0.05)
        trip.go_on.set()
        assert (await running).steps == (await waiting).steps and same.log == []


@in_loop
async def test_who_stops_waiting_gives_it_back_and_the_next_run_goes_on(make_hub: MakeHub) -> None:
    trip = Trip("trip", waits="pay")
    async with make_hub("ada") as hub:
        events: list[Any] = []
        hub.connection.watch("sagas", "t-9", lambda answer: events.extend(answer.events))
        running = asyncio.create_task(trip.saga.run(hub, ADA, id="t-9"))
        await until(lambda: "pay" in trip.log)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        seen = await hub.saga("t-9").status()
        assert seen.runner is None and seen.steps[1].error == "RunnerLost: its process (ada) gave it back"
        trip.go_on.set()
        assert (await trip.saga.run(hub, ADA, id="t-9")).completed
        assert sum(isinstance(event, SagaOffered) for event in events) == 1, "it took it at once"


@in_loop
async def test_who_leaves_ends_its_step_and_gives_the_saga_back_without_a_failure(make_hub: MakeHub) -> None:
    trip = Trip("trip-10", waits="reserve")
    async with make_hub("ada") as hub:
        handle = await hub.begin_saga(trip.saga, ADA)
        async with hub.serve_sagas(trip.saga) as serving:
            await hub.saga(handle.id).retry()  # offered anew: this process listens now
            await until(lambda: trip.log == ["reserve"])
            leaving = asyncio.create_task(serving.__aexit__(None, None, None))
            await asyncio.sleep(0.05)
            trip.go_on.set()
            await leaving
            seen = await handle.status()
            assert statuses(seen)[0] == "completed" and seen.steps[1].error == "" and seen.runner is None
            assert trip.log == ["reserve"]


@in_loop
async def test_one_slot_runs_one_saga_after_the_other(make_hub: MakeHub) -> None:
    trip = Trip("trip-11", waits="reserve")
    async with make_hub("ada") as hub, hub.serve_sagas(trip.saga, slots=1):
        first = await hub.begin_saga(trip.saga, ADA)
        second = await hub.begin_saga(trip.saga, ADA)
        await until(lambda: trip.log == ["reserve"])
        await asyncio.sleep(0.1)
        assert trip.log == ["reserve"], "the other waits for the slot"
        trip.go_on.set()
        assert (await first.outcome(wait_ms=WAIT_MS)).completed
        assert (await second.outcome(wait_ms=WAIT_MS)).completed


# -- stuck


@in_loop
async def test_who_heard_of_an_end_after_which_it_goes_on_waits_for_the_next_one(make_hub: MakeHub) -> None:
    trip = Trip("trip", waits="pay")
    async with make_hub("ada") as hub:
        reads: list[Any] = []
        hub.connection.watch("sagas", "t-14", lambda answer: reads.extend(answer.events))
        running = asyncio.create_task(trip.saga.run(hub, ADA, id="t-14"))
        await until(lambda: "pay" in trip.log)
        listening = End(hub, "t-14")
        settle(listening.heard, None)  # as if it had been stuck, and was retried
        waiting = asyncio.create_task(hub.saga("t-14").ended(listening))
        await until(lambda: sum(isinstance(event, SagaRead) for event in reads) == 2)
        await asyncio.sleep(0.1)
        trip.go_on.set()
        assert (await waiting).completed and (await running).completed
        listening.forget()
        assert sum(isinstance(event, SagaRead) for event in reads) == 4


@in_loop
async def test_an_undo_that_fails_for_good_is_stuck_until_it_is_retried(make_hub: MakeHub) -> None:
    trip = Trip("trip-12", fails="unreserve 12")

    async def mail() -> None:
        raise GiveUp("no address")

    stuck = Saga("trip-12").step(trip.reserve, undo=trip.unreserve, undo_retries=0).step(mail)
    async with make_hub("ada") as hub:
        report = await stuck.run(hub, ADA, id="t-12")
        assert report.status == "stuck" and report.has_ended and statuses(report) == ["stuck", "failed"]
        assert report.steps[0].error == "GiveUp: no unreserve 12" and trip.log == ["reserve", "unreserve 12"]
        assert await hub.saga("t-12").cancel() is False
        trip.fails = ""
        async with hub.serve_sagas(stuck):
            await hub.saga("t-12").retry()
            ended = await hub.saga("t-12").outcome(wait_ms=WAIT_MS)
    assert ended.status == "compensated" and ended.steps[0].undo_tries == 2
    assert trip.keys[1:] == ["t-12/reserve/undo"] * 2
