"""Where in an image the evidence for an answer is: Grad-CAM, and by covering it piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import ConfigError
from kerastl.interpretation.layer_maps import find_layer
from kerastl.models.blocks import graph_of, nodes_of
from kerastl.models.classifier import ClassifierParts, parts_of

_BATCH_SIZE = 16


def grad_cam(
    classifier: keras.Model,
    images: NDArray[np.uint8],
    classes: Sequence[int] | None = None,
    *,
    layer: str | None = None,
) -> NDArray[np.float32]:
    """Return where the evidence for a class is, by Grad-CAM (Selvaraju et al. 2017).

    Feature maps, each weighted by the mean of its gradient, added up; what speaks against the class
    is left out (https://arxiv.org/abs/1610.02391). The gradient is that of the log-odds of
    the class, which, unlike its probability, does not vanish where the model is sure. Of a model
    that answers with the mean over mirror images (`--tta`) it explains the answer to the image as
    it is.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        classes: For each image the class to explain; the most probable when not given.
        layer: Of the backbone, whose maps are weighted; the last one of more than one place when
            not given, see `kerastl.interpretation.layer_maps.map_layers`.

    Returns:
        float32 of shape (n, height, width), 0 and more: what each place adds to the log-odds, to
        first order and up to a factor; as coarse as the maps.

    Raises:
        ConfigError: There is no such layer, or not one class for each image.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> grad_cam(classifier, np.zeros((3, 8, 8, 3), np.uint8)).shape
        (3, 8, 8)
    """
    parts = parts_of(classifier)
    chosen = _classes(classes, len(images), num_classes=classifier.output_shape[-1])
    position = find_layer(parts.backbone, layer).position
    tensor = nodes_of(parts.backbone)[position].output_tensors[0]
    graph = graph_of(parts.backbone)
    both = keras.Model(graph.inputs, [tensor, graph.outputs[0]])

    @tf.function(reduce_retracing=True)
    def explain(pixels: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            prepared = parts.preprocessing(pixels)
            tape.watch(prepared)
            maps, features = both(prepared, training=False)
            logits = _logits(parts, features)
            wanted = tf.where(wanted < 0, tf.argmax(logits, axis=1), wanted)
            odds = _log_odds(logits, wanted, several=_has_several(parts))
        gradient = tape.gradient(odds, maps)
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        evidence = tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float32), axis=-1))
        return tf.image.resize(evidence[..., None], pixels.shape[1:3])[..., 0]

    found = []
    for start in range(0, len(images), _BATCH_SIZE):
        rows = slice(start, start + _BATCH_SIZE)
        pixels = tf.cast(images[rows], tf.float32)
        found.append(explain(pixels, tf.constant(chosen[rows])).numpy())
    return np.concatenate(found)


def occlusion(
    classifier: keras.Model,
    images: NDArray[np.uint8],
    classes: Sequence[int] | None = None,
    *,
    places: int = 8,
) -> NDArray[np.float32]:
    """Return how much the log-odds of a class fall when a square of the image is covered.

    The square is covered with the mean colour of the image (Zeiler and Fergus 2014,
    https://arxiv.org/abs/1311.2901). It asks the model itself and needs no gradient, so it can
    contradict Grad-CAM; and what is shown to the model then is a picture of another kind.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`; as for `grad_cam`, the
            answer to the image as it is.
        images: uint8 of shape (n, height, width, 3).
        classes: For each image the class to explain; the most probable when not given.
        places: Squares along each side; each image is asked about places × places times.

    Returns:
        float32 of shape (n, height, width), in nats: above 0 where what was covered spoke for the
        class, below where it spoke against it.

    Raises:
        ConfigError: There is not one class for each image, or fewer than two places.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> occlusion(classifier, np.zeros((3, 8, 8, 3), np.uint8), places=4).shape
        (3, 8, 8)
    """
    if places < 2:
        raise ConfigError(f"`places` must be 2 or more; received places={places}.")
    parts = parts_of(classifier)
    chosen = _classes(classes, len(images), num_classes=classifier.output_shape[-1])

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32)])
    def ask(pixels: tf.Tensor) -> tf.Tensor:
        return _logits(parts, parts.backbone(parts.preprocessing(pixels), training=False))

    found = []
    for image, wanted in zip(images, chosen, strict=True):
        pictures = covered_pictures(image, places)
        batches = range(0, len(pictures), _BATCH_SIZE)
        logits = tf.concat([ask(pictures[at : at + _BATCH_SIZE]) for at in batches], axis=0)
        about = int(tf.argmax(logits[-1])) if wanted < 0 else int(wanted)
        several = _has_several(parts)
        odds = _log_odds(logits, tf.fill([len(pictures)], about), several=several).numpy()
        found.append((odds[-1] - odds[:-1]).reshape(places, places))
    maps = tf.image.resize(np.stack(found)[..., None], images.shape[1:3])[..., 0]
    return np.asarray(maps, np.float32)


def covered_pictures(image: NDArray[np.uint8], places: int) -> NDArray[np.float32]:
    """Return an image with each square covered in turn, and at last as it is.

    Args:
        image: uint8 of shape (height, width, 3).
        places: Squares along each side.

    Returns:
        float32 of shape (places² + 1, height, width, 3); squares have the mean colour.
    """
    height, width = image.shape[:2]
    rows = np.linspace(0, height, places + 1).round().astype(int)
    columns = np.linspace(0, width, places + 1).round().astype(int)
    pictures = np.repeat(image[None].astype(np.float32), places**2 + 1, axis=0)
    mean = image.reshape(-1, 3).mean(axis=0)
    for place in range(places**2):
        row, column = divmod(place, places)
        area = slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1])
        pictures[place, *area] = mean
    return pictures


def _classes(classes: Sequence[int] | None, count: int, *, num_classes: int) -> NDArray[np.int64]:
    """Return the class to explain for each image, -1 for the most probable."""
    chosen = np.full(count, -1, np.int64) if classes is None else np.asarray(classes, np.int64)
    if chosen.shape != (count,) or np.any(chosen >= num_classes) or np.any(chosen < -1):
        raise ConfigError(
            f"`classes` must have one number from 0 to {num_classes - 1} for each of the {count} "
            f"images; received {classes!r}."
        )
    return chosen


def _has_several(parts: ClassifierParts) -> bool:
    """Whether an image can have several classes."""
    return parts.output.activation is keras.activations.sigmoid


def _logits(parts: ClassifierParts, features: Any) -> tf.Tensor:
    """Return what the last activation is applied to."""
    x = parts.pooling(features)
    for one in parts.head[:-1]:
        x = one(x, training=False)
    kernel = tf.cast(parts.output.kernel, tf.float32)
    return tf.matmul(tf.cast(x, tf.float32), kernel) + tf.cast(parts.output.bias, tf.float32)


def _log_odds(logits: tf.Tensor, wanted: tf.Tensor, *, several: bool) -> tf.Tensor:
    """Return the log-odds of a class of each row: it against all others, or against its absence."""
    own = tf.gather(logits, wanted, batch_dims=1)
    if several:
        return own
    is_own = tf.one_hot(wanted, logits.shape[-1], dtype=tf.bool, on_value=True, off_value=False)
    others = tf.where(is_own, tf.constant(-np.inf, tf.float32), logits)
    return own - tf.reduce_logsumexp(others, axis=1)
