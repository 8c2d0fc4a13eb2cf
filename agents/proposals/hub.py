"""Proposals, as methods of the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accord.agents.asked import AsksModel
from accord.agents.hub import Hub
from accord.agents.proposals import proposal as proposals
from accord.agents.proposals.proposal import Proposal, Threshold, propose
from accord.agents.proposals.voting import Answers, Voting


class ProposalsHub(Hub):
    """What a hub offers of proposals."""

    async def propose(
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
        """Has agents vote on something, and returns when the log has the proposal and this agent's yes.

        Args:
            content: what is voted on; text, 32 KiB at most.
            voters: names of those who have a vote, this agent among them; 200 at most. The others are asked: each
                process of them that runs `voter`.
            threshold: approved is what has more than this part of the weight of yes and no; .5, "2/3", 0 to below 1.
            quorum: how many must vote yes or no, or there is no decision; None: any number.
            weights: how much votes count, by name; whole numbers, 1 for who is not named.
            deadline_ms: how long votes count, by the log's clock; who has not voted by then abstains.
            key: idempotency key and id of the proposal: the same proposal made again with it is the same one, for as
                long as it is remembered. None: a new one.
            keep_ms: how long it is remembered after its end; it stays on the log.

        Raises:
            BadInput: an argument cannot be right, or this agent is none of the voters.
            TermsDiffer: the key has another proposal.
            CircularTrigger: proposals and votes bring each other about in too long a row.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await propose(
            self, content, voters=voters, threshold=threshold, quorum=quorum, weights=weights, deadline_ms=deadline_ms,
            key=key, keep_ms=keep_ms,
        )  # fmt: skip

    async def proposal(self, proposal_id: str) -> Proposal:
        """A proposal that was made before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await proposals.find(self, proposal_id)

    def voter(self, voter: Answers | AsksModel, *, name: str | None = None) -> Voting:
        """Votes whenever this agent is asked, for as long as `async with` lasts.

        Args:
            voter: a function, plain or async, that is given the question (`proposal`, `content`, `proposer`,
                `deadline_ms`) and returns "yes", "no" or "abstain"; or a model, `hub.model()`. Any other
                answer is an abstention with that reason, and so is a failure.
            name: one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Voting(self, voter, name)
