"""How much a network computes for one image: multiplications and additions."""

from __future__ import annotations

import math

import keras

from kerastl.models.blocks import has_graph, nodes_of


def operations_per_image(model: keras.Model) -> float:
    """Return multiplications and additions of convolutions and dense layers for one image.

    One of each is two operations, as for the measured limit of a machine. What is done number by
    number (normalisation, activation, pooling) is left out: it is a few percent of the
    arithmetic, however long it takes.

    Args:
        model: A functional model for images of one size; models inside it are counted.

    Raises:
        ConfigError: The model has no graph.

    Example:
        >>> pixels = keras.Input((8, 8, 3))
        >>> operations_per_image(keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)))
        7776.0
    """
    total = 0.0
    for node in nodes_of(model):
        layer = node.operation
        if isinstance(layer, keras.Model) and has_graph(layer):
            total += operations_per_image(layer)
        elif not node.is_input and len(node.output_tensors) == 1:
            places = math.prod(node.output_tensors[0].shape[1:-1])
            total += 2.0 * places * _multiplications(layer)
    return total


def _multiplications(layer: keras.layers.Layer) -> float:
    """Return the multiplications that a layer does for one place of its output."""
    if isinstance(layer, keras.layers.SeparableConv2D):
        return math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    # In the kernel of a convolution in groups the inputs are those of one group already; that
    # of a depthwise one has every output in it.
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    return 0.0
