"""Transcripts: commands, `----`, and the events that they bring, in `transcripts/*.txt`.

A block's commands go to one partition in order; a file is one log. A command is written as its name, then its fields:

    acquire lock=room-7 agent=ada lease_ms=5000 at=1000

`at` is the broker's time in ms (the one before, if missing), `id` the message id (`r1`, `r2`, ... if missing). The
key is one of `KEYS`, or `aggregate`. `owner` is the agent's name unless given; `UNLESS_GIVEN` has the others that may
be left out. A trigger's `definition` is written as in Python. `show lock=room-7` prints the state. An event is written
with all its fields; `(nothing)` is a decision without events. A file's name begins with its domain.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from accord.schemas.headers import LogRecord
from accord.schemas.messages import (
    Command,
    Event,
    Message,
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    proposals,
    sagas,
    state,
    tasks,
    transactions,
    triggers,
)
from accord.schemas.messages.locks import (
    AcquireLock,
    PinLease,
    ReleaseLock,
    RenewLease,
    ReportStaleWrite,
    RevokeLease,
    UnpinLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal, ReportHandlerFailure
from accord.streams.auctions.scoring import WEIGHTS
from accord.streams.conflicts.rules import DEFAULT
from accord.streams.triggers import pattern

from tests.streams.support import apply, command, partition

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
SHARED: dict[str, type[Command]] = {"switch_rules": SwitchRules, "tick": Tick}
COMMANDS: dict[str, dict[str, type[Command]]] = {
    "locks": SHARED
    | {
        "acquire": AcquireLock,
        "release": ReleaseLock,
        "renew": RenewLease,
        "withdraw": WithdrawRequest,
        "report_stale_write": ReportStaleWrite,
        "revoke": RevokeLease,
        "pin": PinLease,
        "unpin": UnpinLease,
    },
    "signals": SHARED | {"emit": EmitSignal, "report_handler_failure": ReportHandlerFailure},
    "limits": SHARED
    | {
        "configure": limits.ConfigurePool,
        "request": limits.RequestCapacity,
        "renew": limits.RenewLease,
        "release": limits.ReleaseCapacity,
        "withdraw": limits.WithdrawRequest,
        "pin": limits.PinLease,
        "unpin": limits.UnpinLease,
    },
    "proposals": SHARED
    | {
        "propose": proposals.Propose,
        "vote": proposals.CastVote,
        "withdraw": proposals.WithdrawProposal,
        "read": proposals.ReadProposal,
    },
    "auctions": SHARED
    | {
        "announce": auctions.AnnounceAuction,
        "bid": auctions.PlaceBid,
        "pass": auctions.PassAuction,
        "score": auctions.ScoreBids,
        "renew": auctions.RenewAward,
        "complete": auctions.CompleteWork,
        "fail": auctions.FailWork,
        "cancel": auctions.CancelAuction,
        "read": auctions.ReadAuction,
    },
    "sagas": SHARED
    | {
        "begin": sagas.BeginSaga,
        "take": sagas.TakeSaga,
        "renew": sagas.RenewSaga,
        "release": sagas.ReleaseSaga,
        "complete": sagas.CompleteStep,
        "fail": sagas.FailStep,
        "cancel": sagas.CancelSaga,
        "retry": sagas.RetrySaga,
        "read": sagas.ReadSaga,
    },
    "triggers": SHARED
    | {
        "declare": triggers.DeclareTrigger,
        "drop": triggers.DropTrigger,
        "read": triggers.ReadTrigger,
        "confirm": triggers.ConfirmWatch,
        "observe": triggers.ObserveSignal,
    },
    "hierarchy": SHARED
    | {
        "define": hierarchy.DefineOrganisation,
        "delegate": hierarchy.DelegateAuthority,
        "revoke": hierarchy.RevokeDelegation,
        "leave": hierarchy.BeginAbsence,
        "return": hierarchy.EndAbsence,
        "decide": hierarchy.Decide,
        "request": hierarchy.RequestDecision,
        "answer": hierarchy.AnswerRequest,
        "withdraw": hierarchy.WithdrawRequest,
        "report": hierarchy.ReportOutcome,
        "read": hierarchy.ReadDecision,
        "look": hierarchy.ReadOrganisation,
    },
    "state": SHARED
    | {
        "commit": state.CommitChanges,
        "read": state.ReadKey,
        "range": state.ReadRange,
        "history": state.ReadHistory,
        "configure": state.ConfigureScope,
        "prepare": state.PrepareChanges,
        "commit_prepared": state.CommitPrepared,
        "abort_prepared": state.AbortPrepared,
    },
    "transactions": SHARED
    | {
        "begin": transactions.BeginTransaction,
        "enlist": transactions.EnlistChanges,
        "commit": transactions.CommitTransaction,
        "roll_back": transactions.RollBackTransaction,
        "read": transactions.ReadTransaction,
        "vote": transactions.RecordVote,
        "acknowledge": transactions.AcknowledgeOutcome,
        "ask": transactions.AskOutcome,
        "repair": transactions.RepairTransaction,
    },
    "conflicts": SHARED
    | {
        "configure": conflicts.ConfigureGround,
        "declare": conflicts.DeclareIntention,
        "renew": conflicts.RenewIntention,
        "finish": conflicts.FinishIntention,
        "compare": conflicts.CompareFindings,
        "judge": conflicts.JudgeConflict,
        "decline": conflicts.DeclineJudgement,
        "appeal": conflicts.AppealResolution,
        "rule": conflicts.RuleOnConflict,
    },
    "llm": SHARED
    | {
        "ask": llm.RequestAnswer,
        "renew": llm.RenewLease,
        "record": llm.RecordCall,
        "withdraw": llm.WithdrawRequest,
        "forget": llm.ForgetAnswer,
    },
}
KEYS = (
    "lock", "event", "transaction_id", "pool", "question", "proposal", "auction", "organisation", "scope", "ground",
    "saga",
)  # fmt: skip
OF_INTENT = {
    **dict.fromkeys(("target", "resource", "topic", "text"), ""),
    **dict.fromkeys(("mode", "from_ms", "until_ms"), "null"),
    **dict.fromkeys(("amount", "priority"), "0"),
    "lease_ms": "30000",
    "waits": "true",
}
UNLESS_GIVEN = {
    "runner": "r1",
    "unbegun": "null",
    **dict.fromkeys(("undo", "final", "in_doubt"), "false"),
    **dict.fromkeys(("wait_ms", "requests_per_minute", "tokens_per_minute", "used_tokens", "retry_after_ms"), "null"),
    **dict.fromkeys(("trail", "role", "roles", "shares", "weights"), ""),
    **dict.fromkeys(("tokens", "priority"), "0"),
    **dict.fromkeys(("task", "step", "answered_by", "error_type", "error"), ""),
    **dict.fromkeys(("run", "input_tokens", "output_tokens"), "0"),
    **dict.fromkeys(("cost_microusd", "text", "token"), "null"),
    "outcome": "answered",
    "model": "gpt-4",
    "tries": "1",
    "amount": "1",
    "mode": "shared",
    "must_exist": "false",
    **dict.fromkeys(("snapshot", "at_version", "after_version"), "null"),
    **dict.fromkeys(("reads", "ranges", "rule", "rule_version", "prefix", "after"), ""),
    "isolation": "serializable",
    "values": "true",
    **dict.fromkeys(("reason", "problem"), ""),
    "version": "1",
    **dict.fromkeys(("quorum", "reward_millionths"), "null"),
    **dict.fromkeys(("capabilities", "scoring"), ""),
    "confidence_least_millionths": "500000",
    "scoring_ms": "5000",
    "lease_ms": "30000",
    "member": "m1",
    **dict.fromkeys(("against", "request", "reasoning"), ""),
    "kind": "findings",
    "load": "0",
    "threshold_numerator": "1",
    "threshold_denominator": "2",
    "deadline_ms": "30000",
    "keep_ms": "3600000",
    "span": "7",
    "duration_ms": "60000",
    "verdict": "approve",
    "escalate": "false",
    "origin": "null",
    **dict.fromkeys(("about", "options", "subject", "inputs", "note"), ""),
    "amount_millionths": "0",
    **dict.fromkeys(("members", "changes", "conflicts", "description", "holder"), ""),
    "commit": "true",
    "timeout_ms": "30000",
    "yes": "true",
    "domain": "state",
    "participant": "null",
    "due_ms": "31000",
}
BAR = "----"


class Transcript:
    """One file's log so far."""

    def __init__(self, domain: str) -> None:
        self.partition = partition(domain)
        self.commands = COMMANDS[domain]
        self.at_ms = 0

    def run(self, line: str) -> list[str]:
        """What a line brings, as it is printed."""
        if line.startswith("show "):
            return [shown(self.partition.canonical()["aggregates"].get(self.key(words(line)[1])))]
        events = apply(self.partition, self.partition.decide(self.asked(line))).events
        return [printed(event) for event in events] or ["(nothing)"]

    def asked(self, line: str) -> LogRecord:
        """The command of a line, as it lies in the log."""
        name, fields = words(line)
        key = self.key(fields)
        self.at_ms = int(fields.pop("at", self.at_ms))
        offset = self.partition.position + 1
        record = command(
            self.partition,
            offset,
            message(self.commands[name], fields),
            key=key.encode(),
            at_ms=self.at_ms,
            command_id=fields.pop("id", f"r{offset + 1}"),
        )
        assert not fields, f"{line!r}: {fields} mean nothing to {name}"
        return record

    @staticmethod
    def key(fields: dict[str, Any]) -> str:
        """Takes what names the aggregate out of the fields."""
        return fields.pop("aggregate", None) or "".join(fields.pop(kind, "") for kind in KEYS)


