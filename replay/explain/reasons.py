"""The reasons for an event of any domain: the domain's own, and those that all domains tell alike."""

from __future__ import annotations

from typing import Final

from accord.replay.explain import (
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    locks,
    proposals,
    roster,
    sagas,
    signals,
    state,
    tasks,
    transactions,
    triggers,
    waits,
)
from accord.replay.explain.case import Case, Reason, Reasons

_BY_DOMAIN: Final[dict[str, Reasons]] = {
    "locks": locks.REASONS,
    "limits": limits.REASONS,
    "tasks": tasks.REASONS,
    "proposals": proposals.REASONS,
    "auctions": auctions.REASONS,
    "hierarchy": hierarchy.REASONS,
    "state": state.REASONS,
    "transactions": transactions.REASONS,
    "conflicts": conflicts.REASONS,
    "roster": roster.REASONS,
    "llm": llm.REASONS,
    "waits": waits.REASONS,
    "triggers": triggers.REASONS,
    "sagas": sagas.REASONS,
    "signals": signals.REASONS,
}
_REPEATED: Final = "CommandRepeated"


def reasons(case: Case) -> list[Reason]:
    """What an event rests on, beside its command."""
    domain = case.event.position.partition("/")[0]
    told = _BY_DOMAIN.get(domain, {}).get(case.event.event)
    return told(case) if told is not None else _of_any_domain(case)


def _of_any_domain(case: Case) -> list[Reason]:
    data = case.data
    if case.event.event == _REPEATED:
        return [Reason(f"this command had been decided before: it is the one at offset {data['cause']} sent again")]
    texts = [str(data[name]) for name in ("reason", "description") if data.get(name)]
    return [Reason(": ".join(texts))] if texts else []
