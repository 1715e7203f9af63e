"""tf.data pipelines over decoded pixels: shuffle, gather, augment, batch, prefetch."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.augment import AUGMENTATIONS, find_augmentation
from kerastl.data.imbalance import balanced_rows
from kerastl.data.mixing import MIXES, find_mix
from kerastl.data.stream import Images


def training_batches(
    images: Images,
    targets: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    augment: str = "none",
    mix: str = "none",
    seed: int,
    balanced: bool = False,
    class_weights: NDArray[np.float32] | None = None,
) -> tf.data.Dataset:
    """Return shuffled, augmented batches of one epoch; each epoch differs, the seed decides how.

    Augmentation comes after the gathering of cached pixels, so that no epoch sees
    the pictures of another (the keras.io guide caches after augmenting).

    Args:
        images: uint8 of shape (n, height, width, 3), 0..255.
        targets: float32 of shape (n, num_classes): one-hot, or 0/1 for several labels.
        rows: int64: which of the n images are used.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", after augmentation, see `kerastl.data.mixing`.
        seed: Decides order, draws, augmentation and mixing.
        balanced: Whether an epoch draws every class equally often, in place of every row once;
            see `kerastl.data.imbalance.balanced_rows`. For one class per image.
        class_weights: float32 of shape (num_classes,): what images of each class weigh in the
            loss. Keras' own `class_weight` takes a mixed image for its largest part.

    Returns:
        A data set of (float32 (batch, height, width, 3) in 0..255, float32 (batch,
        num_classes)); with class weights also float32 (batch,), the mean of the weights of
        each image's classes by its targets as they are after mixing.

    Raises:
        ConfigError: `augment` or `mix` is unknown.

    Example:
        >>> images = np.zeros((4, 8, 8, 3), np.uint8)
        >>> batches = training_batches(images, np.eye(4, 2, dtype=np.float32), np.arange(4),
        ...                            batch_size=3, seed=0)
        >>> [pixels.shape[0] for pixels, _ in batches]
        [3, 1]
    """
    apply, blend = AUGMENTATIONS[find_augmentation(augment)], MIXES[find_mix(mix)]
    gathered = gather(
        epoch_order(targets, rows, batch_size=batch_size, seed=seed, balanced=balanced),
        images,
        targets,
    )

    def augmented(
        pixels: tf.Tensor, target: tf.Tensor, batch_seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        augment_seed, mix_seed = tf.unstack(tf.random.split(tf.cast(batch_seed, tf.int64), 2))
        return blend(apply(tf.cast(pixels, tf.float32), augment_seed), target, mix_seed)

    batches = gathered.map(augmented, num_parallel_calls=augmenting_threads())
    # Last, so that it sees the targets as mixing left them.
    return prepared_ahead(weighted(batches, class_weights))


def epoch_order(
    targets: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    seed: int,
    balanced: bool = False,
) -> tf.data.Dataset:
    """Return the rows of each batch of an epoch, in an order that every epoch draws anew.

    Args:
        targets: float32 of shape (n, num_classes).
        rows: int64: which of the n images are used.
        batch_size: Rows per batch.
        seed: Decides the order.
        balanced: See `training_batches`.

    Returns:
        A data set of (int64 (batch,), int64 (2,)): rows, and a seed that is new for every batch
        and epoch.
    """
    if balanced:
        order = _balanced_order(targets, rows, seed=seed)
    else:
        order = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64))
        order = order.shuffle(max(len(rows), 1), seed=seed, reshuffle_each_iteration=True)
    # One seed per batch, new in every epoch: augmentation is reproducible however many
    # threads work on it, because no random state is shared between batches.
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(
        2, drop_remainder=True
    )
    return tf.data.Dataset.zip(order.batch(batch_size), seeds)


def weighted(
    batches: tf.data.Dataset, class_weights: NDArray[np.float32] | None
) -> tf.data.Dataset:
    """Add to (inputs, targets) what each image weighs in the loss, if there are class weights.

    Args:
        batches: Data set of (anything, float32 (batch, num_classes)).
        class_weights: float32 of shape (num_classes,), or None.
    """
    if class_weights is None:
        return batches
    weights = tf.constant(class_weights, tf.float32)
    return batches.map(lambda inputs, target: (inputs, target, tf.linalg.matvec(target, weights)))


def augmenting_threads() -> int:
    """Return how many batches are augmented at once: each of them takes memory while it waits.

    Example:
        >>> 1 <= augmenting_threads() <= 8
        True
    """
    if hasattr(os, "sched_getaffinity"):  # what this process may use, which can be less
        return min(len(os.sched_getaffinity(0)), 8)
    return min(os.cpu_count() or 1, 8)


def prepared_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Prepare two batches while others are trained on, with as many threads as were asked for.

    Without tf.data's autotuning: an iterator that is given up joins the thread that tunes it, and
    that one sleeps on (TensorFlow 2.21, `RootDataset::Iterator::~Iterator`; 0.4 to 5 s of idle
    waiting between epochs of 6 s, measured).

    Args:
        batches: Any data set whose parallelism is not left to tf.data.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def _balanced_order(
    targets: NDArray[np.float32], rows: NDArray[np.int64], *, seed: int
) -> tf.data.Dataset:
    """Return row numbers, every class equally often, drawn anew in each epoch."""
    rows = np.asarray(rows, np.int64)
    labels = targets[rows].argmax(axis=1)

    def draw(epoch_seed: tf.Tensor) -> tf.data.Dataset:
        drawn = tf.numpy_function(
            lambda number: balanced_rows(labels, rows, seed=int(number)),
            [epoch_seed],
            tf.int64,
            stateful=False,
        )
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(drawn, rows.shape))

    epoch_seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    order = epoch_seeds.flat_map(draw)
    return order.apply(tf.data.experimental.assert_cardinality(len(rows)))


def gather(order: tf.data.Dataset, images: Images, targets: NDArray[np.float32]) -> tf.data.Dataset:
    """Turn (rows, seed) into (pixels, targets, seed), without a copy of `images` in the graph.

    Args:
        order: Data set of (int64 (batch,), int64 (2,)).
        images: uint8 of shape (n, height, width, 3), in memory or memory-mapped.
        targets: float32 of shape (n, num_classes).
    """
    # TensorFlow keeps every Python function that was in a graph for as long as the process
    # lives, and with it all that the function refers to: gigabytes of pixels after a few runs.
    # So the function has a weak reference, and the data set the strong one.
    held = _Held(images, targets)
    weak = weakref.ref(held)

    def chosen(rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        alive = weak()
        if alive is None:
            raise RuntimeError("The data set that these images belong to is gone.")
        return alive.images[rows], alive.targets[rows]

    def take(rows: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, target = tf.numpy_function(chosen, [rows], [tf.uint8, tf.float32])
        pixels.set_shape((None, *images.shape[1:]))
        target.set_shape((None, *targets.shape[1:]))
        return pixels, target, seed

    gathered = order.map(take, num_parallel_calls=2)
    gathered.held_by_kerastl = held
    return gathered


@dataclass(frozen=True, eq=False)
class _Held:
    """What a data set reads from."""

    images: Images
    targets: NDArray[np.float32]
