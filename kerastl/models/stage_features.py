"""Features of every stage of a network in one vector, in place of its last feature maps.

The last maps of a network answer ImageNet's question: what is this a picture of. Scratches,
cracks and textures are seen lower down, and are averaged away on the way up. Head2Toe (Evci et
al. 2022, https://arxiv.org/abs/2201.03529) therefore fits the head on features of all layers.
Here it is the mean of the last maps, and the mean and the standard deviation over the
picture of the last map of each resolution below; the head's penalty, chosen by
cross-validation, does what Head2Toe's selection does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerastl.models.blocks import Border, graph_of, nodes_of, renumbered

# In units of activations, squared: sqrt has no slope at 0, where a channel is dead.
_SMALLEST_VARIANCE = 1e-5


def with_stage_features(
    backbone: keras.Model, borders: Sequence[Border]
) -> tuple[keras.Model, tuple[Border, ...]]:
    """Return a network whose output is one vector of features of all of its stages.

    Args:
        backbone: A functional `keras.Model` from images to feature maps of shape (batch, height,
            width, channels), of known height and width: a stage is what is of one resolution. It
            shares its layers with the new one.
        borders: All borders of it, see `kerastl.models.blocks.borders`.

    Returns:
        The network, from images to float32 (batch, num_features), and the same borders of it. One
        that gives vectors already is returned as it is.

    Example:
        >>> from kerastl.models.blocks import borders
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
        >>> model, cuts = with_stage_features(model, borders(model, None))
        >>> model.output_shape  # 2 means, and mean and deviation of 4 channels below
        (None, 10)
    """
    graph, nodes = graph_of(backbone), nodes_of(backbone)
    (last,) = graph.outputs
    if len(last.shape) != 4:
        return backbone, tuple(borders)
    stages: dict[tuple[int | None, ...], Any] = {}
    for border in borders:
        maps = nodes[border.position].output_tensors[0]
        if len(maps.shape) == 4:
            stages[tuple(maps.shape[1:3])] = maps
    features = [feature for maps in stages.values() for feature in _mean_and_deviation(maps)]
    features.append(keras.ops.mean(_in_float32(last), axis=(1, 2)))
    output = keras.ops.concatenate(features, axis=-1) if len(features) > 1 else features[0]
    model = keras.Model(graph.inputs[0], output, name=backbone.name)
    return model, tuple(renumbered(border, backbone, model) for border in borders)


def _mean_and_deviation(maps: Any) -> tuple[Any, Any]:
    """Return mean and standard deviation of each channel over the picture."""
    maps = _in_float32(maps)
    variance = keras.ops.var(maps, axis=(1, 2))
    return keras.ops.mean(maps, axis=(1, 2)), keras.ops.sqrt(variance + _SMALLEST_VARIANCE)


def _in_float32(maps: Any) -> Any:
    """Return maps in float32, whatever the network computes in: sums are of many numbers."""
    return keras.ops.cast(maps, "float32")
