"""Some images of a table, small: enough to look at, whatever files they are in."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kerastl.data.decode import decode_image, to_rgb
from kerastl.data.pixels import encoded_image
from kerastl.data.table import ImageTable
from kerastl.errors import DataError

# Pillow scales 16-bit grey to black or white; TensorFlow takes the high byte.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_thumbnail(table: ImageTable, row: int, *, side: int = 96) -> NDArray[np.uint8] | None:
    """Return one image as RGB, upright, reduced until its longer side is at most `side`.

    Args:
        table: The images.
        row: Which one.
        side: In pixels; smaller images stay as they are.

    Returns:
        uint8 of shape (height, width, 3), or None where it cannot be read.

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((2, 200, 100), np.uint8), ["a", "b"])
        >>> read_thumbnail(table, 0).shape
        (96, 48, 3)
    """
    contents = table.contents
    if isinstance(contents, np.ndarray):
        return _reduced(Image.fromarray(to_rgb(contents[row]).numpy()), side)
    try:
        content = encoded_image(table, row)
    except DataError:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (2 * side, 2 * side))
            if image.mode in _EIGHT_BITS:
                return _reduced(ImageOps.exif_transpose(image).convert("RGB"), side)
    # Damaged files trip Pillow's readers in many ways (OSError, SyntaxError, ValueError,
    # struct.error, ...): the decoder of a fit has the last word.
    except Exception:
        pass
    try:
        return _reduced(Image.fromarray(decode_image(content).numpy()), side)
    except (tf.errors.OpError, ValueError):
        return None


def _reduced(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the pixels of an image, at most `side` wide and high."""
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)
