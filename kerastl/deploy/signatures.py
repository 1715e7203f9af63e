"""What an exported classifier can be asked: encoded images or pixels in, labels or features out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerastl.data.preparation import prepare_image
from kerastl.data.resize import resize_image
from kerastl.deploy.batch_decoding import decode_batch, unreadable_words
from kerastl.features.novelty import Novelty
from kerastl.models.classifier import answering_with_features

# As TensorFlow's own data sets of images call it.
EXAMPLE_KEY = "image/encoded"
_NO_EXAMPLE = f"no tf.train.Example with an image under {EXAMPLE_KEY} that can be read"
_OF_UNREADABLE: dict[str, Any] = {
    "classes": "",
    "scores": 0,
    "features": 0,
    "unknown_score": 2,  # one less the smallest cosine
    "is_unknown": True,
}

DESCRIPTIONS = {
    "serving_default": (
        "image_bytes: string (n,), contents of JPEG, PNG, GIF, BMP or WebP files -> "
        "classes: string (n, num_classes) and scores: float32 (n, num_classes), best first; error: "
        "string (n,), why an image could not be read, and then classes are empty; else empty"
    ),
    "pixels": (
        "pixels: uint8 (n, any height, any width, 1, 2, 3 or 4), RGB 0..255 -> "
        "classes and scores as serving_default"
    ),
    "tf_example": (
        f"inputs: string (n,), serialized tf.train.Example with the bytes feature {EXAMPLE_KEY}, "
        "the contents of an image file -> as serving_default; for Predict and Classify"
    ),
    "features": (
        "image_bytes as serving_default -> features: float32 (n, num_features), pooled; error as "
        "serving_default"
    ),
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

    def from_file(content: tf.Tensor) -> tf.Tensor:
        return prepare_image(content, image_size=image_size, resize_mode=resize_mode)

    forward = functools.cache(lambda network: _as_function(network, image_size))

    def run(network: keras.Model, pixels: tf.Tensor) -> Any:
        # Convolutions on CPUs give an empty batch a wrong shape; so one image for none.
        count = tf.shape(pixels)[0]
        some = tf.cond(
            count > 0, lambda: pixels, lambda: tf.zeros((1, *image_size, 3), pixels.dtype)
        )
        some = tf.ensure_shape(some, (None, *image_size, 3))
        answers = forward(network)(tf.cast(some, tf.float32))
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
        pixels, readable = decode_batch(image_bytes, from_file, image_size=image_size)
        return without_unreadable(best_first(pixels), image_bytes, readable)

    def from_examples(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, readable = decode_batch(
            inputs, lambda one: from_file(_encoded_image(one)), image_size=image_size
        )
        answers = without_unreadable(best_first(pixels), inputs, readable)
        return {**answers, "error": tf.where(readable, "", _NO_EXAMPLE)}

    def features_of_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, readable = decode_batch(image_bytes, from_file, image_size=image_size)
        return without_unreadable({"features": run(features, pixels)}, image_bytes, readable)

    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return best_first(resize_image(pixels, image_size=image_size, resize_mode=resize_mode))

    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    pixels_spec = tf.TensorSpec([None, None, None, None], tf.uint8, name="pixels")
    functions: dict[str, tuple[Any, Any]] = {
        "serving_default": (from_bytes, bytes_spec),
        "pixels": (from_pixels, pixels_spec),
        # TF Serving's Classify calls its one input so.
        "tf_example": (from_examples, tf.TensorSpec([None], tf.string, name="inputs")),
    }
    if features is not None:
        functions["features"] = (features_of_bytes, bytes_spec)
    return {
        # XLA has no DecodeImage, and is slower for small networks on CPUs.
        name: tf.function(function, autograph=False, jit_compile=False).get_concrete_function(spec)
        for name, (function, spec) in functions.items()
    }


def _as_function(network: keras.Model, image_size: tuple[int, int]) -> Any:
    """Return a network as a function: traced once, and in the file once, whatever asks for it."""
    return tf.function(
        lambda pixels: network(pixels, training=False),
        input_signature=[tf.TensorSpec((None, *image_size, 3), tf.float32)],
        autograph=False,
        jit_compile=False,
    )


def without_unreadable(
    answers: Mapping[str, tf.Tensor], image_bytes: tf.Tensor, readable: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return answers in which images that could not be read have an error in place of an answer.

    Args:
        answers: By name, each of shape (n, ...).
        image_bytes: string of shape (n,).
        readable: bool of shape (n,).

    Returns:
        The same, and error: string of shape (n,), "" where there is none. Of the others classes are
        "", scores and features 0; to be safe they are unknown, as far from what is known as can be.
    """

    def answered(name: str, values: tf.Tensor) -> tf.Tensor:
        known = tf.reshape(readable, [-1] + [1] * (values.shape.rank - 1))
        nothing = tf.constant(_OF_UNREADABLE[name], values.dtype)
        return tf.where(known, values, nothing)

    kept = {name: answered(name, values) for name, values in answers.items()}
    return {**kept, "error": unreadable_words(image_bytes, readable)}


def _encoded_image(example: tf.Tensor) -> tf.Tensor:
    """Return the image file that a serialized tf.train.Example holds."""
    features = {EXAMPLE_KEY: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_single_example(example, features)[EXAMPLE_KEY]