def words(line: str) -> tuple[str, dict[str, Any]]:
    """The name of a command, and its fields as they are written."""
    name, *rest = shlex.split(line)
    return name, dict(word.split("=", 1) for word in rest)


def seen_keys(text: str) -> tuple[state.SeenKey, ...]:
    """`a@1,b@0`"""
    pairs = [part.partition("@") for part in text.split(",") if part]
    return tuple(state.SeenKey(key, int(version)) for key, _, version in pairs)


def seen_ranges(text: str) -> tuple[state.SeenRange, ...]:
    """`room/*@1`"""
    pairs = [part.partition("*@") for part in text.split(",") if part]
    return tuple(state.SeenRange(prefix, int(version), values=True) for prefix, _, version in pairs)


def writes(text: str) -> tuple[state.Write, ...]:
    """`a:put:1;b:delete`"""
    parts = [part.split(":", 2) for part in text.split(";")]
    return tuple(state.Write(key, done, *(operand or [None])) for key, done, *operand in parts)


def changes_of(text: str) -> tuple[transactions.ScopeChanges, ...]:
    """`ada/balance:put:70,bob/balance:put:30`: keys of scopes that nobody has read."""
    pairs = [part.partition("/") for part in text.split(",") if part]
    return tuple(
        transactions.ScopeChanges(scope, "serializable", None, (), (), writes(write)) for scope, _, write in pairs
    )


