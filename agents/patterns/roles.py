"""Roles: planners split a task, executors do the parts, reviewers approve, integrators put the approved ones together.

    team = Roles(planners=[lead], executors=[ada, bob], reviewers=[cleo], integrators=[lead])
    outcome = await team.run("a shop", key="shop-1")
    outcome.result, outcome.rejected

Rules that act here:
- Part i goes to executor i mod n and is the item `result_i`; the plan is the item `plan`. Items belong to their run.
- Nobody approves what he has made, and only what somebody has approved is integrated: `integrable` is that rule, and
  stands between the items and who integrates them. Without reviewers all passes, and is marked unreviewed.
- Each change of an item's stage is an event `handoff` with `{run, item, from, to}`, emitted once.
- What was recorded under a `key` is never done again (see flow.py).

An item: planning -> execution                                      (the plan)
         execution -> review -> integration | rejected              (a result)
         execution -> integration, without reviewers | failed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from accord.agents.patterns.flow import Flow, Part, Pattern, by_name, together, tried
from accord.agents.patterns.publishing import PUBLISHER, publish
from accord.agents.patterns.verdicts import verdict_of

from accord.errors import BadInput, Failure

HANDOFF: Final = "handoff"
PLANNING: Final = "planning"
EXECUTION: Final = "execution"
REVIEW: Final = "review"
INTEGRATION: Final = "integration"
REJECTED: Final = "rejected"
FAILED: Final = "failed"
SUBTASKS_MAX: Final = 1_000


@dataclasses.dataclass(frozen=True)
class Item:
    """What a role has made. `stage` is planning, execution, review, integration, rejected or failed; `reason` says why
    it was not approved, or why there is none."""

    id: str
    content: Any
    stage: str
    created_by: str
    approved_by: str | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What roles have brought: `result`, what the integrator has made of the approved items; without one, the list of
    their contents. `items` are all, the plan first; `rejected` those that were not integrated. `unreviewed`: nobody has
    approved them, since there is no reviewer. With nothing to integrate the integrator is not asked; `result` is None.
    """

    result: Any
    items: tuple[Item, ...]
    rejected: tuple[Item, ...]
    unreviewed: bool


def integrable(items: Iterable[Item], reviewers: Collection[str]) -> list[Item]:
    """Those of some items that may be integrated: approved by a reviewer who has not made them. Without reviewers, all
    that are there."""
    if not reviewers:
        return [item for item in items if item.stage == INTEGRATION]
    return [
        item
        for item in items
        if item.stage == INTEGRATION and item.approved_by in reviewers and item.approved_by != item.created_by
    ]


def reviewers_of(number: int, maker: str, reviewers: Sequence[str]) -> list[str]:
    """Who may review result i, in the order in which they are asked: first reviewer i mod n, never its maker."""
    others = [reviewer for reviewer in reviewers if reviewer != maker]
    first = number % len(others) if others else 0
    return others[first:] + others[:first]


