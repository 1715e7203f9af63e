"""Augmentation policies: what a training picture may become without changing its label.

One table, batched, on float32 pixels 0..255. Every policy but `medium` draws from a
seed that is handed in, so that a batch can be made again. This is the only file that
knows keras-cv (its RandAugment is 5 times as fast on a CPU as that of Keras).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import ConfigError, did_you_mean

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
    """Mirror half of the images and cut to 64..100 % of the area (BiT, AutoGluon: crop and flip).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    flip, scale, shift = _seeds(seed, 3)
    images = _where_each(images, flip, tf.image.flip_left_right)
    count = tf.shape(images)[0]
    # One factor for both axes: the aspect ratio is part of what a thing looks like.
    factor = tf.random.stateless_uniform((count, 1), scale, 0.8, 1.0)
    room = 1.0 - factor
    offset = tf.random.stateless_uniform((count, 2), shift) * room
    boxes = tf.concat([offset, offset + factor], axis=1)
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
    if images.shape[1] == images.shape[2]:
        images = _where_each(images, diagonal, tf.image.transpose)
    return mirrors(images, mirror_seed)


def mirrors(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw one of the 4 mirror images, then turn by up to 3° and move by up to 2 %.

    For pictures without an up or a left whose rows and columns differ: solar cells with
    their bus bars, scans of a line (small changes of Deitsch et al. 2019).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,).
    """
    horizontal, vertical, jitter_seed = _seeds(seed, 3)
    images = _where_each(images, horizontal, tf.image.flip_left_right)
    images = _where_each(images, vertical, tf.image.flip_up_down)
    return _jitter(images, jitter_seed)


def medium(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Apply `light`, then RandAugment with 2 operations at magnitude 0.3 (AutoGluon).

    Args:
        images: float32 of shape (batch, height, width, 3), 0..255.
        seed: int64 of shape (2,); decides the `light` part only, RandAugment of keras-cv
            has a random state of its own.
    """
    varied = _rand_augment()(light(images, seed), training=True)
    return tf.clip_by_value(tf.ensure_shape(varied, images.shape), 0.0, 255.0)


@functools.cache
def _rand_augment() -> Any:
    """Return the layer, made once: building it imports keras-cv, which takes seconds."""
    import keras_cv

    return keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=2, magnitude=0.3, seed=0
    )


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": none,
    "light": light,
    "medium": medium,
    "mirrors": mirrors,
    "dihedral": dihedral,
}

Pixels = NDArray[np.uint8]


def symmetric_views(policy: str, *, square: bool) -> tuple[Callable[[Pixels], Pixels], ...]:
    """Return the changes of a policy that lose no pixel: the first one changes nothing.

    A probe that is fitted on all of them learns what does not matter; on the solar cells
    that is worth a point of accuracy (`benchmarks/solar.py`).

    Args:
        policy: Name of a policy.
        square: Whether the images are square; others cannot be transposed.

    Returns:
        Functions from uint8 (n, height, width, 3) to the same shape, views without a copy.

    Example:
        >>> images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        >>> [view(images)[0, 0, 0, 0].item() for view in symmetric_views("light", square=True)]
        [0, 3]
    """
    views: tuple[Callable[[Pixels], Pixels], ...] = (lambda images: images,)
    if find_augmentation(policy) != "none":
        views += (lambda images: images[:, :, ::-1],)
    if policy in ("mirrors", "dihedral"):
        views += (lambda images: images[:, ::-1], lambda images: images[:, ::-1, ::-1])
    if policy == "dihedral" and square:
        views += tuple(_transposed(view) for view in views)
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


def _where_each(
    images: tf.Tensor, seed: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Change each image with probability one half."""
    chosen = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed) < 0.5
    return tf.where(chosen, change(images), images)


def _jitter(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Turn by up to 3° and move by up to 2 %."""
    angle_seed, shift_seed = _seeds(seed, 2)
    count = tf.shape(images)[0]
    angles = tf.random.stateless_uniform((count,), angle_seed, -1.0, 1.0) * np.deg2rad(3)
    shifts = tf.random.stateless_uniform((count, 2), shift_seed, -0.02, 0.02)
    return _warp(images, angles=angles, shifts=shifts)


def _warp(images: tf.Tensor, *, angles: tf.Tensor, shifts: tf.Tensor) -> tf.Tensor:
    """Turn about the centre and move, in one interpolation; edges are mirrored."""
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    height, width = size[0], size[1]
    cosine, sine = tf.cos(angles), tf.sin(angles)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    move_x = centre_x - cosine * centre_x + sine * centre_y + shifts[:, 0] * width
    move_y = centre_y - sine * centre_x - cosine * centre_y + shifts[:, 1] * height
    zeros = tf.zeros_like(angles)
    transforms = tf.stack([cosine, -sine, move_x, sine, cosine, move_y, zeros, zeros], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
