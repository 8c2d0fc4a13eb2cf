"""What came of a fork beside what came of the original: aggregates that differ, agents, commands, cost and time.

Keys of the result are part of the interface: keys are added, never renamed. Aggregates are compared by what their
numbers stand for: one that differs by nothing but renumbered tokens does not differ. If the fork stopped early, the
original is compared up to the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, Literal

import msgspec
from accord.replay.difference import Change as FieldChange
from accord.replay.difference import changes
from accord.replay.fork.calls import Question
from accord.replay.fork.cluster import folded
from accord.replay.fork.cut import Slot
from accord.replay.fork.fed import Fed
from accord.replay.fork.models import DOMAIN as LLM
from accord.replay.fork.numbers import Key, Numbers
from accord.replay.fork.numbers import Side as Numbered
from accord.replay.fork.run import Run
from accord.replay.order import Where
from accord.replay.timeline import TimelineEvent, decoded, iso
from accord.schemas.messages import Event
from accord.schemas.messages.llm import AnswerReused, CallRecorded
from accord.streams.chain import Decision
from accord.streams.decider import plain

SIDES: Final[tuple[Numbered, ...]] = ("recorded", "forked")
Kind = Literal["added", "removed", "changed"]
LISTED_MAX: Final = 1_000
"""Most aggregates, and commands, that are listed; all are counted."""
EVENTS_MAX: Final = 50
"""Most events of one side that are listed of an aggregate."""


class Outcome(msgspec.Struct, frozen=True):
    """An aggregate that differs.

    `kind` says how its state at the end does: `changed` may be nothing but events, then there are no `changes`. Of the
    events, `recorded` and `forked` are those that one side alone has, of `recorded_count` and `forked_count` in all.
    `recorded_time` and `forked_time` are those of its last decisions; None: it has none after the cut.
    """

    domain: str
    key: str
    kind: Kind
    changes: tuple[FieldChange, ...]
    recorded: tuple[TimelineEvent, ...]
    forked: tuple[TimelineEvent, ...]
    recorded_count: int
    forked_count: int
    recorded_time: str | None
    forked_time: str | None


class Divergence(msgspec.Struct, frozen=True):
    """From where on an incarnation of an agent would have known something else: its first affected command, and the
    decision behind that, as it lies in the record and in the fork."""

    agent: str
    process: str
    position: str
    recorded: str | None
    forked: str | None


class Side(msgspec.Struct, frozen=True):
    """What one side came to after the cut: decisions and their events, calls of models, and how long it took by the
    log's clock."""

    decisions: int
    events: int
    duration_ms: int
    calls: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost_microusd: int
    unpriced: int


class Diff(msgspec.Struct, frozen=True):
    """What a fork came to.

    `same`: every decision is the recorded one, byte for byte. `fed` counts the commands of agents, `affected` those
    that were sent after their agent would have known something else. `commands` are the ones that were affected or
    decided otherwise. `stopped` says why it ended early. `untold` counts what is not listed.
    """

    source: str
    at: str
    changes: tuple[str, ...]
    same: bool
    stopped: str | None
    recorded: Side
    forked: Side
    outcomes: tuple[Outcome, ...]
    agents: tuple[Divergence, ...]
    fed: int
    affected: int
    refused: int
    not_fed: int
    commands: tuple[Fed, ...]
    questions: tuple[Question, ...]
    untold: int
    saved: str | None = None


def outcome(run: Run, source: str, started_ms: int, before: dict[Where, dict[str, Any]]) -> Diff:
    """Compares a fork that has run with the original.

    Args:
        started_ms: the log's time at the cut.
        before: the aggregates at the cut, by partition.
    """
    slots = run.cut.slots[: run.place]
    outcomes = list(_outcomes(run, slots, before))
    fed = run.fed
    agents = tuple(
        Divergence(slot.sender, process, str(slot.command_at), fact.recorded, fact.forked)
        for process, slot in run.knowledge.first.items()
        for fact in (run.knowledge.affected[process],)
    )
    done = run.cluster.done
    return Diff(
        source,
        run.cut.at,
        tuple(str(change) for change in run.changes),
        len(done) == len(slots) and all(one.is_recorded for one in done) and run.stopped is None,
        run.stopped,
        _side(((slot.where, slot.decision) for slot in slots), run, started_ms),
        _side(((one.where, one.decision) for one in done), run, started_ms),
        tuple(outcomes[:LISTED_MAX]),
        agents,
        run.fed_count,
        sum(one.affected for one in fed),
        sum(one.status == "refused" for one in fed),
        sum(one.status == "not_fed" for one in fed),
        tuple(fed[:LISTED_MAX]),
        tuple(run.calls.questions),
        max(0, len(outcomes) - LISTED_MAX) + max(0, len(fed) - LISTED_MAX),
    )


