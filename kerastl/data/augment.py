"""Augmentation policies: what a training picture may become without changing its label.

One table, batched, on float32 pixels 0..255. Every policy draws from a seed that is handed
in, so that a batch can be made again, whatever runs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.rand_augment import rand_augment, warp
from kerastl.errors import ConfigError, did_you_mean
from kerastl.option_values import UNMIRRORED

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def none(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return the images as they are.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,); not used.
    """
    del seed
    return images


def light(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror half of the images and cut to 64..100 % of the area (BiT: crop and flip).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    flip, scale, shift = _seeds(seed, 3)
    count = tf.shape(images)[0]
    # One factor for both axes: the aspect ratio is part of what a thing looks like.
    factor = tf.random.stateless_uniform((count, 1), scale, 0.8, 1.0)
    room = 1.0 - factor
    first = tf.random.stateless_uniform((count, 2), shift) * room
    last = first + factor
    # A box whose right side is left of its left side is a mirror image.
    mirrored = _half_of_them(count, flip)
    left = tf.where(mirrored, 1 - first[:, 1], first[:, 1])
    right = tf.where(mirrored, 1 - last[:, 1], last[:, 1])
    boxes = tf.stack([first[:, 0], left, last[:, 0], right], axis=1)
    return tf.image.crop_and_resize(
        images, boxes, tf.range(count), tf.shape(images)[1:3], method="bilinear"
    )


def dihedral(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw one of the 8 symmetries of the square, then turn by up to 3° and move by up to 2 %.

    For pictures without an up: cells, satellites, microscopes (Deitsch et al. 2019).
    Of pictures that are not square, only the 4 symmetries that keep the shape.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    mirror_seed, diagonal = _seeds(seed, 2)
    turned = _half_of_them(tf.shape(images)[0], diagonal)
    return _turned(images, mirror_seed, turned & (images.shape[1] == images.shape[2]))


def mirrors(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw one of the 4 mirror images, then turn by up to 3° and move by up to 2 %.

    For pictures without an up or a left whose rows and columns differ: solar cells with
    their bus bars, scans of a line (small changes of Deitsch et al. 2019).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    return _turned(images, seed, tf.zeros(tf.shape(images)[0], tf.bool))


def tilt(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shear by up to 5°, turn by up to 3° and move by up to 2 %; nothing is mirrored.

    For pages and writing, whose mirror images do not exist. Of many changes of pages shears were
    the best (Tensmeyer and Martinez 2017, arXiv:1708.03273); how far is our choice.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    jitter, shear, which = _seeds(seed, 3)
    count = tf.shape(images)[0]
    slopes = tf.tan(tf.random.stateless_uniform((count,), shear, -1.0, 1.0) * np.deg2rad(5))
    along = tf.cast(_half_of_them(count, which), tf.float32)
    ones, nothing = tf.ones_like(slopes), tf.zeros_like(slopes)
    sheared = _matrices((ones, slopes * along, nothing), (slopes * (1 - along), ones, nothing))
    return warp(images, sheared @ _jittered(images, jitter))


def medium(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Apply `light`, then RandAugment with 2 operations at 0.3 of full strength.

    The default of torchvision's RandAugment (level 9 of 30). For photographs: where brightness
    itself decides (cells, X-rays), an equalized picture shows faults that are none; take
    `mirrors` there.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    light_seed, rand_seed = _seeds(seed, 2)
    return rand_augment(light(images, light_seed), rand_seed, magnitude=0.3)


def strong(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Apply `light`, then RandAugment with 2 operations at 0.9 of full strength.

    What Cubuk et al. (2020) chose for ResNet-50 on ImageNet (level 9 of 10, timm's `rand-m9`):
    for long training on much data.

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    light_seed, rand_seed = _seeds(seed, 2)
    return rand_augment(light(images, light_seed), rand_seed, magnitude=0.9)


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": none,
    "light": light,
    "medium": medium,
    "strong": strong,
    "mirrors": mirrors,
    "dihedral": dihedral,
    "tilt": tilt,
}


def augment_each(images: tf.Tensor, seeds: tf.Tensor, *, policy: str) -> tf.Tensor:
    """Vary each image by a seed of its own: what is beside it has no influence.

    Within 20 % of the speed of the batch by one seed (light 2,481 against 2,859 images of 224
    pixels per second, mirrors 976 against 1,004, medium 471 against 475; 2 cores of an AMD EPYC).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seeds: int64 of shape (batch, 2).
        policy: Name of a policy.

    Example:
        >>> images, seeds = tf.random.uniform((2, 8, 8, 3)), tf.constant([[1, 2], [3, 4]])
        >>> both = augment_each(images, seeds, policy="light")
        >>> second = augment_each(images[1:], seeds[1:], policy="light")
        >>> bool(tf.reduce_all(both[1] == second[0]))
        True
    """
    apply = AUGMENTATIONS[policy]
    return tf.map_fn(
        lambda one: apply(one[0][tf.newaxis], one[1])[0],
        (images, seeds),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32),
        parallel_iterations=32,  # the default of 10 keeps no larger machine busy
    )


Pixels = NDArray[np.uint8]

# Name of the view that changes nothing.
AS_IT_IS = "as it is"


def symmetric_views(policy: str, *, square: bool) -> dict[str, Callable[[Pixels], Pixels]]:
    """Return the changes of a policy that lose no pixel: the first one changes nothing.

    A probe that is fitted on all of them learns what does not matter; on the solar cells
    that is worth a point of accuracy (`benchmarks/solar.py`).

    Args:
        policy: Name of a policy.
        square: Whether the images are square; others cannot be transposed.

    Returns:
        By name, functions from uint8 (n, height, width, 3) to the same shape, without a copy.

    Example:
        >>> images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        >>> views = symmetric_views("light", square=True)
        >>> {name: view(images)[0, 0, 0, 0].item() for name, view in views.items()}
        {'as it is': 0, 'left-right': 3}
    """
    views: dict[str, Callable[[Pixels], Pixels]] = {AS_IT_IS: lambda images: images}
    if find_augmentation(policy) not in UNMIRRORED:
        views["left-right"] = lambda images: images[:, :, ::-1]
    if policy in ("mirrors", "dihedral"):
        views["up-down"] = lambda images: images[:, ::-1]
        views["both"] = lambda images: images[:, ::-1, ::-1]
    if policy == "dihedral" and square:
        views |= {f"{name}, transposed": _transposed(view) for name, view in views.items()}
    return views


def _transposed(view: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    """Return the view of the transposed images."""
    return lambda images: view(images.swapaxes(1, 2))


def find_augmentation(name: str) -> str:
    """Return the name of a policy, or say which one was probably meant.

    Args:
        name: What a user wrote.

    Raises:
        ConfigError: There is no such policy.

    Example:
        >>> find_augmentation("light")
        'light'
    """
    if name in AUGMENTATIONS:
        return name
    raise ConfigError(
        f"`augment` must be one of {', '.join(AUGMENTATIONS)}; received augment={name!r}."
        f"{did_you_mean(name, AUGMENTATIONS)}"
    )


def _seeds(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Split one seed of shape (2,) into several that are independent of each other."""
    return tf.unstack(tf.random.split(tf.cast(seed, tf.int64), count))


def _half_of_them(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return bool of shape (count,), each true with probability one half."""
    return tf.random.stateless_uniform((count,), seed) < 0.5


def _turned(images: tf.Tensor, seed: tf.Tensor, transposed: tf.Tensor) -> tf.Tensor:
    """Mirror at random, turn by up to 3° and move by up to 2 %, in one interpolation.

    A warp takes places of the result to places of the image: the last change comes first.

    Args:
        images: float32 of shape (batch, height, width, 3).
        seed: int64 of shape (2,).
        transposed: bool of shape (batch,): which images are transposed before all else.
    """
    horizontal, vertical, jitter = _seeds(seed, 3)
    count = tf.shape(images)[0]
    swap = tf.cast(transposed, tf.float32)
    mirror_x = 1 - 2 * tf.cast(_half_of_them(count, horizontal), tf.float32)
    mirror_y = 1 - 2 * tf.cast(_half_of_them(count, vertical), tf.float32)
    nothing = tf.zeros_like(swap)
    mirrored = _matrices((mirror_x, nothing, nothing), (nothing, mirror_y, nothing))
    swapped = _matrices((1 - swap, swap, nothing), (swap, 1 - swap, nothing))
    return warp(images, swapped @ mirrored @ _jittered(images, jitter))


def _jittered(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return matrices, float32 of shape (batch, 3, 3), that turn by up to 3° and move by 2 %."""
    angle_seed, shift_seed = _seeds(seed, 2)
    count = tf.shape(images)[0]
    angles = tf.random.stateless_uniform((count,), angle_seed, -1.0, 1.0) * np.deg2rad(3)
    shifts = tf.random.stateless_uniform((count, 2), shift_seed, -0.02, 0.02)
    shifts *= tf.cast(tf.shape(images)[2:0:-1], tf.float32)
    return _matrices(
        (tf.cos(angles), -tf.sin(angles), shifts[:, 0]),
        (tf.sin(angles), tf.cos(angles), shifts[:, 1]),
    )


def _matrices(*rows: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Return float32 of shape (batch, 3, 3) from two rows; the third is (0, 0, 1)."""
    zeros = tf.zeros_like(rows[0][0])
    return tf.stack([tf.stack(row, axis=-1) for row in (*rows, (zeros, zeros, zeros + 1))], axis=1)
