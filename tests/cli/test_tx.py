"""`accord tx` on archives: what became of transactions, and what a check finds."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from accord.replay.agreement import SLACK_MS, check, sum_of
from accord.replay.transactions import transaction_at
from accord.replay.verify import verify
from accord.schemas.messages import Command, limits
from accord.schemas.messages.locks import AcquireLock, UnpinLease
from accord.schemas.messages.state import AbortPrepared, CommitChanges, CommitPrepared, Write
from accord.schemas.messages.tasks import Step, SubmitTask
from accord.schemas.messages.transactions import (
    AcknowledgeOutcome,
    BeginTransaction,
    EnlistChanges,
    Guard,
    Participant,
    RecordVote,
    RepairTransaction,
    ScopeChanges,
    Submission,
)
from accord.schemas.topics import partition_of
from accord.streams.decider import Order
from accord.streams.domains import DOMAINS

from tests.cli.support import Ran
from tests.histories.play import Play


class World:
    """A log on which process managers do their work, but for what is `lost`."""

    def __init__(self) -> None:
        self.play = Play(state=2, transactions=2, locks=2, limits=1, tasks=2, roster=2)

    def send(self, domain: str, key: str, command: Command, *lost: type[Command], after_ms: int = 10) -> None:
        waiting = deque([Order(domain, key, command)])
        while waiting:
            order = waiting.popleft()
            decided = self.play.send(order.key, order.command, domain=order.domain, after_ms=after_ms)
            for event in decided.events:
                follows = DOMAINS[order.domain].reactions.get(type(event))
                waiting += [
                    one for one in (follows(order.key, event) if follows else ()) if type(one.command) not in lost
                ]

    def begin(self, name: str, *lost: type[Command], commit: bool = True, to: str = "bob") -> None:
        changes = tuple([ScopeChanges(scope, "serializable", None, (), (), (Write("n", "increment", by),))
                         for scope, by in (("ada", "-1"), (to, "1"))])  # fmt: skip
        command = BeginTransaction("ada", (), changes, commit, 1_000, 60_000)
        self.send("transactions", name, command, *lost)

    def put(self, scope: str, value: str, after_ms: int = 10) -> None:
        writes = (Write("n", "put", value),)
        command = CommitChanges("bank", "read_committed", None, (), (), writes, "", "")
        self.send("state", scope, command, after_ms=after_ms)


@pytest.fixture
def world() -> World:
    world = World()
    for scope in ("ada", "bob"):
        world.put(scope, "100")
    world.put("text", '"no number"')
    world.begin("t1")
    world.begin("t2", to="text")
    world.send("transactions", "t1", EnlistChanges("eve", ()))
    return world


def saved(world: World, tmp_path: Path) -> str:
    world.play.save(tmp_path / "shared.accord")
    return str(tmp_path / "shared.accord")


def kinds(world: World, **terms: Any) -> list[tuple[str, str, str]]:
    return [(one.kind, one.transaction, one.scope) for one in check(world.play, **terms)]


def test_list_and_show(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = saved(world, tmp_path)
    lines = Ran(capsys, "tx", "list", archive).out.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [["t1", "committed"], ["t2", "aborted"]]
    assert "wrong_type: text: n is no counter" in lines[2] and lines[-1] == "2 transactions: 1 aborted, 1 committed"
    ran = Ran(capsys, "tx", "list", archive, "--status", "aborted", "--json")
    assert [(one["id"], one["reason"], one["scopes"]) for one in ran.objects] == [("t2", "wrong_type", ["ada", "text"])]
    assert Ran(capsys, "tx", "list", archive, "--status", "open").out == "no transaction is open\n"
    assert Ran(capsys, "tx", "list", archive, "--status", "late").code == 2
    (shown,) = Ran(capsys, "tx", "show", "t1", archive, "--json").objects
    assert [(step["what"], step["who"]) for step in shown["steps"]] == [
        ("begun", "ada"), ("prepare", "ada"), ("vote", "ada"), ("vote", "bob"), ("decided", "ada"),
        ("acknowledged", "ada"), ("acknowledged", "bob"), ("ended", "ada"), ("refused", "eve"),
    ]  # fmt: skip
    text = Ran(capsys, "tx", "show", "t2", archive).out
    assert "t2  aborted: wrong_type: text: n is no counter" in text and "ended 20" in text
    assert "no, wrong_type: n is no counter" in text
    decided = next(step["position"] for step in shown["steps"] if step["what"] == "decided")
    text = Ran(capsys, "tx", "show", "t1", archive, "--at", decided).out
    assert "t1  committed" in text and "not everybody has done it" in text and "acknowledged" not in text
    missing = Ran(capsys, "tx", "show", "t9", archive)
    assert missing.code == 4 and "there is no transaction t9" in missing.err
    assert verify(world.play).ok


def test_a_log_in_order_has_no_problem(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = saved(world, tmp_path)
    ran = Ran(capsys, "tx", "check", archive)
    assert (ran.code, ran.out) == (0, "all agree: 2 transactions\n")
    assert Ran(capsys, "tx", "check", archive, "--json").out == ""
    World().play.save(tmp_path / "empty.accord")
    assert Ran(capsys, "tx", "list", str(tmp_path / "empty.accord")).out == "there is no transaction\n"


def test_what_is_stuck_and_who_is_in_doubt(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin("t3", RecordVote)
    assert kinds(world) == [], "its time is not over"
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == [("stuck", "t3", ""), ("in_doubt", "t3", "ada"), ("in_doubt", "t3", "bob")]
    archive = saved(world, tmp_path)
    ran = Ran(capsys, "tx", "check", archive)
    assert ran.code == 1 and ran.out.splitlines()[-2] == "3 problems in 3 transactions"
    assert ran.out.splitlines()[-1] == "What stands under repair is done with --repair."
    ran = Ran(capsys, "tx", "check", archive, "--json")
    assert ran.code == 1 and [one["kind"] for one in ran.objects] == ["stuck", "in_doubt", "in_doubt"]
    assert set(ran.objects[0]) == {"kind", "transaction", "scope", "description", "position", "domain", "repair"}
    world.begin("t4", commit=False)
    world.put("other", "2", after_ms=2_000)
    assert ("stuck", "t4", "") in kinds(world)


def test_what_was_decided_and_not_done_is_stuck(world: World) -> None:
    world.begin("t3", AcknowledgeOutcome)
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == [("stuck", "t3", "")]


# -- locks and tasks


def guarded(world: World, name: str, *lost: type[Command]) -> None:
    """A transaction under a lock that begins a task."""
    world.send("locks", "vault", AcquireLock("ada", "ada/1", 60_000, 0))
    token = world.play.states["locks", partition_of(b"vault", 2)].aggregates["vault"].holders[0].token
    step = Step("one", (), "write", 0, 1_000, 1_000, None, False, None)
    task = Submission(f"{name}-task", "ada", "letter", "default", "{}", (step,), 60_000, "")
    changes = (ScopeChanges("ada", "serializable", None, (), (), (Write("n", "increment", "1"),)),)
    terms = (True, 1_000, 60_000, (Guard("locks", "vault", token, None),), (task,))
    world.send("transactions", name, BeginTransaction("ada", (), changes, *terms), *lost)


def test_locks_and_tasks_are_shown_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.put("ada", "100")
    guarded(world, "t1")
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == []
    (shown,) = Ran(capsys, "tx", "show", "t1", saved(world, tmp_path), "--json").objects
    assert (shown["locks"], shown["tasks"], shown["status"]) == (["vault"], ["t1-task"], "committed")
    steps = [(step["what"], step["who"], step["text"]) for step in shown["steps"]]
    assert ("prepare", "ada", "ada, lock vault, task t1-task") in steps
    assert ("released", "vault", "all scopes have done it") in steps
    guarded(world, "t2", SubmitTask, UnpinLease)
    world.put("other", "2", after_ms=2_000)
    assert kinds(world) == [("stuck", "t2", ""), ("in_doubt", "t2", "vault"), ("mixed", "t2", "")]
    later = saved(world, tmp_path / "later")
    shown = Ran(capsys, "locks", "show", "vault", later).out
    assert "pinned by transaction t2 of ada, token 2, for" in shown
    (view,) = Ran(capsys, "locks", "show", "vault", later, "--json").objects
    assert [(pin["transaction"], pin["token"]) for pin in view["pins"]] == [("t2", 2)]


def under_a_pool(world: World, name: str, *lost: type[Command]) -> None:
    """A transaction under 2 of a pool of 3, which are given back before its outcome is told."""
    world.send("limits", "gpus", limits.ConfigurePool("ops", 3, None, None, (), (), ()))
    world.send("limits", "gpus", limits.RequestCapacity("ada", "ada/1", "", 2, "shared", 0, 0, 60_000, 0, True))
    (held,) = world.play.states["limits", 0].aggregates["gpus"].holders
    changes = (ScopeChanges("ada", "serializable", None, (), (), (Write("n", "increment", "1"),)),)
    guards = (Guard("limits", "gpus", held.token, held.request),)
    world.send("transactions", name, BeginTransaction("ada", (), changes, True, 1_000, 60_000, guards), *lost)
    world.send("limits", "gpus", limits.ReleaseCapacity("ada", held.token, held.request, None, None))


def test_pools_are_shown_checked_and_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.put("ada", "100")
    under_a_pool(world, "t1")
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == []
    (shown,) = Ran(capsys, "tx", "show", "t1", saved(world, tmp_path), "--json").objects
    assert (shown["locks"], shown["pools"], shown["status"]) == ([], ["gpus"], "committed")
    assert ("prepare", "ada", "ada, pool gpus") in [(one["what"], one["who"], one["text"]) for one in shown["steps"]]
    assert "ada, gpus" in Ran(capsys, "tx", "list", saved(world, tmp_path / "list")).out
    under_a_pool(world, "t2", limits.UnpinLease)
    world.put("other", "2", after_ms=2_000)
    assert kinds(world) == [("stuck", "t2", ""), ("in_doubt", "t2", "gpus")]
    later = saved(world, tmp_path / "later")
    text = Ran(capsys, "resources", "show", "gpus", later).out
    assert "gpus  2 of 3 in use" in text and "pinned by transaction t2 of ada, token" in text
    assert "2 kept for them, which nobody holds any more" in text
    (view,) = Ran(capsys, "resources", "show", "gpus", later, "--json").objects
    assert ([pin["transaction"] for pin in view["pins"]], view["kept"], view["free"]) == (["t2"], 2, 1)
    (problem,) = [one for one in check(world.play) if one.kind == "in_doubt"]
    assert (problem.domain, problem.scope) == ("limits", "gpus")
    told = RepairTransaction("eve", "in_doubt", Participant(problem.domain, problem.scope))
    world.send("transactions", "t2", told)
    assert kinds(world) == []
    assert "kept for them" not in Ran(capsys, "resources", "show", "gpus", saved(world, tmp_path / "end")).out


# -- repairs


def repaired(world: World) -> list[tuple[str, str]]:
    """Does what a check says can be done, and tells what the transaction says to it."""
    done = []
    for problem in check(world.play):
        if problem.repair:
            who = Participant(problem.domain, problem.scope) if problem.scope else None
            world.send("transactions", problem.transaction, RepairTransaction("eve", problem.kind, who))
            view = transaction_at(world.play, problem.transaction)
            done.append((problem.transaction, view.steps[-1].text if view else "unknown"))
    return done


def test_a_repair_ends_what_is_stuck_and_in_doubt(world: World) -> None:
    world.begin("t3", RecordVote)
    world.begin("t4", AcknowledgeOutcome, to="eve")
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == [
        ("stuck", "t3", ""), ("stuck", "t4", ""), ("in_doubt", "t3", "ada"), ("in_doubt", "t3", "bob"),
    ]  # fmt: skip
    assert repaired(world) == [
        ("t3", "aborted"), ("t4", "aborted"),
        ("t3", "in_doubt: told aborted, ada"), ("t3", "in_doubt: told aborted, bob"),
    ]  # fmt: skip
    assert kinds(world) == []
    assert verify(world.play).ok


def test_a_repair_tells_of_a_commit_for_which_nobody_is_told_any_more(world: World) -> None:
    world.begin("t3", CommitPrepared)
    world.put("other", "1", after_ms=2_000)
    assert kinds(world) == [("stuck", "t3", ""), ("in_doubt", "t3", "ada"), ("in_doubt", "t3", "bob")]
    before = [one.scope for one in check(world.play)]
    repaired(world)
    assert before == ["", "ada", "bob"] and kinds(world) == []
    view = transaction_at(world.play, "t3")
    assert view is not None and view.ended_at is not None and view.status == "committed"
    assert "repaired" in [step.what for step in view.steps]


def test_an_archive_is_not_repaired(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "tx", "check", saved(world, tmp_path), "--repair")
    assert ran.code == 2 and "what is past cannot be repaired" in ran.err
    assert Ran(capsys, "tx", "check", "--repair", "--at", "2026-03-01T12:00:00Z").code == 2


# -- outcomes that differ


def test_outcomes_that_differ_are_found(world: World) -> None:
    world.begin("t3", RecordVote)
    world.send("state", "ada", CommitPrepared("t3"))  # by whoever may write commands
    assert kinds(world) == [("mixed", "t3", "ada")]
    world = World()
    world.begin("t4", CommitPrepared)
    world.send("state", "ada", AbortPrepared("t4"), AcknowledgeOutcome)
    assert kinds(world) == [("mixed", "t4", "ada")]
    for scope in ("ada", "bob"):
        world.send("transactions", "t4", AcknowledgeOutcome("state", scope, "committed"))
    assert kinds(world) == [("mixed", "t4", "ada"), ("mixed", "t4", "bob")]
    world.send("state", "bob", CommitPrepared("t4"))
    assert kinds(world) == [("mixed", "t4", "ada")]


def test_invariants_of_ones_own(world: World) -> None:
    def sum_is_kept(scopes: Any) -> str | None:
        total = sum(keys["n"] for scope, keys in scopes.items() if scope != "text")
        return None if total == 200 else f"the sum is {total}"

    assert kinds(world, invariants=[sum_is_kept]) == []
    world.put("bob", "7")
    (problem,) = check(world.play, invariants=[sum_is_kept])
    assert (problem.kind, problem.description) == ("invariant", "the sum is 106")


def test_sums_are_exact_and_say_what_is_no_number(world: World) -> None:
    world.put("bob", '"0.1"')
    world.put("ada", "0.2")
    sums = [sum_of("[ab]*/n", "0.3"), sum_of("[ab]*/n", 1), sum_of("*/n", 1)]
    wrong = [check(world.play, invariants=[one]) for one in sums]
    assert [[one.description for one in found] for found in wrong] == [
        [], ["the sum of [ab]*/n is 0.3, not 1"], ["text/n is no number: 'no number'"],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'many' is no number"):
        sum_of("*/n", "many")


def test_invariants_on_the_command_line(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = saved(world, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tx_invariants.py").write_text(
        "def whole(scopes):\n    return f'{len(scopes)} scopes'\n\n\ndef broken(scopes):\n    return 1 / 0\n"
    )
    assert Ran(capsys, "tx", "check", archive, "--sum", "[ab]*/n=200").code == 0
    ran = Ran(
        capsys, "tx", "check", archive, "--sum", "[ab]*/n=1", "--invariant", "tx_invariants:whole",
        "--invariant", "tx_invariants:broken", "--json",
    )  # fmt: skip
    assert ran.code == 1
    assert [one["description"] for one in ran.objects] == [
        "3 scopes", "tx_invariants:broken raised ZeroDivisionError: division by zero",
        "the sum of [ab]*/n is 200, not 1",
    ]  # fmt: skip
    for terms, text in (
        (("--sum", "n=1"), "names no SCOPE/KEY=N"), (("--sum", "a/n=x"), "'x' is no number"),
        (("--invariant", "tx_invariants:gone"), "has no attribute 'gone'"),
        (("--invariant", "no:f"), "No module named"),
    ):  # fmt: skip
        ran = Ran(capsys, "tx", "check", archive, *terms)
        assert ran.code == 2 and text in ran.err


def test_a_live_log_is_held_against_this_moment(world: World) -> None:
    world.begin("t3", RecordVote)
    now_ms = world.play.now_ms
    assert check(world.play, now_ms=now_ms + SLACK_MS) == ()
    late = check(world.play, now_ms=now_ms + SLACK_MS + 2_000)
    assert [one.kind for one in late] == ["stuck", "in_doubt", "in_doubt"]
