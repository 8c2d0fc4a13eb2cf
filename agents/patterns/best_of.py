"""Several solve the same task; one solution is taken, by score, by vote or by a judge.

    slogan = best_of(ada, bob, cleo, score=lambda solution: len(solution["text"]))
    await slogan.run("a slogan for tea")        # {"winner": "bob", "solution": ..., "reason": ...}

Who fails takes no part. Of equal ones the first wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from accord.agents.patterns.flow import Flow, Part, Pattern, by_name, check_some, name_of, without

from accord.errors import BadInput, Failure

Score = Callable[[Any], Real | float]


class BestOf(Pattern):
    """Made by `best_of`."""

    def __init__(
        self, parts: tuple[Part, ...], score: Score | None, voters: tuple[Part, ...], judge: Part | None, name: str
    ) -> None:
        super().__init__(name, (*parts, *voters, *([judge] if judge else [])))
        self.solvers = by_name("best_of", parts)
        self.voters = by_name("best_of", voters, least=0)
        self.score, self.judge = score, judge

    async def flow(self, flow: Flow, input: Any) -> dict[str, Any]:
        solutions = await flow.at("solutions").all(self.solvers, lambda _: input)
        check_some(self.name, solutions)
        found = without(solutions)
        asked = {"task": input, "solutions": found}
        if self.score is not None:
            winner, reason = self._by_score(found)
        elif self.voters:
            winner, reason = self._by_vote(found, await flow.at("votes").all(self.voters, lambda _: asked))
        else:
            assert self.judge is not None
            winner, reason = self._by_judge(found, await flow.do(self.judge, asked, place="judge"))
        return {"winner": winner, "solution": found[winner], "reason": reason, "solutions": solutions}

    def _by_score(self, found: Mapping[str, Any]) -> tuple[str, str]:
        assert self.score is not None
        scores = {name: self.score(solution) for name, solution in found.items()}
        winner = max(scores, key=lambda name: scores[name])
        return winner, "score " + ", ".join(f"{name} {score}" for name, score in scores.items())

    def _by_vote(self, found: Mapping[str, Any], votes: Mapping[str, Any]) -> tuple[str, str]:
        counts = Counter(dict.fromkeys(found, 0))
        counts.update(vote.strip() for vote in votes.values() if isinstance(vote, str) and vote.strip() in found)
        winner, count = counts.most_common(1)[0]
        if not count:
            raise Failure(f"nobody has voted for one of {list(found)} in {self.name}", status="failed", votes=votes)
        return winner, "votes " + ", ".join(f"{name} {count}" for name, count in counts.items())

    def _by_judge(self, found: Mapping[str, Any], word: Any) -> tuple[str, str]:
        named = word.get("winner") if isinstance(word, Mapping) else word
        winner = named.strip() if isinstance(named, str) else None
        assert self.judge is not None
        judge = name_of(self.judge)
        if winner is None or winner not in found:
            text = f"{judge} names {str(word)[:80]!r}, which is none of {list(found)}"
            raise Failure(text, agent=judge, status="failed")
        reason = str(word.get("reason", "")) if isinstance(word, Mapping) else ""
        return winner, f"{judge}: {reason}" if reason else f"{judge} says so"


def best_of(
    *parts: Part,
    score: Score | None = None,
    voters: tuple[Part, ...] | list[Part] = (),
    judge: Part | None = None,
    name: str = "best_of",
) -> BestOf:
    """The best solution: `{winner, solution, reason, solutions}`.

    Args:
        score: a pure function of a solution; the highest wins. Or:
        voters: each is given `{task, solutions}`, and answers with a name; most votes win. Or:
        judge: is given the same, and answers with a name, or `{winner, reason}`.

    Raises:
        BadInput: not exactly one of the three is given; there is no part, or two have one name.
    """
    if sum((score is not None, bool(voters), judge is not None)) != 1:
        raise BadInput(f"best_of({name!r}) takes one of score, voters and judge.")
    return BestOf(parts, score, tuple(voters), judge, name)
