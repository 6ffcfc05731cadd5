"""Areas of boxes and zones of pictures in conditions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.definitions import passes
from agent.definitions.geometry import area, contains_foot, fits
from agent.model.event import Event

DOOR = [[0.2, 0.4], [0.8, 0.4], [0.8, 1], [0.2, 1]]
SHARE = st.floats(0, 1)


def event(box: Any, **data: Any) -> Event:
    labels = [{"name": "person", "score": 0.9, "box": box}]
    return Event(id="1", source="/a", type="image.labels", time="", data={"labels": labels, **data})


@pytest.mark.parametrize(
    ("box", "inside"), [([0.4, 0.2, 0.2, 0.6], True), ([0.0, 0.2, 0.1, 0.6], False), ([0.4, 0, 0.2, 0.2], False)]
)
def test_a_zone_by_name_holds_the_labels_that_stand_in_it(box: list[float], inside: bool) -> None:
    when = "data.labels[?name=='person' && inside(box, 'door')]"
    assert passes(when, event(box, zones={"door": DOOR})) is inside
    assert passes("data.labels[?inside(box, `[[0.2,0.4],[0.8,0.4],[0.8,1],[0.2,1]]`)]", event(box)) is inside


def test_a_zone_that_the_camera_lacks_holds_nothing() -> None:
    assert not passes("data.labels[?inside(box, 'door')]", event([0.4, 0.2, 0.2, 0.6]))
    assert not passes("data.labels[?inside(box, 'door')]", event([0.4, 0.2, 0.2, 0.6], zones=["door"]))


def test_small_and_large_boxes_are_told_apart() -> None:
    when = "data.labels[?area(box) >= `0.01` && area(box) <= `0.5`]"
    assert [passes(when, event([0, 0, w, w])) for w in (0.05, 0.2, 0.9)] == [False, True, False]


@pytest.mark.parametrize(
    ("limits", "fitting"),
    [
        ({}, [True, True, True]),
        ({"min_area": 0.01}, [False, True, True]),
        ({"max_area": 0.5}, [True, True, False]),
        ({"min_area": 0.01, "max_area": 0.5}, [False, True, False]),
        ({"min_area": "x", "max_area": None}, [True, True, True]),
    ],
)
def test_a_box_fits_between_the_areas_of_its_camera(limits: dict[str, Any], fitting: list[bool]) -> None:
    assert [passes("data.labels[?fits(box)]", event([0, 0, w, w], **limits)) for w in (0.05, 0.2, 0.9)] == fitting


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], ["a", 1, 1, 1], [0, 0, True, 1], {"x": 1}, "box"])
def test_what_is_not_a_box_is_in_no_zone(box: Any) -> None:
    assert not passes("data.labels[?inside(box, 'door')]", event(box, zones={"door": DOOR}))
    assert not passes("data.labels[?area(box) > `0`]", event(box))
    assert not passes("data.labels[?fits(box)]", event(box))


@given(SHARE, SHARE, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_rectangle_holds_the_feet_between_its_edges(x: float, y: float, w: float, h: float) -> None:
    foot_x, foot_y = x + w / 2, min(y + h, 1.0)
    if min(abs(foot_x - 0.2), abs(foot_x - 0.8), abs(foot_y - 0.4), abs(foot_y - 1.0)) > 1e-9:
        assert contains_foot(DOOR, [x, y, w, h]) is (0.2 < foot_x < 0.8 and 0.4 < foot_y < 1.0)


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=5), max_leaves=20
    )
)
def test_any_values_are_judged_without_an_error(value: Any) -> None:
    area(value)
    fits(value, value, value)
    fits([0.1, 0.1, 0.2, 0.2], value, value)
    contains_foot(value, [0.1, 0.1, 0.2, 0.2])
    contains_foot(DOOR, value)
