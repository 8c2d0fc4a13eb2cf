"""docs/testing.md: its examples do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.counts import LONG, long

pytest_plugins = ["pytester"]

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
EXAMPLES = [text for language, text in BLOCKS if language == "python"]
OUTPUTS = [text for language, text in BLOCKS if not language]
FAILING = 2
"""The first two examples are wrong, and what they are told stands below them."""


def alike(line: str) -> str:
    """A line without what another release may say otherwise: times, and which of the agents it is."""
    line = re.sub(r"\(\d+ before shrinking\)", "", line)
    return re.sub(r"booker-\d|[\d.,]+", "#", line).strip()


@long
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_told_what_the_text_says(pytester: pytest.Pytester, number: int) -> None:
    pytester.makepyfile(test_rooms=EXAMPLES[number])
    fewer = () if LONG or number < FAILING else ("--accord-seeds", "20")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *fewer)
    if number >= FAILING:
        result.assert_outcomes(passed=1)
        return
    result.assert_outcomes(failed=1)
    told = [line.removeprefix("E").strip() for line in result.outlines if line.startswith("E")]
    told[0] = told[0].partition("TrialFailed: ")[2]
    expected = OUTPUTS[number].splitlines()
    head = next(place for place, line in enumerate(expected) if line.startswith("seed")) + 2  # and the fault, if any
    assert [alike(line) for line in told[:head]] == [alike(line) for line in expected[:head]]
