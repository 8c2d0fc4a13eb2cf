"""`accord dlq` and `accord tasks cancel` on a running accord: what was given up is found, retried, dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from accord.schemas.codec import commands_codec
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.roster import JoinTeam
from accord.schemas.messages.signals import ReportHandlerFailure
from accord.schemas.messages.tasks import FailStep, RetryStep, StartStep, StepStarted, SubmitTask
from accord.schemas.topics import commands_topic

from accord import sync
from accord.cli.dlq import _act
from accord.cli.letters import letters_of, retry_one
from accord.embedded import PARTITIONS, Embedded
from accord.errors import Rejected
from accord.kafka import producer
from tests.cli.support import Ran
from tests.histories.office import LEASE_MS, step

WAIT_S = 20.0


class Shop:
    """A running accord, and an agent `ada` of its team that is told by hand what to do."""

    def __init__(self, embedded: Embedded, hub: sync.Accord, capsys: pytest.CaptureFixture[str]) -> None:
        self.embedded, self._hub, self._capsys = embedded, hub, capsys

    def accord(self, *arguments: str) -> Ran:
        return Ran(self._capsys, *arguments)

    def output(self) -> tuple[str, str]:
        return self._capsys.readouterr()

    def letters(self, *arguments: str, count: int) -> list[dict[str, Any]]:
        """The dead letters, once there are so many: they come after the decision that brings them."""
        return until(lambda: len(found := self.accord("dlq", "list", "--json", *arguments).objects) >= count and found)

    def tell(self, domain: str, key: str, command: Command, task: str | None = None) -> list[Any]:
        return list(self._hub.connection.submit(domain, key, command, task=task).decided.result().events)

    def submit(self, task_id: str, *steps: Any) -> None:
        self.tell("tasks", task_id, SubmitTask("boss", "report", "default", '"x"', steps, LEASE_MS), task_id)

    def give_up(self, task_id: str, name: str, attempt: int = 1) -> None:
        """Has a step run and fail for good."""
        begin = StartStep("ada", "ada", "default", name, attempt, ())
        started = [event for event in self.tell("tasks", task_id, begin, task_id) if isinstance(event, StepStarted)]
        self.tell("tasks", task_id, FailStep("ada", name, started[0].token, "ValueError", "no use", True), task_id)


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (result := found()):
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.05)
    return result


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with Embedded() as embedded, sync.Accord(settings=embedded.settings, agent="ada") as hub:
        monkeypatch.setenv("ACCORD_KAFKA__BOOTSTRAP_SERVERS", embedded.settings.kafka.bootstrap_servers)
        monkeypatch.setenv("ACCORD_TOPICS__PARTITIONS", str(PARTITIONS))
        shop = Shop(embedded, hub, capsys)
        shop.tell("roster", "default", JoinTeam("ada", "ada", ("print", "draw"), 8, LEASE_MS))
        yield shop


def test_what_was_given_up_is_listed_by_queue_retried_and_dropped(shop: Shop) -> None:
    for name in ("t1", "t2"):
        shop.submit(name, step("print"), step("draw"))
        shop.give_up(name, "print")
        shop.give_up(name, "draw")
    letters = shop.letters(count=4)
    assert [(one["queue"], one["task_id"], one["step"]) for one in letters] == [
        ("draw", "t1", "draw"), ("draw", "t2", "draw"), ("print", "t1", "print"), ("print", "t2", "print"),
    ]  # fmt: skip
    assert set(letters[0]) == {
        "id", "queue", "reason", "description", "count", "task_id", "origin", "time", "agent", "step", "state",
        "retriable",
    }  # fmt: skip
    first = letters[0]
    assert (first["reason"], first["description"], first["count"]) == ("Failed", "ValueError: no use", 1)
    text = shop.accord("dlq", "list").out
    assert text.splitlines()[0] == "draw  2" and "print  2" in text and text.endswith("4 dead letters\n")
    assert len(shop.letters("--queue", "draw", "--task", "t2", count=1)) == 1
    assert shop.accord("dlq", "list", "--reason", "Expired", "--json").objects == []

    ran = shop.accord("dlq", "retry", first["id"], "--json")
    (told,) = ran.objects
    assert (ran.code, told["task_id"], told["step"], told["state"]) == (0, "t1", "draw", "retried")
    assert told["position"].startswith("tasks/")
    again = shop.accord("dlq", "retry", first["id"])
    assert (again.code, again.err) == (5, f"Refused: {first['id']} is no dead letter any more: retried.\n")
    assert shop.accord("dlq", "drop", first["id"], "--reason", "x").code == 5
    (event,) = shop.accord("events", "list", "--event", "StepRetried", "--json").objects
    assert (event["task_id"], event["key"]) == ("t1", "t1"), "the correlation stays"

    second = letters[1]
    ran = shop.accord("dlq", "drop", second["id"], "--reason", "nobody reads it")
    assert ran.code == 0 and ran.out.startswith("dropped  t2/draw: tasks/")
    (event,) = shop.accord("events", "list", "--event", "StepDropped", "--json").objects
    assert event["data"] == {"step": "draw", "reason": "nobody reads it"}
    states = {(one["task_id"], one["step"]): one["state"] for one in shop.letters("--all", count=4)}
    assert states == {
        ("t1", "draw"): "retried", ("t2", "draw"): "dropped", ("t1", "print"): "open", ("t2", "print"): "open",
    }  # fmt: skip
    assert "dropped" in shop.accord("dlq", "list", "--all").out
    assert "Nothing is left to do: dropped." in shop.accord("dlq", "show", second["id"]).out

    ran = shop.accord("dlq", "retry", "--task", "t2")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 step") and "retried  t2/print: tasks/" in ran.out
    shop.give_up("t2", "print", attempt=2)
    letters = shop.letters("--task", "t2", count=1)
    assert [(one["step"], one["count"]) for one in letters] == [("print", 2)]
    assert shop.accord("dlq", "retry", "--queue", "draw", "--json").objects == []
    assert len(shop.accord("dlq", "retry", "--all", "--json").objects) == 2
    assert shop.accord("dlq", "list").out == "0 dead letters\n"


def test_show_says_what_can_be_done(shop: Shop) -> None:
    shop.submit("t1", step("print"), step("draw", optional=True))
    shop.give_up("t1", "draw")
    shop.give_up("t1", "print")
    draw, printing = shop.letters(count=2)
    shown = shop.accord("dlq", "show", printing["id"]).out.splitlines()
    assert shown[0] == f"{printing['id']}  t1/print, Failed, open"
    assert f"  When its cause is gone: accord dlq retry {printing['id']}." in shown[-1]
    (optional,) = shop.accord("dlq", "show", draw["id"], "--json").objects
    assert optional["remedy"].startswith("The step is optional") and optional["value"] is None
    ran = shop.accord("dlq", "retry", "--all")
    assert (ran.code, ran.out.splitlines()[-1]) == (
        0,
        "1 step; left 1 that are no steps, or optional ones: accord dlq list",
    )
    missing = shop.accord("dlq", "show", "tasks/0@99")
    assert missing.code == 4 and missing.err.startswith("NotFound: there is no dead letter tasks/0@99.")


def test_the_log_refuses_what_cannot_be_retried(shop: Shop) -> None:
    shop.submit("t1", step("print"), step("draw", optional=True))
    shop.give_up("t1", "draw")
    (letter,) = shop.letters(count=1)
    ran = shop.accord("dlq", "retry", letter["id"], "--json")
    assert ran.code == 5 and '"code":"Refused"' in ran.err and "is optional, and its task goes on" in ran.err


def test_a_step_is_not_retried_before_the_one_that_it_needs(shop: Shop) -> None:
    shop.submit("t1", step("print"), step("draw", "print", deadline_ms=1))
    (late,) = shop.letters(count=1)
    assert (late["step"], late["reason"]) == ("draw", "DeadlineMissed")
    shop.give_up("t1", "print")
    shop.letters(count=2)
    ran = shop.accord("dlq", "retry", late["id"])
    assert ran.code == 5
    assert ran.err == (
        f"Refused: {late['id']}: draw of t1 needs another step that was given up. "
        "Retry that one first: accord dlq list.\n"
    )
    ran = shop.accord("dlq", "retry", "--task", "t1")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split(":")[0] for line in ran.out.splitlines()] == ["retried  t1/print", "retried  t1/draw", "2 steps"]


def test_what_is_refused_among_several_is_told_and_does_not_stop_the_others(shop: Shop) -> None:
    for name in ("t1", "t2"):
        shop.submit(name, step("print"))
        shop.give_up(name, "print")
    shop.letters(count=2)
    settings = shop.embedded.settings
    found = letters_of(settings, 1)
    shop.tell("tasks", "t1", RetryStep("eve", "print"), "t1")
    with pytest.raises(typer.Exit) as left:
        _act(settings, found, retry_one, "retried", as_json=False)
    assert left.value.exit_code == 5
    out, err = shop.output()
    assert out.startswith("retried  t2/print: tasks/") and "t1" not in out
    assert err.endswith("print of t1 is no dead letter: ready.\n")


@pytest.mark.parametrize("arguments", [[], ["tasks/0@1", "--all"], ["tasks/0@1", "--task", "t1"]])
def test_retry_wants_one_thing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "dlq", "retry", *arguments)
    assert ran.code == 2 and "What is to be retried?" in ran.err


def test_a_rejected_command_is_sent_again_and_cannot_be_dropped(shop: Shop) -> None:
    """It was sent to the wrong partition, say by another program; sent again it goes where it belongs."""
    command = AcquireLock("bob", "bob/1", 60_000, None)
    settings = shop.embedded.settings
    client = producer(settings.kafka)
    for partition in range(PARTITIONS):
        headers: list[Any] = [("ce_id", b"lost-%d" % partition), ("ce_source", b"bob"), ("accord-task", b"trip")]
        headers += [("ce_specversion", b"1.0"), ("ce_type", b"accord.locks.v1.AcquireLock"), ("accord-clock", b"")]
        value = commands_codec("locks").encode(command)
        client.produce(commands_topic("locks"), value, b"room", headers=headers, partition=partition)
    client.flush(10)
    letters = shop.letters(count=PARTITIONS - 1)
    letter = letters[0]
    assert (letter["reason"], letter["task_id"], letter["agent"], letter["step"]) == ("misrouted", "trip", "bob", None)
    (shown,) = shop.accord("dlq", "show", letter["id"], "--json").objects
    assert (shown["key"], shown["value"]["type"], shown["value"]["owner"]) == ("room", "AcquireLock", "bob/1")
    assert shown["remedy"].startswith(f"It can be sent again: accord dlq retry {letter['id']}. It cannot be dropped")
    assert "AcquireLock room  agent=bob" in shop.accord("dlq", "show", letter["id"]).out

    ran = shop.accord("dlq", "retry", letter["id"])
    assert ran.code == 0 and ran.out.startswith("retried  trip: Lock")
    sent = shop.accord("events", "list", "--key", "room", "--task", "trip", "--json").objects
    assert sent[-1]["command_id"] == f"dlq:{letter['id']}"
    (again,) = shop.accord("dlq", "retry", letter["id"], "--json").objects
    assert again["position"] == sent[-1]["position"], "asked twice, it is the first answer"

    dropped = shop.accord("dlq", "drop", letter["id"], "--reason", "x")
    assert dropped.code == 5 and "nothing records what becomes of it" in dropped.err
    ran = shop.accord("dlq", "retry", "--all")
    assert ran.out == f"0 steps; left {PARTITIONS - 1} that are no steps, or optional ones: accord dlq list\n"


def test_a_command_that_is_rejected_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is read from the events even where clients have an inbox: a letter's id is no address."""
    monkeypatch.setenv("ACCORD_CLIENT__ANSWERS", "inbox")
    with pytest.raises(Rejected):
        shop.tell("locks", "room", AcquireLock("bob", "bob/1", -1, None))
    (letter,) = shop.letters(count=1)
    ran = shop.accord("dlq", "retry", letter["id"])
    assert ran.code == 5 and ran.err.startswith("Rejected: AcquireLock room ")


