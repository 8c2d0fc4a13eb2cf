"""A log of what the other plays do not come to: what is asked twice, by strangers, too late or of what there is not;
victims of a deadlock; what is forgotten."""

from __future__ import annotations

from accord.schemas.messages import Command
from accord.schemas.messages import hierarchy as h
from accord.schemas.messages.auctions import AnnounceAuction, CancelAuction, PassAuction, ReadAuction, RenewAward
from accord.schemas.messages.conflicts import (
    AppealResolution,
    CompareFindings,
    ConfigureGround,
    DeclareIntention,
    JudgeConflict,
    ReadConflict,
    ReadGround,
    RuleOnConflict,
    TakeVerdict,
    WithdrawIntention,
)
from accord.schemas.messages.limits import BreakDeadlock, ConfigurePool, RequestCapacity
from accord.schemas.messages.limits import PinLease as PinCapacity
from accord.schemas.messages.llm import RenewLease, RequestAnswer
from accord.schemas.messages.locks import AcquireLock, LockGranted, PinLease
from accord.schemas.messages.log import SwitchRules, Tick
from accord.schemas.messages.proposals import Propose, Voter
from accord.schemas.messages.sagas import BeginSaga, CancelSaga, RenewSaga, SagaStep, TakeSaga
from accord.schemas.messages.signals import BeginFlow, EmitMatch, WatchSignal
from accord.schemas.messages.transactions import BeginTransaction, RollBackTransaction
from accord.schemas.messages.triggers import ConfirmWatch, DeclareTrigger
from accord.schemas.messages.waits import GRAPH, ForgetWaits, ReportWaits
from accord.streams.auctions.scoring import WEIGHTS
from accord.streams.signals.decider import WATCHES_MAX
from accord.streams.triggers.pattern import encode, sequence

from tests.histories.play import Play
from tests.histories.transfers import part
from tests.streams.conflicts.played import finding, intent, terms
from tests.streams.test_waits import A, B

KEEP_MS = 1_000
DOMAINS = (
    "locks", "limits", "waits", "signals", "triggers", "llm", "proposals", "auctions", "hierarchy", "conflicts",
    "sagas", "transactions", "state",
)  # fmt: skip
PAIR = encode(sequence("ordered", "paid").within_ms(1_000).definition)


class Answers(Play):
    """A `Play` of most domains, each with one partition."""

    def __init__(self) -> None:
        super().__init__(cluster="history-answers", **dict.fromkeys(DOMAINS, 1))

    def tell(self, domain: str, key: str, *commands: Command, after_ms: int = 10) -> None:
        """Commands to one aggregate, and what follows from them."""
        for command in commands:
            self.follow(domain, self.send(key, command, domain=domain, after_ms=after_ms))


def answers() -> Play:
    play = Answers()
    leases(play)
    deadlock(play)
    watches(play)
    votes_and_bids(play)
    organisation(play)
    ground(play)
    long_work(play)
    play.tell("proposals", "ship", SwitchRules(99, "a trial"))  # the last that this release can decide there
    return play


def leases(play: Answers) -> None:
    """Who pins twice, and who renews what is not its own."""
    (granted,) = play.send("vault", AcquireLock("ada", "ada/1", 60_000, 0)).events
    assert isinstance(granted, LockGranted)
    due_ms = play.now_ms + 9_000
    for _ in range(2):
        play.send("vault", PinLease("ada", "t1", granted.token, None, due_ms))
    asked = RequestCapacity("ada", "ada/1", "", 1, "shared", 0, 0, 60_000, None, False)
    token = play.send("gpus", asked, domain="limits", message_id="of-ada").decision.seq
    for _ in range(2):
        play.send("gpus", PinCapacity("ada", "t1", token, "of-ada", due_ms), domain="limits")
    question = RequestAnswer("ada", "", "", 0, "gpt-4", KEEP_MS, 60_000)
    play.tell("llm", "question", question, RenewLease("eve", 99, 5_000))


def deadlock(play: Answers) -> None:
    """A pool's victim is denied; a ring of two locks is found; what a partition told is forgotten."""
    play.tell("limits", "desk", ConfigurePool("ops", 1, None, None, (), (), ()))
    asked = [
        RequestCapacity(agent, f"{agent}/1", "", 1, "exclusive", 0, 0, 60_000, None, False) for agent in ("ada", "bob")
    ]
    token, _ = [play.send("desk", one, domain="limits", message_id=f"of-{one.agent}-2").decision.seq for one in asked]
    play.tell("limits", "desk", BreakDeadlock("of-bob-2", token, ()))
    play.tell("waits", GRAPH, ReportWaits(**B), ReportWaits(**A), ForgetWaits("locks/0", 7))


def watches(play: Answers) -> None:
    """More triggers on an event than may be; a match, a flow and a trigger that are known; a trigger that cannot be."""
    for number in range(WATCHES_MAX + 1):
        play.send("ordered", WatchSignal("ordered", f"t{number}", 1, PAIR), domain="signals")
    for offset in (9, 8):
        play.send("pair", EmitMatch("ada", "{}", ()), domain="signals", message_id=f"triggers/0@{offset}/0")
        play.send("told", BeginFlow("ada", "totals", '{"from": {"0": 1}}'), domain="signals")
        play.send("pair", DeclareTrigger("ada", "pair", PAIR), domain="triggers")
    play.send("pair", ConfirmWatch("ordered", 1, "too many"), domain="triggers")


