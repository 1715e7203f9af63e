"""Any file to upright RGB pixels, by the fastest decoder that can, or one reason why not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from kerastl.data.decode import decode_error_reason, decode_image
from kerastl.data.image_kinds import SERVED_KINDS, image_kind
from kerastl.data.jpeg_decoder import decode_plain_jpeg
from kerastl.data.pillow_decoder import decode_with_pillow, open_with_pillow
from kerastl.errors import UnreadableImageError


def read_image(
    content: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Return the RGB pixels of one encoded image, upright, whatever its name says.

    Plain JPEGs by libjpeg-turbo; PNG, GIF, BMP and WebP by the graph that is exported; the
    rest, and what these refuse, by Pillow. Where several can, all give the same.
    It may be called from many threads at a time.

    Args:
        content: The contents of one file.
        at_least: (height, width) that the result must keep; a larger JPEG may come 2, 4 or
            8 times smaller, see `kerastl.data.decode.decode_image`.
        room: From a shape to an array that may be decoded into, for callers who use it again;
            new memory when not given.

    Returns:
        uint8 of shape (height, width, 3), 0..255.

    Raises:
        UnreadableImageError: It cannot be read; `reason` says why.

    Example:
        >>> read_image(tf.io.encode_png(tf.zeros((2, 4, 1), tf.uint8)).numpy()).shape
        (2, 4, 3)
    """
    if image_kind(content) == "JPEG":
        pixels = decode_plain_jpeg(content, at_least=at_least, room=room)
        if pixels is not None:
            return pixels
    return np.asarray(read_picture(content, at_least=at_least))


def read_picture(
    content: bytes, *, at_least: tuple[int, int] | None = None
) -> Image.Image | NDArray[np.uint8]:
    """Return what `read_image` returns, as a Pillow image where it is one already.

    That saves two copies when Pillow goes on with it.

    Args:
        content: The contents of one file.
        at_least: (height, width) that the result must keep, see `read_image`.

    Returns:
        An image of mode RGB, or uint8 of shape (height, width, 3).

    Raises:
        UnreadableImageError: It cannot be read; `reason` says why.

    Example:
        >>> type(read_picture(tf.io.encode_jpeg(tf.zeros((2, 4, 3), tf.uint8)).numpy())).__name__
        'JpegImageFile'
    """
    kind = image_kind(content)
    if kind in SERVED_KINDS and kind != "JPEG":
        try:
            return _traced()(content).numpy()
        except tf.errors.OpError as error:
            return _second_opinion(content, decode_error_reason(error))
    return open_with_pillow(content, at_least=at_least)


def _second_opinion(content: bytes, first_reason: str) -> NDArray[np.uint8]:
    """Ask Pillow for what TensorFlow refuses."""
    try:
        return decode_with_pillow(content)
    except UnreadableImageError:
        if first_reason.startswith("image of "):  # too large: that one knows how much
            raise UnreadableImageError(first_reason) from None
        raise


@functools.cache
def _traced() -> Any:
    """Return the decoder of the exported graph, traced once."""
    return tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])


def can_be_served(content: bytes) -> bool:
    """Return whether an exported model can decode an image by itself.

    Args:
        content: The contents of one file.

    Example:
        >>> can_be_served(tf.io.encode_png(tf.zeros((2, 4, 1), tf.uint8)).numpy())
        True
        >>> can_be_served(b"II*, a TIFF")
        False
    """
    if image_kind(content) not in SERVED_KINDS:
        return False
    try:
        _traced()(content)
    except tf.errors.OpError:
        return False
    return True


def servable_image(content: bytes) -> bytes:
    """Return an image as an exported model can decode it: itself, or else as PNG, without loss.

    Args:
        content: The contents of one file.

    Returns:
        `content`, or a PNG of the pixels that `read_image` gives.

    Raises:
        UnreadableImageError: It cannot be read.

    Example:
        >>> png = tf.io.encode_png(tf.zeros((2, 4, 1), tf.uint8)).numpy()
        >>> servable_image(png) == png
        True
    """
    if can_be_served(content):
        return content
    return tf.io.encode_png(read_image(content)).numpy()
