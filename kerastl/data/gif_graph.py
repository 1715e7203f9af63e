"""The first picture of a GIF on its canvas, as TensorFlow graph.

TensorFlow's kernel unpacks every frame of an animation to give one of them back (a file of
a few MB can ask for many GB so), and cuts a first frame that does not start in the corner.
So the file is cut behind its first frame, which is moved into the corner, decoded, and put
on the canvas again.

Source: GIF89a specification, CompuServe 1990, sections 15 to 27.
"""

from __future__ import annotations

import tensorflow as tf

from kerastl.data.exif_graph import ByteReader
from kerastl.data.size_graph import refuse_too_large

_EXTENSION = 0x21
_FRAME = 0x2C


def decode_gif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Return the first picture of a GIF; what it does not cover, or is transparent, is black.

    Args:
        image_bytes: Scalar string: the contents of a GIF file.

    Returns:
        uint8 of shape (height, width, 3).

    Raises:
        tf.errors.InvalidArgumentError: The file is damaged, or its canvas too large.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> buffer = io.BytesIO()
        >>> Image.new("P", (5, 4)).save(buffer, "GIF")
        >>> decode_gif(tf.constant(buffer.getvalue())).shape
        TensorShape([4, 5, 3])
    """
    gif = ByteReader(image_bytes)
    frame = _first_frame(gif)
    left, top, width, height = (gif.number(frame + place, 2, False) for place in (1, 3, 5, 7))
    canvas_width = tf.maximum(gif.number(6, 2, False), left + width)
    canvas_height = tf.maximum(gif.number(8, 2, False), top + height)
    with tf.control_dependencies([refuse_too_large(canvas_height, canvas_width)]):
        end = _skip_blocks(gif, frame + 10 + _table_size(gif, frame + 9) + 1)
    in_the_corner = [
        gif.text(0, frame + 1),
        b"\0\0\0\0",
        gif.text(frame + 5, end - frame - 5),
        b";",
    ]
    alone = tf.strings.join(in_the_corner)
    pixels = tf.io.decode_image(alone, channels=3, expand_animations=False)
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    below, beside = canvas_height - top - height, canvas_width - left - width
    return tf.pad(pixels, [[top, below], [left, beside], [0, 0]])


def _table_size(gif: ByteReader, place: tf.Tensor | int) -> tf.Tensor:
    """Return how many bytes of colours a packed field announces."""
    packed = gif.number(place, 1, False)
    colours = tf.bitwise.left_shift(tf.constant(2, tf.int64), packed % 8)
    return tf.where(packed >= 128, 3 * colours, 0)


def _first_frame(gif: ByteReader) -> tf.Tensor:
    """Return where the descriptor of the first frame starts, behind all extensions."""
    (place,) = tf.while_loop(
        lambda place: (gif.number(place, 1, False) == _EXTENSION) & (place < gif.size),
        lambda place: (_skip_blocks(gif, place + 2),),
        (13 + _table_size(gif, 10),),
        parallel_iterations=1,
    )
    place = tf.minimum(place, gif.size)
    known = tf.debugging.Assert(gif.number(place, 1, False) == _FRAME, ["Invalid GIF data"])
    with tf.control_dependencies([known]):
        return tf.identity(place)


def _skip_blocks(gif: ByteReader, place: tf.Tensor) -> tf.Tensor:
    """Return the place behind a chain of blocks, each with its length in front.

    Nearly all blocks of a picture are full (255 bytes): those are skipped together.
    """

    def body(_: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lengths = gif.values[tf.minimum(place, gif.size) : gif.size : 256]
        # The first block that is not full; the zero stands for the end of the file.
        lengths = tf.concat([lengths, tf.zeros((1,), tf.uint8)], axis=0)
        full = tf.argmin(tf.cast(lengths == 255, tf.int32))
        length = tf.cast(lengths[full], tf.int64)
        return length > 0, place + 256 * full + length + 1

    _, end = tf.while_loop(
        lambda more, _: more, body, (tf.constant(True), place), parallel_iterations=1
    )
    return end
