"""`accord tasks` and `accord agents` on archives: texts, JSON, exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.tasks import Artifact, CompleteStep, SubmitTask

from tests.cli.support import Ran
from tests.histories.office import TIMEOUT_MS, Office, step


@pytest.fixture
def office() -> Office:
    """article is being written; report has failed; memo waits for an agent that nobody is, and is stuck."""
    office = Office()
    office.submit("memo", step("translate"))
    office.join("ada", "research", "write", slots=2)
    office.join("bob", "print")
    office.submit("report", step("print", retries=0), step("bind", "print"))
    office.fail("report", "print", "bob", office.start("report", "print", "bob"))
    office.tell("tasks", "memo", Tick(), after_ms=2 * TIMEOUT_MS)
    research, plan = step("research"), step("plan", optional=True)
    write = step("write", "research", "plan")
    office.submit("article", research, plan, write, type="[content]", input='{"topic":"[cats]"}')
    token = office.start("article", "research", "ada")
    office.send("desk", AcquireLock("ada", "ada/1", 5_000, None), task="article")
    office.complete("article", "research", "ada", token, '{"facts":["[b]purr[/b]"]}', after_ms=1_500)
    return office


@pytest.fixture
def archive(office: Office, tmp_path: Path) -> str:
    office.save(tmp_path / "office.accord")
    return str(tmp_path / "office.accord")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table, by the first one."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


# -- accord tasks


def test_tasks_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", "list", archive)
    assert ran.code == 0
    found = rows(ran.out)
    assert found["article"] == ["article", "[content]", "in_progress", "1", "of", "3", "1.5", "s", "-"]
    assert found["report"] == ["report", "report", "failed", "0", "of", "2", "-", "-"]
    assert found["memo"][2:4] == ["in_progress", "stuck"]
    assert "3 tasks: 1 failed, 2 in_progress" in ran.out
    assert ran.out.splitlines()[-1] == (
        "stuck  memo translate: ready for 2 min, nobody in the team default is able to do translate. "
        "Start an agent that is."
    )


def test_tasks_list_as_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    by_id = {view["id"]: view for view in Ran(capsys, "tasks", "list", archive, "--json").objects}
    assert list(by_id) == ["memo", "report", "article"]
    memo = by_id["memo"]
    assert set(memo) == {
        "id", "type", "status", "team", "agent", "created_at", "completed_at", "done", "total", "running", "waiting",
        "given_up", "waiting_since", "stuck", "error", "position",
    }  # fmt: skip
    (waiting,) = memo["waiting"]
    assert set(waiting) == {
        "name", "status", "after", "capability", "agent", "member", "tries", "failures", "since", "for_ms", "took_ms",
        "stuck", "cause", "remedy", "error",
    }  # fmt: skip
    assert (memo["stuck"], waiting["stuck"], by_id["article"]["stuck"]) == (True, True, False)
    assert by_id["report"]["given_up"] == ["print"]


def test_tasks_list_of_a_status(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", "list", archive, "--status", "failed", "--json")
    assert [view["id"] for view in ran.objects] == ["report"]
    assert Ran(capsys, "tasks", "list", archive, "--status", "cancelled").out == "no task is cancelled\n"
    ran = Ran(capsys, "tasks", "list", archive, "--status", "done")
    assert ran.code == 2 and "There is: pending, in_progress" in ran.err


def test_tasks_list_of_what_is_stuck_is_for_monitors(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", "list", archive, "--stuck", "--json")
    assert (ran.code, [view["id"] for view in ran.objects]) == (1, ["memo"])
    ran = Ran(capsys, "tasks", "list", archive, "--stuck", "--status", "failed")
    assert (ran.code, ran.out) == (0, "no task is stuck\n")


def test_tasks_at_a_point(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (memo,) = Ran(capsys, "tasks", "list", archive, "--at", "tasks/0@1", "--json").objects
    assert (memo["id"], memo["stuck"], memo["position"]) == ("memo", False, "tasks.commands/0@0")
    assert Ran(capsys, "tasks", "list", archive, "--at", "tasks/0@0").out == "there is no task\n"
    assert Ran(capsys, "tasks", "show", "report", archive, "--at", "tasks/0@1").code == 4
    for point, code in (("tasks/0@99", 4), ("2001-01-01T00:00:00Z", 4), ("soon", 2)):
        ran = Ran(capsys, "tasks", "list", archive, "--at", point)
        assert ran.code == code and "Traceback" not in ran.err


def test_tasks_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", "show", "article", archive)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("article  [content], in_progress, 1 of 3 steps, as of tasks.commands/0@")
    assert lines[1].startswith("  submitted by boss to the team default at 2026-02-25T")
    assert lines[2] == '  input {"topic":"[cats]"}'
    found = rows(ran.out)
    assert found["research"] == ["research", "completed", "ada", "1", "0", "1.5", "s"]
    assert found["plan"] == ["plan", "ready", "-", "0", "0", "1.5", "s"]
    assert found["write"] == ["write", "pending", "-", "0", "0", "-", "research,", "plan"]
    assert [line for line in lines if line.startswith(("  plan", "    write"))][1].startswith("    write"), "indented"
    assert lines[-1] == "  plan: nobody in the team default is able to do plan. Start an agent that is."


def test_tasks_show_what_failed_and_why(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "tasks", "show", "report", archive).out.splitlines()
    assert "  print: MaxRetriesExceeded" in lines
    assert (
        "  print: MaxRetriesExceeded (ValueError: no use). When its cause is gone: accord dlq retry --task report."
        in lines
    )
    assert "  bind: print was not completed. See: accord dlq list --task report." in lines
    stuck = Ran(capsys, "tasks", "show", "memo", archive).out.splitlines()[-1]
    assert stuck.startswith("  stuck translate: nobody in the team default")


def test_tasks_show_the_result(office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    office.submit("note", step("write"))
    office.complete("note", "write", "ada", office.start("note", "write", "ada"), f'"{"x" * 400}[b]"')
    office.save(tmp_path / "done.accord")
    last = Ran(capsys, "tasks", "show", "note", str(tmp_path / "done.accord")).out.splitlines()[-1]
    assert last == '  result of write: "' + "x" * 299 + "... (405 characters)"


def test_tasks_show_as_json_is_the_record(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = Ran(capsys, "tasks", "show", "article", archive, "--json").objects
    (done,) = record.pop("steps")
    assert record | {"created_at": ""} == {
        "id": "article", "type": "[content]", "status": "in_progress", "input": {"topic": "[cats]"}, "created_at": "",
        "failed_steps": [], "result": None, "completed_at": None, "error": "",
    }  # fmt: skip
    assert done["name"] == "research" and done["result"] == {"facts": ["[b]purr[/b]"]}
    assert done["completed_at"].endswith("Z")


def test_tasks_trace(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", "trace", "article", archive)
    assert ran.code == 0
    told = [line.split(maxsplit=4) for line in ran.out.splitlines()]
    assert [(operation, agent) for _, _, agent, operation, *_ in told[:2]] == [
        ("TaskSubmitted", "boss"), ("AgentsWanted", "-"),
    ]  # fmt: skip
    messages = {operation: rest[0] if rest else "" for _, _, _, operation, *rest in told}
    assert messages["TaskSubmitted"] == '[content], 3 steps, for the team default; input {"topic":"[cats]"}'
    assert messages["StepStarted"].startswith("research by ada, token ")
    assert messages["StepCompleted"] == 'research: {"facts":["[b]purr[/b]"]}'
    assert "token=" in messages["LockGranted"]
    assert [line[0] for line in told] == sorted(line[0] for line in told)
    assert "report" not in ran.out and "memo" not in ran.out


def test_tasks_trace_as_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "tasks", "trace", "report", archive, "--json").objects
    assert all(
        list(line) == ["timestamp", "position", "agent", "operation", "message", "key", "domain", "data"]
        for line in lines
    )
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
    messages = {line["operation"]: line["message"] for line in lines}
    assert messages["StepFailed"] == "print: ValueError: no use (failure 1)"
    dead = "print is given up, MaxRetriesExceeded after 1 run: ValueError: no use"
    assert messages["StepDeadLettered"] == dead
    assert (messages["StepsBlocked"], messages["TaskFailed"]) == ("bind by print", "print: MaxRetriesExceeded")
    assert {line["domain"] for line in lines} == {"tasks", "roster"}


def test_tasks_trace_of_what_went_wrong(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "tasks", "trace", "report", archive, "--errors", "--json").objects
    assert [line["operation"] for line in lines] == ["StepFailed", "StepDeadLettered", "StepsBlocked", "TaskFailed"]
    assert Ran(capsys, "tasks", "trace", "article", archive, "--errors").out == ""


@pytest.mark.parametrize("command", ["show", "trace"])
def test_a_task_that_there_is_not(command: str, archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tasks", command, "nothing", archive)
    assert ran.code == 4 and ran.err.startswith("NotFound: ") and "accord tasks list" in ran.err


def test_tasks_list_tells_the_first_causes_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    office = Office()
    for number in range(22):
        office.submit(f"memo-{number}", step("translate", timeout_ms=100))
    office.tell("tasks", "memo-0", Tick(), after_ms=1_000)
    office.save(tmp_path / "many.accord")
    lines = Ran(capsys, "tasks", "list", str(tmp_path / "many.accord")).out.splitlines()
    assert sum(line.startswith("stuck  memo-") for line in lines) == 20
    assert lines[-1] == "stuck  2 more steps: --json has them all"


# -- accord agents


def test_agents_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "list", archive)
    assert ran.code == 0
    assert ran.out.startswith("default  2 agents, 0 of 3 slots busy, 2 waiting, as of roster.commands/0@")
    found = rows(ran.out)
    assert found["ada"] == ["ada", "0", "of", "2", "alive", "24.0", "h", "1.5", "s", "research,", "write", "-"]
    assert found["translate"] == ["translate", "nobody", "0", "0", "1", "0", "-", "0", "closed"]
    assert found["print"] == ["print", "1", "1", "0", "0", "0", "-", "1", "closed"], "what failed is not counted"
    assert found["research"] == ["research", "1", "2", "0", "0", "1", "1.5", "s", "0", "closed"]


def test_agents_list_as_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (team,) = Ran(capsys, "agents", "list", archive, "--json", "--team", "default").objects
    assert set(team) == {"team", "slots", "busy", "waiting", "members", "capabilities", "position"}
    ada = team["members"][0]
    assert set(ada) == {
        "member",
        "agent",
        "capabilities",
        "slots",
        "busy",
        "free",
        "lease_left_ms",
        "runs",
        "done",
        "took_ms",
        "health",
        "health_since",
        "suspicions",
    }
    assert (ada["done"], ada["took_ms"]) == (1, 1_510)
    queues = {queue["capability"]: queue for queue in team["capabilities"]}
    assert set(queues["print"]) == {"capability", "able", "free", "running", "waiting", "breaker", "done", "took_ms"}
    assert queues["print"]["breaker"] == {
        "state": "closed", "failures": 1, "reason": "", "until": None, "left_ms": None, "trial": None,
    }  # fmt: skip


def test_agents_list_what_they_run_and_at_a_point(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office.submit("note", step("write"))
    office.start("note", "write", "ada")
    office.tell("tasks", "memo", Tick(), after_ms=3_000)
    office.save(tmp_path / "busy.accord")
    busy = str(tmp_path / "busy.accord")
    started = f"tasks/0@{office.log_events['tasks', 0][-2].offset}"
    assert "note/write (0.0 s)" in Ran(capsys, "agents", "list", busy, "--at", started).out
    assert "there is no team" in Ran(capsys, "agents", "list", busy, "--at", "roster/0@0").out
    assert "note/write (" in Ran(capsys, "agents", "list", busy).out


def test_agents_list_of_an_open_breaker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    office = Office()
    office.join("ada", "write")
    for number in range(5):
        office.submit(f"t{number}", step("write", retries=0))
        office.fail(f"t{number}", "write", "ada", office.start(f"t{number}", "write", "ada"))
    office.save(tmp_path / "broken.accord")
    assert "open for 1 min" in Ran(capsys, "agents", "list", str(tmp_path / "broken.accord")).out
    (team,) = Ran(capsys, "agents", "list", str(tmp_path / "broken.accord"), "--json").objects
    breaker = team["capabilities"][0]["breaker"]
    assert (breaker["state"], breaker["failures"], breaker["left_ms"]) == ("open", 5, 60_000)
    office.submit("t6", step("write"))
    office.tell("tasks", "t6", Tick(), after_ms=61_000)
    office.save(tmp_path / "trial.accord")
    assert "half open, on trial: t6/write" in Ran(capsys, "agents", "list", str(tmp_path / "trial.accord")).out


def test_agents_performance(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "performance", archive)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["agent", "runs", "completed", "average", "p95", "longest"]
    assert lines[1].split() == ["ada", "1", "1", *["1.5", "s"] * 3]
    assert lines[2].split()[:3] == ["bob", "1", "0"]
    by_ability = Ran(capsys, "agents", "performance", archive, "--by", "capability", "--json").objects
    assert [one["name"] for one in by_ability] == ["research", "print"]
    assert list(by_ability[0]) == ["name", "count", "completed", "avg_ms", "p95_ms", "max_ms"]
    assert by_ability[0]["p95_ms"] == 1_510


def test_agents_failures(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "failures", archive)
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["bob", "1", "failure,", "1", "error"], ["1", "ValueError:", "no", "use"],
    ]  # fmt: skip
    (bob,) = Ran(capsys, "agents", "failures", archive, "--json").objects
    assert bob == {"name": "bob", "count": 1, "errors": [{"error": "ValueError: no use", "count": 1}]}


def test_agents_by_something_else(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "failures", archive, "--by", "weather")
    assert ran.code == 2 and "agent or capability is needed" in ran.err


def test_agents_list_of_a_team_that_there_is_not(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "list", archive, "--team", "night")
    assert ran.code == 4 and "There is: default." in ran.err


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["tasks", "list"], ["in_progress stuck", "1 of 3", "2 min"]),
        (["tasks", "show", "article"], ["  write", "completed", "1.5 s"]),
        (["agents", "list"], ["0 of 2", "24.0 h", "nobody", "closed"]),
    ],
)
def test_a_narrow_terminal_cuts_names_and_no_states(archive: str, command: list[str], kept: list[str]) -> None:
    code = f"import sys; sys.stdout.isatty = lambda: True; from accord.cli.app import run; run({[*command, archive]!r})"
    environment = {**os.environ, "COLUMNS": "70", "TERM": "xterm", "NO_COLOR": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    shown = re.sub(r"\x1b\[\d*m", "", ran.stdout)
    assert all(text in shown for text in kept), shown


# -- artifacts


def test_an_artifact_is_told_by_what_it_is_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = "sha256:" + "0a" * 32
    book = Artifact(digest, 3_000_000, "application/json")
    office = Office()
    office.join("ada", "write")
    office.tell("tasks", "book", SubmitTask("boss", "report", "default", book, (step("write"),), 86_400_000))
    office.tell("tasks", "book", CompleteStep("ada", "write", office.start("book", "write", "ada"), book))
    office.save(tmp_path / "office.accord")
    archive, told = str(tmp_path / "office.accord"), f"artifact {digest}, application/json, 3,000,000 bytes"
    shown = Ran(capsys, "tasks", "show", "book", archive).out
    assert f"input {told}" in shown and f"result of write: {told}" in shown
    assert told in Ran(capsys, "tasks", "trace", "book", archive).out
    (record,) = Ran(capsys, "tasks", "show", "book", archive, "--json").objects
    reference = {"artifact": {"digest": digest, "size_bytes": 3_000_000, "media_type": "application/json"}}
    assert (record["input"], record["result"], record["steps"][0]["result"]) == (reference, reference, reference)
