"""What an exported classifier can be asked: encoded images or pixels in, labels or features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerastl.data.preparation import prepare_image
from kerastl.data.resize import resize_image
from kerastl.features.novelty import Novelty
from kerastl.models.classifier import answering_with_features

# Images decoded at the same time. 8 gave all of two cores (58 ms for 32 JPEGs of 1280x960,
# against 117 ms with 1); more cores need more, and each holds one unpacked image.
PARALLEL_DECODES = 16

DESCRIPTIONS = {
    "serving_default": (
        "image_bytes: string (n,), contents of JPEG, PNG, GIF, BMP or WebP files -> "
        "classes: string (n, num_classes) and scores: float32 (n, num_classes), best first"
    ),
    "pixels": (
        "pixels: uint8 (n, any height, any width, 1, 2, 3 or 4), RGB 0..255 -> "
        "classes and scores as serving_default"
    ),
    "features": "image_bytes as serving_default -> features: float32 (n, num_features), pooled",
}
# What the first two also give where it was learnt which pictures are of a known kind.
UNKNOWN_DESCRIPTION = (
    "unknown_score: float32 (n,), how far from what was trained on, 0..2; "
    "is_unknown: bool (n,), whether that is above the threshold"
)


class NoveltyInGraph(tf.Module):
    """`kerastl.features.novelty.Novelty` as TensorFlow operations.

    Its user must hold it until its functions are saved: they hold variables weakly.
    """

    def __init__(self, novelty: Novelty) -> None:
        """Remember what is known.

        Args:
            novelty: What it is about.
        """
        super().__init__(name="novelty")
        self.num_neighbours, self.threshold = novelty.num_neighbours, novelty.threshold
        # A variable: its content goes to the file of the weights, not into the graph.
        self.known = tf.Variable(novelty.known, trainable=False, name="known_features")

    def outputs(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return how far images are from what is known, and whether that is too far.

        Args:
            features: float32 of shape (n, num_features).
        """
        lengths = tf.norm(features, axis=1, keepdims=True)
        units = features / tf.maximum(lengths, np.finfo(np.float32).tiny)
        nearness = tf.matmul(units, tf.cast(self.known, tf.float32), transpose_b=True)
        score = 1 - tf.math.top_k(nearness, k=self.num_neighbours).values[:, -1]
        return {"unknown_score": score, "is_unknown": score > self.threshold}


def trace_signatures(
    model: keras.Model,
    *,
    features: keras.Model | None,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    resize_mode: str,
    novelty: NoveltyInGraph | None = None,
) -> dict[str, Any]:
    """Return the signatures as traced functions, TensorFlow operations only.

    Args:
        model: From float32 (batch, height, width, 3), RGB 0..255, to probabilities.
        features: The model up to its pooled features; without it, no such signature.
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels that images are brought to.
        resize_mode: See `kerastl.data.resize.resize_image`.
        novelty: What tells pictures of another kind; without it, no such outputs. Then `model` must
            be one of `kerastl.models.classifier`.

    Returns:
        Name to concrete function, see `DESCRIPTIONS`.

    Raises:
        ConfigError: `resize_mode` is unknown.

    Example:
        >>> inputs = keras.Input((4, 4, 3))
        >>> outputs = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(inputs))
        >>> signatures = trace_signatures(
        ...     keras.Model(inputs, outputs), features=None, class_names=["r", "g", "b"],
        ...     image_size=(4, 4), resize_mode="stretch")
        >>> green = tf.constant([[[[0, 9, 0]]]], tf.uint8)
        >>> signatures["pixels"](pixels=green)["classes"][0, 0].numpy()
        b'g'
    """
    labels = tf.constant(list(class_names), tf.string)
    with_features = None if novelty is None else answering_with_features(model)

    def decode(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda one: prepare_image(one, image_size=image_size, resize_mode=resize_mode),
            image_bytes,
            fn_output_signature=tf.TensorSpec((*image_size, 3), tf.uint8),
            parallel_iterations=PARALLEL_DECODES,
        )

    def run(network: keras.Model, pixels: tf.Tensor) -> Any:
        # Convolutions on CPUs give an empty batch a wrong shape; so one image for none.
        count = tf.shape(pixels)[0]
        some = tf.cond(
            count > 0, lambda: pixels, lambda: tf.zeros((1, *image_size, 3), pixels.dtype)
        )
        some = tf.ensure_shape(some, (None, *image_size, 3))
        answers = network(tf.cast(some, tf.float32), training=False)
        return tf.nest.map_structure(lambda one: tf.cast(one, tf.float32)[:count], answers)

    def best_first(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        if novelty is None:
            probabilities, unknown = run(model, pixels), {}
        else:
            probabilities, found = run(with_features, pixels)
            unknown = novelty.outputs(found)
        scores, order = tf.math.top_k(probabilities, k=len(class_names))
        return {"classes": tf.gather(labels, order), "scores": scores, **unknown}

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return best_first(decode(image_bytes))

    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return best_first(resize_image(pixels, image_size=image_size, resize_mode=resize_mode))

    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    pixels_spec = tf.TensorSpec([None, None, None, None], tf.uint8, name="pixels")
    functions: dict[str, tuple[Any, Any]] = {
        "serving_default": (from_bytes, bytes_spec),
        "pixels": (from_pixels, pixels_spec),
    }
    if features is not None:
        functions["features"] = (
            lambda image_bytes: {"features": run(features, decode(image_bytes))},
            bytes_spec,
        )
    return {
        # XLA has no DecodeImage, and is slower for small networks on CPUs.
        name: tf.function(function, autograph=False, jit_compile=False).get_concrete_function(spec)
        for name, (function, spec) in functions.items()
    }
