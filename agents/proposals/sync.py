"""Proposals for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from accord.agents.asked import AsksModel
from accord.agents.proposals import proposal as proposals
from accord.agents.proposals.proposal import Outcome, Threshold
from accord.agents.proposals.voting import Answers, Voting
from accord.agents.sync import SyncHub
from accord.schemas.messages.proposals import ProposalRead
from anyio.from_thread import BlockingPortal


class Proposal:
    """A proposal; see `accord.agents.proposals.proposal.Proposal`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, proposal: proposals.Proposal) -> None:
        self._loop = loop
        self._proposal = proposal
        self.id: Final = proposal.id

    def vote(self, choice: str, *, reason: str = "", voter: str | None = None) -> None:
        """Votes, and returns when the log has the vote."""
        self._loop.call(partial(self._proposal.vote, choice, reason=reason, voter=voter))

    def outcome(self, *, wait_ms: int | None = None) -> Outcome:
        """How it ended, once all have voted or its deadline is over."""
        return self._loop.call(partial(self._proposal.outcome, wait_ms=wait_ms))

    def look(self) -> ProposalRead:
        """How it stands."""
        return self._loop.call(self._proposal.look)

    def forget(self) -> None:
        """Listens no more: for whoever does not want to know its outcome."""
        self._proposal.forget()

    def withdraw(self, reason: str = "") -> bool:
        """Ends it without an outcome; False: it had ended before."""
        return self._loop.call(self._proposal.withdraw, reason)


class SyncProposalsHub(SyncHub):
    """What a sync hub offers of proposals."""

    def propose(
        self,
        content: str,
        *,
        voters: Iterable[str],
        threshold: Threshold = proposals.THRESHOLD,
        quorum: int | None = None,
        weights: Mapping[str, int] | None = None,
        deadline_ms: int = proposals.DEADLINE_MS,
        key: str | None = None,
        keep_ms: int = proposals.KEEP_MS,
    ) -> Proposal:
        """Has agents vote on something; as `accord.Accord.propose`."""
        self.ensure_open("propose()")
        make = partial(
            proposals.propose, self, content, voters=voters, threshold=threshold, quorum=quorum, weights=weights,
            deadline_ms=deadline_ms, key=key, keep_ms=keep_ms,
        )  # fmt: skip
        return Proposal(self._loop, self._loop.call(make))

    def proposal(self, proposal_id: str) -> Proposal:
        """A proposal that was made before; as `accord.Accord.proposal`."""
        self.ensure_open("proposal()")
        return Proposal(self._loop, self._loop.call(partial(proposals.find, self, proposal_id)))

    def voter(self, voter: Answers | AsksModel, *, name: str | None = None) -> AbstractContextManager[Voting]:
        """Votes whenever this agent is asked, for as long as `with` lasts; as `accord.Accord.voter`."""
        self.ensure_open("voter()")
        return self._loop.wrap_async_context_manager(Voting(self, voter, name))
