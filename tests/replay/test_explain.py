"""Explanations: what an event rests on, the history that is told, and its two pictures."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from accord.replay.causality import causality
from accord.replay.explain.explanation import STEPS_MAX, Explanation, explain
from accord.replay.shiviz import EXPRESSION, shiviz
from accord.replay.source import open_source
from accord.replay.spacetime import svg
from accord.replay.state import state_at
from accord.schemas.messages import limits
from accord.schemas.messages.limits import ConfigurePool, RequestCapacity
from accord.schemas.messages.locks import PinLease, RenewLease, ReportStaleWrite
from accord.schemas.messages.log import Tick
from accord.schemas.messages.proposals import CastVote, Propose, ReadProposal, Voter
from accord.schemas.messages.state import CommitChanges, PrepareChanges, SeenKey, Write
from accord.schemas.messages.transactions import BeginTransaction, Guard, ScopeChanges
from accord.schemas.position import Position

from accord.errors import BadInput, NotFound
from tests.histories.crowd import Crowd, token_of
from tests.histories.office import Office, step
from tests.histories.record import HERE, SOUND_NAMES


def texts(explained: Explanation) -> list[str]:
    return [reason.text for told in explained.decided for reason in told.reasons]


def places(explained: Explanation) -> list[str | None]:
    return [reason.position for told in explained.decided for reason in told.reasons]


@pytest.fixture
def hotel() -> Crowd:
    """Ada takes the room because of a call; bob, who knows nothing of it, has to wait, and eve behind him."""
    crowd = Crowd(locks=1, signals=1)
    crowd.emit("desk", "call")
    called = crowd.emit("desk", "call_ada")
    crowd.tell("ada", called, "signals", "call_ada")
    crowd.acquire("ada", "room_12")  # locks/0@1
    crowd.acquire("kim", "room_13")  # locks/0@2
    crowd.acquire("bob", "room_12")  # locks/0@3
    crowd.acquire("eve", "room_12")  # locks/0@4
    crowd.acquire("kim", "room_12", wait_ms=0)  # locks/0@5
    crowd.release("ada", "room_12", 2)  # locks/0@6: bob
    return crowd


def test_why_bob_did_not_get_the_room(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@3")
    assert [told.event.event for told in explained.decided] == ["LockQueued"]
    (reason,) = explained.decided[0].reasons
    assert reason.text.startswith("ada held it: token 2, granted 20 ms before at ") and "60.0 s left" in reason.text
    assert (reason.position, reason.cause, reason.by) == ("locks/0@1", "locks.commands/0@0", "ada")
    command = explained.command
    assert command is not None
    assert (command.position, command.type, command.incarnation) == ("locks.commands/0@2", "AcquireLock", "bob#1")
    assert explained.aggregate is not None and explained.aggregate.holder == "ada"
    assert [(event.position, event.event) for event in explained.came_of_it] == [("locks/0@6", "LockGranted")]
    assert explained.key == "room_12" and not explained.is_cut


def test_who_stands_before_in_the_queue_is_told_with_where_he_was_queued(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@4")
    assert [text.split(":")[0].split(",")[0] for text in texts(explained)] == ["ada held it", "bob waited before it"]
    assert places(explained) == ["locks/0@1", "locks/0@3"]


def test_a_refusal_says_what_was_asked_for(hotel: Crowd) -> None:
    first, *others = texts(explain(hotel, "locks/0@5"))
    assert first == "it was asked for with wait_ms=0: to try once"
    assert [text.split(" ")[0] for text in others] == ["ada", "bob", "eve"]


def test_a_grant_from_the_queue_names_who_let_go(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@6")
    released, granted = explained.decided
    assert (released.event.agent, granted.event.agent) == ("ada", "bob")
    assert (
        granted.reasons[0].text.startswith("it was first in the queue") and granted.reasons[0].position == "locks/0@3"
    )
    assert granted.reasons[1].text == "ada released it: token 2" and granted.reasons[1].position == "locks/0@1"


def test_the_history_goes_back_over_agents_and_leaves_out_what_has_nothing_to_do_with_it(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@3")
    told = {one.position: one for one in explained.history}
    assert {"signals/0@2", "signals.commands/0@1", "locks.commands/0@0", "locks/0@1", "locks.commands/0@2"} <= set(told)
    assert "locks/0@2" not in told, "kim's room hashes to the same partition, and that is all"
    assert told["locks.commands/0@0"].after == ("signals/0@2",), "ada asked because she was called"
    assert told["locks/0@1"].unseen and not told["locks.commands/0@2"].unseen, "bob did not know of ada's grant"
    assert (told["locks/0@1"].order, told["locks/0@3"].order, told["locks/0@6"].order) == ("before", "equal", "after")
    assert [one.lamport for one in explained.history] == sorted(one.lamport for one in explained.history)


def test_what_was_concurrent_is_told_as_such(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@3")
    beside = {one.position for one in explained.concurrent}
    assert {"locks.commands/0@3", "locks.commands/0@4"} <= beside, "eve and kim asked for it, too, and nobody knew"
    assert all(one.unseen for one in explained.concurrent)
    assert not beside & {one.position for one in explained.history}


def test_steps_are_bounded(hotel: Crowd) -> None:
    assert len(explain(hotel, "locks/0@6", steps=3).history) == 3
    for steps in (0, STEPS_MAX + 1):
        with pytest.raises(BadInput, match="steps"):
            explain(hotel, "locks/0@6", steps=steps)


@pytest.mark.parametrize(
    ("what", "agent", "position"),
    [
        ("locks/0@3", None, "locks/0@3"),
        ("locks.commands/0@2", None, "locks/0@3"),
        ("locks/0:2", None, "locks/0@3"),
        ("locks/0:5#1", None, "locks/0@6"),
        ("room_12", None, "locks/0@6"),
        ("room_12", "eve", "locks/0@4"),
        ("room_13", None, "locks/0@2"),
        ("call", None, "signals/0@1"),
        ("m4", None, "locks/0@3"),
    ],
)
def test_what_can_be_asked_about(hotel: Crowd, what: str, agent: str | None, position: str) -> None:
    if what == "m4":
        what = explain(hotel, "locks/0@3").decided[0].event.command_id
    assert explain(hotel, what, agent=agent).position == position


def test_what_is_not_there(hotel: Crowd) -> None:
    for what in ("locks/0@99", "room_99", "locks.commands/0@99"):
        with pytest.raises(NotFound):
            explain(hotel, what)
    with pytest.raises(NotFound, match="that concerns nobody"):
        explain(hotel, "room_12", agent="nobody")
    hotel.emit("ada", "room_12")
    with pytest.raises(BadInput, match="is a key in locks, signals"):
        explain(hotel, "room_12")
    assert explain(hotel, "room_12", domains=("signals",)).position.startswith("signals/")


def test_an_expired_lease_a_late_release_and_a_stale_write() -> None:
    crowd = Crowd(locks=1)
    token = token_of(crowd.acquire("ada", "r", lease_ms=1_000), "ada")
    crowd.ask("ada", "r", RenewLease("ada", token, 1_200))
    crowd.acquire("bob", "r")
    crowd.ask("ops", "r", Tick(), after_ms=1_300)  # locks/0@4
    crowd.release("ada", "r", token)
    crowd.ask("ada", "r", ReportStaleWrite("ada", "rooms/r", token, 5))
    expired = explain(crowd, "locks/0@4").decided[0]
    assert expired.event.event == "LeaseExpired"
    assert expired.reasons[0].text == "it was renewed last for 1.2 s" and expired.reasons[0].position == "locks/0@2"
    assert "110 ms before the log's next record" in expired.reasons[1].text
    refused = explain(crowd, "locks/0@5")
    assert texts(refused)[0] == "token 2 had ended: LeaseExpired" and texts(refused)[1].startswith("bob held it")
    stale = explain(crowd, "locks/0@6")
    assert texts(stale) == ["rooms/r had seen token 5", "token 2 had ended: LeaseExpired"]
    assert places(stale) == ["locks/0@4", "locks/0@4"]


def test_an_event_rests_on_what_those_before_it_in_its_decision_left() -> None:
    crowd = Crowd(locks=1)
    crowd.acquire("ada", "r", lease_ms=1_000)
    crowd.now_ms += 2_000
    crowd.acquire("bob", "r")
    expired, granted = explain(crowd, "locks/0@2").decided
    assert (expired.event.event, granted.event.event) == ("LeaseExpired", "LockGranted")
    assert [reason.text for reason in granted.reasons] == ["nobody held it"]


def test_capacity_that_was_denied() -> None:
    crowd = Crowd(limits=1)
    crowd.ask("ops", "gpu", ConfigurePool("ops", 2, None, None, (), (), ()), domain="limits")
    crowd.ask("ada", "gpu", RequestCapacity("ada", "ada/1", "", 2, "shared", 0, 0, 5_000, None, False), domain="limits")
    crowd.ask("bob", "gpu", RequestCapacity("bob", "bob/1", "", 1, "shared", 0, 0, 5_000, 0, False), domain="limits")
    explained = explain(crowd, "gpu", agent="bob")
    assert texts(explained)[0] == "too much of it was held" and texts(explained)[1].startswith(
        "ada held 2 of it: token 3"
    )
    assert places(explained)[1] == "limits/0@2"
    assert explained.aggregate is not None and explained.aggregate.holders[0].agent == "ada"


def test_why_a_change_of_state_was_refused() -> None:
    crowd = Crowd(state=1)
    for agent in ("ada", "bob"):
        changes = CommitChanges(
            agent, "serializable", None, (SeenKey("limit", 0),), (), (Write("limit", "put", "1"),), "", ""
        )
        crowd.ask(agent, "customer", changes, domain="state")
    (told,) = explain(crowd, "customer", agent="bob").decided
    assert told.event.event == "CommitRefused" and told.reasons[0].text.startswith("conflict")
    assert told.reasons[1].text == "limit was changed by ada: version 0 was read, 1 was there"
    assert (told.reasons[1].position, told.reasons[1].by) == ("state/0@1", "ada")


def part(scope: str, *reads: SeenKey) -> ScopeChanges:
    return ScopeChanges(scope, "serializable", None, reads, (), (Write("limit", "put", "5"),))


def begin(crowd: Crowd, name: str, *parts: ScopeChanges, guards: tuple[Guard, ...] = ()) -> None:
    command = BeginTransaction("ada", (), parts, True, 60_000, 60_000, guards)
    crowd.follow("transactions", crowd.ask("ada", name, command, domain="transactions"))


def test_why_a_transaction_was_aborted_names_the_key_the_reader_and_the_writer() -> None:
    crowd = Crowd(state=1, transactions=1)
    begin(crowd, "t1", part("customer", SeenKey("limit", 0)), part("order"))
    begin(crowd, "t2", part("customer", SeenKey("limit", 0)), part("offer"))
    ended = explain(crowd, "t2")
    (reasons,) = [told.reasons for told in ended.decided]
    assert [reason.text for reason in reasons] == [
        "aborted, conflict: customer: 1 changed since they were read",
        "customer/limit was changed: version 0 was read, 1 was there",
        "customer: conflict: 1 changed since they were read",
        "customer: limit was changed by ada (transaction t1): version 0 was read, 1 was there",
    ]
    assert reasons[-1].position is not None and reasons[-1].position.startswith("state/0@")
    committed = texts(explain(crowd, "t1"))
    assert committed[:2] == ["committed: customer voted yes", "committed: order voted yes"]


def test_a_transaction_that_another_holds_up_and_a_lock_that_was_lost() -> None:
    crowd = Crowd(state=1, transactions=1, locks=1)
    crowd.acquire("ada", "vault")
    token = token_of(crowd.acquire("eve", "room"), "eve")
    guards = (Guard("locks", "vault", token, None),)
    begin(crowd, "t1", part("customer"), part("order"), guards=guards)
    told = texts(explain(crowd, "t1"))
    assert told[0].startswith("aborted, not_holder: vault: token")
    assert f"vault: token {token} was never granted for this lock, as far as its history was looked at" in told
    changes = PrepareChanges(
        "ada", "t2", "serializable", None, (), (), (Write("limit", "put", "1"),), crowd.now_ms + 9_999
    )
    crowd.ask("ada", "held", changes, domain="state")
    wanted = CommitChanges("bob", "serializable", None, (), (), (Write("limit", "put", "2"),), "", "")
    crowd.ask("bob", "held", wanted, domain="state")
    (told,) = explain(crowd, "held", domains=("state",)).decided
    assert told.reasons[0].text == "limit is held by transaction t2 of ada, which is being committed"
    begin(crowd, "t3", part("held"), part("order"))
    assert "held: ada had it prepared" in texts(explain(crowd, "t3"))


def test_who_waits_for_a_lock_that_a_transaction_keeps_is_told_of_it() -> None:
    crowd = Crowd(locks=1)
    token = token_of(crowd.acquire("ada", "vault"), "ada")
    crowd.ask("ada", "vault", PinLease("ada", "t1", token, None, crowd.now_ms + 9_999))
    crowd.release("ada", "vault", token)
    crowd.acquire("bob", "vault")
    (reason,) = explain(crowd, "vault").decided[0].reasons
    assert reason.text == f"transaction t1 of ada is being committed under it: token {token}, which is held no more"


def test_who_waits_for_what_a_transaction_keeps_of_a_pool_is_told_of_it() -> None:
    crowd = Crowd(limits=1)
    wanted = RequestCapacity("ada", "ada/1", "", 1, "shared", 0, 0, 60_000, None, False)
    (granted,) = crowd.ask("ada", "gpus", wanted, domain="limits").events
    assert isinstance(granted, limits.CapacityGranted)
    token, request = granted.token, granted.request
    crowd.ask("ada", "gpus", limits.PinLease("ada", "t1", token, request, crowd.now_ms + 9_999), domain="limits")
    crowd.ask("ada", "gpus", limits.ReleaseCapacity("ada", token, request, None, None), domain="limits")
    bobs = RequestCapacity("bob", "bob/1", "", 1, "shared", 0, 0, 60_000, None, False)
    crowd.ask("bob", "gpus", bobs, domain="limits")
    assert texts(explain(crowd, "gpus"))[:2] == [
        "too much of it was held",
        f"transaction t1 of ada is being committed under it: token {token}, which is held no more",
    ]
    crowd.ask("ada", "gpus", limits.PinLease("ada", "t2", token, request, crowd.now_ms + 9_999), domain="limits")
    assert texts(explain(crowd, "gpus", agent="ada"))[:2] == [
        f"not_holder: token {token} is not current: nothing is held under it",
        f"token {token} had ended: CapacityReleased",
    ]


def test_how_a_vote_ended() -> None:
    crowd = Crowd(proposals=1)
    voters = (Voter("ada", 1), Voter("bob", 1), Voter("eve", 1))
    crowd.ask("ada", "p1", Propose("ada", "ship it", voters, 1, 2, None, 10_000, 60_000, ()), domain="proposals")
    crowd.ask("bob", "p1", CastVote("bob", "yes", "good"), domain="proposals")
    crowd.ask("eve", "p1", CastVote("eve", "no", "bad"), domain="proposals")
    explained = explain(crowd, "p1")
    decided = next(told for told in explained.decided if told.event.event == "ProposalDecided")
    assert decided.reasons[0].text == "2 yes, 1 no, 0 abstained; 3 voted yes or no"
    assert decided.reasons[1].text == "it was opened with a threshold of 1/2"
    assert [(reason.text, reason.position) for reason in decided.reasons[2:]] == [
        ("ada voted yes: proposed it", "proposals/0@1"),
        ("bob voted yes: good", "proposals/0@2"),
        ("eve voted no: bad", "proposals/0@3"),
    ]


def test_a_name_stands_for_the_last_decision_that_was_more_than_a_read() -> None:
    crowd = Crowd(proposals=1)
    voters = (Voter("ada", 1), Voter("bob", 1))
    crowd.ask("ada", "p1", Propose("ada", "ship it", voters, 1, 2, None, 10_000, 60_000, ()), domain="proposals")
    crowd.ask("kim", "p1", ReadProposal("kim"), domain="proposals")
    crowd.ask("kim", "p1", ReadProposal("kim"), domain="proposals")
    assert explain(crowd, "p1").position == "proposals/0@1"
    assert explain(crowd, "p1", agent="kim").position == "proposals/0@3", "she did nothing else"


def test_why_a_task_is_not_done() -> None:
    office = Office()
    office.submit("t1", step("write"), step("print", "write"))
    explained = explain(office, "t1")
    (waiting,) = explained.task
    assert (waiting.step, waiting.status) == ("write", "ready")
    assert "nobody in the team default is able to do write" in waiting.cause
    office.join("ada", "write")
    token = office.start("t1", "write", "ada")
    office.fail("t1", "write", "ada", token)
    failed = explain(office, "t1")
    told = next(told for told in failed.decided if told.event.event == "StepFailed")
    assert told.reasons[0].text == "ValueError: no use (failure 1); it is tried again"
    assert told.reasons[1].text == "ada had started write" and told.reasons[1].position is not None


def test_what_a_worker_sent_names_the_decision_that_it_follows_from() -> None:
    crowd = Crowd(locks=2, signals=1)
    emitted = crowd.emit("ada", "go")
    crowd.order(emitted, "signals", "go", Tick(), to_domain="locks", to_key="r")
    (at,) = [n.position for n in causality(crowd) if n.position.domain == "locks" and n.key == "r"]
    explained = explain(crowd, str(at))
    assert explained.command is not None
    assert (explained.command.incarnation, explained.command.because) == (None, "signals/0@1")
    assert "signals/0@1" in {one.position for one in explained.history}


def test_a_command_that_is_no_longer_kept(hotel: Crowd) -> None:
    hotel.log_commands["locks", 0] = hotel.log_commands["locks", 0][4:]
    explained = explain(hotel, "locks/0@3")
    assert explained.command is None and explained.decided[0].reasons[0].position == "locks/0@1"


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_every_decision_of_every_history_can_be_explained(name: str) -> None:
    """Each by itself; what it rests on lies before it by the causal order, not only by its place."""
    with open_source(HERE / f"{name}.accord") as source:
        graph = causality(source)
        decisions = [node for node in graph if node.decision is not None]
        for node in decisions[:: max(1, len(decisions) // 12)]:
            explained = explain(source, str(node.position))
            assert [told.event.event for told in explained.decided] == [
                kind for kind in node.kind.split("+") if kind != "Nothing"
            ]
            for position in filter(None, places(explained)):
                reason = graph.at(Position.parse(position))
                assert reason is not None and graph.order(reason, node) in ("before", "equal")
        state_at(source)


# -- the pictures


def test_the_diagram_has_a_line_for_each_process_and_an_arrow_for_each_message(hotel: Crowd) -> None:
    explained = explain(hotel, "locks/0@3")
    drawn = svg(explained)
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "it needs nothing from elsewhere"
    root = ET.fromstring(drawn)
    name = "{http://www.w3.org/2000/svg}"
    steps = [*explained.history, *explained.concurrent]
    lines = [one for one in root.iter(f"{name}line") if one.get("class") == "life"]
    assert len(lines) == len({one.process for one in steps})
    dots = list(root.iter(f"{name}circle"))
    assert len(dots) == len(steps)
    assert sum("beside" in (dot.get("class") or "") for dot in dots) == sum(one.unseen for one in steps)
    process = {one.position: one.process for one in steps}
    wanted = {
        f"{one.position} rests on {before}" for one in steps for before in one.after if process[before] != one.process
    }
    arrows = [one for one in root.iter(f"{name}path") if one.get("class") == "arrow"]
    assert {one.findtext(f"{name}title") for one in arrows} == wanted and len(arrows) == len(wanted)
    assert sum(one.get("class") == "band" for one in root.iter(f"{name}rect")) == 1


def test_names_are_escaped_in_the_diagram() -> None:
    crowd = Crowd(locks=1)
    crowd.acquire("<b>&", "room<1>")
    text = "".join(ET.fromstring(svg(explain(crowd, "locks/0@1"))).itertext())
    assert "<b>&" in text and "room<1>" in text


def parsed(log: str) -> list[tuple[str, dict[str, int], str, str]]:
    """A log for ShiViz, read as ShiViz reads one: by the expression in its first line."""
    expression, delimiter, *_ = log.split("\n", 2)
    assert delimiter == "" and "multiple" not in expression
    pattern = re.compile("^" + expression.replace("(?<", "(?P<") + "$", re.MULTILINE)
    events = log.split("\n", 2)[2]
    found = [(m["host"], json.loads(m["clock"]), m["position"], m["event"]) for m in pattern.finditer(events)]
    assert len(found) == len(events.splitlines()), "every line is an event"
    return found


@pytest.mark.parametrize(("history", "what"), [("embedded", "locks/0@3"), ("hotel", "room_3"), ("family", "desk")])
def test_the_log_for_shiviz_orders_its_steps_as_the_log_does(history: str, what: str) -> None:
    with open_source(HERE / f"{history}.accord") as source:
        graph, log = causality(source), shiviz(explain(source, what, steps=40))
    events = parsed(log)
    assert log.startswith(EXPRESSION + "\n\n") and len(events) > 10
    count: dict[str, int] = {}
    for host, clock, _, _ in events:
        count[host] = count.get(host, 0) + 1
        assert clock[host] == count[host], "a host's own entry counts its events from 1 on, without gaps"
    nodes = [graph.at(Position.parse(position)) for _, _, position, _ in events]
    for (host, clock, _, _), one in zip(events, nodes, strict=True):
        for (_, later, _, _), other in zip(events, nodes, strict=True):
            assert one is not None and other is not None
            knows = one is not other and later.get(host, 0) >= clock[host]
            assert knows == graph.happened_before(one, other)
