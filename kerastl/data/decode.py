"""Encoded bytes to upright RGB pixels, in a TensorFlow graph: what a served model sees.

TensorFlow operations only, because this is part of every exported file.
`kerastl.data.pillow_decoder` gives the same pixels, bit for bit, where both can read a file.
"""

from __future__ import annotations

import functools
import re

import tensorflow as tf

from kerastl.data.bmp_graph import look_up_colours, refuse_rare_bmp
from kerastl.data.exif_graph import (
    ByteReader,
    has_word,
    jpeg_orientation,
    orientation_of_others,
    own_function,
    turn_upright,
)
from kerastl.data.gif_graph import decode_gif
from kerastl.data.image_limits import LARGEST_PIXELS, too_large_reason
from kerastl.data.size_graph import declared_size, refuse_too_large
from kerastl.errors import DataError

# How many times smaller a JPEG can be decoded, at less than the full cost.
JPEG_REDUCTIONS = (1, 2, 4, 8)

# Enough of a file for the size of a PNG, BMP or WebP and the colour masks of a BMP.
_HEADER_BYTES = 66
# Words of TensorFlow's kernels -> words for people.
_REASONS = {
    "Input is empty": "the file is empty",
    "Unknown image file format": (
        "unknown image file format (JPEG, PNG, GIF, BMP and WebP can be read)"
    ),
    "jpeg::Uncompress failed": "damaged or truncated JPEG",
    "Invalid JPEG data": "damaged or truncated JPEG",
    "Invalid PNG": "damaged or truncated PNG",
    "Invalid GIF data": "damaged or truncated GIF",
    "Failed to decode WebP": "damaged or truncated WebP",
    "Incomplete bmp content": "damaged or truncated BMP",
    "Input size should match (header_size": "damaged, truncated or compressed BMP",
    "in the image must be 1, 3 or 4": "BMP with fewer than 8 or exactly 16 bits per pixel",
    "BMP of a rare kind": "BMP of a rare kind (compressed, OS/2 or with colour masks)",
}
_TOO_LARGE = re.compile(r"\[too large\] \[(\d+)\] \[(\d+)\]")


# Nothing in here is Python that must become a graph: converting it took 2.7 s, this 0.4 s.
@tf.autograph.experimental.do_not_convert
def decode_image(
    image_bytes: tf.Tensor | bytes, *, at_least: tuple[int, int] | None = None
) -> tf.Tensor:
    """Return the RGB pixels of one encoded image, upright.

    JPEG (baseline, progressive, grey, CMYK), PNG (1 to 16 bits, palette, grey, alpha), GIF
    and WebP (the first picture of an animation) and BMP (8-bit palette, 24 and 32 bits).
    JPEG, PNG and WebP are turned as their EXIF says, see `kerastl.data.exif`.
    Everything but what is listed here equals Pillow's `convert("RGB")` bit for bit:

    - 16-bit PNG keeps the high byte of every value, in colour and in grey. (Pillow cuts
      grey values above 255 off.)
    - Transparent pixels of a GIF are black; Pillow shows the colour they would have.
    - Alpha of PNG, BMP and WebP is dropped, not blended, by both.

    JPEG is decoded with the exact integer transform: TensorFlow's default differs from
    libjpeg's by up to 5 grey values per pixel.

    Args:
        image_bytes: Scalar string: the contents of one file.
        at_least: (height, width) that the result must keep. A JPEG that is larger may be
            decoded 2, 4 or 8 times smaller, in the frequency domain; others ignore it.

    Returns:
        uint8 of shape (height, width, 3), 0..255.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such image, damaged, or more than
            `kerastl.data.image_limits.LARGEST_PIXELS`; see `decode_error_reason`. In a graph
            it is raised when the graph runs.

    Example:
        >>> png = tf.io.encode_png(tf.fill((2, 4, 1), tf.constant(9, tf.uint8)))
        >>> decode_image(png).shape
        TensorShape([2, 4, 3])
    """
    # Kernels that decode are for CPUs; small numbers must not travel to a GPU in between.
    with tf.device("/CPU:0"):
        image_bytes = tf.convert_to_tensor(image_bytes, tf.string)
        pixels = tf.cond(
            tf.io.is_jpeg(image_bytes),
            lambda: _decode_jpeg(image_bytes, at_least),
            lambda: _decode_no_jpeg(image_bytes),
        )
        return tf.ensure_shape(pixels, (None, None, 3))


def _decode_jpeg(image_bytes: tf.Tensor, at_least: tuple[int, int] | None) -> tf.Tensor:
    """Decode a JPEG, smaller if that is enough; what needs no care comes by the short way."""
    shape = tf.io.extract_jpeg_shape(image_bytes)
    count = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    # Nothing is as large as the largest number: no reduction.
    needed = tf.constant((tf.int32.max,) * 2 if at_least is None else at_least)
    return tf.cond(
        (count > LARGEST_PIXELS) | has_word(image_bytes, b"Exif"),
        lambda: _decode_jpeg_with_care(image_bytes, shape, needed),
        lambda: (
            _decode_ratio(image_bytes, 1)
            if at_least is None
            else _decode_smaller(image_bytes, shape, needed)
        ),
    )


@own_function(
    [tf.TensorSpec([], tf.string), tf.TensorSpec([3], tf.int32), tf.TensorSpec([2], tf.int32)]
)
def _decode_jpeg_with_care(
    image_bytes: tf.Tensor, shape: tf.Tensor, needed: tf.Tensor
) -> tf.Tensor:
    """Decode a JPEG that may be too large or turned."""
    with tf.control_dependencies([refuse_too_large(shape[0], shape[1])]):
        orientation = jpeg_orientation(image_bytes)
    needed = tf.where(orientation >= 5, needed[::-1], needed)
    return turn_upright(_decode_smaller(image_bytes, shape, needed), orientation)


