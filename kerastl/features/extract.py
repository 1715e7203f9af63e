"""The frozen part over all images, once, in inference mode: pixels in, features out."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.features.halving import halving, prove_in_memory
from kerastl.features.shelf import reading_ahead
from kerastl.models.blocks import Border, split
from kerastl.models.classifier import feature_model, parts_of
from kerastl.models.fold import fold_batch_norm
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.progress import track


def folded_feature_model(classifier: keras.Model, *, dtype: str = "float32") -> keras.Model:
    """Return the classifier up to the pooled features, with BatchNorm folded into convolutions.

    In float32 the same numbers but for rounding, 1.1 to 2.7 times as fast on a CPU
    (`benchmarks/frozen_forward.py`).

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        dtype: What the backbone computes in: "float32", or "bfloat16" where
            `kerastl.features.precision.choose_precision` allows it. Preprocessing and pooling
            stay as they are.

    Returns:
        An inference model from float32 (batch, height, width, 3), RGB 0..255, to float32
        (batch, num_features). Its weights are copies: training the classifier does not
        change it.
    """
    parts = parts_of(classifier)
    # None leaves each layer its own: float32, unless the user's backbone says otherwise.
    folded, _ = fold_batch_norm(parts.backbone, dtype=None if dtype == "float32" else dtype)
    pixels = keras.Input(classifier.input_shape[1:], name="pixels", dtype="float32")
    features = parts.pooling(folded(parts.preprocessing(pixels), training=False))
    return keras.Model(pixels, features, name="folded_features")


def folded_features_above(
    classifier: keras.Model, *, border: Border, dtype: str = "float32"
) -> keras.Model:
    """Return the rest of what `folded_feature_model` returns, above a border of the backbone.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        border: Where it begins.
        dtype: See `folded_feature_model`.

    Returns:
        An inference model from what crosses the border, one tensor or a list, to float32
        (batch, num_features). Its weights are copies.
    """
    parts = parts_of(classifier)
    suffix = split(parts.backbone, border)[1]
    folded, _ = fold_batch_norm(suffix, dtype=None if dtype == "float32" else dtype)
    crossing = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype), folded.input
    )
    features = parts.pooling(folded(crossing, training=False))
    return keras.Model(crossing, features, name="folded_features_above")


def extract_features(
    classifier: keras.Model, images: Images, *, batch_size: int = 32, dtype: str = "float32"
) -> NDArray[np.float32]:
    """Run the frozen part once over the images and return its pooled features.

    Proves on the first batch that what runs is deterministic and equals the classifier's
    own layers.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        batch_size: Images per step; has no influence on the features.
        dtype: What the backbone computes in, "float32" or "bfloat16", see
            `kerastl.features.precision.choose_precision`.

    Returns:
        float32 of shape (n, num_features).

    Raises:
        FrozenPartError: The proof failed.
    """
    model = folded_feature_model(classifier, dtype=dtype)
    prove_in_memory(
        model, reference=feature_model(classifier), pixels=images[:PROOF_IMAGES], dtype=dtype
    )
    return run_in_batches(
        trace_forward(model, images.shape[1:]),
        images,
        np.arange(len(images)),
        width=model.output_shape[-1],
        batch_size=batch_size,
        description="Extracting features",
    )


def predict_probabilities(
    classifier: keras.Model,
    images: Images,
    *,
    rows: NDArray[np.int64] | None = None,
    batch_size: int = 32,
    description: str = "Predicting",
) -> NDArray[np.float32]:
    """Return the class probabilities of images, in inference mode.

    Args:
        classifier: From float32 pixels 0..255 to probabilities.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        rows: int64: which of them; all when not given.
        batch_size: Images per step.
        description: For the progress bar.

    Returns:
        float32 of shape (number of rows, num_classes).
    """
    ask = probability_reader(classifier, images, batch_size=batch_size)
    return ask(np.arange(len(images)) if rows is None else rows, description)


def probability_reader(
    classifier: keras.Model, images: Images, *, batch_size: int
) -> Callable[[NDArray[np.int64], str], NDArray[np.float32]]:
    """Return the function from rows of images to class probabilities, traced once.

    Args:
        classifier: From float32 pixels 0..255 to probabilities. Weights that it is given later
            count.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        batch_size: Images per step.

    Returns:
        From int64 rows, and a description for the progress bar, to float32 (number of rows,
        num_classes).
    """
    forward = functools.cache(lambda: trace_forward(classifier, images.shape[1:]))

    def ask(rows: NDArray[np.int64], description: str) -> NDArray[np.float32]:
        return run_in_batches(
            forward(),
            images,
            rows,
            width=classifier.output_shape[-1],
            batch_size=batch_size,
            description=description,
        )

    return ask


def run_in_batches(
    forward: Callable[[tf.Tensor], tf.Tensor],
    images: Images,
    rows: NDArray[np.int64],
    *,
    width: int,
    batch_size: int,
    description: str,
) -> NDArray[np.float32]:
    """Run a traced model over images and return its one output.

    Args:
        forward: From `trace_forward`.
        images: uint8 of shape (n, height, width, 3); only a batch of it is copied at a time.
        rows: int64: which of them.
        width: Of the output of one image.
        batch_size: Images per step.
        description: For the progress bar.
    """
    outputs = np.empty((len(rows), width), np.float32)
    with (
        track(description, total=len(rows)) as advance,
        reading_ahead(images) as read,
    ):
        for start in range(0, len(rows), batch_size):
            stop = start + batch_size
            batch = read(rows[start:stop], rows[stop : stop + batch_size])
            outputs[start:stop] = forward(tf.constant(batch)).numpy()
            advance(len(batch))
    return outputs


def trace_forward(
    model: keras.Model, image_shape: tuple[int, ...]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a model in inference mode as a graph, from uint8 batches to float32.

    Where memory runs out, it goes through a batch in parts (`kerastl.features.halving`).

    Args:
        model: From float32 (batch, height, width, 3) to one tensor.
        image_shape: (height, width, 3).
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *image_shape), tf.uint8)])
    def forward(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    # Traced here once: TensorFlow warns of retracing when short runs follow each other.
    return halving(forward.get_concrete_function(), what=f"running {model.name!r}")
