"""Where the names of points go, so that none lies on another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Left, bottom, right, top, in points of a figure.
Box = tuple[float, float, float, float]
# From x, y to x, y.
Line = tuple[float, float, float, float]

_GAP = 2.5
_POINT_RADIUS = 4.5
# Points that are so near to each other look like one.
_SAME_PLACE = 1.5
# Distances from a point that are tried, the nearest first; leader lines begin with the second.
_DISTANCES = (6.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
# At the right and above first: so one reads a name beside a dot.
_ANGLES = tuple(math.radians(degrees) for degrees in (20, 0, 340, 45, 315, 90, 270, 135, 225, 180))
# As bad as so many points of distance: to hide a dot, to lead through one, to lie on a bar.
_COST_OF_POINT, _COST_OF_CROSSING, _COST_OF_BAR = 120.0, 40.0, 7.0


def place_labels(
    anchors: NDArray[np.float64],
    sizes: Sequence[tuple[float, float]],
    *,
    within: Box,
    points: NDArray[np.float64] | None = None,
    bars: Sequence[Box] = (),
    farthest: float = _DISTANCES[-1],
) -> list[Box | None]:
    """Find a place near its point for each label, the first ones first.

    No two labels overlap, no leader line crosses a label, and no label leaves the picture.

    Args:
        anchors: What the labels belong to: float of shape (n, 2), in points of a figure.
        sizes: Width and height of the labels.
        within: What the labels stay inside.
        points: What labels had better not hide, float of shape (m, 2); the anchors, when not given.
        bars: What labels had better not lie on.
        farthest: A label is at most so far from its point.

    Returns:
        One box for each label; None where there is no room.

    Example:
        >>> place_labels(np.zeros((1, 2)), [(10, 4)], within=(-50, -50, 50, 50))
        [(5.6..., 2.0..., 15.6..., 6.0...)]
    """
    seen = anchors if points is None else points
    placed: list[Box | None] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        best, least = None, math.inf
        for distance in _DISTANCES:
            if distance > min(farthest, least):
                break
            for angle in _ANGLES:
                box = _box_beside(x, y, width, height, distance=distance, angle=angle)
                if not _is_free(box, (x, y), anchors, placed, within=within):
                    continue
                leader = (x, y, *nearest_of_box(box, x, y))
                cost = distance + _COST_OF_BAR * sum(overlap(box, bar) for bar in bars)
                cost += _COST_OF_POINT * _num_hidden(box, seen)
                cost += _COST_OF_CROSSING * _num_passed(leader, seen)
                cost += _COST_OF_CROSSING * sum(
                    _cross(leader, other) for other in _leaders(placed, anchors)
                )
                if cost < least:
                    best, least = box, cost
        placed.append(best)
    return placed


def nearest_of_box(box: Box, x: float, y: float) -> tuple[float, float]:
    """Return the place of a box that is nearest to a point, where its leader line ends.

    Args:
        box: A label.
        x: Of the point.
        y: Of the point.

    Example:
        >>> nearest_of_box((2, 2, 8, 4), 0, 3)
        (2, 3)
    """
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def overlap(one: Box, other: Box, *, gap: float = 0.0) -> bool:
    """Tell whether two boxes share a place, or come nearer than a gap.

    Args:
        one: A box.
        other: Another.
        gap: Not below 0.

    Example:
        >>> overlap((0, 0, 4, 2), (5, 0, 9, 2)), overlap((0, 0, 4, 2), (5, 0, 9, 2), gap=2)
        (False, True)
    """
    return (
        one[0] < other[2] + gap
        and other[0] < one[2] + gap
        and one[1] < other[3] + gap
        and other[1] < one[3] + gap
    )


def _box_beside(
    x: float, y: float, width: float, height: float, *, distance: float, angle: float
) -> Box:
    """Return the box of a label that lies in one direction from a point."""
    to_right, upwards = math.cos(angle), math.sin(angle)
    left = x + distance * to_right - width * _part_before(to_right)
    bottom = y + distance * upwards - height * _part_before(upwards)
    return float(left), float(bottom), float(left + width), float(bottom + height)


def _part_before(direction: float) -> float:
    """Return which part of a label comes before the place that it hangs on: 0, a half or 1."""
    return 0.5 if abs(direction) < 0.3 else 0.0 if direction > 0 else 1.0


def _is_free(
    box: Box,
    point: tuple[float, float],
    anchors: NDArray[np.float64],
    placed: Sequence[Box | None],
    *,
    within: Box,
) -> bool:
    """Whether a label may be there at all."""
    left, bottom, right, top = box
    if left < within[0] or bottom < within[1] or right > within[2] or top > within[3]:
        return False
    leader = (*point, *nearest_of_box(box, *point))
    others = [other for other in placed if other is not None]
    return not (
        any(overlap(box, other, gap=_GAP) or _meets(leader, other) for other in others)
        or any(_meets(other, box) for other in _leaders(placed, anchors))
    )


def _leaders(placed: Sequence[Box | None], anchors: NDArray[np.float64]) -> list[Line]:
    """Return the lines from the anchors to the labels that have a place."""
    return [
        (float(x), float(y), *nearest_of_box(box, x, y))
        for box, (x, y) in zip(placed, anchors, strict=False)
        if box is not None
    ]


def _num_hidden(box: Box, points: NDArray[np.float64]) -> int:
    """Return how many points a label would lie on."""
    low, high = np.array(box[:2]) - _POINT_RADIUS, np.array(box[2:]) + _POINT_RADIUS
    return int(np.sum(np.all((points > low) & (points < high), axis=1)))


def _num_passed(leader: Line, points: NDArray[np.float64]) -> int:
    """Return how many points a leader line goes through, those at its beginning not counted."""
    start, end = np.array(leader[:2]), np.array(leader[2:])
    along = end - start
    part = np.clip((points - start) @ along / max(float(along @ along), 1e-9), 0, 1)
    away = np.linalg.norm(points - (start + part[:, np.newaxis] * along), axis=1)
    apart = np.linalg.norm(points - start, axis=1) > _SAME_PLACE
    return int(np.sum((away < _POINT_RADIUS - 1) & apart))


def _meets(line: Line, box: Box) -> bool:
    """Whether a straight line goes through a box."""
    places = np.linspace(line[:2], line[2:], 24)
    return bool(
        np.any(
            (places[:, 0] > box[0])
            & (places[:, 0] < box[2])
            & (places[:, 1] > box[1])
            & (places[:, 1] < box[3])
        )
    )


def _cross(one: Line, other: Line) -> bool:
    """Whether two straight lines cross, ends not counted."""

    def side(line: Line, x: float, y: float) -> float:
        return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0])

    return (
        side(one, *other[:2]) * side(one, *other[2:]) < 0
        and side(other, *one[:2]) * side(other, *one[2:]) < 0
    )
