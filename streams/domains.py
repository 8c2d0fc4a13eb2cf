"""Every domain that a worker can run. A new one adds its schemas, its messages, its decider and a line here."""

from __future__ import annotations

from typing import Final

from accord.schemas.structs import prepared
from accord.streams.auctions import decider as auctions
from accord.streams.conflicts import decider as conflicts
from accord.streams.decider import Domain
from accord.streams.hierarchy import decider as hierarchy
from accord.streams.limits import decider as limits
from accord.streams.llm import decider as llm
from accord.streams.locks import decider as locks
from accord.streams.proposals import decider as proposals
from accord.streams.roster import decider as roster
from accord.streams.sagas import decider as sagas
from accord.streams.signals import decider as signals
from accord.streams.state import decider as state
from accord.streams.tasks import decider as tasks
from accord.streams.transactions import decider as transactions
from accord.streams.triggers import decider as triggers
from accord.streams.waits import decider as waits

_ALL: Final = (
    locks.DOMAIN,
    signals.DOMAIN,
    limits.DOMAIN,
    waits.DOMAIN,
    tasks.DOMAIN,
    roster.DOMAIN,
    llm.DOMAIN,
    proposals.DOMAIN,
    auctions.DOMAIN,
    hierarchy.DOMAIN,
    state.DOMAIN,
    transactions.DOMAIN,
    conflicts.DOMAIN,
    triggers.DOMAIN,
    sagas.DOMAIN,
)
DOMAINS: Final[dict[str, Domain]] = {domain.name: domain for domain in _ALL}

# States are restored by whichever thread needs them.
for _domain in _ALL:
    for _rules in _domain.versions.values():
        prepared(_rules.state_type)
