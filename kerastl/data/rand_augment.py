"""RandAugment on batches, drawn from a seed: the same seed makes the same pictures.

The 14 operations and their strengths are those of torchvision's `RandAugment` (Cubuk et al.
2020, https://arxiv.org/abs/1909.13719); the colours are Pillow's. Neither the layer of
keras-cv nor that of Keras can make a batch again: keras-cv 0.9.0 gives other pictures in every
run with one seed, Keras 3.15.1 as soon as tf.data calls it in parallel
(`benchmarks/augmentation.py` shows it).

For speed, what moves pixels (rotation, shears, translations) is merged into one warp that
comes first, and every operation is given only the images that drew it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

# At magnitude 1; torchvision's `_augmentation_space`.
_LARGEST_SHEAR = 0.3
_LARGEST_SHIFT = 150.0 / 331.0
_LARGEST_ANGLE_DEGREES = 30.0
_LARGEST_BLEND = 0.9
_LARGEST_POSTERIZE_BITS = 4.0

# ITU-R 601-2, as Pillow turns RGB into grey.
_LUMA = (0.299, 0.587, 0.114)

# From images, and what decides how much each of them changes, to images. Of a colour
# operation that is float32 of shape (batch, 1, 1, 1), -1 to 1; of `warp`, matrices.
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def rand_augment(
    images: tf.Tensor, seed: tf.Tensor, *, magnitude: float, num_operations: int = 2
) -> tf.Tensor:
    """Apply to each image some operations that are drawn with replacement.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
        magnitude: Strength from 0 to 1: level / 30 of torchvision. (The paper's levels end
            at 10 for the same strengths, and go beyond.)
        num_operations: How many, N of the paper.

    Returns:
        Like `images`.

    Example:
        >>> images = tf.random.stateless_uniform((2, 8, 8, 3), (0, 0), 0, 255)
        >>> seed = tf.constant([1, 2], tf.int64)
        >>> one, other = (rand_augment(images, seed, magnitude=0.3) for _ in range(2))
        >>> bool(tf.reduce_all(one == other))
        True
    """
    count = tf.shape(images)[0]
    chosen_seed, sign_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    shape = (num_operations, count)
    chosen = tf.random.stateless_uniform(shape, chosen_seed, 0, len(OPERATIONS), tf.int32)
    signs = tf.cast(tf.random.stateless_uniform(shape, sign_seed, 0, 2, tf.int32), tf.float32)
    return apply_operations(images, chosen, 2 * signs - 1, magnitude=magnitude)


def apply_operations(
    images: tf.Tensor, chosen: tf.Tensor, signs: tf.Tensor, *, magnitude: float
) -> tf.Tensor:
    """Apply given operations to each image: those that move pixels first, then the others.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        chosen: int32 of shape (num_operations, batch): indices of `OPERATIONS`.
        signs: float32 of shape (num_operations, batch): 1, or -1 to turn, shift, darken, ...
            the other way.
        magnitude: Strength from 0 to 1.

    Example:
        >>> images = tf.fill((1, 2, 2, 3), 200.0)
        >>> darker = apply_operations(images, [[OPERATIONS.index("Brightness")]], [[-1.0]],
        ...                           magnitude=0.5)
        >>> float(darker[0, 0, 0, 0])
        110.0
    """
    chosen = tf.convert_to_tensor(chosen)
    strengths = tf.convert_to_tensor(signs, tf.float32) * magnitude
    moves = tf.reduce_any((chosen > 0) & (chosen <= len(GEOMETRIC)), axis=0)
    matrices = _matrices(chosen, strengths, size=tf.cast(tf.shape(images)[1:3], tf.float32))
    result = _by_group(images, matrices, tf.cast(moves, tf.int32), (_as_it_is, warp))
    for number in range(chosen.shape[0]):
        colour = tf.maximum(chosen[number] - len(GEOMETRIC), 0)
        strength = strengths[number][:, tf.newaxis, tf.newaxis, tf.newaxis]
        result = _by_group(result, strength, colour, (_as_it_is, *COLOURS.values()))
    return tf.ensure_shape(result, images.shape)


def _by_group(
    images: tf.Tensor, values: tf.Tensor, group: tf.Tensor, changes: Sequence[Change]
) -> tf.Tensor:
    """Change the images of each group, and no others, by the function of that group."""
    rows, parts, values_of = (
        tf.dynamic_partition(each, group, len(changes))
        for each in (tf.range(tf.shape(images)[0]), images, values)
    )
    changed = [change(*of) for change, *of in zip(changes, parts, values_of, strict=True)]
    return tf.dynamic_stitch(rows, changed)


def _as_it_is(images: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Return the images unchanged."""
    del values
    return images


def _matrices(chosen: tf.Tensor, strengths: tf.Tensor, *, size: tf.Tensor) -> tf.Tensor:
    """Return rotation, shear and shift of each image in one, for `warp`."""

    def of(name: str) -> tf.Tensor:
        return tf.where(tf.equal(chosen, OPERATIONS.index(name)), strengths, 0.0)

    angles = of("Rotate") * math.radians(_LARGEST_ANGLE_DEGREES)
    shear_x, shear_y = of("ShearX") * _LARGEST_SHEAR, of("ShearY") * _LARGEST_SHEAR
    shift_x = of("TranslateX") * _LARGEST_SHIFT * size[1]
    shift_y = of("TranslateY") * _LARGEST_SHIFT * size[0]
    zeros, ones = tf.zeros_like(strengths), tf.ones_like(strengths)
    # At most one of these is not zero for each image and place in the sequence.
    first = [tf.cos(angles), shear_x - tf.sin(angles), shift_x]
    second = [shear_y + tf.sin(angles), tf.cos(angles), shift_y]
    matrices = tf.stack([*first, *second, zeros, zeros, ones], axis=-1)
    matrices = tf.reshape(matrices, (chosen.shape[0], -1, 3, 3))
    product = matrices[0]
    for number in range(1, chosen.shape[0]):
        product = product @ matrices[number]
    return product


