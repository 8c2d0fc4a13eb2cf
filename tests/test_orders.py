"""The judges of orders find what is wrong, in histories that are."""

from accord.testing.simulation.judges.orders import causal_violations, total_violations

CAUSES = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "x": set()}


def test_causes_that_came_later_or_never() -> None:
    assert causal_violations(["a", "x", "b", "c"], CAUSES) == []
    assert causal_violations(["x", "a", "b", "a", "c", "b"], CAUSES) == [], "given again"
    assert causal_violations(["b", "a", "c", "x"], CAUSES) == [("b", "a")]
    assert causal_violations(["a", "c"], CAUSES) == [("c", "b")]
    assert sorted(causal_violations(["c", "b", "a"], CAUSES)) == [("b", "a"), ("c", "a"), ("c", "b")]


def test_numbers_that_are_no_order() -> None:
    fine = [(1, "a"), (2, "b"), (3, "c")]
    assert total_violations({"ada": fine, "bob": [(1, "a"), (2, "b"), (1, "a"), (2, "b"), (3, "c")]}) == []
    assert total_violations({"ada": fine, "bob": [(1, "a"), (3, "c"), (2, "b")]}) == [
        "bob was given 3 where 2 was due",
        "bob was given 2 where 4 was due",
    ]
    assert total_violations({"ada": fine, "bob": [(1, "a"), (2, "c")]}) == ["bob was given c as 2, another b"]
    assert total_violations({"ada": [(1, "a"), (3, "c")]}) == ["ada was given 3 where 2 was due"]
