"""What nobody looks after is found once it has lasted, and one repair each mends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from accord.replay.agreement import SLACK_MS
from accord.replay.orphans import Orphan, orphans
from accord.replay.verify import verify
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock, LeaseRevoked, RenewLease
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import BeginPresence, FreeAgents, JoinTeam, RequestAgents, Tie
from accord.schemas.messages.state import Write
from accord.schemas.messages.tasks import CancelTask, LoseSteps, StartStep, Step, SubmitTask
from accord.schemas.messages.transactions import BeginTransaction, RecordVote, ScopeChanges
from accord.schemas.messages.waits import GRAPH, Holding, ReportWaits, Waiting
from accord.schemas.topics import partition_of
from accord.streams.decider import Order
from accord.streams.domains import DOMAINS

from tests.cli.support import Ran
from tests.histories.play import Play

LEASE_MS = 60_000
LATER_MS = SLACK_MS + 1_000


class World:
    """A log on which process managers do their work, but for what is lost."""

    def __init__(self) -> None:
        self.play = Play(tasks=2, roster=2, locks=2, waits=1, transactions=1, state=1)

    def send(self, domain: str, key: str, command: Command, *lost: type[Command], after_ms: int = 10) -> None:
        waiting = deque([Order(domain, key, command)])
        while waiting:
            order = waiting.popleft()
            decided = self.play.send(order.key, order.command, domain=order.domain, after_ms=after_ms)
            after_ms = 10
            for event in decided.events:
                follows = DOMAINS[order.domain].reactions.get(type(event))
                orders = follows(order.key, event) if follows else ()
                waiting += [one for one in orders if type(one.command) not in lost]

    def submit(self, task: str, *lost: type[Command]) -> None:
        step = Step("write", (), "write", 0, 600_000, 600_000, None, False, None)
        self.send("tasks", task, SubmitTask("ada", "essay", "team", "1", (step,), 3_600_000), *lost)

    def join(self, agent: str = "bob", lease_ms: int = LEASE_MS) -> None:
        self.send("roster", "team", JoinTeam(agent, f"{agent}#1", ("write",), 1, lease_ms))

    def start(self, task: str, agent: str = "bob") -> None:
        self.send("tasks", task, StartStep(agent, f"{agent}#1", "team", "write", 1, ("write",)))

    def tick(self, domain: str, key: str, *lost: type[Command], after_ms: int = LATER_MS) -> None:
        self.send(domain, key, Tick(), *lost, after_ms=after_ms)

    def token(self, lock: str) -> int:
        where = "locks", partition_of(lock.encode(), 2)
        token: int = self.play.states[where].aggregates[lock].holders[0].token  # type: ignore[attr-defined]
        return token

    @property
    def found(self) -> Sequence[Orphan]:
        return orphans(self.play, by="ops")

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(one.kind, one.key) for one in self.found]

    def repair(self) -> list[tuple[str, str]]:
        """Does what mends each; returns what is left once it has had its time."""
        for one in self.found:
            self.send(one.domain, one.key, one.command)
        self.tick("locks", "clock")
        return self.kinds


@pytest.fixture
def world() -> World:
    return World()


def test_a_log_in_order_has_none(world: World) -> None:
    world.join()
    world.submit("t1")
    world.start("t1")
    world.send("locks", "room", AcquireLock("bob", "o", LEASE_MS, None))
    world.send("roster", "bob#1", BeginPresence("bob", 30_000, 60_000, 90_000, (Tie("locks", "room", "o"),)))
    world.tick("locks", "clock", after_ms=SLACK_MS * 2)
    assert world.kinds == [] and verify(world.play).ok


def test_a_deadline_that_nobody_served_is_due_and_a_tick_mends_it(world: World) -> None:
    world.send("locks", "room", AcquireLock("bob", "o", 1_000, None))
    world.tick("locks", "clock", after_ms=SLACK_MS)
    assert world.kinds == []
    world.tick("locks", "clock", after_ms=2_000)
    assert world.kinds == [("due", "room")]
    assert world.repair() == []


def test_a_lock_of_an_agent_that_was_lost_is_taken_away(world: World) -> None:
    world.join(lease_ms=1_000)
    for lock in ("room", "hall"):
        world.send("locks", lock, AcquireLock("bob", lock, 3_600_000, None))
    world.tick("roster", "team", after_ms=2_000)
    world.send("locks", "hall", RenewLease("bob", world.token("hall"), 3_600_000))
    assert world.kinds == [], "it has not lasted"
    world.tick("locks", "clock")
    (one,) = world.found
    assert (one.kind, one.key) == ("lost_holder", "room"), "hall was renewed since"
    decided = world.play.send(one.key, one.command, domain=one.domain)
    (revoked,) = [event for event in decided.events if isinstance(event, LeaseRevoked)]
    assert revoked.by == "ops" and revoked.reason.startswith("repair: bob was lost at ")
    assert world.kinds == []


def test_an_agent_with_another_process_is_not_lost(world: World) -> None:
    world.join(lease_ms=1_000)
    world.send("roster", "team", JoinTeam("bob", "bob#2", ("write",), 1, 3_600_000))
    world.send("locks", "room", AcquireLock("bob", "room", 3_600_000, None))
    world.tick("roster", "team", after_ms=2_000)
    world.tick("locks", "clock")
    assert world.kinds == []


def test_a_step_whose_process_is_lost_runs_again(world: World) -> None:
    """The team has told its loss, and the task was not reached."""
    world.join(lease_ms=1_000)
    world.submit("t1")
    world.start("t1")
    world.tick("roster", "team", LoseSteps, after_ms=2_000)
    assert world.kinds == [], "it has not lasted"
    world.tick("locks", "clock")
    assert world.kinds == [("lost_run", "t1")]
    world.join("eve", 3_600_000)
    assert world.repair() == []
    world.send("tasks", "t1", StartStep("eve", "eve#1", "team", "write", 2, ("write",)))
    world.tick("locks", "clock")
    assert world.kinds == []


def test_a_step_whose_request_is_lost_is_asked_for_anew(world: World) -> None:
    world.join(lease_ms=3_600_000)
    world.submit("t1", RequestAgents)
    world.tick("locks", "clock")
    assert world.kinds == [("lost_request", "t1")]
    assert world.repair() == []


def test_a_slot_that_nobody_needs_is_freed(world: World) -> None:
    world.join(lease_ms=3_600_000)
    for task in ("t1", "t2"):
        world.submit(task)
    world.start("t1")
    for task in ("t1", "t2"):
        world.send("tasks", task, CancelTask("ada", "enough"), FreeAgents)
    world.tick("locks", "clock")
    assert world.kinds == [("lost_slot", "team"), ("lost_slot", "team")], "a slot, and a place in the line"
    assert world.repair() == []


def test_a_wait_that_is_over_is_forgotten(world: World) -> None:
    report = ReportWaits("locks", "room", "locks/0", 5, (Holding("o", "bob", 1, 1),), (Waiting("r", "p", "eve", 1),))
    world.send("waits", GRAPH, report)
    world.tick("locks", "clock")
    assert world.kinds == [("lost_wait", GRAPH)]
    assert world.repair() == []


def test_a_transaction_that_is_stuck_is_among_them(world: World) -> None:
    changes = (ScopeChanges("ada", "serializable", None, (), (), (Write("n", "increment", "1"),)),)
    world.send("transactions", "x", BeginTransaction("ada", (), changes, True, 1_000, 60_000), RecordVote)
    world.tick("locks", "clock", after_ms=SLACK_MS * 2)
    assert {("stuck", "x"), ("in_doubt", "x")} <= set(world.kinds)
    assert world.repair() == []


def test_the_command_line_tells_them(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.join(lease_ms=3_600_000)
    world.submit("t1", RequestAgents)
    world.tick("locks", "clock")
    world.play.save(tmp_path / "log.accord")
    archive = str(tmp_path / "log.accord")
    ran = Ran(capsys, "recover", "orphans", archive)
    assert ran.code == 1 and "lost_request  tasks t1" in ran.out and "1 orphan; what mends them is done with" in ran.out
    (told,) = Ran(capsys, "recover", "orphans", archive, "--json").objects
    assert (told["kind"], told["repair"]) == ("lost_request", "LoseSteps")
    refused = Ran(capsys, "recover", "orphans", archive, "--repair")
    assert refused.code == 2 and "what is past cannot be repaired" in refused.err
    world.repair()
    world.play.save(tmp_path / "mended.accord")
    mended = Ran(capsys, "recover", "orphans", str(tmp_path / "mended.accord"))
    assert (mended.code, mended.out) == (0, "0 orphans\n")
