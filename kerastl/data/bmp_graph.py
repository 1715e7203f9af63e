"""What TensorFlow's BMP kernel gets wrong, put right or refused in the graph.

Source: Microsoft, BITMAPINFOHEADER and BITMAPV5HEADER structures (wingdi.h).
"""

from __future__ import annotations

import tensorflow as tf

from kerastl.data.exif_graph import ByteReader

# Blue, green, red: the one order of 32-bit BMP that TensorFlow knows.
_USUAL_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF)


def refuse_rare_bmp(header: ByteReader, is_bmp: tf.Tensor) -> tf.Operation:
    """Stop at the BMP files whose pixels TensorFlow would take for something else.

    These are compressed files, OS/2 headers, and colours in another order.

    Args:
        header: The first 66 bytes of a file.
        is_bmp: Whether the file is a BMP; others pass.

    Returns:
        The operation that decoding must depend on.

    Raises:
        tf.errors.InvalidArgumentError: It is such a file.
    """
    compression = header.number(30, 4, False)
    masks = [header.number(54 + 4 * index, 4, False) for index in range(3)]
    usual_masks = tf.reduce_all(tf.equal(tf.stack(masks), _USUAL_MASKS))
    is_usual = (header.number(14, 4, False) >= 40) & (
        (compression == 0) | ((compression == 3) & usual_masks)
    )
    # Shorter than its header: the kernel says that better.
    is_usual |= header.size < 54
    return tf.debugging.Assert(is_usual | ~is_bmp, ["BMP of a rare kind"])


def look_up_colours(image_bytes: tf.Tensor, header: ByteReader, numbers: tf.Tensor) -> tf.Tensor:
    """Return the colours of an 8-bit BMP, whose numbers TensorFlow takes for grey values.

    Args:
        image_bytes: Scalar string: the contents of the file.
        header: Its first bytes.
        numbers: uint8 of shape (height, width, 1): what TensorFlow gives.

    Returns:
        uint8 of shape (height, width, 3), RGB.

    Raises:
        tf.errors.InvalidArgumentError: A number has no colour.
    """
    used = header.number(46, 4, False)
    num_colours = tf.where((used > 0) & (used < 256), used, 256)
    size = tf.cast(tf.strings.length(image_bytes), tf.int64)
    start = tf.minimum(14 + header.number(14, 4, False), size)
    table = tf.io.decode_raw(tf.strings.substr(image_bytes, start, 4 * num_colours), tf.uint8)
    # Behind the header: blue, green, red, unused.
    colours = tf.reshape(table[: tf.size(table) // 4 * 4], (-1, 4))[:, 2::-1]
    return tf.gather(colours, tf.cast(numbers[..., 0], tf.int32))
