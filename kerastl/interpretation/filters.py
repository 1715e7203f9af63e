"""The first filters of a network, in the colours that they look for."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError
from kerastl.models.blocks import nodes_of
from kerastl.models.classifier import ClassifierParts, parts_of

_CHANNELS = 3


def first_filters(classifier: keras.Model) -> tuple[str, NDArray[np.float32]]:
    """Return the filters of the first convolution that sees colours.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.

    Returns:
        Name of the layer, and float32 of shape (num_filters, height, width, 3): weights of red,
        green and blue, also of networks that are given blue first.

    Raises:
        ConfigError: No convolution takes three channels.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="stem")(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> name, filters = first_filters(classifier)
        >>> name, filters.shape
        ('stem', (4, 3, 3, 3))
    """
    parts = parts_of(classifier)
    for node in nodes_of(parts.backbone):
        operation = node.operation
        is_first = isinstance(operation, keras.layers.Conv2D)
        if is_first and operation.kernel.shape[2] == _CHANNELS:
            kernel = np.asarray(keras.ops.convert_to_numpy(operation.kernel), np.float32)
            filters = kernel.transpose(3, 0, 1, 2)
            return operation.name, filters[..., ::-1] if _turns_colours(parts) else filters
    raise ConfigError(
        f"No convolution of {parts.backbone.name} takes the three colours of an image, so it has "
        "no filters that can be shown as pictures."
    )


def _turns_colours(parts: ClassifierParts) -> bool:
    """Whether the preprocessing gives blue first, as networks from Caffe want it."""
    picture = np.zeros((1, *parts.preprocessing.input_shape[1:]), np.float32)
    black = keras.ops.convert_to_numpy(parts.preprocessing(picture))
    picture[..., 0] = 255
    red = keras.ops.convert_to_numpy(parts.preprocessing(picture))
    return int(np.abs(red - black).mean(axis=(0, 1, 2)).argmax()) == _CHANNELS - 1
