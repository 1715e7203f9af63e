"""What left the frozen part for some views of each image, kept for training.

Fine-tuning in the usual way runs the frozen part in every epoch over pixels that are varied anew.
Here a number of views is drawn of each image before training, the frozen part runs once over
each, and an epoch picks one of the kept views of every image: the work of the frozen part
no longer grows with the epochs. (Keeping what leaves a frozen part without variation is old;
FreezeOut, Brock et al. 2017, arXiv:1706.04983, says what skipping its forward pass saves.)
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.batches import epoch_order, prepared_ahead, weighted
from kerastl.features.stored_rows import StoredRows


@dataclass(frozen=True, eq=False)
class BorderViews:
    """What left the frozen part for several views of n images.

    Attributes:
        views: For each view rows of shape (n, numbers of an image): in each row all tensors that
            cross the border, one after the other.
        shapes: Of each of these tensors, for one image.
        single: Whether a model takes one tensor, not a list of them.
    """

    views: tuple[StoredRows, ...]
    shapes: tuple[tuple[int, ...], ...]
    single: bool

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return sum(view.nbytes for view in self.views)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.views[0])

    def take(self, places: Any, views: NDArray[np.int64] | None = None) -> Any:
        """Return what a model takes of some images.

        Args:
            places: Which images: a slice, or int64 of shape (batch,).
            views: int64 of shape (batch,): which view of each; the first one when not given.

        Returns:
            One array of shape (batch, ...), or a list of them.
        """
        tensors = self.tensors(places, views)
        return tensors[0] if self.single else tensors

    def tensors(self, places: Any, views: NDArray[np.int64] | None = None) -> list[NDArray[Any]]:
        """Return what `take` does, always as a list."""
        if views is None:
            flat = self.views[0][places]
        else:
            flat = np.empty((len(places), self.views[0].shape[1]), self.views[0].dtype)
            for view in np.unique(views):
                chosen = views == view
                flat[chosen] = self.views[view][places[chosen]]
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        return [
            flat[:, end - math.prod(shape) : end].reshape(-1, *shape)
            for end, shape in zip(ends, self.shapes, strict=True)
        ]

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Yield what a model takes of all images in order, in the first view.

        Args:
            batch_size: Images per batch.
        """
        for start in range(0, len(self), batch_size):
            yield self.take(slice(start, start + batch_size))


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
    places = np.arange(len(kept))
    order = epoch_order(targets, places, batch_size=batch_size, seed=seed, balanced=balanced)
    # TensorFlow keeps every Python function of a graph for good: so it holds nothing large.
    held = _Held(kept, targets)
    weak = weakref.ref(held)
    dtype = tf.as_dtype(kept.views[0].dtype)

    def chosen(rows: NDArray[np.int64], view_seed: NDArray[np.int64]) -> list[NDArray[Any]]:
        alive = weak()
        if alive is None:
            raise RuntimeError("The data set that these views belong to is gone.")
        views = np.random.default_rng(view_seed).integers(len(alive.kept.views), size=len(rows))
        return [*alive.kept.tensors(rows, views), alive.targets[rows]]

    def take(rows: tf.Tensor, view_seed: tf.Tensor) -> tuple[Any, tf.Tensor]:
        outputs = [*[dtype] * len(shapes), tf.float32]
        *tensors, target = tf.numpy_function(chosen, [rows, view_seed], outputs)
        for tensor, like in zip(tensors, shapes, strict=True):
            tensor.set_shape((None, *like))
        target.set_shape((None, num_classes))
        tensors = [tf.cast(tensor, tf.float32) for tensor in tensors]
        return (tensors[0] if single else tuple(tensors)), target

    shapes, single, num_classes = kept.shapes, kept.single, targets.shape[1]
    gathered = order.map(take, num_parallel_calls=2)
    gathered.held_by_kerastl = held
    return prepared_ahead(weighted(gathered, class_weights))


@dataclass(frozen=True, eq=False)
class _Held:
    """What a data set reads from."""

    kept: BorderViews
    targets: NDArray[np.float32]
