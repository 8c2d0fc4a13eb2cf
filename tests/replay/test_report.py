"""The report of a run, against logs whose figures are known, and against figures counted in another way."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from accord.replay import report as report_package
from accord.replay.report import contention as contended
from accord.replay.report.activity import BUCKETS, Handover, activity
from accord.replay.report.contention import Contention, Stay, contention, stays
from accord.replay.report.critical import Leg, tasks
from accord.replay.report.page import page
from accord.replay.report.report import report
from accord.replay.spread import Spread, spread
from accord.schemas.messages.locks import (
    AcquireLock,
    LockGranted,
    ReachBarrier,
    ReleaseLock,
    ReportStaleWrite,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.schemas.messages.tasks import CancelTask

from tests.cli.support import Ran
from tests.histories import busy
from tests.histories.office import TIMEOUT_MS, Office, step
from tests.histories.play import START_MS, Play


def acquire(play: Play, agent: str, *, after_ms: int, key: str = "room", wait_ms: int | None = None) -> int:
    """Sends a request; returns the token, if it was granted."""
    decided = play.send(key, AcquireLock(agent, agent, 60_000, wait_ms), after_ms=after_ms)
    return next((event.token for event in decided.events if isinstance(event, LockGranted)), 0)


def release(play: Play, agent: str, token: int, *, after_ms: int, key: str = "room") -> int:
    """Gives a lock back; returns the next one's token."""
    decided = play.send(key, ReleaseLock(agent, token), after_ms=after_ms)
    return next((event.token for event in decided.events if isinstance(event, LockGranted)), 0)


def crowded() -> Play:
    """ada has the room for 100 ms; bob waits 90, eve 80 and 50 more while bob has it; zoe gives up, ann is denied."""
    play = Play(locks=1)
    ada = acquire(play, "ada", after_ms=0)
    acquire(play, "bob", after_ms=10)
    acquire(play, "eve", after_ms=10)
    zoe = play.send("room", AcquireLock("zoe", "zoe", 60_000, None), after_ms=0, message_id="zoe")
    acquire(play, "ann", after_ms=0, wait_ms=0)
    play.send("room", WithdrawRequest("zoe", "zoe"), after_ms=20)
    assert zoe.events
    bob = release(play, "ada", ada, after_ms=60)
    eve = release(play, "bob", bob, after_ms=50)
    release(play, "eve", eve, after_ms=5)
    return play


def test_waits_and_holds_of_a_lock() -> None:
    (room,) = contention(crowded())
    assert room == Contention(
        "locks", "room", 3, spread([90, 130, 20]), 1, 1, spread([100, 50, 5]), 0, 0, (("ada", 190), ("bob", 50))
    )  # fmt: skip


def test_who_held_and_waited_when() -> None:
    found = stays(crowded(), "locks", "room")
    assert found.left_out == 0
    assert [(one.agent, one.is_hold, one.start_ms - START_MS, (one.end_ms or 0) - START_MS) for one in found.stays] == [
        ("ada", True, 0, 100), ("bob", False, 10, 100), ("zoe", False, 20, 40), ("eve", False, 20, 150),
        ("bob", True, 100, 150), ("eve", True, 150, 155),
    ]  # fmt: skip


def test_what_has_not_ended_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(locks=1)
    acquire(play, "ada", after_ms=0)
    acquire(play, "bob", after_ms=10)
    found = stays(play, "locks", "room")
    assert found.stays == (Stay("ada", True, START_MS, None), Stay("bob", False, START_MS + 10, None))
    monkeypatch.setattr(contended, "HOLDS_MAX", 1)
    assert stays(play, "locks", "room").left_out == 1
    (room,) = contention(play)
    assert room.waits == Spread() and room.holds == Spread() and room.granted == 1


