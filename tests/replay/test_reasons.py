"""What every domain has to say of its events: of any that its schema allows, and of some whose story is known."""

from typing import Any

import msgspec
import pytest
from accord.replay.explain.case import Case, Reason
from accord.replay.explain.explanation import Explanation, explain
from accord.replay.explain.reasons import _BY_DOMAIN
from accord.replay.timeline import TimelineEvent
from accord.schemas import messages
from accord.schemas.messages import conflicts as c
from accord.schemas.messages import hierarchy as h
from accord.schemas.messages import llm
from accord.schemas.messages import signals as s
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import Beat, BeginPresence, JoinTeam, Tie
from accord.streams.roster.bounds import FORGET_MS
from hypothesis import given, settings

from tests.histories.crowd import Crowd
from tests.histories.office import Office, step
from tests.histories.shop import shop
from tests.schemas.support import avsc
from tests.schemas.support import messages as any_message
from tests.streams.conflicts.played import intent, terms

TOLD = [(domain, name) for domain, reasons in _BY_DOMAIN.items() for name in reasons]


def texts(explained: Explanation) -> list[str]:
    return [reason.text for told in explained.decided for reason in told.reasons]


def reason(explained: Explanation, event: str) -> list[Reason]:
    (told,) = [told for told in explained.decided if told.event.event == event]
    return list(told.reasons)


def event_type(domain: str, name: str) -> Any:
    __import__(f"accord.schemas.messages.{domain}")
    return getattr(getattr(messages, domain), name)


def in_our_time(value: Any) -> Any:
    """Data whose numbers are times that there are."""
    match value:
        case dict():
            return {name: in_our_time(one) for name, one in value.items()}
        case list() | tuple():
            return tuple(in_our_time(one) for one in value)
        case int() if not isinstance(value, bool):
            return abs(value) % 10**12
    return value


@pytest.mark.parametrize(("domain", "name"), TOLD, ids=[f"{domain}-{name}" for domain, name in TOLD])
def test_an_event_without_its_past_can_be_told(domain: str, name: str) -> None:
    """A log may have been cut before it, and its fields hold whatever the schema allows."""
    record = event_type(domain, name)

    @settings(max_examples=5, deadline=None)
    @given(any_message(record, avsc(record)))
    def tell(event: Any) -> None:
        data = in_our_time(msgspec.to_builtins(event))
        agent = data.pop("agent", None)
        told = TimelineEvent("x", f"{domain}/0@1", None, name, "key", agent, None, data, {}, None, "x")
        assert all(isinstance(one, Reason) for one in _BY_DOMAIN[domain][name](Case(told, [told], None, [], 0, {})))

    tell()


def test_what_a_result_of_a_flow_was_made_of_and_why_a_handler_was_stopped() -> None:
    play = shop()
    data = '{"n": 13, "causes": ["signals/1@7", "signals/1@9"]}'
    play.send("told", s.EmitResult("ada", "totals", 13, data, ("paid",)), domain="signals")
    made, again, stopped = (explain(play, f"signals/0@{offset}") for offset in (21, 17, 20))
    assert [(one.text, one.position) for one in reason(made, "ResultEmitted")] == [
        ("it was made of this event", "signals/1@7"),
        ("it was made of this event", "signals/1@9"),
        ("the flow totals was begun", "signals/0@1"),
    ]
    (known,) = reason(again, "ResultKnown")
    assert (known.text, known.position) == ("result 12 had been emitted before: 12 were", "signals/0@16")
    waited, lacking = reason(stopped, "CausesMissing")
    assert waited.position == "signals/0@1" and waited.text.startswith("note waited 5.0 s for what comes before")
    assert (lacking.text, lacking.position) == ("this was not found", "signals/1@9")


