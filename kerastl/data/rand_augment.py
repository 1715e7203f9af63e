"""RandAugment on batches, drawn from a seed: the same seed makes the same pictures.

The 14 operations and their strengths are those of torchvision's `RandAugment` (Cubuk et al.
2020, https://arxiv.org/abs/1909.13719). Neither the layer of keras-cv nor that of Keras
can make a batch again: keras-cv 0.9.0 gives other pictures in every run with one seed, Keras
3.15.1 as soon as tf.data calls it in parallel (`benchmarks/augmentation.py` shows it).

For speed, what moves pixels (rotation, shears, translations) is merged into one warp that
comes first, and what maps one value to another (equalize, posterize, ...) is one look-up.
"""

from __future__ import annotations

import math

import tensorflow as tf

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
LOOK_UPS = ("Posterize", "Solarize", "AutoContrast", "Equalize")
OPERATIONS = ("Identity", *GEOMETRIC, *BLENDS, *LOOK_UPS)

# At magnitude 1; torchvision's `_augmentation_space`.
_LARGEST_SHEAR = 0.3
_LARGEST_SHIFT = 150.0 / 331.0
_LARGEST_ANGLE_DEGREES = 30.0
_LARGEST_BLEND = 0.9
_LARGEST_POSTERIZE_BITS = 4.0

# ITU-R 601-2, as Pillow turns RGB into grey.
_LUMA = (0.299, 0.587, 0.114)
# Pillow's ImageFilter.SMOOTH.
_SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))


def rand_augment(
    images: tf.Tensor, seed: tf.Tensor, *, magnitude: float, num_operations: int = 2
) -> tf.Tensor:
    """Apply to each image some operations that are drawn with replacement.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
        magnitude: Strength from 0 to 1: M / 30 of the paper.
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
    chosen, signs = tf.convert_to_tensor(chosen), tf.convert_to_tensor(signs, tf.float32)
    result = _moved(images, chosen, signs * magnitude)
    for number in range(chosen.shape[0]):
        result = _blended(result, chosen[number], signs[number] * magnitude)
        result = _looked_up(result, chosen[number], magnitude)
    return tf.ensure_shape(result, images.shape)


def _is(chosen: tf.Tensor, name: str) -> tf.Tensor:
    """Return 1.0 where an operation was chosen, 0.0 elsewhere."""
    return tf.cast(tf.equal(chosen, OPERATIONS.index(name)), tf.float32)


def _moved(images: tf.Tensor, chosen: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Rotate, shear and shift about the centre in one interpolation; edges are mirrored."""
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    height, width = size[0], size[1]
    zeros, ones = tf.zeros_like(strengths), tf.ones_like(strengths)
    angles = _is(chosen, "Rotate") * strengths * math.radians(_LARGEST_ANGLE_DEGREES)
    shear_x = _is(chosen, "ShearX") * strengths * _LARGEST_SHEAR
    shear_y = _is(chosen, "ShearY") * strengths * _LARGEST_SHEAR
    shift_x = _is(chosen, "TranslateX") * strengths * _LARGEST_SHIFT * width
    shift_y = _is(chosen, "TranslateY") * strengths * _LARGEST_SHIFT * height
    # Only one of these is not the identity for each image and place in the sequence.
    first = [tf.cos(angles), shear_x - tf.sin(angles), shift_x]
    second = [shear_y + tf.sin(angles), tf.cos(angles), shift_y]
    matrices = tf.stack([*first, *second, zeros, zeros, ones], axis=-1)
    matrices = tf.reshape(matrices, (chosen.shape[0], -1, 3, 3))
    product = matrices[0]
    for number in range(1, chosen.shape[0]):
        product = product @ matrices[number]
    return warp(images, product)


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