def test_leases_that_end_barriers_and_stale_writes() -> None:
    play = Play(locks=1)
    token = acquire(play, "ada", after_ms=0)
    play.send("room", Tick(), after_ms=60_001)
    play.send("room", ReportStaleWrite("ada", "rooms/1", token, token + 1))
    play.send("meet", ReachBarrier("ada", 2, 60_000, None), after_ms=0)
    play.send("meet", ReachBarrier("bob", 2, 60_000, None), after_ms=40)
    meet, room = contention(play)
    assert (room.expired, room.stale, room.holds.count) == (1, 1, 1)
    assert (meet.name, meet.waits, meet.given_up) == ("meet", spread([40]), 0)


def test_the_slower_branch_is_the_critical_path() -> None:
    office = Office()
    office.join("ada", "draw", "look", slots=9)
    office.join("bob", "write", slots=9)
    office.submit("t", step("look"), step("draw", "look"), step("write", "look"), step("bind", "draw", "write"))
    office.join("eve", "bind")
    office.complete("t", "look", "ada", office.start("t", "look", "ada", after_ms=100), after_ms=200)
    draw = office.start("t", "draw", "ada", after_ms=1)
    write = office.start("t", "write", "bob", after_ms=30)
    office.complete("t", "draw", "ada", draw, after_ms=400)
    office.fail("t", "write", "bob", write, after_ms=100)
    office.now_ms += 20_000
    office.tell("tasks", "t", Tick(), task="t")
    office.complete("t", "write", "bob", office.start("t", "write", "bob", attempt=2), after_ms=50)
    office.complete("t", "bind", "eve", office.start("t", "bind", "eve", after_ms=7), after_ms=11)
    found = tasks(office)
    (path,) = found.slowest
    assert (path.task, path.status, found.ended, found.took.max_ms) == ("t", "completed", 1, path.took_ms)
    assert [leg.step for leg in path.legs] == ["look", "write", "bind"]
    assert sum(leg.waited_ms + leg.ran_ms + leg.paused_ms for leg in path.legs) == path.took_ms
    look, write_leg, bind = path.legs
    assert (look.ran_ms, bind.ran_ms, bind.waited_ms <= 10, bind.agent) == (200, 11, True, "eve")
    assert (write_leg.runs, write_leg.agent) == (2, "bob") and write_leg.paused_ms >= 20_000
    assert look.end_ms == write_leg.ready_ms < write_leg.end_ms == bind.ready_ms
    assert {share.step: share.paths for share in found.shares} == {"look": 1, "write": 1, "bind": 1}


def test_a_join_that_needs_one_is_ready_with_the_first() -> None:
    office = Office()
    office.join("ada", "a", "b", "join", slots=9)
    office.submit("t", step("a"), step("b"), step("join", "a", "b", need=1))
    first, second = office.start("t", "a", "ada"), office.start("t", "b", "ada")
    office.complete("t", "b", "ada", second, after_ms=100)
    office.complete("t", "a", "ada", first, after_ms=3)
    office.complete("t", "join", "ada", office.start("t", "join", "ada", after_ms=50), after_ms=500)
    (path,) = tasks(office).slowest
    assert [leg.step for leg in path.legs] == ["b", "join"]


def test_a_task_that_was_cancelled_before_anything_ran_has_no_path() -> None:
    office = Office()
    office.submit("t", step("a"))
    office.tell("tasks", "t", CancelTask("boss", "enough"), task="t", after_ms=70)
    (path,) = tasks(office).slowest
    assert (path.status, path.legs) == ("cancelled", ()) and path.took_ms >= 70


def test_a_run_that_is_cut_off_by_the_end_of_its_task_counts_to_it() -> None:
    office = Office()
    office.join("ada", "a")
    office.submit("t", step("a", retries=0))
    office.start("t", "a", "ada")
    office.tell("tasks", "t", Tick(), task="t", after_ms=TIMEOUT_MS)
    (path,) = tasks(office).slowest
    assert path.status == "failed" and path.legs[0].ran_ms >= TIMEOUT_MS


