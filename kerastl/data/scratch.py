"""Memory that a thread uses again: what one image needs only until the next one."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Larger pieces are rare, and would lie idle in every thread.
_LARGEST_KEPT_BYTES = 4 << 20

_kept = threading.local()


def scratch_array(name: str, shape: Sequence[int], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """Return an array of any content that is valid until this thread asks for `name` again.

    The C library gives large pieces back to the system at once, which then clears every page of
    the next: for an image of 500 x 375 that costs as much as a third of its decoding.

    Args:
        name: What it is for: arrays of different names do not share memory.
        shape: Of the array.
        dtype: Of the array.

    Returns:
        C-contiguous, not initialised.

    Example:
        >>> first = scratch_array("example", (2, 3))
        >>> np.shares_memory(first, scratch_array("example", (6,)))
        True
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _LARGEST_KEPT_BYTES:
        return np.empty(shape, dtype)
    pieces: dict[str, NDArray[np.uint8]] = _kept.__dict__.setdefault("pieces", {})
    piece = pieces.get(name)
    if piece is None or piece.nbytes < size:
        pieces[name] = piece = np.empty(size, np.uint8)
    return piece[:size].view(dtype).reshape(shape)