def test_by_what_authority_something_was_decided() -> None:
    crowd = Crowd(hierarchy=1)
    members = (
        h.Member("ada", None, (h.Boundary("spend", 10_000_000),), None, 1_000),
        h.Member("bob", "ada", (h.Boundary("spend", 1_000_000),), None, 1_000),
    )

    def ask(agent: str, command: Any, after_ms: int = 10) -> str:
        crowd.ask(agent, "acme", command, domain="hierarchy", after_ms=after_ms)
        return f"hierarchy/0@{len(crowd.log_events['hierarchy', 0]) - 1}"

    tree = ask("owner", h.DefineOrganisation("owner", members, 7))
    given_at = ask("ada", h.DelegateAuthority("ada", "g1", "bob", "spend", 5_000_000, 60_000, "busy"))
    decided = ask("bob", h.Decide("bob", "d1", "spend", 4_500_000, "chairs", "", "approve", "cheap", False, ()))
    told = reason(explain(crowd, decided), "DecisionMade")
    assert (told[0].text, told[0].position) == ("by its own delegation for spend: up to 5, and it was 4.5", tree)
    assert (told[1].text, told[1].position) == ("ada gave bob a part of it", given_at)
    assert told[2].text == "cheap"
    refused = ask("bob", h.Decide("bob", "d2", "spend", 99_000_000, "moon", "", "approve", "", False, ()))
    assert texts(explain(crowd, refused)) == ["it is beyond what the member may decide"]
    asked = ask("eve", h.RequestDecision("eve", "r1", ("bob",), "spend", 900_000, "pens", "", (), None, ()))
    assert texts(explain(crowd, asked))[-1] == "bob may decide it, up to 1, by boundary"
    passed = ask("bob", Tick(), after_ms=1_001)
    explained = explain(crowd, passed)
    assert [(one.text, one.position) for one in reason(explained, "AuthorityPassed")] == [
        ("there was no answer in time", asked)
    ]
    assert reason(explained, "AuthorityAsked")[1].text == "bob did not decide: there was no answer in time"


def test_why_an_intention_waits_and_who_won() -> None:
    crowd = Crowd(conflicts=1)
    for agent in ("ada", "bob"):
        crowd.ask(
            agent, "ground", c.DeclareIntention(agent, f"i-{agent}", intent(mode="exclusive"), ()), domain="conflicts"
        )
    explained = explain(crowd, "ground", agent="bob")
    found = reason(explained, "ConflictFound")
    assert found[0].text == "their modes do not go together: report"
    assert (found[1].text, found[1].position) == ("ada takes part", "conflicts/0@1")
    resolved = reason(explained, "ConflictResolved")
    assert resolved[0].text.startswith("by rule: ")
    queued = reason(explained, "IntentionQueued")
    assert [(one.text, one.position) for one in queued] == [("ada goes before it", "conflicts/0@1")]
    crowd.ask("ada", "ground", Tick(), domain="conflicts", after_ms=29_995)
    ended = reason(explain(crowd, "ground", agent="ada"), "IntentionEnded")
    assert ended[-1].text == "its lease was not renewed" and ended[-1].position == "conflicts/0@1"


def test_what_a_judge_said() -> None:
    crowd = Crowd(conflicts=1)
    configured = terms(semantic=True, judges=("judge",), preemption=False)
    crowd.ask("owner", "g", c.ConfigureGround("owner", configured), domain="conflicts")
    for agent in ("ada", "bob"):
        wants = c.DeclareIntention(agent, f"i-{agent}", intent("write", agent, text="the roof"), ())
        crowd.ask(agent, "g", wants, domain="conflicts")
    (wanted,) = [t.event for t in explain(crowd, "g", agent="bob").decided if t.event.event == "JudgementWanted"]
    conflict, kind = wanted.data["conflict"], "contradictory_actions"
    judged = c.JudgeConflict("judge", conflict, "i-bob", kind, ("i-ada",), "later is better", 900_000, "")
    crowd.ask("judge", "g", judged, domain="conflicts")
    told = reason(explain(crowd, f"conflicts/0@{len(crowd.log_events['conflicts', 0]) - 1}"), "ConflictResolved")
    assert told[0].text == "by rule: ada acts already and is not stopped for another"
    assert told[1].text == "judge judged for i-bob, 0.90 sure: later is better"


