"""Where in one picture another lies, to a part of a pixel.

Lucas and Kanade 1981 ("An iterative image registration technique with an application to stereo
vision", IJCAI), with the correlation in place of the difference: it knows no brightness and
contrast (as Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A step never goes further than this: a wrong one then loses correlation, which ends the search.
_LARGEST_STEP = 0.02


@dataclass(frozen=True)
class Window:
    """A part of a picture, in parts of its height and width.

    Attributes:
        height: 1 is all of it.
        top: 0 is the upper border.
        width: 1 is all of it.
        left: 0 is the left border.
    """

    height: float
    top: float
    width: float
    left: float


def window_of(picture: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Return a part of pictures as large as the pictures, between pixels by straight lines.

    Args:
        picture: float32 of shape (..., side, side).
        window: The part.

    Returns:
        float32 of the same shape.

    Example:
        >>> ramp = np.arange(4, dtype=np.float32).repeat(4).reshape(4, 4)
        >>> window_of(ramp, Window(0.5, 0.25, 1.0, 0.0))[:, 0].tolist()
        [0.75, 1.25, 1.75, 2.25]
    """
    side = picture.shape[-1]
    low, weight = _between(side, window.height, window.top)
    above, below = picture[..., low, :], picture[..., low + 1, :]
    rows = above + (below - above) * weight[:, np.newaxis]
    low, weight = _between(side, window.width, window.left)
    before, behind = rows[..., low], rows[..., low + 1]
    return np.asarray(before + (behind - before) * weight, np.float32)


def find_window(
    picture: NDArray[np.float32],
    target: NDArray[np.float32],
    *,
    start: Window,
    most_steps: int = 8,
) -> tuple[float, Window]:
    """Return the part of a picture that correlates most with another, near a first guess.

    Args:
        picture: float32 of shape (side, side).
        target: float32 of the same shape: perhaps a part of `picture`.
        start: The guess; some pixels from the truth at most.
        most_steps: Each a least-squares problem of four unknowns.

    Returns:
        The correlation, -1..1, and the window.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scene = np.cumsum(np.cumsum(rng.normal(size=(64, 64)), 0), 1).astype(np.float32)
        >>> target = window_of(scene, Window(0.95, 0.02, 0.95, 0.03))
        >>> found = find_window(scene, target, start=Window(0.94, 0.03, 0.94, 0.03))
        >>> found[0] > 0.99, round(found[1].height, 2), round(found[1].left, 2)
        (True, 0.95, 0.03)
    """
    wanted, _ = _standardised(target)
    places = ((np.arange(len(picture)) + 0.5) / len(picture)).astype(np.float32)
    best, correlation = start, -1.0
    now = start
    for _ in range(most_steps + 1):
        seen = window_of(picture, now)
        standard, length = _standardised(seen)
        reached = float(np.vdot(standard, wanted))
        if reached <= correlation:
            break
        best, correlation = now, reached
        down, across = np.gradient(seen)
        # Of the side: a window of height h shows a slope of the picture h times flatter.
        down *= len(picture) / (now.height * length)
        across *= len(picture) / (now.width * length)
        slopes = np.stack(
            [down * places[:, np.newaxis], down, across * places, across], axis=-1
        ).reshape(-1, 4)
        slopes -= slopes.mean(axis=0)
        step = np.linalg.lstsq(
            slopes.T @ slopes, slopes.T @ (wanted - standard).ravel(), rcond=None
        )[0]
        height, top, width, left = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP).tolist()
        now = Window(now.height + height, now.top + top, now.width + width, now.left + left)
    return correlation, best


def _between(
    side: int, scale: float, start: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the pixel before each point of a line, and how far behind it the point lies."""
    points = (np.arange(side) + 0.5) * scale + start * side - 0.5
    low = np.clip(np.floor(points).astype(np.int64), 0, side - 2)
    return low, np.clip(points - low, 0, 1).astype(np.float32)


def _standardised(picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return a picture of mean 0 and length 1, and the length that it had."""
    centred = picture - picture.mean()
    length = max(float(np.linalg.norm(centred)), 1e-6)
    return np.asarray(centred / length, np.float32), length