def guards_of(text: str) -> tuple[transactions.Guard, ...]:
    """`room@7`: a lock; `gpus@8/r-1`: a part of a pool, granted to a request."""
    found = []
    for name, _, grant in [part.partition("@") for part in text.split(",")]:
        token, _, request = grant.partition("/")
        found.append(transactions.Guard("limits" if request else "locks", name, int(token), request or None))
    return tuple(found)


def submissions_of(text: str) -> tuple[transactions.Submission, ...]:
    """`TASK:AGENT:STEP`: a task of one step."""
    found = []
    for task, agent, name in [part.split(":") for part in text.split(",")]:
        step = tasks.Step(name, (), name, 0, 1_000, 1_000, None, False, None)
        found.append(transactions.Submission(task, agent, "graph", "default", "{}", (step,), 0, ""))
    return tuple(found)


def participant_of(text: str) -> transactions.Participant | None:
    """`state/ada`"""
    return None if text == "null" else transactions.Participant(*text.split("/"))


STATE: dict[Any, Callable[[str], Any]] = {
    tuple[transactions.ScopeChanges, ...]: changes_of,
    tuple[transactions.Guard, ...]: guards_of,
    tuple[transactions.Submission, ...]: submissions_of,
    transactions.Participant | None: participant_of,
    tuple[state.Conflict, ...]: lambda _: (),
    tuple[state.SeenKey, ...]: seen_keys,
    tuple[state.SeenRange, ...]: seen_ranges,
    tuple[state.Write, ...]: writes,
}