def test_why_a_step_waits_and_why_a_member_is_gone() -> None:
    office = Office()
    office.submit("t1", step("write"))
    waits = explain(office, "default")
    assert "nobody who is able has a free slot, or others wait before it" in texts(waits)
    office.tell("roster", "default", JoinTeam("ada", "ada", ("write",), 1, 10_000))
    assigned = explain(office, "default")
    joined = next(t.event.position for t in assigned.decided if t.event.event in ("MemberJoined", "AgentsAssigned"))
    assert "ada is able to write and had a free slot" in texts(assigned)
    office.tell("roster", "default", Tick(), after_ms=10_001)
    lost = reason(explain(office, "default", agent="ada"), "MemberLost")
    assert lost[0].text.endswith("was the last word of it") and lost[0].position == joined


def test_why_a_model_was_called_or_not() -> None:
    crowd = Crowd(llm=1)

    def ask(agent: str, command: Any, after_ms: int = 10) -> Explanation:
        crowd.ask(agent, "hash", command, domain="llm", after_ms=after_ms)
        return explain(crowd, f"llm/0@{len(crowd.log_events['llm', 0]) - 1}")

    def request(agent: str) -> llm.RequestAnswer:
        return llm.RequestAnswer(agent, "", "", 0, "gpt", 60_000, 5_000)

    assert texts(ask("ada", request("ada"))) == ["nobody had asked this"]
    assert texts(ask("bob", request("bob"))) == ["ada asks this already"]
    expired = ask("ada", Tick(), after_ms=5_001)
    assert reason(expired, "LeaseEnded")[0].text == "there was no sign of life in time"
    assert reason(expired, "CallGranted")[0].text == "whoever asked before is not waited for any more"


def test_why_a_process_counts_as_failed_and_what_ended_with_it() -> None:
    office = Office()
    office.tell("roster", "default", JoinTeam("ada", "ada/1", ("write",), 1, 60_000))
    lock = AcquireLock("ada", "ada/o", 60_000, None)
    request = office.send("room", lock).decision.command_id
    ties = (Tie("roster", "default", "ada/1"), Tie("locks", "room", request))
    office.tell("roster", "ada/77", BeginPresence("ada", 800, 2_400, 4_000, ties))
    office.tell("roster", "ada/77", Tick(), after_ms=2_400)
    told = reason(explain(office, "ada/77"), "AgentSuspected")
    assert told[0].text.endswith("for 2.4 s there was none") and told[0].position is not None
    office.tell("roster", "ada/77", Beat("ada", (), ()), after_ms=100)
    told = reason(explain(office, "ada/77"), "AgentRecovered")
    assert told[0].text == "it beat again after 2.5 s: it had been suspected falsely" and told[0].position is not None
    office.tell("roster", "ada/77", Tick(), after_ms=4_000)
    failed = explain(office, "ada/77")
    assert reason(failed, "AgentFailed")[1].text == "what hung on its heartbeat ends: roster default, locks room"
    lost = reason(explain(office, "default"), "MemberLost")
    assert lost[0].text.startswith("its process ada/77 failed at ")
    assert "accord" in str(explain(office, "room").decided[0].event.data)
    office.tell("roster", "ada/77", Beat("ada", (), ()))
    refused = reason(explain(office, "ada/77"), "BeatRefused")
    assert refused[0].text.startswith("it counts as failed, for good") and refused[0].position is not None
    office.tell("roster", "ada/77", Tick(), after_ms=FORGET_MS)
    assert reason(explain(office, "ada/77"), "AgentForgotten")[0].text == "it failed long ago"
    office.tell("roster", "ada/77", Beat("ada", (), ()))
    (text,) = texts(explain(office, "ada/77"))
    assert text == "no process of this name beats: it never began, has left, or failed long ago"
