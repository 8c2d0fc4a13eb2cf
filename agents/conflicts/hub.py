"""Conflicts, as methods of the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from accord.agents.conflicts.findings import compare
from accord.agents.conflicts.ground import Ground
from accord.agents.conflicts.judging import Answers, AsksModel, Judging
from accord.agents.hub import Hub


class ConflictsHub(Hub):
    """What a hub offers of conflicts."""

    def ground(self, name: str) -> Ground:
        """A ground on which agents could get in each other's way: a project, a team, a customer. Nothing is asked yet.

        Raises:
            BadInput: the name cannot be one.
        """
        return Ground(self, name)

    async def findings(
        self,
        findings: Iterable[Mapping[str, Any]],
        *,
        ground: str | None = None,
        key: str | None = None,
        wait_ms: int | None = None,
    ) -> dict[str, Any]:
        """Compares what agents found, and returns once it is known whose recommendation counts.

        Args:
            findings: of each agent one, 30 at most: `agent`, `recommendation` (any JSON; none is no opinion),
                `priority` (-10 to 10, where the rule has to decide) and whatever else it found, for the judge.
            ground: whose terms hold, its judges among them; None: a ground of its own, with the usual terms.
            key: its id: compared again with it, it is the same. None: a new one.
            wait_ms: how long to wait for a resolution; None: without limit.

        Returns:
            `{"status": "no_conflicts", "findings": [...]}` if no recommendation differs from another, else
            `{"status": "resolved", "resolution": {...}}` with one resolution of all pairs: `winner`, `reasoning`,
            `confidence`, `method` (rule, model or authority), `fallback` (why the rule stands in; empty: it does not),
            `by`, `by_rule` (whom the rule would have win), `losers`, `pairs`, `appealed`, `ground`, `conflict`,
            `position`.

        Raises:
            BadInput: the findings cannot be such.
            TermsDiffer: the key has other findings.
            Overloaded: too many conflicts wait on the ground.
            CircularTrigger: events and findings bring each other about in too long a row.
            Unavailable: it is not resolved within `wait_ms`; with its key it can be waited for again.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        comparison = await compare(self, findings, ground=ground, key=key)
        try:
            return await comparison.result(wait_ms=wait_ms)
        finally:
            comparison.forget()

    def judge(self, judge: Answers | AsksModel | None = None, *, name: str | None = None) -> Judging:
        """Judges whenever it is asked, for as long as `async with` lasts.

        Args:
            judge: a model, `hub.model()`; or a function, plain or async, that is given the matter (`ground`,
                `conflict`, `kind`, `parties`, `question`, `deadline_ms`) and returns a `Judgement`. None: the model of
                the hub's settings.
            name: as which agent, among the ground's `judges`; None: `judge`, whom grounds ask that name no other.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Judging(self, judge, name)