def test_what_nobody_can_read_and_what_only_its_program_can_do(shop: Shop) -> None:
    client = producer(shop.embedded.settings.kafka)
    client.produce(commands_topic("locks"), b"garbage", b"room")
    client.flush(10)
    failure = ReportHandlerFailure("ada", "note", "signals/0:1", "signals/0@1", "{}", "KeyError", "'x'", 3)
    shop.tell("signals", "order", failure)
    garbage, handler = shop.letters(count=2)
    ran = shop.accord("dlq", "retry", garbage["id"])
    assert ran.code == 5 and "It cannot be sent again: no schema reads its value." in ran.err
    assert "7 bytes: b'garbage'" in shop.accord("dlq", "show", garbage["id"]).out
    assert (handler["queue"], handler["retriable"]) == ("handler:note", False)
    for command in (["retry", handler["id"]], ["drop", handler["id"], "--reason", "x"]):
        ran = shop.accord("dlq", *command)
        assert ran.code == 5 and "emit the event again" in ran.err


def test_cancel(shop: Shop) -> None:
    shop.submit("t1", step("print"))
    ran = shop.accord("tasks", "cancel", "t1", "--reason", "too late", "--json")
    (told,) = ran.objects
    assert (ran.code, told["id"], told["status"]) == (0, "t1", "cancelled") and told["position"].startswith("tasks/")
    (event,) = shop.accord("events", "list", "--event", "TaskCancelled", "--json").objects
    assert event["data"]["reason"] == "too late" and event["task_id"] == "t1"
    again = shop.accord("tasks", "cancel", "t1", "--reason", "too late")
    assert (again.code, again.err) == (5, "Refused: t1 had ended before: it is cancelled.\n")
    missing = shop.accord("tasks", "cancel", "t9", "--reason", "x")
    assert missing.code == 4 and missing.err.startswith("NotFound: there is no task t9")
    (view,) = shop.accord("tasks", "list", "--status", "cancelled", "--json").objects
    assert view["error"] == "too late"