def warp(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Take the pixels of each result from other places of its image; edges are mirrored.

    Args:
        images: float32 of shape (batch, height, width, 3).
        matrices: float32 of shape (batch, 3, 3): from (x, y, 1) of the result to that of the
            image, in pixels from the centre.

    Returns:
        Like `images`, by bilinear interpolation.

    Example:
        >>> images = tf.reshape(tf.range(4.0), (1, 1, 4, 1))
        >>> mirror = tf.linalg.diag([[-1.0, 1.0, 1.0]])
        >>> warp(images, mirror)[0, 0, :, 0].numpy().tolist()
        [3.0, 2.0, 1.0, 0.0]
    """
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    from_centre = tf.stack([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    to_centre = tf.stack([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
    transforms = tf.reshape(from_centre @ matrices @ to_centre, (-1, 9))[:, :8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _brightness(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Mix with black, as Pillow's ImageEnhance: black + factor * (image - black)."""
    return _enhanced(images, 0.0, strength)


def _color(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Mix with the grey image."""
    return _enhanced(images, _grey(images), strength)


def _contrast(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Mix with the mean of the grey image."""
    mean = tf.reduce_mean(_grey(images), axis=(1, 2), keepdims=True)
    return _enhanced(images, tf.round(mean), strength)


def _sharpness(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Mix with the smoothed image (Pillow's SMOOTH); the outermost pixels stay."""
    # Its kernel of ones with a 5 in the middle, by 13, is a mean of nine and the pixel itself.
    nine = tf.nn.avg_pool2d(images, 3, 1, "VALID")
    inner = images[:, 1:-1, 1:-1]
    change = tf.pad(inner - tf.round((9 * nine + 4 * inner) / 13), _ONE_AROUND)
    return _enhanced(images, images - change, strength)


_ONE_AROUND = [[0, 0], [1, 1], [1, 1], [0, 0]]


def _enhanced(images: tf.Tensor, degenerate: tf.Tensor | float, strength: tf.Tensor) -> tf.Tensor:
    """Mix with a degenerate image, or away from it: the factor is 1 + 0.9 * strength."""
    factor = 1.0 + strength * _LARGEST_BLEND
    return tf.clip_by_value(degenerate + factor * (images - degenerate), 0.0, 255.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    """Return the luma of shape (batch, height, width, 1), in whole numbers as Pillow does."""
    return tf.round(tf.tensordot(images, tf.constant(_LUMA), 1))[..., tf.newaxis]


def _posterize(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Keep the 8 to 4 highest bits."""
    step = 2.0 ** tf.round(_LARGEST_POSTERIZE_BITS * tf.abs(strength))
    return tf.floor(tf.round(images) / step) * step


def _solarize(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Turn values from a threshold on, 255 to 0, into their negative."""
    return tf.where(images < 255.0 * (1.0 - tf.abs(strength)), images, 255.0 - images)


def _auto_contrast(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Stretch each channel to 0..255 (Pillow's ImageOps.autocontrast)."""
    del strength
    # Whole numbers: what interpolation left of one even colour is not to be stretched.
    low = tf.round(tf.reduce_min(images, axis=(1, 2), keepdims=True))
    high = tf.round(tf.reduce_max(images, axis=(1, 2), keepdims=True))
    stretched = (images - low) * (255.0 / tf.maximum(high - low, 1.0))
    return tf.where(high > low, tf.clip_by_value(stretched, 0.0, 255.0), images)


def _equalize(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Make all values of each channel about equally frequent (Pillow's ImageOps.equalize)."""
    del strength
    shape = tf.shape(images)
    # One table of 256 values for each image and channel, one after the other.
    tables = tf.reshape(tf.range(shape[0] * 3), (-1, 1, 1, 3)) * 256
    places = tables + tf.cast(tf.round(images), tf.int32)
    size = shape[0] * 3 * 256
    counts = tf.math.bincount(tf.reshape(places, [-1]), minlength=size, maxlength=size)
    histograms = tf.reshape(counts, (-1, 256))
    last = 255 - tf.argmax(histograms[:, ::-1] > 0, axis=1, output_type=tf.int32)
    of_last = tf.gather(histograms, last[:, tf.newaxis], batch_dims=1)
    step = (tf.reduce_sum(histograms, axis=1, keepdims=True) - of_last) // 255
    before = tf.cumsum(histograms, axis=1, exclusive=True)
    equal = tf.clip_by_value((step // 2 + before) // tf.maximum(step, 1), 0, 255)
    equal = tf.where(step > 0, equal, tf.range(256))
    return tf.gather(tf.cast(tf.reshape(equal, [-1]), tf.float32), places)


GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
COLOURS: Mapping[str, Change] = {
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}
OPERATIONS = ("Identity", *GEOMETRIC, *COLOURS)