def votes_and_bids(play: Answers) -> None:
    proposed = Propose("ada", "ship it?", (Voter("ada", 1), Voter("bob", 1)), 1, 2, None, 30_000, KEEP_MS, ())
    play.tell("proposals", "ship", proposed, proposed)
    announced = AnnounceAuction(
        "ada", "sort it", ("bob",), (), None, WEIGHTS, 500_000, None, 30_000, 5_000, 30_000, KEEP_MS, ()
    )
    other = AnnounceAuction(
        "ada", "sink it", ("bob",), (), None, WEIGHTS, 500_000, None, 30_000, 5_000, 30_000, KEEP_MS, ()
    )
    play.tell("auctions", "sort", announced, announced, other, PassAuction("eve", "no"), RenewAward("bob", 1))
    play.tell("auctions", "none", ReadAuction("eve"), CancelAuction("eve", ""))


def organisation(play: Answers) -> None:
    members = (
        h.Member("ada", None, (h.Boundary("spend", 1_000),), None, 1_000),
        h.Member("bob", "ada", (h.Boundary("spend", 100),), None, 1_000),
    )
    defined = h.DefineOrganisation("ops", members, 7)
    given = h.DelegateAuthority("ada", "d1", "bob", "spend", 500, 2_000, "")
    away = h.BeginAbsence("ada", "ada", "away")
    asked = h.RequestDecision("eve", "r1", ("bob",), "spend", 50, "", "", (), None, ())
    made = h.Decide("bob", "d2", "spend", 50, "", "", "approve", "", False, ())
    commands = (
        h.ReadOrganisation("eve"), defined, defined, given, given, h.RevokeDelegation("ada", "d9", ""), away, away,
        h.BeginAbsence("eve", "bob", ""), h.EndAbsence("ada", "ada"), asked, asked, h.WithdrawRequest("bob", "r1", ""),
        h.ReadDecision("eve", "r9"), made, h.ReportOutcome("mallory", "d2", "success", ""),
    )  # fmt: skip
    play.tell("hierarchy", "acme", *commands)
    play.tell("hierarchy", "acme", Tick(), after_ms=3_000)


def ground(play: Answers) -> None:
    """Intentions that only a judge can tell apart, findings that agree, and all that is asked of the wrong one."""
    semantic = terms(semantic=True, authority="chief", keep_ms=KEEP_MS)
    first = DeclareIntention("ada", "i1", intent(target="auth.py", text="speed up login"), ())
    second = DeclareIntention("bob", "i2", intent(target="map.py", text="draw the map"), ())
    play.tell("conflicts", "team", ConfigureGround("ada", semantic), ConfigureGround("bob", semantic))
    play.tell("conflicts", "team", first, first, DeclareIntention("eve", "i1", intent(target="x"), ()))
    suspected = play.send("team", second, domain="conflicts").decision.seq
    none = JudgeConflict("judge", f"{suspected}.1", None, "none", (), "they differ", 900_000, "")
    said = (finding("a", "42"), finding("b", "37"))
    compared = CompareFindings("ada", "f", said, ())
    play.tell(
        "conflicts", "team", none, CompareFindings("ada", "same", (finding("a", "1"), finding("b", "1")), ()), compared,
        compared, CompareFindings("eve", "f", said, ()), RuleOnConflict("mallory", "f", "a", "mine"),
        TakeVerdict("ada", "acme", "r9", None, ""), ReadConflict("eve", "9.9"), ReadGround("eve"),
        WithdrawIntention("bob", "i2", "no need"),
    )  # fmt: skip
    appealed(play)
    play.tell("conflicts", "team", Tick(), after_ms=60_000)
    play.tell("conflicts", "team", Tick(), after_ms=60_000)


def appealed(play: Answers) -> None:
    """Bob lost to ada; the authority is of another mind, and he is favoured."""
    acts = DeclareIntention("ada", "approve", intent("approve", "invoice"), ())
    play.tell("conflicts", "shop", ConfigureGround("ada", terms(authority="chief")), acts)
    lost = play.send("shop", DeclareIntention("bob", "reject", intent("reject", "invoice"), ()), domain="conflicts")
    conflict = f"{lost.decision.seq}.1"
    play.tell("conflicts", "shop", AppealResolution("bob", conflict, "reject", "it is fake"))
    play.tell("conflicts", "shop", RuleOnConflict("chief", conflict, "reject", "it is fake"))


def long_work(play: Answers) -> None:
    """A saga whose step takes too long, and a transaction that is forgotten."""
    steps = (SagaStep("room", True, 1, 0, 100, 5_000),)
    begun = BeginSaga("ada", "r1", "trip", steps, "{}", 60_000, KEEP_MS, ())
    other = BeginSaga("ada", "r1", "trip", steps, '{"guest": "eve"}', 60_000, KEEP_MS, ())
    play.tell("sagas", "trip", begun, begun, other, TakeSaga("bob", "r2", 60_000), RenewSaga("bob", 9))
    play.tell("sagas", "trip", Tick(), after_ms=6_000)
    play.tell("sagas", "trip", CancelSaga("ada", "no need"), CancelSaga("ada", "no need"))
    rolled_back = RollBackTransaction("ada", "changed her mind")
    play.tell("transactions", "t9", BeginTransaction("ada", (), part("a"), False, 1_000, KEEP_MS), rolled_back)
    play.tell("transactions", "t9", Tick(), after_ms=90_000)
