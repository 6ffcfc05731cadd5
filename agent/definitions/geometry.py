"""Boxes and zones of pictures, for conditions on labels. A box is [x, y, width, height], a zone a list of [x, y], in 0..1."""

from __future__ import annotations

from math import inf
from typing import Any

MOST_CORNERS = 64


def area(box: Any) -> float | None:
    """The box's share of the picture, 0..1; None where it is not a box."""
    numbers = _numbers(box, 4)
    return numbers[2] * numbers[3] if numbers else None


def fits(box: Any, least: Any, most: Any) -> bool:
    """Whether the box's share of the picture is at least `least` and at most `most`, each only where it is a number."""
    share = area(box)
    low, high = (bound if isinstance(bound, int | float) else none for bound, none in ((least, -inf), (most, inf)))
    return share is not None and low <= share <= high


def contains_foot(zone: Any, box: Any) -> bool:
    """Whether the middle of the box's lower edge, where a person stands, is in the zone; false where either is malformed.

    Source of the test: the even-odd rule for polygons.
    """
    numbers = _numbers(box, 4)
    corners = [_numbers(c, 2) for c in zone[:MOST_CORNERS]] if isinstance(zone, list | tuple) else []
    if not numbers or len(corners) < 3 or not all(corners):
        return False
    x, y = numbers[0] + numbers[2] / 2, min(numbers[1] + numbers[3], 1.0)
    inside = False
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if min(ay, by) < y <= max(ay, by) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside


def _numbers(value: Any, count: int) -> list[float]:
    """These numbers, empty where they are not `count` numbers."""
    if not isinstance(value, list | tuple) or len(value) != count:
        return []
    return (
        [float(v) for v in value] if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value) else []
    )