def _blended(images: tf.Tensor, chosen: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Mix each image with black, its grey mean, its grey or its smoothed self.

    Pillow's ImageEnhance: degenerate + factor * (image - degenerate); where none of these
    was chosen the factor is 1.
    """
    luma = tf.round(tf.tensordot(images, tf.constant(_LUMA), 1))[..., tf.newaxis]
    mean = tf.round(tf.reduce_mean(luma, axis=(1, 2), keepdims=True))
    smooth = tf.cond(
        tf.reduce_any(tf.equal(chosen, OPERATIONS.index("Sharpness"))),
        lambda: _smoothed(images),
        lambda: images,
    )
    weights = {name: _is(chosen, name)[:, None, None, None] for name in BLENDS}
    degenerate = (
        weights["Color"] * luma + weights["Contrast"] * mean + weights["Sharpness"] * smooth
    )
    change = tf.add_n(list(weights.values())) * strengths[:, None, None, None] * _LARGEST_BLEND
    # Written as a change, so that images to which nothing is done stay what they are.
    return tf.clip_by_value(images + change * (images - degenerate), 0.0, 255.0)


def _smoothed(images: tf.Tensor) -> tf.Tensor:
    """Return images smoothed as Pillow's SMOOTH does it; the outermost pixels stay."""
    kernel = tf.constant(_SMOOTH)[..., tf.newaxis, tf.newaxis] / 13.0
    inner = tf.nn.depthwise_conv2d(images, tf.tile(kernel, (1, 1, 3, 1)), (1, 1, 1, 1), "VALID")
    size = tf.shape(images)
    rows, columns = tf.range(size[1]), tf.range(size[2])
    inside = tf.logical_and(
        tf.logical_and(rows > 0, rows < size[1] - 1)[:, tf.newaxis],
        tf.logical_and(columns > 0, columns < size[2] - 1),
    )
    padded = tf.pad(tf.round(inner), [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.where(inside[..., tf.newaxis], padded, images)


def _looked_up(images: tf.Tensor, chosen: tf.Tensor, magnitude: float) -> tf.Tensor:
    """Map every value of each image and channel to another one, where that was chosen."""
    wanted = tf.where(chosen >= OPERATIONS.index(LOOK_UPS[0]))[:, 0]

    def change() -> tf.Tensor:
        some = tf.cast(tf.round(tf.gather(images, wanted)), tf.int32)
        values = tf.reshape(some, (-1, tf.reduce_prod(tf.shape(some)[1:3]), 3))
        values = tf.transpose(values, (0, 2, 1))  # (images, channels, pixels)
        tables = _tables(values, tf.gather(chosen, wanted), magnitude)
        mapped = tf.gather(tables, values, batch_dims=2)
        mapped = tf.reshape(tf.transpose(mapped, (0, 2, 1)), tf.shape(some))
        return tf.tensor_scatter_nd_update(images, wanted[:, tf.newaxis], mapped)

    return tf.cond(tf.size(wanted) > 0, change, lambda: images)


def _tables(values: tf.Tensor, chosen: tf.Tensor, magnitude: float) -> tf.Tensor:
    """Return float32 of shape (images, 3, 256): what becomes of each value."""
    identity = tf.range(256)
    shape = tf.concat([tf.shape(values)[:2], [256]], axis=0)
    bits = 8 - round(_LARGEST_POSTERIZE_BITS * magnitude)
    posterized = tf.bitwise.bitwise_and(identity, 256 - 2 ** (8 - bits))
    solarized = tf.where(identity < math.ceil(255 * (1 - magnitude)), identity, 255 - identity)
    histograms = tf.math.bincount(
        tf.reshape(values, (-1, tf.shape(values)[2])), minlength=256, maxlength=256, axis=-1
    )
    histograms = tf.reshape(histograms, shape)
    tables = {
        "Posterize": tf.broadcast_to(posterized, shape),
        "Solarize": tf.broadcast_to(solarized, shape),
        "AutoContrast": _stretching_table(histograms),
        "Equalize": _equalizing_table(histograms),
    }
    result = tf.broadcast_to(identity, shape)
    for name, table in tables.items():
        is_it = tf.equal(chosen, OPERATIONS.index(name))[:, tf.newaxis, tf.newaxis]
        result = tf.where(is_it, table, result)
    return tf.cast(result, tf.float32)


def _stretching_table(histograms: tf.Tensor) -> tf.Tensor:
    """Return the tables of Pillow's ImageOps.autocontrast: darkest to 0, brightest to 255."""
    present = histograms > 0
    low = tf.argmax(present, axis=-1, output_type=tf.int32)
    high = 255 - tf.argmax(present[..., ::-1], axis=-1, output_type=tf.int32)
    low, high = low[..., tf.newaxis], high[..., tf.newaxis]
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float64)
    value = tf.cast(tf.range(256), tf.float64)
    stretched = tf.cast(value * scale - tf.cast(low, tf.float64) * scale, tf.int32)
    return tf.where(high <= low, tf.range(256), tf.clip_by_value(stretched, 0, 255))


def _equalizing_table(histograms: tf.Tensor) -> tf.Tensor:
    """Return the tables of Pillow's ImageOps.equalize: all values about equally frequent."""
    present = histograms > 0
    last = 255 - tf.argmax(present[..., ::-1], axis=-1, output_type=tf.int32)
    of_last = tf.gather(histograms, last[..., tf.newaxis], batch_dims=2)
    step = (tf.reduce_sum(histograms, axis=-1, keepdims=True) - of_last) // 255
    before = tf.cumsum(histograms, axis=-1, exclusive=True)
    equal = tf.clip_by_value((step // 2 + before) // tf.maximum(step, 1), 0, 255)
    return tf.where(step <= 0, tf.range(256), equal)
