"""What fine-tuning does with BatchNorm: nothing, its scale and shift, or all of it."""

from __future__ import annotations

from typing import Any

import keras

from kerastl.models.blocks import graph_of, has_graph, nodes_of, replay

# Statistics of a handful of small batches are worse than those of the million images that a network
# was trained on; so they stay unless told otherwise (Keras guide on transfer learning).
FROZEN_NORM, AFFINE_NORM, TRAINED_NORM, ONLY_NORM = "frozen", "affine", "train", "only"
# Of the last two the one trains statistics too, the other scale and shift and nothing else.
BATCH_NORM_POLICIES = (FROZEN_NORM, AFFINE_NORM, TRAINED_NORM, ONLY_NORM)


class StillNorm(keras.layers.Layer):
    """A BatchNorm that uses its kept statistics in training too, while scale and shift learn.

    Keras joins the two: `trainable=False` freezes scale and shift as well, and `training=False` of
    a call inside a functional model is overridden by `fit` (see `kerastl.models.frozen`); inside
    this layer's `call` it is not.

    Args:
        norm: The layer, which stays that of the classifier.

    Example:
        >>> import numpy as np
        >>> norm = keras.layers.BatchNormalization()
        >>> still = StillNorm(norm)
        >>> _ = still(np.ones((4, 2), "float32"), training=True)
        >>> norm.moving_mean.numpy().tolist(), len(still.trainable_variables)
        ([0.0, 0.0], 2)
    """

    def __init__(self, norm: keras.layers.BatchNormalization, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = norm

    def call(self, inputs: Any) -> Any:
        """Return the inputs, normalised with the kept statistics."""
        return self.norm(inputs, training=False)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return shapes and dtypes without running the layer."""
        return self.norm.compute_output_spec(inputs, training=False)


def with_still_norms(model: keras.Model) -> keras.Model:
    """Return a functional model of the same layers, in which every BatchNorm is a `StillNorm`.

    One inside a layer of the user's own is left as it is.

    Args:
        model: A functional `keras.Model`, also with models inside.
    """
    graph, nodes = graph_of(model), nodes_of(model)
    replaced: dict[int, Any] = {}

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        operation = node.operation
        if id(operation) not in replaced:
            replaced[id(operation)] = operation
            if type(operation) is keras.layers.BatchNormalization:
                replaced[id(operation)] = StillNorm(operation, name=f"{operation.name}_still")
            elif isinstance(operation, keras.layers.Layer) and has_graph(operation):
                replaced[id(operation)] = with_still_norms(operation)
        if isinstance(replaced[id(operation)], StillNorm):
            kwargs = {}  # training and mask mean nothing to it
        return replaced[id(operation)](*args, **kwargs)

    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in graph.inputs
    ]
    tensors = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}
    replay(nodes, tensors, call)
    outputs = [tensors[id(tensor)] for tensor in graph.outputs]
    return keras.Model(
        keras.tree.pack_sequence_as(graph.input, inputs),
        keras.tree.pack_sequence_as(graph.output, outputs),
        name=model.name,
    )


def learns(layer: keras.layers.Layer, policy: str) -> bool:
    """Tell whether a layer above the border learns, as far as BatchNorm decides it.

    Args:
        layer: Of the backbone.
        policy: One of `BATCH_NORM_POLICIES`.
    """
    if not isinstance(layer, keras.layers.BatchNormalization):
        return policy != ONLY_NORM or bool(norms_in(layer))
    # A subclass would not stay still.
    still = type(layer) is keras.layers.BatchNormalization
    return policy == TRAINED_NORM or (policy in (AFFINE_NORM, ONLY_NORM) and still)


def norms_in(layer: keras.layers.Layer) -> list[Any]:
    """Return the BatchNorm layers inside a layer.

    Args:
        layer: A model or any other layer.
    """
    return [
        one
        for one in layer._flatten_layers(include_self=False)
        if isinstance(one, keras.layers.BatchNormalization)
    ]
