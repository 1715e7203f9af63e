"""What an augmentation policy really does, for the eye."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.augment import AUGMENTATIONS, find_augmentation
from kerastl.data.mixing import MIXES, find_mix


def augmentation_sheet(
    images: NDArray[np.uint8],
    *,
    augment: str,
    mix: str = "none",
    num_variants: int = 5,
    seed: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return each image as it is, then as training would see it.

    Made by the functions that training calls, on batches of these images: with MixUp or
    CutMix they are mixed with each other.

    Args:
        images: uint8 of shape (n, height, width, 3), 0..255.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", see `kerastl.data.mixing`.
        num_variants: How many for each image.
        seed: Same seed, same variants.

    Returns:
        Pictures, uint8 of shape (n, 1 + num_variants, height, width, 3), and float32 of shape
        (n, 1 + num_variants, n): which share of each of the n images a picture's target has.

    Raises:
        ConfigError: `augment` or `mix` is unknown.

    Example:
        >>> images = np.zeros((2, 8, 8, 3), np.uint8)
        >>> pictures, shares = augmentation_sheet(images, augment="light", num_variants=3)
        >>> pictures.shape, shares[1, 3].tolist()
        ((2, 4, 8, 8, 3), [0.0, 1.0])
    """
    apply, blend = AUGMENTATIONS[find_augmentation(augment)], MIXES[find_mix(mix)]
    batch = tf.cast(images, tf.float32)
    targets = tf.eye(len(images))
    columns, shares = [np.asarray(images)], [targets.numpy()]
    for number in range(num_variants):
        seeds = tf.random.split(tf.constant([seed, number], tf.int64), 2)
        varied, mixed = blend(apply(batch, seeds[0]), targets, seeds[1])
        columns.append(np.clip(np.round(varied), 0, 255).astype(np.uint8))
        shares.append(mixed.numpy())
    return np.stack(columns, axis=1), np.stack(shares, axis=1)
