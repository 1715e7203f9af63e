"""A frozen part that runs over images once; what leaves it is there for whoever needs it.

Fine-tuning needs it in every epoch, the probe's features are made of it too: so nothing below the
border runs twice over the same picture.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.augment import augment_each, find_augmentation
from kerastl.data.stream import Images
from kerastl.deadline import NEVER, Deadline
from kerastl.features.border_views import BorderViews
from kerastl.features.digests import digest_image
from kerastl.features.halving import halving
from kerastl.features.shelf import NO_STORE, shelf_of
from kerastl.features.store import Store
from kerastl.features.stored_rows import StoredRows


class FrozenPass:
    """One frozen part over one set of images.

    Args:
        frozen: From float32 pixels 0..255 to one tensor or a list of tensors of known shape.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        store: Where what leaves it is kept for later runs.
        augment: Name of the policy that views are drawn from, see `kerastl.data.augment`.
        seed: Decides the views.
        batch_size: Images per step.

    Attributes:
        frozen: As given.
        shapes: Of the tensors that leave it, for one image.
        dtype: Of the rows that they are kept as.

    Example:
        >>> pixels = keras.Input((8, 8, 3))
        >>> frozen = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
        >>> once = FrozenPass(frozen, np.zeros((5, 8, 8, 3), np.uint8))
        >>> kept = once.views(np.arange(5), num_views=2)
        >>> len(kept.views), kept.take(slice(0, 5)).shape
        (2, (5, 6, 6, 4))
    """

    def __init__(
        self,
        frozen: keras.Model,
        images: Images,
        store: Store = NO_STORE,
        *,
        augment: str = "none",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        self.frozen = frozen
        self._shelf = shelf_of(frozen, images, store)
        self._augment = find_augmentation(augment)
        self._seed, self._batch_size = seed, batch_size
        tensors = keras.tree.flatten(frozen.output)
        self.shapes = tuple(tuple(tensor.shape[1:]) for tensor in tensors)
        self.dtype: np.dtype[Any] = np.result_type(
            *(tf.as_dtype(tensor.dtype).as_numpy_dtype for tensor in tensors)
        )
        self._done: dict[tuple[int, bytes], StoredRows] = {}

    @property
    def computes_in(self) -> str:
        """What the frozen part computes in, "float32" or "bfloat16".

        Some of what leaves it can be wider: vectors of lower stages are float32 in either case.
        """
        kinds = [tf.as_dtype(tensor.dtype) for tensor in keras.tree.flatten(self.frozen.output)]
        return min(kinds, key=lambda kind: kind.size).name

    @property
    def row_length(self) -> int:
        """Numbers that leave it for one image."""
        return sum(map(math.prod, self.shapes))

    def view(
        self,
        rows: NDArray[np.int64],
        number: int = 0,
        *,
        deadline: Deadline = NEVER,
        description: str = "Running the frozen part",
    ) -> StoredRows:
        """Return what left the frozen part for one view of each image, computed once in a run.

        Args:
            rows: int64: which of the images.
            number: 0 is the image itself; the others are drawn from the policy, for an image
                always the same ones with the same seed, whatever is beside it.
            deadline: When it must have ended. What is done until then is kept in the store.
            description: For the progress bar.

        Returns:
            Of shape (number of rows, `row_length`): all tensors of an image, one after the other.

        Raises:
            TimeUpError: The deadline passed.
        """
        asked = number, rows.tobytes()
        if asked not in self._done:
            self._done[asked] = self._extract(
                rows, number, deadline=deadline, description=description
            )
        return self._done[asked]

    def views(
        self,
        rows: NDArray[np.int64],
        *,
        num_views: int = 1,
        deadline: Deadline = NEVER,
        description: str = "Running the frozen part",
    ) -> BorderViews:
        """Return what left the frozen part for several views of each image.

        Args:
            rows: int64: which of the images.
            num_views: Views of each image, from 1: the image itself, then drawn ones.
            deadline: When it must have ended.
            description: For the progress bar.

        Raises:
            TimeUpError: The deadline passed.
        """
        views = tuple(
            self.view(
                rows,
                number,
                deadline=deadline,
                description=f"{description} ({number + 1} of {num_views})",
            )
            for number in range(num_views)
        )
        return BorderViews(views, self.shapes, single=not isinstance(self.frozen.output, list))

    def run(self, pixels: NDArray[np.uint8]) -> tf.Tensor:
        """Return the rows of pictures as they are; nothing is kept.

        Args:
            pixels: uint8 of shape (batch, height, width, 3), RGB 0..255.
        """
        count = len(pixels)
        return self._forward(pixels, np.zeros((count, 2), np.int64), np.zeros(count, bool))

    def release(self) -> None:
        """Let go of what left it: what is not in the store is gone."""
        self._done.clear()

    def _extract(
        self, rows: NDArray[np.int64], number: int, *, deadline: Deadline, description: str
    ) -> StoredRows:
        def make(pixels: NDArray[np.uint8]) -> NDArray[Any]:
            deadline.check()
            seeds = np.array([_view_seed(image, view=number, seed=self._seed) for image in pixels])
            answer: NDArray[Any] = self._forward(
                pixels, seeds, np.full(len(pixels), number > 0)
            ).numpy()
            return answer

        parts: dict[str, object] = {"kind": "border", "view": number}
        if number:
            parts |= {"augment": self._augment, "seed": self._seed}
        return self._shelf.rows(
            rows,
            parts,
            make=make,
            row_shape=(self.row_length,),
            dtype=self.dtype,
            batch_size=self._batch_size,
            description=description,
        )

    @functools.cached_property
    def _forward(self) -> Any:
        """A graph from pixels and seeds to all tensors of each image in one row."""
        return _trace(self.frozen, self._shelf.images.shape[1:], self._augment, self.dtype)


def _view_seed(image: NDArray[np.uint8], *, view: int, seed: int) -> NDArray[np.int64]:
    """Return int64 of shape (2,), from the image: its place in the data decides nothing."""
    if not view:  # the image itself
        return np.zeros(2, np.int64)
    digest = hashlib.sha256(f"{seed} {view} ".encode() + digest_image(image)).digest()
    return np.frombuffer(digest[:16], "<i8")


def _trace(frozen: keras.Model, image_shape: tuple[int, ...], augment: str, dtype: Any) -> Any:
    """Return a graph from pixels and seeds to all tensors of each image in one row."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *image_shape), tf.uint8),
            tf.TensorSpec((None, 2), tf.int64),
            tf.TensorSpec((None,), tf.bool),
        ]
    )
    def forward(pixels: tf.Tensor, seeds: tf.Tensor, varied: tf.Tensor) -> tf.Tensor:
        plain = tf.cast(pixels, tf.float32)
        images = tf.cond(
            tf.reduce_any(varied),
            lambda: augment_each(plain, seeds, policy=augment),
            lambda: plain,
        )
        answers = keras.tree.flatten(frozen(tf.ensure_shape(images, plain.shape), training=False))
        flat = [tf.reshape(tf.cast(one, dtype), [-1, math.prod(one.shape[1:])]) for one in answers]
        return tf.concat(flat, axis=1)

    return halving(forward.get_concrete_function(), what="running the frozen part")
