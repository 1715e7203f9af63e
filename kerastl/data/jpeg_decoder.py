"""Plain JPEGs to upright RGB pixels by libjpeg-turbo, straight into an array.

Pillow decodes with the same library but keeps its pixels four bytes apart; copying them out
costs a third on top (500 x 375: 0.45 against 0.6 ms and more). What is not plain, or not
whole, is left to `kerastl.data.pillow_decoder`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kerastl.data.exif import exif_orientation, turn_array_upright
from kerastl.data.image_limits import LARGEST_PIXELS

_PLAIN_COLOURS = ("YCbCr", "RGB", "Gray")

# Of a smaller one several reductions have the same size, and simplejpeg takes the strongest.
_SMALLEST_SIDE = 16


def decode_plain_jpeg(
    content: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8] | None:
    """Return the pixels of a whole JPEG of grey or RGB colours.

    Args:
        content: The contents of one file.
        at_least: (height, width) that the result must keep: a larger one is decoded 2, 4 or 8
            times smaller, see `jpeg_reduction`.
        room: From a shape to the array that is decoded into; a new one when not given.

    Returns:
        uint8 of shape (height, width, 3), upright; None for anything else, from another
        kind of colours to damaged bytes.

    Example:
        >>> import simplejpeg
        >>> decode_plain_jpeg(simplejpeg.encode_jpeg(np.zeros((20, 40, 3), np.uint8))).shape
        (20, 40, 3)
        >>> decode_plain_jpeg(b"GIF89a") is None
        True
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        too_small = max(height, width) < _SMALLEST_SIDE
        if colours not in _PLAIN_COLOURS or too_small or height * width > LARGEST_PIXELS:
            return None
        orientation = exif_orientation(content)
        ratio = jpeg_reduction(height, width, orientation=orientation, at_least=at_least)
        reduced = -(-height // ratio), -(-width // ratio)
        pixels = simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_height=reduced[0],
            min_width=reduced[1],
            min_factor=ratio,
            buffer=None if room is None else room((*reduced, 3)),
        )
    # Damaged bytes are a ValueError: every warning of libjpeg counts. Kinds that simplejpeg has
    # no name for are a KeyError. Pillow judges them.
    except (ValueError, KeyError, RuntimeError):
        return None
    if pixels.shape[:2] != reduced:
        return None
    return turn_array_upright(pixels, orientation)


def jpeg_reduction(
    height: int, width: int, *, orientation: int, at_least: tuple[int, int] | None
) -> int:
    """Return how many times smaller a JPEG is decoded, by the rule of `kerastl.data.decode`.

    Args:
        height: As stored, in pixels.
        width: As stored, in pixels.
        orientation: From `kerastl.data.exif.exif_orientation`.
        at_least: (height, width) that the upright result must keep; None for no reduction.

    Returns:
        8, 4, 2 or 1: the largest that keeps so much.

    Example:
        >>> jpeg_reduction(3000, 4000, orientation=6, at_least=(448, 448))
        4
    """
    if at_least is None:
        return 1
    needed_height, needed_width = at_least[::-1] if orientation >= 5 else at_least
    for ratio in (8, 4, 2):
        if (
            min(height, width) >= ratio
            and -(-height // ratio) >= needed_height
            and -(-width // ratio) >= needed_width
        ):
            return ratio
    return 1
