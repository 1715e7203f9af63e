"""Any image to one size, with the same result in a TensorFlow graph, compiled and by Pillow.

All do Pillow's arithmetic: a triangle filter as wide as the reduction (so without
aliasing), weights in whole numbers of 1/2**22, rows first and then columns, each rounded to
uint8. Whole numbers come out alike everywhere, so that a served model sees bit for bit
the pixels that it was trained on.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from kerastl.data.decode import to_rgb
from kerastl.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

RESIZE_MODES = ("stretch", "crop", "pad")

# What "pad" puts beside an image: the middle of the range, so that the border is neither
# the darkest nor the brightest thing in the picture.
PAD_GREY = 127

_COMPILED = "kerastl.data.resampler"

# As there; it is compiled when imported.
_PRECISION_BITS = 22


def resize_image(
    pixels: tf.Tensor, *, image_size: tuple[int, int], resize_mode: str = "stretch"
) -> tf.Tensor:
    """Bring raw pixels to one size: bilinear with antialiasing, rounded to uint8.

    TensorFlow operations only; `resize_pixels` does the same outside of graphs, faster. An
    image of that size already comes back unchanged.

    Args:
        pixels: uint8 of shape (height, width) or (..., height, width, channels), one image
            or one batch, with 1, 2, 3 or 4 channels.
        image_size: (height, width) in pixels of the result.
        resize_mode: "stretch" ignores the aspect ratio; "crop" first takes the largest
            centred window of the new aspect ratio; "pad" keeps the whole image and its
            aspect ratio and fills the rest with grey 127.

    Returns:
        uint8 of shape (..., image_size[0], image_size[1], 3).

    Raises:
        ConfigError: `resize_mode` is unknown.
        DataError: The pixels are not uint8, or have another number of channels.

    Example:
        >>> resize_image(tf.zeros((30, 60, 3), tf.uint8), image_size=(8, 8),
        ...              resize_mode="pad")[:, 0, 0].numpy().tolist()
        [127, 127, 0, 0, 0, 0, 127, 127]
    """
    _check_mode(resize_mode)
    pixels = tf.convert_to_tensor(pixels)
    if pixels.dtype != tf.uint8:
        raise DataError(
            f"Images must be uint8 with values 0..255; received dtype {pixels.dtype.name}. "
            "Scale floating-point images to 0..255 and convert them with .astype('uint8')."
        )
    pixels = to_rgb(pixels)
    height, width = tf.shape(pixels)[-3], tf.shape(pixels)[-2]
    fitted = _fit(height, width, image_size, resize_mode, low=tf.maximum, high=tf.minimum)
    top, left, window_height, window_width, new_height, new_width = fitted
    window = pixels[..., top : top + window_height, left : left + window_width, :]
    resized = _resample(_resample(window, new_height, axis=-3), new_width, axis=-2)
    if resize_mode == "pad":
        resized = _pad(resized, image_size=image_size)
    return tf.ensure_shape(resized, (*pixels.shape[:-3], *image_size, 3))


def resize_pixels(
    pixels: NDArray[np.uint8],
    *,
    image_size: tuple[int, int],
    resize_mode: str = "stretch",
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return one RGB image at one size: `resize_image` bit for bit, outside of graphs.

    Args:
        pixels: uint8 of shape (height, width, 3).
        image_size: (height, width) in pixels of the result.
        resize_mode: "stretch", "crop" or "pad", see `resize_image`.
        out: uint8 of the shape of the result, C-contiguous, that it is written to; without it
            the result is a new array, or `pixels` if they have that size already.

    Returns:
        uint8 of shape (image_size[0], image_size[1], 3).

    Raises:
        ConfigError: `resize_mode` is unknown.

    Example:
        >>> resize_pixels(np.zeros((30, 60, 3), np.uint8), image_size=(2, 4)).shape
        (2, 4, 3)
    """
    _check_mode(resize_mode)
    height, width = pixels.shape[:2]
    if (height, width) == tuple(image_size):
        if out is None:
            return pixels
        out[:] = pixels
        return out
    if out is None:
        out = np.empty((*image_size, 3), np.uint8)
    top, left, window_height, window_width, new_height, new_width = _fit(
        height, width, image_size, resize_mode, low=max, high=min
    )
    resample = _by_compiled_code if _COMPILED in sys.modules else _by_pillow
    window = (top, left, window_height, window_width)
    if resize_mode != "pad":
        resample(pixels, window, out)
        return out
    resized = np.empty((new_height, new_width, 3), np.uint8)
    resample(pixels, window, resized)
    out[:] = PAD_GREY
    top, left = (image_size[0] - new_height) // 2, (image_size[1] - new_width) // 2
    out[top : top + new_height, left : left + new_width] = resized
    return out


def compile_resizing() -> None:
    """Let `resize_pixels` use compiled code from now on, with the same results.

    Loading it takes 0.7 s (the first time on a machine 3 s); an image of 500 x 375 to 224 x 224
    then takes 0.17 ms, not 0.75 as Pillow needs. It pays from about 1,000 images on.

    Example:
        >>> compile_resizing()
    """
    try:
        importlib.import_module(_COMPILED)
    # Of Numba, which fails in many ways where NumPy is newer than it knows or its cache is damaged.
    except Exception as error:
        logger.info("Images are resized by Pillow, more slowly: Numba does not work (%s).", error)


