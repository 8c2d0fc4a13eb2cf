"""Several answer the same question; what most of them say is the answer.

    diagnosis = consensus(gpt, claude, mistral, judge=professor, expert=doctor, name="diagnosis")
    (await diagnosis.run("fever and a rash"))["answer"]

Who fails has no say; enough must answer (`least`). Answers are the same if they are equal as JSON. Without a majority
the judge decides, where there is one: it is given the answers in free form. An expert may have to approve. Whether
something is decided by vote, bound to who votes and recounted later, is a matter of proposals: docs/proposals.md.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from accord.agents.locks.arguments import check_number
from accord.agents.patterns.flow import Flow, Part, Pattern, by_name, name_of, without
from accord.agents.patterns.verdicts import verdict_of
from accord.agents.proposals.proposal import Threshold, checked_threshold
from accord.agents.tasks.call import same

from accord.errors import Failure


class Consensus(Pattern):
    """Made by `consensus`."""

    def __init__(
        self, parts: tuple[Part, ...], judge: Part | None, expert: Part | None, least: int | None,
        threshold: Threshold, name: str,
    ) -> None:  # fmt: skip
        super().__init__(name, (*parts, *([judge] if judge else []), *([expert] if expert else [])))
        self.asked = by_name("consensus", parts)
        self.judge, self.expert = judge, expert
        self.threshold = checked_threshold(threshold)
        most = len(self.asked)
        self.least = check_number("least", most // 2 + 1 if least is None else least, 1, most)

    async def flow(self, flow: Flow, input: Any) -> dict[str, Any]:
        answers = await flow.at("answers").all(self.asked, lambda _: input)
        found = await self._found(flow, input, answers)
        if self.expert is None:
            return found | {"answers": answers}
        asked = {"question": input, "answer": found["answer"]}
        verdict = verdict_of(await flow.do(self.expert, asked, place="expert"))
        expert = name_of(self.expert)
        if not verdict.approved:
            why = verdict.reason or "no reason given"
            text = f"{expert} does not approve the answer of {self.name}: {why}"
            raise Failure(text, agent=expert, status="failed", answers=answers)
        return found | {"answers": answers, "approved_by": expert}

    async def _found(self, flow: Flow, input: Any, answers: dict[str, Any]) -> dict[str, Any]:
        given = without(answers)
        if len(given) < self.least:
            raise Failure(f"{len(given)} of {len(answers)} have answered {self.name}; {self.least} are needed",
                          status="failed", answers=answers)  # fmt: skip
        counts = Counter(same(answer) for answer in given.values())
        ((most, count),) = counts.most_common(1)
        if count > self.threshold * len(given):
            answer = next(answer for answer in given.values() if same(answer) == most)
            return {"answer": answer, "decided_by": "majority", "reason": f"{count} of {len(given)} say so"}
        if self.judge is None:
            raise Failure(
                f"{len(counts)} different answers and no majority in {self.name}", status="failed", answers=answers
            )
        answer = await flow.do(self.judge, {"question": input, "answers": given}, place="judge")
        return {"answer": answer, "decided_by": name_of(self.judge), "reason": f"{len(counts)} different answers"}


def consensus(
    *parts: Part,
    judge: Part | None = None,
    expert: Part | None = None,
    least: int | None = None,
    threshold: Threshold = 0.5,
    name: str = "consensus",
) -> Consensus:
    """Agreement. The result is `{answer, decided_by, reason, answers}`, with `approved_by` if an expert has.

    Args:
        judge: is given `{question, answers}` where no answer has a majority, and decides.
        expert: is given `{question, answer}`; without its approval there is no result. Approval is True,
            `{"approved": True}` or the word approved.
        least: how many must answer; None: more than half.
        threshold: the answer is what more than this part of those who have answered say.

    Raises:
        BadInput: a number cannot be right, there is no part, or two have one name.
    """
    return Consensus(parts, judge, expert, least, threshold, name)
