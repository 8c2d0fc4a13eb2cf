"""Log lines: who, in which task, does what; as text and as JSON; and no secret in any."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from accord.agents.agent import Agent
from accord.agents.operations import Operation
from accord.agents.tasks.graph import GiveUp, TaskGraph

from accord import logs
from accord.errors import TaskFailedError
from accord.settings import LogSettings, Settings
from tests.agents.test_tasks import MakeHub, in_loop

KEY = 'sk-"quoted"-and-secret'
Show = Callable[..., None]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Iterator[Show]:
    """`logs.show` with settings of `log`, undone in the end."""
    root, names = logging.getLogger(), ("accord", "accord.streams.runtime")
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in names}

    def shown(**log: Any) -> None:
        logs.show(Settings.load(log=log, llm={"api_key": KEY}, service={"tokens": ("a token of 20 chars",)}))

    yield shown
    root.handlers = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


logger = logs.get("accord.test")


@in_loop
async def test_what_is_logged_in_a_step_names_agent_task_and_action(
    make_hub: MakeHub, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    """By accord, by the program's own logger, in a thread; and by accord's thread about a lock that is asked for."""

    async def write(input: Any) -> None:
        logging.getLogger("program").warning("own words about %s", input)

    def edit() -> None:
        logger.warning("in a thread", pages=3)
        raise GiveUp("no ink")

    graph = TaskGraph("logs_article", team="logs_article")
    graph.add("draft", capability="writer")
    graph.add("polish", capability="editor", after=["draft"])
    show(format="json")
    async with make_hub("ada") as hub, hub.work(Agent("writer", write), Agent("editor", edit), team=graph.team):
        handle = await hub.submit(graph, "bees")
        with pytest.raises(TaskFailedError):
            await handle.result(wait_ms=20_000)
    said = {line["event"]: line for line in lines(capsys) if "event" in line}
    about = {name: [said[name].get(key) for key in ("agent", "task", "action")] for name in said}
    assert about["own words about bees"] == ["writer", handle.id, "draft"]
    assert about["in a thread"] == ["editor", handle.id, "polish"]
    assert about["a step failed"] == ["editor", handle.id, "polish"]
    assert said["in a thread"]["pages"] == 3 and said["in a thread"]["level"] == "warning"
    assert said["own words about bees"]["logger"] == "program"
    assert said["a step failed"]["timestamp"].endswith("Z")


@in_loop
async def test_a_handler_that_fails_is_logged_with_its_event_and_task(
    make_hub: MakeHub, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    show(format="json", level="warning")
    async with make_hub("ada") as hub:

        @hub.when("logs_fail", name="failing", retries=0)
        def failing(data: Any) -> None:
            logger.warning("within")
            raise ValueError("no")

        hub.emit("logs_fail", {})
        await hub.drain()
    said = {line["event"]: line for line in lines(capsys)}
    within, failed = said["within"], said["handler failed"]
    assert (within["agent"], within["action"]) == ("ada", "failing") and within["task"]
    assert [failed[name] for name in ("agent", "task", "action")] == ["ada", within["task"], "failing"]


def test_operations_within_one_another(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    show(format="json")
    with Operation(None, "outer", "t-1", agent="ada"):
        with Operation(None, "inner", "t-1", agent="ada"):
            logger.info("in")
        logger.info("out", action="mine")
    logger.info("after")
    first, second, third = lines(capsys)
    assert (first["action"], second["action"], second["agent"]) == ("inner", "mine", "ada")
    assert not {"agent", "task", "action"} & third.keys()


def test_readable_lines(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    show()
    with Operation(None, "write", "t-1", agent="ada"):
        logger.warning("a step is slow", for_ms=1_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING" in line and "a step is slow" in line
    assert {"agent=ada", "task=t-1", "action=write", "for_ms=1000"} <= set(line.split())


@pytest.mark.parametrize(
    ("level", "expected"), [("error", ["bad"]), ("warning", ["odd", "bad"]), ("info", ["odd", "bad", "so"])]
)
def test_only_what_is_bad_enough_is_shown(
    level: str, expected: list[str], show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    show(format="json", level=level)
    logger.debug("details")
    logger.warning("odd")
    logger.error("bad")
    logger.info("so")
    assert sorted(line["event"] for line in lines(capsys)) == sorted(expected)


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_line_holds_a_secret(style: str, show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    show(format=style)
    try:
        raise ValueError(f"refused: {KEY}")
    except ValueError:
        logger.exception("it failed", header=f"Bearer {KEY}", deep={"list": [KEY, {KEY: "a token of 20 chars"}]})
        logging.getLogger("program").exception("and %s", KEY)
    said = capsys.readouterr().err
    assert "quoted" not in said and "20 chars" not in said
    assert said.count(logs.HIDDEN) >= 5
    assert "ValueError: refused: ***" in said


def test_an_exception_of_another_library_is_one_object(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    show(format="json")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("uvicorn.error").error("not served", exc_info=True)
    (line,) = lines(capsys)
    assert line["event"] == "not served" and "OSError: gone" in line["exception"]


def test_a_library_stays_quiet_until_it_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("nobody wants to know")
    assert capsys.readouterr().err == ""


def test_every_setting_that_is_a_secret_is_known() -> None:
    """What `accord config show` hides is what a log hides."""
    from accord.cli import origins  # noqa: PLC0415

    settings = Settings.load(
        kafka={"sasl_password": "password-1"}, llm={"api_key": "api-key-2"}, service={"tokens": ("0123456789abcdef",)}
    )
    hidden = [row.name for row in origins.rows(settings) if row.value == origins.HIDDEN]
    assert len(hidden) == 3
    assert {"password-1", "api-key-2", "0123456789abcdef"} <= set(settings.secrets())


def test_the_levels_of_the_settings_are_those_of_the_log() -> None:
    assert set(get_args(LogSettings.model_fields["level"].annotation)) == set(logs.LEVELS)