def _by_compiled_code(
    pixels: NDArray[np.uint8], window: tuple[int, int, int, int], out: NDArray[np.uint8]
) -> None:
    """Bring a window of an image to the size of `out`."""
    from kerastl.data.resampler import resample

    resample(pixels, window=window, out=out)


def _by_pillow(
    pixels: NDArray[np.uint8], window: tuple[int, int, int, int], out: NDArray[np.uint8]
) -> None:
    """Bring a window of an image to the size of `out`."""
    top, left, height, width = window
    image = Image.fromarray(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    # Two calls, because Pillow chooses the order of the axes by size, and the order shows.
    image = image.resize((width, out.shape[0]), Image.Resampling.BILINEAR)
    out[:] = np.asarray(image.resize((out.shape[1], out.shape[0]), Image.Resampling.BILINEAR))


def _check_mode(resize_mode: str) -> None:
    """Refuse an unknown mode."""
    if resize_mode not in RESIZE_MODES:
        raise ConfigError(
            f"`resize_mode` must be one of {', '.join(map(repr, RESIZE_MODES))}; received "
            f"resize_mode={resize_mode!r}.{did_you_mean(resize_mode, RESIZE_MODES)}"
        )


def _fit(
    height: Any, width: Any, image_size: tuple[int, int], resize_mode: str, *, low: Any, high: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return top, left, height and width of the window that is used, and its new size.

    Whole numbers only, rounded to the nearest: no platform may differ by one pixel.
    `low` and `high` are the maximum and minimum of two numbers, or of two tensors.
    """
    target_height, target_width = image_size
    if resize_mode == "crop":
        window_height = high(
            low((width * target_height + target_width // 2) // target_width, 1), height
        )
        window_width = high(
            low((height * target_width + target_height // 2) // target_height, 1), width
        )
        top, left = (height - window_height) // 2, (width - window_width) // 2
        return top, left, window_height, window_width, target_height, target_width
    if resize_mode == "pad":
        new_height = high(low((height * target_width + width // 2) // width, 1), target_height)
        new_width = high(low((width * target_height + height // 2) // height, 1), target_width)
        return 0, 0, height, width, new_height, new_width
    return 0, 0, height, width, target_height, target_width


def _pad(pixels: tf.Tensor, *, image_size: tuple[int, int]) -> tf.Tensor:
    """Put grey around an image."""
    missing = tf.constant(image_size) - tf.shape(pixels)[-3:-1]
    before = missing // 2
    margins = tf.stack([before, missing - before], axis=1)
    others = pixels.shape.rank - 3
    margins = tf.pad(margins, [[others, 1], [0, 0]])
    return tf.pad(pixels, margins, constant_values=tf.constant(PAD_GREY, tf.uint8))


def _resample(pixels: tf.Tensor, size: int | tf.Tensor, *, axis: int) -> tf.Tensor:
    """Resize one axis (-3 or -2)."""
    length = tf.shape(pixels)[axis]
    return tf.cond(
        tf.equal(length, size),
        lambda: pixels,
        lambda: (
            _weighted_rows(pixels, *_taps(length, size))
            if axis == -3
            # Whole rows are gathered many times as fast as single pixels.
            else _swap(_weighted_rows(_swap(pixels), *_taps(length, size)))
        ),
    )


def _swap(pixels: tf.Tensor) -> tf.Tensor:
    """Return rows as columns."""
    others = list(range(pixels.shape.rank - 3))
    return tf.transpose(pixels, [*others, *(len(others) + axis for axis in (1, 0, 2))])


def _taps(length: tf.Tensor, size: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which input pixels an output pixel is made of, and their weights.

    Returns:
        int32 of shape (taps, size) twice: places, and weights of 1/2**22.
    """
    length_float = tf.cast(length, tf.float64)
    scale = length_float / tf.cast(size, tf.float64)
    support = tf.maximum(scale, 1.0)
    centre = (tf.cast(tf.range(size), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centre - support + 0.5, tf.int32), 0)
    last = tf.minimum(tf.cast(centre + support + 0.5, tf.int32), length)
    num_taps = 2 * tf.cast(tf.math.ceil(support), tf.int32) + 1
    places = first + tf.range(num_taps)[:, tf.newaxis]
    distance = (tf.cast(places, tf.float64) - centre + 0.5) * (1.0 / support)
    weights = tf.where(places < last, tf.maximum(1.0 - tf.abs(distance), 0.0), 0.0)
    weights = weights / tf.reduce_sum(weights, axis=0)
    whole = tf.cast(weights * 2.0**_PRECISION_BITS + 0.5, tf.int32)
    return tf.minimum(places, length - 1), whole


def _weighted_rows(pixels: tf.Tensor, places: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Add up the weighted rows, tap by tap: memory stays that of the result."""
    shape = tf.concat([tf.shape(pixels)[:-3], tf.shape(weights)[1:], tf.shape(pixels)[-2:]], axis=0)

    def add(tap: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = tf.cast(tf.gather(pixels, places[tap], axis=-3), tf.int32)
        return tap + 1, total + chosen * tf.reshape(weights[tap], [-1, 1, 1])

    half = tf.fill(shape, tf.constant(1 << (_PRECISION_BITS - 1), tf.int32))
    total = tf.while_loop(
        lambda tap, _: tap < tf.shape(weights)[0],
        add,
        (tf.constant(0), half),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None] * pixels.shape.rank)),
        parallel_iterations=1,
    )[1]
    # Weights that were each rounded up may add up to a little more than one.
    return tf.cast(tf.minimum(tf.bitwise.right_shift(total, _PRECISION_BITS), 255), tf.uint8)
