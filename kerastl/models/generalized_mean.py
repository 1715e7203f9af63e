"""Generalised-mean pooling: between the mean of feature maps and their largest value."""

from __future__ import annotations

import keras

# A way of pooling, see `kerastl.models.classifier.build_classifier`.
GEM = "gem"

# p and the smallest activation of Radenović, Tolias and Chum (TPAMI 2019,
# https://arxiv.org/abs/1711.02512): where they start learning p, and what it stays near.
_POWER = 3.0
_SMALLEST = 1e-6


def generalized_mean(shape: tuple[int | None, ...], *, name: str) -> keras.Model:
    """Return GeM pooling: the cubic mean of each channel, as a model of Keras' own operations.

    A model and not a layer of our own: it is saved, folded and exported like any other part.

    Args:
        shape: (height, width, channels) of the feature maps.
        name: Of the model.

    Returns:
        From feature maps to float32 (batch, channels). Below 1e-6 activations count as that: GeM
        is made for maps after a ReLU.

    Example:
        >>> pool = generalized_mean((1, 2, 1), name="pooling")
        >>> maps = keras.ops.reshape([1.0, 3.0, 2.0, 2.0], (2, 1, 2, 1))
        >>> pool(maps).numpy().round(3).tolist()
        [[2.4100000858306885], [2.0]]
    """
    maps = keras.Input(shape, name="feature_maps")
    # In half precision the cube of 41 is infinity.
    positive = keras.ops.maximum(keras.ops.cast(maps, "float32"), _SMALLEST)
    mean = keras.ops.mean(positive * positive * positive, axis=(1, 2))
    return keras.Model(maps, keras.ops.power(mean, 1 / _POWER), name=name)
