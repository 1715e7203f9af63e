"""Whether an image is a page: light paper, dark strokes that are many and small, in lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Longer side in pixels that an image is looked at with: letters of a whole page are 4 pixels high.
PAGE_SIDE = 640

# Of 255. Paper is the most frequent grey value and what is near it; ink is much darker.
_DARKEST_PAPER, _NEAR_PAPER, _INK = 160, 32, 64
_LEAST_PAPER = 0.6

# A letter is small, and a page has many of them, most of its strokes: not tables or drawings alone.
_LARGEST_LETTER = 0.06
_FEWEST_LETTERS = 60
_LEAST_LETTERS = 0.8

# Ink comes in rows: its profile from top to bottom changes more than that from left to right.
# Blood cells on glass, drawn at random, have 0.6 to 1.7, the pages of the tests 2.2 and more.
_LEAST_LINES = 2.0
# Part of the side that slow changes of the profile are taken off by.
_SLOW = 0.1


def is_page(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether an image is a page of writing, upright or upside down.

    Made to be sure rather than complete: a form with little text is none.

    Args:
        pixels: uint8 of shape (height, width, 3), its longer side about `PAGE_SIDE`.

    Example:
        >>> is_page(np.full((640, 480, 3), 250, np.uint8))
        False
    """
    grey = pixels.astype(np.float32).mean(axis=2)
    counts = np.bincount((grey // 8).astype(np.int64).ravel(), minlength=32)
    paper = 8 * int(counts.argmax()) + 4
    if paper < _DARKEST_PAPER or np.mean(np.abs(grey - paper) < _NEAR_PAPER) < _LEAST_PAPER:
        return False
    ink = grey < paper - _INK
    return _has_letters(ink) and _lines(ink) > _LEAST_LINES


def _has_letters(ink: NDArray[np.bool_]) -> bool:
    """Tell whether strokes are many and small."""
    components, _ = ndimage.label(ink, structure=np.ones((3, 3)))
    largest = _LARGEST_LETTER * max(ink.shape)
    extents = np.array(
        [[part.stop - part.start for part in parts] for parts in ndimage.find_objects(components)]
    ).reshape(-1, 2)
    strokes = extents[extents.max(axis=1) > 1]  # single pixels are noise
    letters = int(np.sum(strokes.max(axis=1) <= largest)) if len(strokes) else 0
    return letters >= _FEWEST_LETTERS and letters >= _LEAST_LETTERS * len(strokes)


def _lines(ink: NDArray[np.bool_]) -> float:
    """Return how much more the ink changes from row to row than from column to column."""
    changes = []
    for axis in (1, 0):
        profile = ink.mean(axis=axis)
        slow = ndimage.uniform_filter1d(profile, max(3, round(_SLOW * len(profile))))
        changes.append(float(np.std(profile - slow)))
    return changes[0] / max(changes[1], 1e-9)