def test_results_and_locks_that_were_handed_over() -> None:
    assert activity(crowded()).handovers == (Handover("ada", "bob", "lock", 1), Handover("bob", "eve", "lock", 1))
    office = Office()
    office.join("ada", "a", slots=9)
    office.join("bob", "b", slots=9)
    for name in ("t1", "t2"):
        office.submit(name, step("a"), step("b", "a"))
        office.complete(name, "a", "ada", office.start(name, "a", "ada"))
        office.complete(name, "b", "bob", office.start(name, "b", "bob"))
    assert activity(office).handovers == (Handover("ada", "bob", "result", 2),)


def test_activity_counts_every_event_once() -> None:
    play = busy.office(count=200)
    found = activity(play)
    records = sum(len(records) - 1 for records in play.log_events.values())
    assert found.decisions == records
    assert all(len(buckets) == BUCKETS for buckets in found.buckets.values())
    assert found.end_ms == play.now_ms and found.start_ms >= START_MS
    assert sum(map(sum, found.buckets.values())) >= records
    coarse = {domain: sum(buckets) for domain, buckets in found.buckets.items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report_package.activity, "TIMES_MAX", 10)  # type: ignore[attr-defined]
        again = activity(play)
    assert {domain: sum(buckets) for domain, buckets in again.buckets.items()} == coarse


def test_an_empty_log_has_a_report() -> None:
    found = report(Play(locks=1, tasks=1))
    assert found.activity.decisions == 0 and found.contention == ()
    assert "Nothing was decided." in page(found)


class Reader(HTMLParser):
    """Which elements are open, and what would be fetched."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.elements: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_names_are_text_in_it() -> None:
    office = busy.office(count=300)
    office.join("<script>alert(1)</script>", "a&b", slots=2)
    office.submit("<b>t</b>", step("a&b"))
    evil = "<script>alert(1)</script>"
    office.complete("<b>t</b>", "a&b", evil, office.start("<b>t</b>", "a&b", evil))
    key, waits = '"><img src=x>', AcquireLock("</svg><script>", "o", 60_000, None)
    for _ in range(2):
        office.send(key, waits)
    office.now_ms += 1_000
    office.send(key, WithdrawRequest("</svg><script>", f"c{office._sent}"))
    html = page(report(office))
    reader = Reader()
    reader.feed(html)
    assert reader.open == [] and reader.fetched == []
    assert "svg" in reader.elements and not reader.elements & {"script", "img", "b1", "link"}
    assert "http" not in html.replace("http-equiv", "")
    assert "&lt;script&gt;" in html and "a&amp;b" in html


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "pools.accord"
    busy.pools().save(path)
    return str(path)


def test_the_command_prints_tables_json_and_a_page(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html = tmp_path / "report.html"
    shown = Ran(capsys, "replay", "report", archive, "--html", str(html))
    assert shown.code == 0 and "contention" in shown.out and "gpu" in shown.out and f"written to {html}" in shown.out
    assert html.read_text().startswith("<!doctype html>")
    (told,) = Ran(capsys, "replay", "report", archive, "--json", "--processes", "2").objects
    assert told["contention"] == Ran(capsys, "replay", "report", archive, "--json").objects[0]["contention"]
    assert {one["name"] for one in told["contention"]} == {"gpu", "api", "desk"}
    missing = Ran(capsys, "replay", "report", archive, "--html", str(tmp_path / "no" / "report.html"))
    assert missing.code != 0 and "cannot be written" in missing.err


def test_spread_is_by_nearest_rank() -> None:
    assert spread([]) == Spread()
    assert spread(list(range(100, 0, -1))) == Spread(100, 5_050, 50, 95, 100)


def test_a_leg_adds_up() -> None:
    for path in tasks(busy.office(count=400)).slowest:
        for leg in path.legs:
            assert isinstance(leg, Leg) and min(leg.waited_ms, leg.ran_ms, leg.paused_ms) >= 0
            assert leg.waited_ms + leg.ran_ms + leg.paused_ms == leg.end_ms - leg.ready_ms
