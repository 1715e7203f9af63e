"""Which layers of a network learn."""

from __future__ import annotations

import keras

from kerastl.models.batch_norm import FROZEN_NORM, learns


def unfreeze(backbone: keras.Model, suffix: keras.Model, *, batch_norm: str = FROZEN_NORM) -> None:
    """Make the layers of `suffix` the only trainable ones of `backbone`, in place.

    Args:
        backbone: The whole network.
        suffix: The part above the border, which shares its layers with the backbone.
        batch_norm: What of it learns, see `kerastl.models.batch_norm`.
    """
    backbone.trainable = True
    above = {id(layer) for layer in layers_within(suffix)}
    for layer in layers_within(backbone):
        holds_trained = any(id(part) in above for part in layers_within(layer))
        if not learns(layer, batch_norm) or (id(layer) not in above and not holds_trained):
            layer.trainable = False


def layers_within(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return all layers inside a layer, at every depth.

    `Model.layers` ends at the first level and misses what a custom layer holds; this
    method of Keras' own is what its `trainable` setter walks.

    Args:
        layer: A model or any other layer.
    """
    return list(layer._flatten_layers(include_self=False, recursive=True))


def statistics_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the mean and variance that a BatchNorm keeps.

    Args:
        layer: Of any kind; others keep none.
    """
    if not isinstance(layer, keras.layers.BatchNormalization):
        return []
    return [layer.moving_mean, layer.moving_variance]
