"""Which layers of a network learn."""

from __future__ import annotations

import keras

from kerastl.models.batch_norm import FROZEN_NORM, learns


def unfreeze(backbone: keras.Model, part: keras.Model, *, batch_norm: str = FROZEN_NORM) -> None:
    """Make the layers of a part the only trainable ones of `backbone`, in place.

    Args:
        backbone: The whole network.
        part: A piece of it, which shares its layers with the backbone.
        batch_norm: What of it learns, see `kerastl.models.batch_norm`.
    """
    backbone.trainable = True
    trained = {id(layer) for layer in layers_within(part)}
    for layer in layers_within(backbone):
        holds_trained = any(id(inner) in trained for inner in layers_within(layer))
        is_trained = id(layer) in trained or holds_trained
        # One by one: where a model is trainable already, saying so reaches none of its layers.
        layer.trainable = is_trained and learns(layer, batch_norm)


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
