"""Pooled features of images, looked up in the store, else made of as little as possible."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.augment import AS_IT_IS
from kerastl.data.stream import Images
from kerastl.features.extract import trace_forward
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.halving import halving
from kerastl.features.shelf import shelf_of
from kerastl.features.store import Store
from kerastl.features.stored_rows import StoredRows


@dataclass(frozen=True, eq=False)
class Shortcut:
    """A way to features past what fine-tuning keeps anyway.

    Attributes:
        below: Runs the frozen part below a border.
        above: The rest of the network, in inference mode: from what leaves the frozen part to
            float32 (batch, num_features).
        kept_rows: Each int64: the images for which fine-tuning keeps what leaves the frozen part.
    """

    below: FrozenPass
    above: keras.Model
    kept_rows: tuple[NDArray[np.int64], ...]

    @functools.cached_property
    def whole(self) -> keras.Model:
        """Both, as one model from pixels to features."""
        pixels = keras.Input(self.below.frozen.input_shape[1:], dtype="float32")
        crossing = self.below.frozen(pixels, training=False)
        return keras.Model(pixels, self.above(crossing, training=False), name="features")

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of pictures; nothing is kept.

        Args:
            pixels: uint8 of shape (batch, height, width, 3), RGB 0..255.
        """
        return self._finished(self.below.run(pixels))

    def keeps(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether fine-tuning keeps what leaves the frozen part for these very images.

        Args:
            rows: int64: which images.
        """
        return any(np.array_equal(rows, kept) for kept in self.kept_rows)

    def kept_features(
        self, rows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the features of images for which fine-tuning keeps what leaves the frozen part.

        Args:
            rows: int64: all of them.
            places: int64: which of these.
        """
        return self._finished(tf.constant(self.below.view(rows)[places]))

    def _finished(self, flat: tf.Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._forward(flat).numpy()
        return features

    @functools.cached_property
    def _forward(self) -> Callable[..., tf.Tensor]:
        """A graph from rows of the frozen part to features."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.below.shapes]).tolist()

        @tf.function(input_signature=[tf.TensorSpec((None, ends[-1]), self.below.dtype)])
        def forward(flat: tf.Tensor) -> tf.Tensor:
            tensors = [
                tf.reshape(flat[:, start:end], (-1, *shape))
                for start, end, shape in zip([0, *ends], ends, self.below.shapes, strict=False)
            ]
            entry = tensors if isinstance(self.below.frozen.output, list) else tensors[0]
            return tf.cast(self.above(entry, training=False), tf.float32)

        return halving(forward.get_concrete_function(), what="running what lies above the border")


def stored_features(
    model: keras.Model,
    images: Images,
    store: Store,
    *,
    batch_size: int,
    prove: Callable[[], object] | None = None,
    shortcut: Shortcut | None = None,
) -> Callable[..., NDArray[np.float32]]:
    """Return the function from rows of images to features, kept in the store for later runs.

    Args:
        model: From float32 (batch, height, width, 3) to float32 (batch, num_features).
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        store: `kerastl.features.shelf.NO_STORE` to keep nothing.
        batch_size: Images per step; has no influence on the features.
        prove: Called before anything is computed. What is kept was proven by the run that
            computed it, with the same network and the same code.
        shortcut: Gives the same features but for rounding; taken in place of `model`, which then
            only names them.

    Returns:
        From int64 rows, a description for the progress bar and, if it is not the images as they
        are, the name of a view and its function, to float32 (number of rows, num_features).

    Example:
        >>> from kerastl.features.shelf import NO_STORE
        >>> pixels = keras.Input((2, 2, 3))
        >>> model = keras.Model(pixels, keras.layers.Flatten()(pixels))
        >>> images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        >>> features_of = stored_features(model, images, NO_STORE, batch_size=2)
        >>> features_of(np.array([1]), "Flattening").shape
        (1, 12)
    """
    shelf = shelf_of(model, images, store)

    # Once, and only if something is not kept yet: it takes seconds for a large network.
    @functools.cache
    def forward() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        if prove is not None:
            prove()
        if shortcut is not None:
            return shortcut.features
        traced = trace_forward(model, images.shape[1:])
        return lambda pixels: traced(tf.constant(pixels)).numpy()

    def features_of(
        rows: NDArray[np.int64],
        description: str,
        view: tuple[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] | None = None,
    ) -> NDArray[np.float32]:
        name, change = view or (AS_IT_IS, lambda pixels: pixels)
        shared = shortcut if name == AS_IT_IS and shortcut and shortcut.keeps(rows) else None
        ask = functools.partial(
            shelf.rows if shared is None else shelf.rows_by_place,
            rows,
            {"kind": "features", "view": name},
            row_shape=(model.output_shape[-1],),
            dtype=np.float32,
            batch_size=batch_size,
            description=description,
        )

        def make_from_kept(places: NDArray[np.int64], _next: object) -> NDArray[np.float32]:
            forward()
            assert shared is not None
            return shared.kept_features(rows, places)

        make = make_from_kept if shared else lambda pixels: forward()(change(pixels))
        kept: StoredRows = ask(make=make)
        features: NDArray[np.float32] = kept[:]
        return features

    return features_of
