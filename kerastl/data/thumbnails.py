"""Some images of a table, small: enough to look at, whatever files they are in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kerastl.data.image_reader import read_picture
from kerastl.data.pixels import encoded_image
from kerastl.data.stream import rgb_of
from kerastl.data.table import ImageTable
from kerastl.errors import DataError


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
    if isinstance(table.contents, np.ndarray):
        return _reduced(rgb_of(table.contents[row]), side)
    try:
        return _reduced(read_picture(encoded_image(table, row), at_least=(side, side)), side)
    except DataError:
        return None


def _reduced(picture: Image.Image | NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the pixels of an image, at most `side` wide and high."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)
