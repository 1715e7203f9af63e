"""Encoded bytes to upright-as-stored RGB pixels, in a TensorFlow graph.

Training, evaluation and the exported signature run this same code, TensorFlow
operations only, so that a served model sees the pixels that it was trained on.
EXIF orientation is not applied yet (TensorFlow ignores it): pixels come as stored.
"""

from __future__ import annotations

import re

import tensorflow as tf

from kerastl.errors import DataError

_BMP_BITS_PER_PIXEL = 28
_BMP_COLOURS_USED = 46
_BMP_HEADERS_BYTES = 54

# Words of TensorFlow's kernels -> words for people.
_REASONS = {
    "Input is empty": "the file is empty",
    "Unknown image file format": (
        "unknown image file format (JPEG, PNG, GIF, BMP and WebP can be read)"
    ),
    "jpeg::Uncompress failed": "damaged or truncated JPEG",
    "Invalid PNG data": "damaged or truncated PNG",
    "Invalid GIF data": "damaged or truncated GIF",
    "Failed to decode WebP": "damaged or truncated WebP",
    "Incomplete bmp content": "damaged or truncated BMP",
    "Input size should match (header_size": "damaged, truncated or compressed BMP",
    "in the image must be 1, 3 or 4": "BMP with fewer than 8 or exactly 16 bits per pixel",
}


def decode_image(image_bytes: tf.Tensor | bytes) -> tf.Tensor:
    """Return the RGB pixels of one encoded image.

    JPEG (baseline, progressive, grey, CMYK), PNG (1 to 16 bits, palette, grey, alpha), GIF
    and WebP (the first frame of an animation) and BMP (8-bit palette, 24 and 32 bits).
    Everything but what is listed here equals Pillow's `convert("RGB")` bit for bit:

    - 16-bit PNG keeps the high byte of every value, in colour and in grey. (Pillow cuts
      grey values above 255 off.)
    - Transparent pixels of a GIF are black; Pillow shows the colour they would have.
    - Alpha of PNG, BMP and WebP is dropped, not blended, by both.

    JPEG is decoded with the exact integer transform: TensorFlow's default differs from
    libjpeg's by up to 5 grey values per pixel.

    Args:
        image_bytes: Scalar string: the contents of one file.

    Returns:
        uint8 of shape (height, width, 3), 0..255.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such image, or damaged; see
            `decode_error_reason`. In a graph it is raised when the graph runs.

    Example:
        >>> png = tf.io.encode_png(tf.fill((2, 4, 1), tf.constant(9, tf.uint8)))
        >>> decode_image(png).shape
        TensorShape([2, 4, 3])
    """
    image_bytes = tf.convert_to_tensor(image_bytes, tf.string)
    pixels = tf.case(
        [
            (
                tf.io.is_jpeg(image_bytes),
                lambda: tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE"),
            ),
            (_is_palette_bmp(image_bytes), lambda: _decode_palette_bmp(image_bytes)),
        ],
        # The channels of the file, because asking for 3 fails for WebP with alpha.
        default=lambda: to_rgb(_decode_other(image_bytes)),
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def _decode_other(image_bytes: tf.Tensor) -> tf.Tensor:
    """Return the pixels of a file that is not a JPEG, with the channels that it has."""
    pixels = tf.io.decode_image(image_bytes, channels=0, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, None))


def _little_endian(image_bytes: tf.Tensor, offset: int, dtype: tf.DType) -> tf.Tensor:
    """Return one number of a file header."""
    raw = tf.strings.substr(image_bytes, offset, dtype.size)
    return tf.cast(tf.io.decode_raw(raw, dtype)[0], tf.int32)


def _is_palette_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Whether the pixels are numbers of colours, which TensorFlow would take for grey values."""
    return tf.cond(
        (tf.strings.substr(image_bytes, 0, 2) == b"BM")
        & (tf.strings.length(image_bytes) >= _BMP_HEADERS_BYTES),
        lambda: _little_endian(image_bytes, _BMP_BITS_PER_PIXEL, tf.uint16) == 8,
        lambda: tf.constant(False),
    )


def _decode_palette_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Look every pixel up in the table of colours (blue, green, red, unused) behind the header."""
    numbers = _decode_other(image_bytes)[..., 0]
    used = _little_endian(image_bytes, _BMP_COLOURS_USED, tf.int32)
    num_colours = tf.where((used > 0) & (used < 256), used, 256)
    start = 14 + _little_endian(image_bytes, 14, tf.int32)
    table = tf.io.decode_raw(tf.strings.substr(image_bytes, start, 4 * num_colours), tf.uint8)
    colours = tf.reshape(table, (-1, 4))[:, 2::-1]
    return tf.gather(colours, tf.cast(numbers, tf.int32))


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
    for words, reason in _REASONS.items():
        if words in message:
            return reason
    lines = message.strip().splitlines() or [type(error).__name__]
    line = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", lines[-1])
    return re.sub(r"^.*\bIterator::\S+ ", "", line).strip()
