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


def read_grey(table: ImageTable, row: int, *, side: int) -> NDArray[np.uint8] | None:
    """Return one image in grey, stretched to a square.

    Args:
        table: The images.
        row: Which one.
        side: Of the square, in pixels.

    Returns:
        uint8 of shape (side, side), or None where it cannot be read.

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((2, 200, 100), np.uint8), ["a", "b"])
        >>> read_grey(table, 0, side=128).shape
        (128, 128)
    """
    if isinstance(table.contents, np.ndarray):
        return _grey(_image(rgb_of(table.contents[row])), side)
    try:
        return grey_square(encoded_image(table, row), side=side)
    except DataError:
        return None


def grey_square(content: bytes, *, side: int) -> NDArray[np.uint8]:
    """Return an encoded image in grey, stretched to a square.

    Args:
        content: Of a file.
        side: Of the square, in pixels.

    Returns:
        uint8 of shape (side, side).

    Raises:
        UnreadableImageError: It is no image that can be read.
    """
    # Twice the side: what a JPEG's decoder reduces and what it does not must look alike.
    return _grey(_image(read_picture(content, at_least=(2 * side, 2 * side))), side)


def _grey(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return an image as a grey square."""
    return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR))


def _reduced(picture: Image.Image | NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the pixels of an image, at most `side` wide and high."""
    image = _image(picture)
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _image(picture: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """Return an image or pixels as Pillow's image."""
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(np.ascontiguousarray(picture))