def message(kind: type[Any], fields: dict[str, Any]) -> Any:
    """Takes the fields of a command, or of a record in one, out of `fields`."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if name not in fields and name in defaults(kind):
            continue
        default = values.get("agent") if name == "owner" else UNLESS_GIVEN.get(name)
        text = sent(name, fields.pop(name, "" if hint == conflicts.Intent else default))
        assert text is not None, f"{kind.__name__} needs {name}"
        if hint in (str, str | None, sagas.Payload):
            values[name] = None if (text, hint) == ("null", str | None) else text
        elif hint == tuple[str, ...]:
            values[name] = tuple(part for part in text.split(",") if part)
        elif hint == tuple[int, ...]:
            values[name] = tuple(int(part) for part in text.split(",") if part)
        elif hint == tuple[proposals.Voter, ...]:
            pairs = [part.partition(":") for part in text.split(",")]
            values[name] = tuple(proposals.Voter(name, int(weight or 1)) for name, _, weight in pairs)
        elif hint == auctions.Weights:
            values[name] = auctions.Weights(*[int(part) for part in text.split(",")]) if text else WEIGHTS
        elif hint in (auctions.Scoring, auctions.Scoring | None):
            scored_by, _, version = text.partition("/")
            values[name] = auctions.Scoring(scored_by, version) if text else None
        elif hint == tuple[auctions.Score, ...]:
            pairs = [part.partition(":") for part in text.split(",")]
            values[name] = tuple(auctions.Score(agent, int(score)) for agent, _, score in pairs)
        elif hint in RECORDS or hint in OF_FIELDS:
            values[name] = RECORDS[hint](text) if hint in RECORDS else OF_FIELDS[hint](fields)
        elif hint is bool:
            values[name] = text == "true"
        else:
            values[name] = None if text == "null" else int(text)
    return kind(**values)


def saga_step(text: str) -> sagas.SagaStep:
    """`pay+2`: with a compensation, and tried again so often; `mail`: without either."""
    name, undo, retries = text.partition("+")
    return sagas.SagaStep(name, bool(undo), int(retries or 0), 1, 100, 60_000)


def member_of(text: str) -> hierarchy.Member:
    """`NAME:SUPERIOR:DEPUTY:TYPE=LIMIT+TYPE=LIMIT`, as far as there is; each has a second to answer."""
    name, superior, deputy, limits, *_ = [*text.split(":"), "", "", ""]
    pairs = [part.split("=") for part in limits.split("+") if part]
    boundaries = tuple(hierarchy.Boundary(kind, int(limit)) for kind, limit in pairs)
    return hierarchy.Member(name, superior or None, boundaries, deputy or None, 1_000)


def intent_of(fields: dict[str, Any]) -> conflicts.Intent:
    """What is intended, by those of its fields that are given."""
    kind = conflicts.Intent
    return message(kind, OF_INTENT | {part: fields.pop(part) for part in kind.__struct_fields__ if part in fields})


def terms_of(text: str) -> conflicts.Terms:
    """The usual terms, but for an authority and capacities: `chief,gpu:4`."""
    authority, *pairs = [part.partition(":") for part in text.split(",")]
    known = tuple(conflicts.Capacity(resource, int(amount)) for resource, _, amount in pairs)
    return msgspec.structs.replace(
        DEFAULT, authority=authority[0], capacities=known, contradictions=(), incompatible=()
    )


def findings_of(text: str) -> tuple[conflicts.Finding, ...]:
    """`AGENT:RECOMMENDATION,AGENT`, as far as there is one."""
    pairs = [part.partition(":") for part in text.split(",")]
    return tuple(conflicts.Finding(agent, said or None, "{}", 0) for agent, _, said in pairs)


RECORDS: dict[Any, Callable[[str], Any]] = STATE | {
    tuple[hierarchy.Member, ...]: lambda text: tuple(member_of(part) for part in text.split(",")),
    hierarchy.Origin | None: lambda text: None if text == "null" else hierarchy.Origin(*text.split("/")),
    conflicts.Terms: terms_of,
    tuple[conflicts.Finding, ...]: findings_of,
    tuple[sagas.SagaStep, ...]: lambda text: tuple(saga_step(part) for part in text.split(",")),
}
"""How records in a command are written."""
OF_FIELDS: dict[Any, Callable[[dict[str, Any]], Any]] = {conflicts.Intent: intent_of}
"""Records that are written by fields of their own."""


def printed(event: Event) -> str:
    """An event with its fields; those that have their defaults are left out."""
    left_out = defaults(type(event))
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    fields = " ".join(
        f"{name}={shown(of_field(name, value))}"
        for name, value in values.items()
        if (name, value) not in left_out.items()
    )
    return f"{type(event).__name__} {fields}".rstrip()


def defaults(kind: type[Message]) -> dict[str, Any]:
    """The fields of a message that have defaults; they come last."""
    count = len(kind.__struct_defaults__)
    return dict(
        zip(kind.__struct_fields__[len(kind.__struct_fields__) - count :], kind.__struct_defaults__, strict=True)
    )


def sent(name: str, text: str | None) -> str | None:
    """What is sent of a field as it is written: of a trigger's definition its JSON."""
    return pattern.encode(eval(text, vars(pattern)).definition) if name == "definition" and text else text