def _outcomes(run: Run, slots: Sequence[Slot], before: dict[Where, dict[str, Any]]) -> Iterator[Outcome]:
    sides: dict[Key, tuple[list[Decision], list[Decision]]] = {at: ([], []) for at in sorted(run.moved)}
    for slot in slots:
        if (slot.where, slot.key) in sides:
            sides[slot.where, slot.key][0].append(slot.decision)
    for done in run.cluster.done:
        if (done.where, done.key) in sides:
            sides[done.where, done.key][1].append(done.decision)
    for at, (recorded, forked) in sides.items():
        found = _outcome(run, at, before[at[0]].get(at[1]), recorded, forked)
        if found is not None:
            yield found


def _outcome(run: Run, at: Key, state: Any, recorded: list[Decision], forked: list[Decision]) -> Outcome | None:
    (domain, number), key = at
    numbers, events = run.numbers, run.cluster.partitions[at[0]].events
    state = folded(at[0], state, recorded, events)
    states = [None if one is None else plain(one) for one in (state, run.cluster.state(*at))]
    one, other = (
        None if data is None else numbers.of_data(side, at, data) for side, data in zip(SIDES, states, strict=True)
    )
    alone = _alone(numbers, at, *([(d, events.decode(d.value)) for d in side] for side in (recorded, forked)))
    if one == other and not alone[0] and not alone[1]:
        return None
    shown_state = None if states[0] is None else numbers.of_data("shown", at, states[0])
    kind: Kind = "added" if one is None and other is not None else "removed" if other is None and one else "changed"
    shown = [tuple(_shown(domain, number, side[:EVENTS_MAX])) for side in alone]
    return Outcome(
        domain, key, kind, changes(shown_state or {}, states[1] or {}) if one != other else (), shown[0], shown[1],
        len(alone[0]), len(alone[1]), _time(recorded), _time(forked),
    )  # fmt: skip


Placed = tuple[Decision, int]
"""An event: its decision, and its place in it."""


def _alone(
    numbers: Numbers, at: Key, recorded: list[tuple[Decision, tuple[Event, ...]]],
    forked: list[tuple[Decision, tuple[Event, ...]]],
) -> tuple[list[Placed], list[Placed]]:  # fmt: skip
    """The events that one side alone has."""
    listed: list[list[Placed]] = [[], []]
    texts: list[list[bytes]] = [[], []]
    for place, (side, decisions) in enumerate(zip(SIDES, (recorded, forked), strict=True)):
        for decision, events in decisions:
            for number, event in enumerate(numbers.plain(side, at, events)):
                listed[place].append((decision, number))
                texts[place].append(msgspec.json.encode(event, order="sorted"))
    found: tuple[list[Placed], list[Placed]] = ([], [])
    for kind, i, i_end, j, j_end in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if kind != "equal":
            found[0].extend(listed[0][i:i_end])
            found[1].extend(listed[1][j:j_end])
    return found


def _shown(domain: str, number: int, events: Iterable[Placed]) -> Iterator[TimelineEvent]:
    for decision, place in events:
        yield list(decoded(domain, number, decision))[place]


def _time(decisions: Sequence[Decision]) -> str | None:
    return iso(decisions[-1].now_ms) if decisions else None


def _side(decisions: Iterable[tuple[Where, Decision]], run: Run, started_ms: int) -> Side:
    counts = dict.fromkeys(Side.__struct_fields__, 0)
    last_ms = started_ms
    for where, decision in decisions:
        counts["decisions"] += 1
        names = decision.type.rpartition(b".")[2]
        counts["events"] += 0 if names == b"Nothing" else names.count(b"+") + 1
        last_ms = max(last_ms, decision.now_ms)
        if where[0] == LLM and (b"CallRecorded" in names or b"AnswerReused" in names):
            for event in run.cluster.partitions[where].events.decode(decision.value):
                match event:
                    case CallRecorded():
                        counts["calls"] += 1
                        counts["input_tokens"] += event.input_tokens
                        counts["output_tokens"] += event.output_tokens
                        counts["cost_microusd"] += event.cost_microusd or 0
                        counts["unpriced"] += event.cost_microusd is None
                    case AnswerReused():
                        counts["cached"] += 1
    return Side(**counts | {"duration_ms": last_ms - started_ms})
