"""The frozen part once over some views of each image; what leaves it is kept for training.

Fine-tuning in the usual way runs the frozen part in every epoch over pixels that are varied anew.
Here a number of views is drawn of each image before training, the frozen part runs once over
each, and an epoch picks one of the kept views of every image: the work of the frozen part
no longer grows with the epochs. (Keeping what leaves a frozen part without variation is old;
FreezeOut, Brock et al. 2017, arXiv:1706.04983, says what skipping its forward pass saves.)
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.augment import AUGMENTATIONS, find_augmentation
from kerastl.data.batches import epoch_order, weighted
from kerastl.data.stream import Images
from kerastl.features.extract import read_ahead
from kerastl.progress import track


@dataclass(frozen=True, eq=False)
class BorderViews:
    """What left the frozen part for several views of n images.

    Attributes:
        tensors: One array per tensor that crosses the border, each of shape (views, n, ...).
        rows: int64 of shape (n,): rows of the images.
        single: Whether a model takes one tensor, not a list of them.
    """

    tensors: tuple[NDArray[Any], ...]
    rows: NDArray[np.int64]
    single: bool

    @property
    def num_views(self) -> int:
        """Views of each image."""
        return len(self.tensors[0])

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def take(self, views: Any, places: Any) -> Any:
        """Return what a model takes of some images.

        Args:
            views: Which view, one number or int64 of shape (batch,).
            places: Which images, as places in `rows`: a slice or int64 of shape (batch,).
        """
        chosen = [tensor[views, places] for tensor in self.tensors]
        return chosen[0] if self.single else chosen

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Yield what a model takes of all images in order, in the first view.

        Args:
            batch_size: Images per batch.
        """
        for start in range(0, len(self.rows), batch_size):
            yield self.take(0, slice(start, start + batch_size))


def bytes_per_view(frozen: keras.Model) -> int:
    """Return how much one view of one image takes.

    Args:
        frozen: From pixels to one tensor or a list of tensors of known shape.

    Example:
        >>> pixels = keras.Input((8, 8, 3))
        >>> bytes_per_view(keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)))
        576
    """
    return sum(
        int(np.prod(tensor.shape[1:])) * tf.as_dtype(tensor.dtype).size
        for tensor in keras.tree.flatten(frozen.output)
    )


def extract_views(
    frozen: keras.Model,
    images: Images,
    rows: NDArray[np.int64],
    *,
    augment: str = "none",
    num_views: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    description: str = "Running the frozen part",
) -> BorderViews:
    """Run the frozen part once over some views of each image.

    The first view is the image itself; the others are drawn from the policy, the same ones for
    the same seed.

    Args:
        frozen: From float32 pixels 0..255 to one tensor or a list of tensors.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        rows: int64: which of them.
        augment: Name of a policy, see `kerastl.data.augment`.
        num_views: Views of each image, from 1.
        seed: Decides the views.
        batch_size: Images per step; has an influence on which views are drawn.
        description: For the progress bar.

    Example:
        >>> pixels = keras.Input((8, 8, 3))
        >>> frozen = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> kept = extract_views(frozen, images, np.arange(5), num_views=2)
        >>> kept.tensors[0].shape
        (2, 5, 6, 6, 4)
    """
    apply = AUGMENTATIONS[find_augmentation(augment)]
    kept = tuple(
        np.empty(
            (num_views, len(rows), *tensor.shape[1:]), tf.as_dtype(tensor.dtype).as_numpy_dtype
        )
        for tensor in keras.tree.flatten(frozen.output)
    )

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *images.shape[1:]), tf.uint8),
            tf.TensorSpec((2,), tf.int64),
        ]
    )
    def forward(pixels: tf.Tensor, view_seed: tf.Tensor) -> Any:
        plain = tf.cast(pixels, tf.float32)
        varied = tf.cond(view_seed[1] < 0, lambda: plain, lambda: apply(plain, view_seed))
        return keras.tree.flatten(frozen(tf.ensure_shape(varied, plain.shape), training=False))

    traced = forward.get_concrete_function()
    with track(description, total=len(rows) * num_views) as advance:
        start = 0
        for batch in read_ahead(images, rows, batch_size):
            pixels, stop = tf.constant(batch), start + len(batch)
            for view in range(num_views):
                # A seed below 0 is the image itself.
                number = view * len(rows) + start if view else -1
                answers = traced(pixels, tf.constant([seed, number], tf.int64))
                for tensor, answer in zip(kept, answers, strict=True):
                    tensor[view, start:stop] = answer.numpy()
                advance(len(batch))
            start = stop
    return BorderViews(kept, np.asarray(rows, np.int64), not isinstance(frozen.output, list))


def view_batches(
    kept: BorderViews,
    targets: NDArray[np.float32],
    *,
    batch_size: int,
    seed: int,
    balanced: bool = False,
    class_weights: NDArray[np.float32] | None = None,
) -> tf.data.Dataset:
    """Return batches of one epoch; each epoch draws the order, and a view of every image, anew.

    Args:
        kept: Views of the training images.
        targets: float32 of shape (n, num_classes), of the same images in the same order.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        seed: Decides order and draws; with one view the batches are those that
            `kerastl.data.batches.training_batches` makes of the same images and seed.
        balanced: Whether an epoch draws every class equally often.
        class_weights: float32 of shape (num_classes,): what images of each class weigh.

    Returns:
        A data set of (float32 tensor or tuple of tensors, float32 (batch, num_classes)), and
        float32 (batch,) with class weights.
    """
    places = np.arange(len(kept.rows))
    order = epoch_order(targets, places, batch_size=batch_size, seed=seed, balanced=balanced)
    # TensorFlow keeps every Python function of a graph for good: so it holds nothing large.
    held = _Held(kept, targets)
    weak = weakref.ref(held)
    dtypes = [tf.as_dtype(tensor.dtype) for tensor in kept.tensors]

    def chosen(rows: NDArray[np.int64], view_seed: NDArray[np.int64]) -> list[NDArray[Any]]:
        alive = weak()
        if alive is None:
            raise RuntimeError("The data set that these views belong to is gone.")
        views = np.random.default_rng(view_seed).integers(alive.kept.num_views, size=len(rows))
        return [tensor[views, rows] for tensor in alive.kept.tensors] + [alive.targets[rows]]

    def take(rows: tf.Tensor, view_seed: tf.Tensor) -> tuple[Any, tf.Tensor]:
        *tensors, target = tf.numpy_function(chosen, [rows, view_seed], [*dtypes, tf.float32])
        for tensor, like in zip(tensors, kept_shapes, strict=True):
            tensor.set_shape((None, *like))
        target.set_shape((None, num_classes))
        tensors = [tf.cast(tensor, tf.float32) for tensor in tensors]
        return (tensors[0] if single else tuple(tensors)), target

    kept_shapes = [tensor.shape[2:] for tensor in kept.tensors]
    single, num_classes = kept.single, targets.shape[1]
    gathered = order.map(take, num_parallel_calls=2)
    gathered.held_by_kerastl = held
    return weighted(gathered, class_weights).prefetch(2)


@dataclass(frozen=True, eq=False)
class _Held:
    """What a data set reads from."""

    kept: BorderViews
    targets: NDArray[np.float32]
