"""The wait-for graph as a picture: everything is there, nothing lies over another, rings stand out."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import combinations

from accord.replay.drawing import dot, svg
from accord.replay.layout import Layout, columns_of
from accord.replay.waits import Edge


def edge(waiter: str, lock: str, holder: str, token: int | None = 7, place: int = 1) -> Edge:
    owners = f"{waiter}/{lock}", f"{holder}/{lock}"
    return Edge(waiter, f"agent {waiter}", lock, holder, f"agent {holder}", token, "locks", *owners, place)


def draw(edges: list[Edge], rings: Iterable[list[Edge]] = ()) -> ET.Element:
    return ET.fromstring(svg(edges, list(rings)))


def classes(picture: ET.Element, tag: str) -> list[str]:
    return [found.get("class", "") for found in picture.findall(f".//{{*}}{tag}")]


def boxes(picture: ET.Element) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box, by what is written in it."""
    found = {}
    for group in picture.findall(".//{*}g"):
        rect, text = group.find("{*}rect"), group.find("{*}text")
        assert rect is not None and text is not None and text.text
        x, y, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        found[text.text] = (x, y, x + width, y + height)
    return found


def test_a_ring_is_red_and_its_youngest_marked() -> None:
    edges = [edge("1", "a", "2"), edge("2", "b", "3"), edge("3", "c", "1"), edge("4", "c", "1", place=2)]
    youngest_first = [edges[2], *edges[:2]]
    picture = draw(edges, [youngest_first])
    assert sorted(classes(picture, "path")[2:]) == ["arrow", *["arrow ring"] * 3]
    assert sorted(kind for kind in classes(picture, "rect") if "box" in kind) == [
        "box", "box ring", "box ring", "box ring youngest",
    ]  # fmt: skip
    texts = [text.text for text in picture.findall(".//{*}text")]
    assert texts.count("youngest") == 1 and "c · place 2" in [(text or "") for text in texts]
    assert dot(edges, [youngest_first]).count("color=red") == 3
    assert '"3" [label="agent 3", peripheries=2];' in dot(edges, [youngest_first])


def test_coming_after_another_is_drawn_only_where_it_matters() -> None:
    held, behind = edge("2", "m", "1"), edge("2", "m", "3", None)
    assert classes(draw([held, behind]), "path")[2:] == ["arrow"]
    assert classes(draw([behind]), "path")[2:] == ["arrow ahead"]


def test_tasks_of_one_chain_in_a_ring_are_drawn_although_their_wait_is_no_edge() -> None:
    inner = Edge("1", "agent 1", "m", "1", "agent 1", 7, "locks", "1/2/1", "1/3", 1)
    picture = draw([edge("1", "a", "2")], [[inner]])
    (loop,) = [path.get("d", "") for path in picture.findall(".//{*}path") if path.get("class") == "arrow ring"]
    numbers = re.findall(r"[\d.]+", loop)
    assert numbers[0] == numbers[-2] and numbers[1] != numbers[-1], "it leaves and comes at the same side"


def test_boxes_never_overlap_and_lie_within_the_picture() -> None:
    edges = [edge(f"{number:02}", "hot", "00", place=number) for number in range(1, 25)]
    edges += [edge("25", "m", "01"), edge("25", "n", "26"), edge("26", "o", "00"), edge("27", "p", "28")]
    picture = draw(edges)
    found = boxes(picture)
    assert len(found) == 29
    right, bottom = float(picture.get("width", "")), float(picture.get("height", ""))
    for left, top, box_right, box_bottom in found.values():
        assert left >= 0 and top >= 0 and box_right <= right and box_bottom <= bottom
    for one, other in combinations(found.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for number in range(1, 25):
        assert found[f"agent {number:02}"][2] < found["agent 00"][0]


def test_an_arrow_that_passes_a_column_goes_between_its_boxes() -> None:
    edges = [edge("1", "a", "2"), edge("2", "b", "3"), edge("1", "c", "3")]
    picture = draw(edges)
    middle = boxes(picture)["agent 2"]
    (long,) = [
        path.get("d", "") for path in picture.findall(".//{*}path") if "1 waits for agent 3" in "".join(path.itertext())
    ]
    heights = {float(y) for y in re.findall(r" (\d+)H", long)[1:]}
    assert heights and all(not middle[1] <= y <= middle[3] for y in heights)


def test_names_are_escaped_and_cut() -> None:
    hostile = Edge('<a&"', '<a&"' + "x" * 40, "<l>" + "y" * 40, "b", "b", 7, "locks", "o", "p", 1)
    picture = draw([hostile])
    texts = [text.text or "" for text in picture.findall(".//{*}text")]
    assert any(text.startswith('<a&"xx') and text.endswith("…") for text in texts)
    assert any(text.startswith("<l>yy") and text.endswith("…") for text in texts)


def test_nobody_waits() -> None:
    assert [text.text for text in draw([]).findall(".//{*}text")] == ["nobody waits"]


def test_the_picture_needs_nothing_else() -> None:
    text = svg([edge("1", "a", "2")], [])
    assert re.findall(r"(?:href|src|url)\W*(?:https?:|//)", text) == [] and "<script" not in text


def test_columns_go_by_the_longest_path_and_one_arrow_of_a_ring_turns() -> None:
    assert columns_of([("a", "b"), ("b", "c"), ("a", "c")]) == {"a": 0, "b": 1, "c": 2}
    ring = columns_of([("a", "b"), ("b", "c"), ("c", "a")])
    assert sorted(ring.values()) == [0, 1, 2]


def test_order_in_a_column_follows_the_neighbours() -> None:
    """Three pairs that are named crosswise: their arrows do not cross."""
    arrows = [("a", "z"), ("b", "y"), ("c", "x"), ("z", "end"), ("y", "end"), ("x", "end")]
    layout = Layout(arrows, dict.fromkeys("abcxyz", 40) | {"end": 40}, 10)
    left, right = [sorted(names, key=layout.y.__getitem__) for names in ("abc", "zyx")]
    assert ["zyx"["abc".index(name)] for name in left] == right
