"""Test-time augmentation as a part of the model: the mean answer over views of an image.

What a network says of an image and of its mirror image differs, though the label does not; the
mean of both is nearer to the truth. The mean is that of the logits (a geometric mean of
probabilities, normalised), so that a shift of the logits of the model is one of the mean, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from kerastl.errors import ConfigError
from kerastl.models.classifier import CLASSIFIER, parts_of

# Axes of (batch, height, width, channels) that a view mirrors, by name; see
# `kerastl.data.augment.symmetric_views`, which makes the same views of pixels in memory.
_MIRRORED_AXES = {"as it is": (), "left-right": (2,), "up-down": (1,), "both": (1, 2)}
_TRANSPOSED = ", transposed"

# Probabilities that were rounded to 0 or 1 have no logit.
_TINY = 1e-30
_NEARLY_ONE = 1 - 1e-7


def mean_over_views(classifier: keras.Model, views: Sequence[str]) -> keras.Model:
    """Return a model that answers with the mean over views; it shares all weights.

    An answer takes as many times as long as there are views.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        views: Names, as in `kerastl.data.augment.symmetric_views`.

    Returns:
        From float32 (batch, height, width, 3), RGB 0..255, to probabilities, float32 (batch,
        num_classes).

    Raises:
        ConfigError: A view is unknown, or one that images of this shape do not have.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> classifier = build_classifier(backbone, num_classes=3, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> model = mean_over_views(classifier, ["as it is", "left-right"])
        >>> image = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
        >>> mirrored = image[:, :, ::-1]
        >>> bool(np.allclose(model(image), model(mirrored), atol=1e-6))
        True
    """
    ops = keras.ops
    pixels = keras.Input(classifier.input_shape[1:], name="pixels", dtype="float32")
    pictures = ops.concatenate([_view(pixels, name) for name in views], axis=0)
    answers = classifier(pictures, training=False)
    num_classes = classifier.output_shape[-1]
    if parts_of(classifier).output.activation is keras.activations.sigmoid:
        answers = ops.clip(answers, _TINY, _NEARLY_ONE)
        logits = ops.log(answers) - ops.log1p(-answers)
        finish = ops.sigmoid
    else:
        logits = ops.log(ops.maximum(answers, _TINY))
        finish = ops.softmax
    mean = ops.mean(ops.reshape(logits, (len(views), -1, num_classes)), axis=0)
    return keras.Model(pixels, finish(mean), name=f"{CLASSIFIER}_over_views")


def mean_answer(
    answers: Sequence[NDArray[np.float32]], *, multi_label: bool
) -> NDArray[np.float32]:
    """Return the mean of the answers to views, as `mean_over_views` answers.

    Args:
        answers: Each float32 of shape (n, num_classes): probabilities.
        multi_label: Whether each label has a probability of its own.

    Example:
        >>> mean_answer([np.array([[0.9, 0.1]]), np.array([[0.9, 0.1]])], multi_label=False)
        array([[0.9, 0.1]], dtype=float32)
    """
    if len(answers) == 1:
        return answers[0]
    values = np.stack(answers).astype(np.float64)
    if multi_label:
        return expit(logit(np.clip(values, _TINY, _NEARLY_ONE)).mean(axis=0)).astype(np.float32)
    logits = np.log(np.maximum(values, _TINY)).mean(axis=0)
    return softmax(logits, axis=-1).astype(np.float32)


def _view(pixels: Any, name: str) -> Any:
    """Return a view of a batch of images."""
    mirrored = name.removesuffix(_TRANSPOSED)
    turned = mirrored != name
    if mirrored not in _MIRRORED_AXES or (turned and pixels.shape[1] != pixels.shape[2]):
        raise ConfigError(
            f"`views` must be names of views that images of {pixels.shape[1]} x {pixels.shape[2]} "
            f"pixels have; received {name!r}."
        )
    if turned:
        pixels = keras.ops.transpose(pixels, (0, 2, 1, 3))
    axes = _MIRRORED_AXES[mirrored]
    return keras.ops.flip(pixels, axis=axes) if axes else pixels
