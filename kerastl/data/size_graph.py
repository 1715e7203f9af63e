"""How large an image says that it is, and the limit, as TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf

from kerastl.data.exif_graph import ByteReader
from kerastl.data.image_limits import LARGEST_PIXELS


def refuse_too_large(height: tf.Tensor, width: tf.Tensor) -> tf.Operation:
    """Stop before memory is asked for; `kerastl.data.decode.decode_error_reason` knows the words.

    Args:
        height: int64 scalar, as the file says.
        width: int64 scalar.

    Returns:
        The operation that what follows must depend on.

    Raises:
        tf.errors.InvalidArgumentError: height * width > `LARGEST_PIXELS`.
    """
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    return tf.debugging.Assert(height * width <= LARGEST_PIXELS, ["too large", height, width])


def declared_size(header: ByteReader) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the (height, width) that a PNG, BMP or WebP announces, (0, 0) for other files.

    TensorFlow's kernels have limits of their own, some higher, but for WebP: 138 bytes of an
    animation of 60000 x 60000 pixels make them ask for more memory than a machine has.

    Args:
        header: The first 66 bytes of a file.

    Returns:
        Two int64 scalars.
    """

    def bmp() -> tuple[tf.Tensor, tf.Tensor]:
        height = header.number(22, 4, False)  # negative if the first row is the upper one
        return tf.minimum(height, 2**32 - height), header.number(18, 4, False)

    def webp() -> tuple[tf.Tensor, tf.Tensor]:
        kind = header.number(12, 4, True)
        bits = header.number(21, 4, False)
        extended = (header.number(27, 3, False) + 1, header.number(24, 3, False) + 1)
        lossless = (bits // 2**14 % 2**14 + 1, bits % 2**14 + 1)
        lossy = (header.number(28, 2, False) % 2**14, header.number(26, 2, False) % 2**14)
        is_extended = kind == int.from_bytes(b"VP8X", "big")
        is_lossless = kind == int.from_bytes(b"VP8L", "big")
        choices = [
            tf.where(is_extended, first, tf.where(is_lossless, second, third))
            for first, second, third in zip(extended, lossless, lossy, strict=True)
        ]
        return choices[0], choices[1]

    zero = tf.zeros((), tf.int64)
    # Older headers have other sizes in other places.
    is_bmp = (header.number(0, 2, True) == int.from_bytes(b"BM", "big")) & (
        header.number(14, 4, False) >= 40
    )
    is_png = header.number(0, 4, True) == int.from_bytes(b"\x89PNG", "big")
    is_webp = (header.number(0, 4, True) == int.from_bytes(b"RIFF", "big")) & (
        header.number(8, 4, True) == int.from_bytes(b"WEBP", "big")
    )
    return tf.case(
        [
            (is_png, lambda: (header.number(20, 4, True), header.number(16, 4, True))),
            (is_webp, webp),
            (is_bmp, bmp),
        ],
        default=lambda: (zero, zero),
    )
