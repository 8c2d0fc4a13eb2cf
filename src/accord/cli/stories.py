"""Events of tasks, teams and models in a few words, for who follows one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from accord.cli.output import event_text, payload, plural, shortened

if TYPE_CHECKING:
    from accord.replay.timeline import TimelineEvent

RESULT_CHARS_MAX = 100
TEXT_CHARS_MAX = 500


def story(event: TimelineEvent) -> str:
    """What an event says, in a line: without what its own name says."""
    told = _STORIES.get(event.event)
    if told is None or event.position.partition("/")[0] not in ("tasks", "roster", "llm"):
        return shortened(event_text(event.data), TEXT_CHARS_MAX)
    return told(event.data)


def _submitted(e: dict[str, Any]) -> str:
    return f"{e['type']}, {plural(len(e['steps']), 'step')}, for the team {e['team']}; input {_short(e['input'])}"


def _wanted(e: dict[str, Any]) -> str:
    return _several([f"{one['step']} ({one['capability']})" for one in e["wanted"]])


def _started(e: dict[str, Any]) -> str:
    again = f", run {e['tries'] + 1}" if e["tries"] else ""
    return f"{e['step']} by {e['member']}, token {e['token']}{again}; at most {e['timeout_ms'] / 1_000:g} s"


def _freed(e: dict[str, Any]) -> str:
    return _several([f"the slot given for {one['step']}" for one in e["freed"]])


def _failed(e: dict[str, Any]) -> str:
    return f"{e['step']}: {e['error_type']}: {e['error']} (failure {e['failures']}){_again(e)}"


def _timed_out(e: dict[str, Any]) -> str:
    what = {"deadline": "not done by its deadline", "wait": "nobody took it", "timeout": "its run took too long"}
    return f"{e['step']}: {what[e['limit']]}{_again(e)}"


def _refused(e: dict[str, Any]) -> str:
    return f"{e['step']}: {e['reason']}{_again(e)}"


def _dead(e: dict[str, Any]) -> str:
    why = f"{e['error_type']}: {e['error']}" if e["error_type"] else e["error"]
    return f"{e['step']} is given up, {e['reason']} after {plural(e['attempts'], 'run')}: {why}"


def _assigned(e: dict[str, Any]) -> str:
    return _several([f"{one['step']} to {one['member']}" for one in e["assignments"]])


def _lost_member(e: dict[str, Any]) -> str:
    return f"{e['member']}, with {_several([one['step'] for one in e['assigned']])}"


def _refusals(e: dict[str, Any]) -> str:
    return _several([f"{one['step']}: {one['reason']}" for one in e["refusals"]])


def _read(e: dict[str, Any]) -> str:
    return f"{e['status']}, {len(e['steps'])} of {plural(e['total'], 'step')} told"


def _called(e: dict[str, Any]) -> str:
    cost = "an unknown sum" if e["cost_microusd"] is None else f"${e['cost_microusd'] / 1_000_000:,.4f}"
    ended = _short(e["text"] or "an answer that is not on the log") if e["outcome"] == "answered" else e["error"]
    tokens = f"{e['input_tokens']:,} and {e['output_tokens']:,} tokens"
    return f"{e['model']} {e['outcome']} in {e['duration_ms'] / 1_000:g} s for {tokens}, {cost}: {ended}"


def _again(e: dict[str, Any]) -> str:
    from accord.replay.timeline import iso  # noqa: PLC0415

    return "" if e["retry_ms"] is None else f"; again at {iso(e['retry_ms'])[11:-1]}"


def _several(texts: list[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more


_LISTED = 5


def _short(told: Any) -> str:
    return payload(told, RESULT_CHARS_MAX)


_STORIES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "TaskSubmitted": _submitted,
    "AgentsWanted": _wanted,
    "AgentsAwaited": _wanted,
    "AgentsAssigned": _assigned,
    "AgentsRefused": _refusals,
    "AgentsFreed": _freed,
    "StepStarted": _started,
    "StepCompleted": lambda e: f"{e['step']}: {_short(e['result'])}",
    "StepFailed": _failed,
    "StepTimedOut": _timed_out,
    "StepRefused": _refused,
    "StepReturned": lambda e: f"{e['step']} was given back",
    "StepLost": lambda e: f"{e['step']} with {e['member']}",
    "StepDeadLettered": _dead,
    "StepsBlocked": lambda e: f"{_several(e['steps'])} by {e['because']}",
    "StepRetried": lambda e: e["step"],
    "StepDropped": lambda e: f"{e['step']}: {e['reason']}",
    "RetryRefused": lambda e: f"{e['step']}: {e['reason']}",
    "ResultIgnored": lambda e: f"{e['step']}, token {e['token']}: {e['reason']}",
    "StartRefused": lambda e: f"{e['step']} to {e['member']}: {e['reason']}",
    "MemberLost": _lost_member,
    "MemberLeft": _lost_member,
    "MemberFailed": lambda e: f"{e['member']}: its process {e['presence']} failed",
    "AgentFailed": lambda e: f"no beat in time; {len(e['ties'])} things hung on it",
    "AgentRecovered": lambda e: f"it had been suspected falsely, after {e['silent_ms']} ms without a beat",
    "BeatRefused": lambda e: e["reason"],
    "BreakerHalfOpened": lambda e: f"{e['capability']}: {e['step']} is let through",
    "CallGranted": lambda e: f"{e['model']}, token {e['token']}",
    "CallRecorded": _called,
    "AnswerReused": lambda e: f"{e['model']}: {_short(e['text'])}",
    "AnswerAwaited": lambda e: f"{e['model']}: somebody asks it the same already",
    "TaskCompleted": lambda _: "",
    "TaskFailed": lambda e: f"{e['step']}: {e['reason']}",
    "TaskCancelled": lambda e: e["reason"],
    "TaskForgotten": lambda _: "",
    "TaskKnown": lambda e: e["status"],
    "TaskRead": _read,
}
