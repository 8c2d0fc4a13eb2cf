"""Rules on the labelled set: what they are for they find; what they cannot see is counted, not hidden."""

from __future__ import annotations

import pytest

from tests.streams.conflicts.labelled import RULE, SEMANTIC, Case, cases, figures, found_by_rule

CASES = cases()
BY_RULE = [case for case in CASES if case.label == RULE]
SEEN_BY_JUDGES = [case for case in CASES if case.label == SEMANTIC]


def test_the_set_is_large_enough_and_has_both_kinds() -> None:
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)
    assert len(BY_RULE) + len(SEEN_BY_JUDGES) == len(CASES)
    assert sum(not case.expected for case in BY_RULE) >= 25, "enough in which there is nothing to find"
    assert len(SEEN_BY_JUDGES) >= 15


def test_rules_find_what_they_are_for() -> None:
    found = figures(BY_RULE)
    assert found.precision >= 0.95 and found.recall >= 0.95, found


@pytest.mark.parametrize("case", BY_RULE, ids=lambda case: case.name)
def test_each_case_of_the_rules(case: Case) -> None:
    assert found_by_rule(case) == case.expected


def test_what_rules_cannot_see_they_do_not_see() -> None:
    """If a rule comes to see some of it, its label is wrong."""
    found = figures(SEEN_BY_JUDGES)
    assert (found.right, found.wrong) == (0, 3), "homonyms are found, and are none"
    assert found.missed == sum(len(case.expected) for case in SEEN_BY_JUDGES)
