"""MixUp and CutMix: images and their targets mixed in one proportion, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from kerastl.errors import ConfigError, did_you_mean

Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# BiT-HyperRule (Kolesnikov et al. 2020): MixUp with alpha 0.1 where there is enough data.
MIXUP_ALPHA = 0.1
# CutMix (Yun et al. 2019): every size of window is as likely as any other.
CUTMIX_ALPHA = 1.0


def no_mix(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images and targets as they are.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        targets: float32 of shape (batch, num_classes).
        seed: int64 of shape (2,); not used.
    """
    del seed
    return images, targets


def mixup(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image and its target with those of another one of the batch.

    Zhang et al. 2018 (https://arxiv.org/abs/1710.09412), with alpha 0.1 and one share per
    image; the image itself always has the larger share, which changes nothing but the order.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        targets: float32 of shape (batch, num_classes); one-hot, several labels or soft.
        seed: int64 of shape (2,).
    """
    share_seed, order_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    count = tf.shape(images)[0]
    share = _beta(count, share_seed, alpha=MIXUP_ALPHA)
    share = tf.maximum(share, 1 - share)
    partner = _shuffled(count, order_seed)
    of_image = share[:, None, None, None]
    return (
        images * of_image + tf.gather(images, partner) * (1 - of_image),
        _mixed_targets(targets, partner, share),
    )


def cutmix(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Replace a window of each image by that of another one of the batch.

    Yun et al. 2019 (https://arxiv.org/abs/1905.04899), with alpha 1. The target of the other
    has the share of the pixels that were really replaced: windows are cut off at the edges.
    Where a small spot decides (a crack in a cell), a window may hide it and leave its label.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        targets: float32 of shape (batch, num_classes); one-hot, several labels or soft.
        seed: int64 of shape (2,).
    """
    share_seed, place_seed, order_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 3))
    count = tf.shape(images)[0]
    partner = _shuffled(count, order_seed)
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    side = tf.sqrt(1 - _beta(count, share_seed, alpha=CUTMIX_ALPHA))[:, tf.newaxis]
    centre = tf.random.stateless_uniform((count, 2), place_seed) * size
    first = tf.cast(tf.clip_by_value(tf.round(centre - side * size / 2), 0, size), tf.int32)
    last = tf.cast(tf.clip_by_value(tf.round(centre + side * size / 2), 0, size), tf.int32)
    in_rows = _between(tf.shape(images)[1], first[:, 0], last[:, 0])
    in_columns = _between(tf.shape(images)[2], first[:, 1], last[:, 1])
    # Colours of a row one after the other: a mask that need not be spread over a last axis of 3
    # is chosen by 4 times as fast.
    rows = tf.reshape(images, (count, tf.shape(images)[1], -1))
    of_partner = in_rows[:, :, tf.newaxis] & tf.repeat(in_columns, 3, axis=1)[:, tf.newaxis]
    mixed = tf.where(of_partner, tf.gather(rows, partner), rows)
    replaced = tf.cast(tf.reduce_prod(last - first, axis=1), tf.float32) / tf.reduce_prod(size)
    return (
        tf.ensure_shape(tf.reshape(mixed, tf.shape(images)), images.shape),
        _mixed_targets(targets, partner, 1 - replaced),
    )


MIXES: Mapping[str, Mix] = {"none": no_mix, "mixup": mixup, "cutmix": cutmix}


def find_mix(name: str) -> str:
    """Return the name of a way to mix, or say which one was probably meant.

    Args:
        name: What a user wrote.

    Raises:
        ConfigError: There is no such way.

    Example:
        >>> find_mix("mixup")
        'mixup'
    """
    if name in MIXES:
        return name
    raise ConfigError(
        f"`mix` must be one of {', '.join(MIXES)}; received mix={name!r}."
        f"{did_you_mean(name, MIXES)}"
    )


def _mixed_targets(targets: tf.Tensor, partner: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Return targets of which each keeps its share."""
    own = share[:, tf.newaxis]
    return targets * own + tf.gather(targets, partner) * (1 - own)


def _between(length: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Return bool of shape (batch, length): from the first to before the last."""
    places = tf.range(length)
    return tf.logical_and(places >= first[:, tf.newaxis], places < last[:, tf.newaxis])


def _shuffled(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return the numbers below `count` in random order."""
    return tf.argsort(tf.random.stateless_uniform((count,), seed))


def _beta(count: tf.Tensor, seed: tf.Tensor, *, alpha: float) -> tf.Tensor:
    """Draw from Beta(alpha, alpha): x / (x + y) of two gamma variables."""
    drawn = tf.random.stateless_gamma((count, 2), seed, alpha=alpha, dtype=tf.float64)
    # Small alphas give numbers that underflow, even both: then either is as good.
    drawn = tf.maximum(drawn, 1e-300)
    return tf.cast(drawn[:, 0] / tf.reduce_sum(drawn, axis=1), tf.float32)