def _decode_smaller(image_bytes: tf.Tensor, shape: tf.Tensor, needed: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG as small as it may be; `shape` and `needed` are as stored."""
    ratios = tf.constant(JPEG_REDUCTIONS[1:])[:, tf.newaxis]
    enough = ((shape[:2] + ratios - 1) // ratios >= needed) & (shape[:2] >= ratios)
    choice = tf.reduce_sum(tf.cast(tf.reduce_all(enough, axis=1), tf.int32))
    return tf.switch_case(
        choice, [functools.partial(_decode_ratio, image_bytes, ratio) for ratio in JPEG_REDUCTIONS]
    )


def _decode_ratio(image_bytes: tf.Tensor, ratio: int) -> tf.Tensor:
    """Decode a JPEG, so many times smaller."""
    return tf.io.decode_jpeg(image_bytes, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


@own_function([tf.TensorSpec([], tf.string)])
def _decode_no_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decode what is no JPEG, if its header promises nothing that cannot be."""
    header = ByteReader(tf.strings.substr(image_bytes, 0, _HEADER_BYTES))
    is_gif = header.number(0, 4, True) == int.from_bytes(b"GIF8", "big")
    return tf.cond(
        is_gif, lambda: decode_gif(image_bytes), lambda: _decode_other(image_bytes, header)
    )


def _decode_other(image_bytes: tf.Tensor, header: ByteReader) -> tf.Tensor:
    """Decode a PNG, BMP or WebP."""
    is_bmp = header.number(0, 2, True) == int.from_bytes(b"BM", "big")
    checks = [refuse_rare_bmp(header, is_bmp), refuse_too_large(*declared_size(header))]
    with tf.control_dependencies(checks):
        image_bytes = tf.identity(image_bytes)
    # The channels of the file, because asking for 3 fails for WebP with alpha.
    pixels = tf.io.decode_image(image_bytes, channels=0, expand_animations=False)
    pixels = tf.ensure_shape(pixels, (None, None, None))
    rgb = tf.cond(
        is_bmp & (header.number(28, 2, False) == 8),
        lambda: look_up_colours(image_bytes, header, pixels),
        lambda: to_rgb(pixels),
    )
    return turn_upright(rgb, orientation_of_others(image_bytes))


def to_rgb(pixels: tf.Tensor) -> tf.Tensor:
    """Return pixels with exactly the three channels red, green and blue.

    Grey is repeated; alpha is dropped, as for encoded images.

    Args:
        pixels: Any dtype, of shape (height, width) for grey, or
            (..., height, width, channels) with 1 (grey), 2 (grey and alpha), 3 or 4 channels.

    Returns:
        The same dtype, of shape (..., height, width, 3).

    Raises:
        DataError: The number of channels is known and is none of these. (Where it is known
            only when a graph runs, that raises `tf.errors.InvalidArgumentError`.)

    Example:
        >>> to_rgb(tf.zeros((5, 6), tf.uint8)).shape
        TensorShape([5, 6, 3])
    """
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank == 2:
        pixels = pixels[..., tf.newaxis]
    channels = pixels.shape[-1]
    if channels is None:
        return _to_rgb_in_graph(pixels)
    if channels not in (1, 2, 3, 4):
        raise DataError(
            "Images must have 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels in "
            f"their last axis; received shape {tuple(pixels.shape)}. Channels-first arrays "
            "become channels-last with numpy.moveaxis(array, -3, -1)."
        )
    return _repeat_grey(pixels) if channels <= 2 else pixels[..., :3]


def _to_rgb_in_graph(pixels: tf.Tensor) -> tf.Tensor:
    """Choose by the number of channels when the graph runs."""
    channels = tf.shape(pixels)[-1]
    known = tf.debugging.assert_less_equal(channels, 4, "Images must have 1 to 4 channels")
    with tf.control_dependencies([known]):
        rgb = tf.case(
            [
                (tf.equal(channels, 3), lambda: pixels),
                (tf.equal(channels, 4), lambda: pixels[..., :3]),
            ],
            default=lambda: _repeat_grey(pixels),
        )
    return tf.ensure_shape(rgb, (*pixels.shape[:-1], 3))


def _repeat_grey(pixels: tf.Tensor) -> tf.Tensor:
    """Use the first channel three times."""
    return tf.repeat(pixels[..., :1], 3, axis=-1)


def decode_error_reason(error: tf.errors.OpError) -> str:
    r"""Return in a few words why an image could not be decoded.

    TensorFlow wraps the one useful line of its kernel differently in eager code, a
    `tf.function`, `tf.data` and a SavedModel.

    Args:
        error: Raised by `decode_image` or a model that does its work.

    Returns:
        Words for a known fault, else the line of the kernel.

    Example:
        >>> decode_error_reason(tf.errors.InvalidArgumentError(
        ...     None, None, "{{function_node f}} Invalid PNG data, size 9\n\t [[{{node g}}]]"))
        'damaged or truncated PNG'
    """
    message = error.message.split("\n\t [[")[0]
    too_large = _TOO_LARGE.search(message)
    if too_large:
        return too_large_reason(int(too_large[1]), int(too_large[2]))
    for words, reason in _REASONS.items():
        if words in message:
            return reason
    lines = message.strip().splitlines() or [type(error).__name__]
    line = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", lines[-1])
    return re.sub(r"^.*\bIterator::\S+ ", "", line).strip()