class Roles(Pattern):
    """A team by roles. Its result is an `Outcome`.

    Args:
        planners: are given the task and bring `{subtasks: [...]}`. The first that does not fail plans.
        executors: each is given its parts, one after the other or at once.
        reviewers: are given `{task, subtask, item}`, and answer True or False, `{approved, reason}`, or "approved" or
            "rejected". Each result has one; if that fails, the next is asked.
        integrators: are given `{task, results}`, the approved items; the first that does not fail integrates.
        name: of the pattern.

    Raises:
        BadInput: two agents have one name, or one is named twice in a role.
    """

    def __init__(
        self,
        *,
        planners: Iterable[Part],
        executors: Iterable[Part],
        reviewers: Iterable[Part] = (),
        integrators: Iterable[Part] = (),
        name: str = "roles",
    ) -> None:
        self.planners = by_name("Roles", planners, least=0)
        self.executors = by_name("Roles", executors, least=0)
        self.reviewers = by_name("Roles", reviewers, least=0)
        self.integrators = by_name("Roles", integrators, least=0)
        roles = (self.planners, self.executors, self.reviewers, self.integrators)
        super().__init__(name, [*[part for role in roles for part in role.values()], PUBLISHER])

    async def flow(self, flow: Flow, input: Any) -> Outcome:
        for role, parts in (("planner", self.planners), ("executor", self.executors)):
            if not parts:
                raise BadInput(f"No {role} available")
        planner, plan = await self._first(flow.at("plan"), self.planners, input)
        subtasks = _subtasks(planner, plan)
        await self._hand_on(flow, "plan", PLANNING, EXECUTION)
        made = await together(
            {f"result_{number}": self._result(flow, number, part, input) for number, part in enumerate(subtasks)}
        )
        items = tuple(made.values())
        passed = integrable(items, self.reviewers)
        result: Any = [item.content for item in passed]
        if self.integrators:
            results = [dataclasses.asdict(item) for item in passed]
            asked = {"task": input, "results": results}
            result = (await self._first(flow.at("integration"), self.integrators, asked))[1] if passed else None
        plan_item = Item("plan", plan, PLANNING, planner)
        rejected = tuple([item for item in items if item not in passed])
        return Outcome(result, (plan_item, *items), rejected, not self.reviewers)

    async def _first(self, flow: Flow, role: Mapping[str, Part], input: Any) -> tuple[str, Any]:
        """What the first of a role has brought that does not fail, and who that is. Raises Failure: all do."""
        for name, part in role.items():
            result = await tried(flow.do(part, input, place=name))
            if not isinstance(result, Failure):
                return name, result
        raise result

    async def _result(self, flow: Flow, number: int, subtask: Any, task: Any) -> Item:
        """A part of the task, done and reviewed."""
        item_id = f"result_{number}"
        maker = list(self.executors)[number % len(self.executors)]
        content = await tried(flow.at(item_id).do(self.executors[maker], subtask, place=EXECUTION))
        if isinstance(content, Failure):
            await self._hand_on(flow, item_id, EXECUTION, FAILED)
            return Item(item_id, None, FAILED, maker, None, str(content))
        item = Item(item_id, content, EXECUTION, maker)
        if not self.reviewers:
            await self._hand_on(flow, item_id, EXECUTION, INTEGRATION)
            return dataclasses.replace(item, stage=INTEGRATION)
        await self._hand_on(flow, item_id, EXECUTION, REVIEW)
        item = await self._reviewed(flow, number, dataclasses.replace(item, stage=REVIEW), subtask, task)
        await self._hand_on(flow, item_id, REVIEW, item.stage)
        return item

    async def _reviewed(self, flow: Flow, number: int, item: Item, subtask: Any, task: Any) -> Item:
        shown = {name: getattr(item, name) for name in ("id", "content", "stage", "created_by")}
        asked = {"task": task, "subtask": subtask, "item": shown}
        reason = f"there is no reviewer but {item.created_by}, who has made it"
        for reviewer in reviewers_of(number, item.created_by, list(self.reviewers)):
            answer = await tried(flow.at(item.id).do(self.reviewers[reviewer], asked, place=f"review.{reviewer}"))
            if isinstance(answer, Failure):
                reason = f"not reviewed: {answer}"
                continue
            approved, reason = verdict_of(answer)
            if approved:
                return dataclasses.replace(item, stage=INTEGRATION, approved_by=reviewer)
            return dataclasses.replace(item, stage=REJECTED, reason=f"{reviewer}: {reason}" if reason else reviewer)
        return dataclasses.replace(item, stage=REJECTED, reason=reason)

    @staticmethod
    async def _hand_on(flow: Flow, item: str, before: str, after: str) -> None:
        await publish(flow, HANDOFF, {"item": item, "from": before, "to": after}, f"{item}.{before}.{after}")


def _subtasks(planner: str, plan: Any) -> list[Any]:
    subtasks = plan.get("subtasks") if isinstance(plan, Mapping) else None
    if not isinstance(subtasks, list) or len(subtasks) > SUBTASKS_MAX:
        raise Failure(
            f"the plan of {planner} is {str(plan)[:80]!r}; {{subtasks: [...]}} with at most {SUBTASKS_MAX} is needed",
            agent=planner, status=FAILED,
        )  # fmt: skip
    return subtasks
