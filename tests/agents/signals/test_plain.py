"""What Python values become as an event's data."""

import dataclasses
import json
from typing import Any

import pytest
from accord.agents.signals.plain import NotPlain, as_json, plain
from pydantic import BaseModel


@dataclasses.dataclass
class Room:
    number: int
    guests: tuple[str, ...]


class Hotel(BaseModel):
    name: str
    price: float


def test_json_types_dataclasses_and_models_are_written() -> None:
    value = {"a": [1, 2.5, None, True, "é"], "room": Room(12, ("ada",)), "hotel": Hotel(name="Astoria", price=1)}
    assert json.loads(as_json(value)) == {
        "a": [1, 2.5, None, True, "é"],
        "room": {"number": 12, "guests": ["ada"]},
        "hotel": {"name": "Astoria", "price": 1.0},
    }


@pytest.mark.parametrize(
    ("value", "what", "path"),
    [
        (object(), "an object", "$"),
        ({"db": object()}, "an object", "$.db"),
        ({"rooms": [1, {"db": b"x"}]}, "a bytes", "$.rooms[1].db"),
        (Room(12, ({1},)), "a set", "$.guests[0]"),  # type: ignore[arg-type]
        ({"n": float("nan")}, "the number nan", "$.n"),
        ({1: "x"}, "the key 1", "$"),
        ({"t": "\ud800"}, "a text that UTF-8 cannot write", "$.t"),
        (Room, "a type", "$"),
    ],
)
def test_what_json_has_no_word_for_is_refused_with_its_path(value: Any, what: str, path: str) -> None:
    with pytest.raises(NotPlain) as refused:
        plain(value)
    assert (refused.value.what, refused.value.path) == (what, path)


def test_a_structure_that_contains_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["me"] = circle
    with pytest.raises(NotPlain, match="more than 60 levels"):
        plain(circle)
