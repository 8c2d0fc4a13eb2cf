"""`accord sagas` on archives: texts, JSON, exit codes; why a saga ended; its dead letter."""

from __future__ import annotations

import pytest
from accord.replay.deadletters import views_of
from accord.replay.explain.explanation import explain
from accord.replay.sagas import saga_at, sagas_at
from accord.replay.state import parse_point
from accord.replay.verify import verify
from accord.schemas.messages.log import Tick
from accord.schemas.messages.sagas import RetrySaga
from accord.streams.sagas.bounds import STUCK_KEEP_MS

from accord.cli.letters import remedy_of
from tests.cli.support import Ran
from tests.histories.trips import Trips, trips
from tests.replay.test_deadletters import letters_of


@pytest.fixture(scope="module")
def made() -> Trips:
    return trips()


@pytest.fixture(scope="module")
def archive(made: Trips, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("trips") / "trips.accord"
    made.play.save(path)
    return str(path)


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "sagas", "list", archive)
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0].split() == ["id", "name", "status", "done", "begun", "by", "runner", "why"]
    found = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert " completed 3 of 3 " in found["good"]
    assert " compensated 0 of 3, 2 undone " in found["lost"] and "lost at pay: RunnerLost" in found["lost"]
    assert " stuck 0 of 3 " in found["stuck"] and found["stuck"].endswith("failed at pay: ValueError: no money")
    assert " running 0 of 3 " in found["waits"] and "cancelled at room: ill" in found["ill"]
    assert lines[-1] == "5 sagas: 2 compensated, 1 completed, 1 running, 1 stuck"
    ran = Ran(capsys, "sagas", "list", archive, "--status", "stuck", "--json")
    (view,) = ran.objects
    assert set(view) == {
        "id", "name", "status", "agent", "runner", "failed_step", "reason", "description", "begun_at", "ended_at",
        "steps", "moments", "position", "remembered",
    }  # fmt: skip
    assert Ran(capsys, "sagas", "list", archive, "--status", "compensating").out == "no saga is compensating\n"
    ran = Ran(capsys, "sagas", "list", archive, "--status", "done")
    assert ran.code == 2 and "There is: running, compensating" in ran.err


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "sagas", "show", "lost", archive).out.splitlines()
    assert lines[0] == "lost  compensated: lost at pay: RunnerLost: its process (ada) was lost"
    assert lines[1].startswith("  book trip, begun by ada at 2026-02-25T") and ", ended 2026-" in lines[1]
    assert [line.split()[:4] for line in lines[3:6]] == [
        ["room", "compensated", "1", "1"], ["pay", "compensated", "1", "1"], ["mail", "pending", "0", "-"],
    ]  # fmt: skip
    (view,) = Ran(capsys, "sagas", "show", "lost", archive, "--json").objects
    assert [(one["what"], one["step"]) for one in view["moments"]] == [
        ("begun", ""), ("offered", ""), ("taken", ""), ("started", "room"), ("completed", "room"), ("started", "pay"),
        ("lost", "pay"), ("giving_up", "pay"), ("offered", ""), ("ignored", "pay"), ("taken", ""),
        ("undo_started", "pay"), ("undone", "pay"), ("undo_started", "room"), ("undone", "room"), ("ended", ""),
    ]  # fmt: skip
    giving_up = view["moments"][7]["text"]
    assert giving_up == "lost: RunnerLost: its process (ada) was lost; to undo: pay, room"
    stuck = Ran(capsys, "sagas", "show", "stuck", archive).out
    assert "stuck 2026-" in stuck and stuck.endswith("When its cause is gone: accord sagas retry stuck\n")
    assert "nobody runs it" in Ran(capsys, "sagas", "show", "waits", archive).out
    ran = Ran(capsys, "sagas", "show", "nothing", archive)
    assert ran.code == 4 and "there is no saga nothing" in ran.err


def test_at_a_point_before(made: Trips) -> None:
    view = saga_at(made.play, "lost")
    assert view is not None and view.status == "compensated"
    then = next(one.position for one in view.moments if one.what == "completed")
    before = saga_at(made.play, "lost", parse_point(then))
    assert before is not None and (before.status, before.progress, before.runner) == ("running", "1 of 3", "ada")
    assert len(sagas_at(made.play)) == 5 and verify(made.play).ok


def told(made: Trips, key: str, what: str) -> dict[str, list[str]]:
    """Why the events of a decision came about, by their names."""
    view = saga_at(made.play, key)
    assert view is not None
    position = next(one.position for one in view.moments if one.what == what)
    decided = explain(made.play, position).decided
    assert all(reason.text for one in decided for reason in one.reasons)
    return {one.event.event: [reason.text for reason in one.reasons] for one in decided}


def test_why_it_ended_so(made: Trips) -> None:
    lost = told(made, "lost", "lost")
    assert lost["RunnerLost"] == ["its lease was not renewed in time", "it had the saga as runner 1"]
    assert lost["CompensationBegun"][0].startswith("pay: the process that ran it was lost")
    assert told(made, "lost", "ignored")["ResultIgnored"] == ["run 2 does not count: not_running"]
    ended = told(made, "lost", "ended")["SagaCompensated"]
    assert ended == ["pay was given up (lost), and all is undone", "pay was undone", "room was undone"]
    stuck = told(made, "stuck", "stuck")
    assert stuck["SagaStuck"] == ["room is not undone after 1 runs: ValueError: closed", "room had been done"]
    assert stuck["StepFailed"] == [
        "ValueError: closed (failure 1); it is not tried again", "ada had started run 4",
    ]  # fmt: skip
    first = told(made, "stuck", "failed")["StepFailed"]
    assert first[0] == "ValueError: busy (failure 1); it is tried again"
    assert told(made, "ill", "giving_up")["CompensationBegun"] == ["cancelled: ill"]


def test_a_stuck_saga_is_a_dead_letter_until_it_is_retried() -> None:
    made = trips()

    def letter() -> tuple[str, str]:
        letters = letters_of(made.play)  # type: ignore[arg-type]
        (view,) = views_of(letters, {}, {view.id: view for view in sagas_at(made.play)})
        assert (view.queue, view.reason, view.task_id, view.step, view.retriable) == (
            "saga:book trip", "MaxRetriesExceeded", "stuck", None, True,
        )  # fmt: skip
        return view.state, remedy_of(letters[0], view, None)

    state, remedy = letter()
    assert state == "open" and "accord sagas show stuck" in remedy and "accord dlq retry sagas/" in remedy
    made.tell("stuck", RetrySaga("eve"))
    state, remedy = letter()
    assert state == "retried" and remedy == "Nothing is left to do: retried."


def test_a_stuck_saga_that_is_not_remembered_is_none() -> None:
    made = trips()
    made.tell("stuck", Tick(), after_ms=STUCK_KEEP_MS)
    letters = letters_of(made.play)  # type: ignore[arg-type]
    (view,) = views_of(letters, {}, {view.id: view for view in sagas_at(made.play)})
    assert view.state == "forgotten"
    made.begin("stuck")
    (view,) = views_of(letters, {}, {view.id: view for view in sagas_at(made.play)})
    assert view.state == "forgotten", "another saga has the id now"
