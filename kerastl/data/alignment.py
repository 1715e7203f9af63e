"""Is one picture the other with a border cut off? Thumbnails are laid over each other to see."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from kerastl.data.registration import Window, window_of

# Parts of width and height that are left, and where the window lies: at the start, in the
# middle, at the end of what there is to cut.
KEPT_FRACTIONS = (0.98, 0.96, 0.94, 0.92, 0.9)
_PLACES = (0.0, 0.5, 1.0)

_CHUNK_PAIRS = 1024


def align(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how well pairs of thumbnails correlate if one of the two is cropped, and lay them so.

    The best of 90 windows: 5 sizes from 98 % to 90 % of the side, 3 x 3 places, of the first or
    of the second image.

    Args:
        first: uint8 of shape (m, side, side).
        second: uint8 of the same shape.

    Returns:
        float32 of shape (m,), and the two thumbnails laid over each other: uint8 of the shape
        given.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scene = rng.integers(0, 256, (1, 11, 11), np.uint8).repeat(3, 1).repeat(3, 2)
        >>> correlations, one, other = align(scene, scene)
        >>> correlations.shape, one.shape == other.shape == scene.shape
        ((1,), True)
    """
    best = np.full(len(first), -1, np.float32)
    laid = np.stack([first, second])
    for start in range(0, len(first), _CHUNK_PAIRS):
        part = slice(start, start + _CHUNK_PAIRS)
        one, other = first[part].astype(np.float32), second[part].astype(np.float32)
        for side, (whole, cropped) in enumerate(((one, other), (other, one))):
            target = _standardised(cropped)
            for window in crop_windows():
                seen = window_of(whole, window)
                found = np.einsum("nij,nij->n", _standardised(seen), target)
                better = start + np.flatnonzero(found > best[part])
                best[better] = found[better - start]
                laid[side, better] = np.round(seen[better - start]).astype(np.uint8)
                laid[1 - side, better] = (second, first)[side][better]
    return best, laid[0], laid[1]


def crop_windows() -> tuple[Window, ...]:
    """Return what may be left of a picture: 5 parts of both sides, 3 x 3 places each.

    Example:
        >>> windows = crop_windows()
        >>> len(windows), windows[0]
        (45, Window(height=0.98, top=0.0, width=0.98, left=0.0))
    """
    return tuple(
        Window(kept, down * (1 - kept), kept, across * (1 - kept))
        for kept in KEPT_FRACTIONS
        for down, across in product(_PLACES, repeat=2)
    )


def _standardised(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images of mean 0 and length 1."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    lengths = np.sqrt(np.einsum("nij,nij->n", centred, centred))[:, np.newaxis, np.newaxis]
    return np.asarray(centred / np.maximum(lengths, 1e-6), np.float32)