def of_field(name: str, value: Any) -> Any:
    """What is shown of a field: of a trigger's definition how it is written in Python."""
    return pattern.text_of_definition(pattern.decode(value)) if name == "definition" else value


def shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "{" + " ".join(f"{name}={shown(of_field(name, inner))}" for name, inner in value.items()) + "}"
        case msgspec.Struct():
            return shown(msgspec.structs.asdict(value))
        case list() | tuple():
            return "[" + " ".join(shown(inner) for inner in value) + "]"
        case str() if not value or set(value) & set(" =\"'\\"):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return str(value)


def played(text: str, domain: str) -> str:
    """The text with the events that its commands bring today."""
    transcript = Transcript(domain)
    out: list[str] = []
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        if BAR not in lines:
            out.append("\n".join(lines))
            continue
        head = lines[: lines.index(BAR)]
        brought = [line for asked in head if not asked.startswith("#") for line in transcript.run(asked)]
        out.append("\n".join([*head, BAR, *brought]))
    return "\n\n".join(out) + "\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_transcript(file: Path, request: pytest.FixtureRequest) -> None:
    text = file.read_text()
    now = played(text, file.stem.partition("_")[0])
    if request.config.getoption("--rewrite"):
        file.write_text(now)
    else:
        assert now == text, "the rules bring something else; if that is meant: pytest tests/streams --rewrite"


@pytest.mark.parametrize("domain", COMMANDS)
def test_every_command_is_told_of(domain: str) -> None:
    files = [file for file in FILES if file.stem.partition("_")[0] == domain]
    told = {line.split()[0] for file in files for line in file.read_text().split("\n") if line.strip()}
    assert COMMANDS[domain].keys() - SHARED.keys() <= told


def test_the_commands_of_every_domain_are_told_of() -> None:
    told = {line.split()[0] for file in FILES for line in file.read_text().split("\n") if line.strip()}
    assert set(SHARED) <= told
