"""BatchNorm folded into the layer before it, for networks that only infer.

In inference BatchNorm is y = (x - mean) * gamma / sqrt(variance + epsilon) + beta, per channel
a multiplication and an addition with constants. The convolution or dense layer before it
can do both with its kernel and bias, exactly but for rounding (Jacob et al. 2018,
arXiv:1712.05877, section 3.2).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError
from kerastl.models.blocks import graph_of, has_graph, nodes_of, replay

# Exact types: a subclass may compute something else with the same kernel.
_FOLDABLE = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)
# Identities in inference. StochasticDepth is ConvNeXt's, and not public in keras 3.15.1.
_RANDOM = frozenset(
    {
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "StochasticDepth",
    }
)


def fold_batch_norm(model: keras.Model, *, dtype: str | None = None) -> tuple[keras.Model, int]:
    """Return a copy of a network for inference only, with its BatchNorm layers folded.

    A BatchNorm is folded where it alone reads the output of a Conv2D, DepthwiseConv2D,
    SeparableConv2D or Dense layer without activation, and neither layer is called twice;
    the others stay, in inference mode. Dropout and stochastic depth are left out. The copy
    answers the same whether called with `training=True` or not, and does not follow later
    changes of the model's weights.

    Args:
        model: A functional `keras.Model`, also a part made by `kerastl.models.blocks.split`. It
            is not changed.
        dtype: "bfloat16" or the like to compute and store the copy in; None to leave each layer
            its own. Scaling and normalisation of pixels keep theirs in any case. Folding is
            exact in float32 only.

    Returns:
        The copy, with inputs and outputs as in `model` and nothing trainable, and how many
        BatchNorm layers were folded.

    Raises:
        ConfigError: The model has no graph, because its class defines `call`, or has a layer
            that cannot be copied.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
        >>> folded, num_folded = fold_batch_norm(keras.Model(inputs, x))
        >>> num_folded, [type(layer).__name__ for layer in folded.layers]
        (1, ['InputLayer', 'Conv2D'])
    """
    graph, nodes = graph_of(model), nodes_of(model)
    norm_of = _foldable_pairs(graph, nodes)
    folded_norms = {id(norm) for norm in norm_of.values()}
    copies: dict[int, tuple[Any, Any]] = {}
    num_folded = len(norm_of)

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal num_folded
        operation = node.operation
        if id(operation) in folded_norms or type(operation).__name__ in _RANDOM:
            return args[0] if args else next(iter(kwargs.values()))
        if not isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        if id(operation) not in copies:
            if has_graph(operation):
                copy, inside = fold_batch_norm(operation, dtype=dtype)
                num_folded += inside
            else:
                copy = _copy(operation, norm_of.get(id(operation)), dtype)
            copies[id(operation)] = operation, copy
        kwargs.pop("training", None)
        return copies[id(operation)][1](*args, **kwargs)

    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in graph.inputs
    ]
    tensors = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}
    replay(nodes, tensors, call)
    outputs = [tensors[id(tensor)] for tensor in graph.outputs]
    folded = keras.Model(
        keras.tree.pack_sequence_as(graph.input, inputs),
        keras.tree.pack_sequence_as(graph.output, outputs),
        name=f"{model.name}_folded",
    )
    for layer, copy in copies.values():
        if not has_graph(layer):
            _fill(copy, layer, norm_of.get(id(layer)))
    folded.trainable = False
    return folded, num_folded


def _foldable_pairs(graph: Any, nodes: list[Any]) -> dict[int, Any]:
    """Return from the `id` of each layer that can take a BatchNorm in, to that BatchNorm."""
    calls = Counter(id(node.operation) for node in nodes)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in graph.outputs)
    producer = {id(tensor): node.operation for node in nodes for tensor in node.output_tensors}
    pairs: dict[int, Any] = {}
    for node in nodes:
        norm = node.operation
        if type(norm) is not keras.layers.BatchNormalization or len(node.input_tensors) != 1:
            continue
        (tensor,) = node.input_tensors
        layer = producer[id(tensor)]
        alone = uses[id(tensor)] == calls[id(layer)] == calls[id(norm)] == 1
        if alone and type(layer) in _FOLDABLE and _is_affine(layer, norm, len(tensor.shape)):
            pairs[id(layer)] = norm
    return pairs


def _is_affine(layer: Any, norm: Any, rank: int) -> bool:
    """Tell whether a layer is linear with a plain kernel and `norm` acts on its channels."""
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    return (
        layer.activation is keras.activations.linear
        and norm.axis % rank == (1 if channels_first else rank - 1)
        and not getattr(layer, "lora_enabled", False)
        and not getattr(layer, "quantization_mode", None)
    )


def _copy(layer: Any, norm: Any, dtype: str | None) -> Any:
    """Return a layer like this one, still without its weights."""
    try:
        config = layer.get_config()
    except NotImplementedError as error:
        raise ConfigError(
            f"The layer {layer.name!r} ({type(layer).__name__}) cannot be copied, because it has "
            "no `get_config`. Define one that returns the arguments of its `__init__`."
        ) from error
    if norm is not None:
        config["use_bias"] = True
    if dtype and not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
        config["dtype"] = dtype
    return type(layer).from_config(config)


def _fill(copy: Any, layer: Any, norm: Any) -> None:
    """Give a copy the weights of its layer, with those of `norm` folded in, in place."""
    weights = layer.get_weights()
    copy.set_weights(weights if norm is None else _folded_weights(layer, weights, norm))
    if isinstance(copy, keras.layers.Normalization) and weights:
        copy.finalize_state()


def _folded_weights(
    layer: Any, weights: list[NDArray[Any]], norm: Any
) -> list[NDArray[np.float64]]:
    """Return the kernels and the bias that do the work of a layer and its BatchNorm."""
    kernels, bias = (weights[:-1], weights[-1]) if layer.use_bias else (weights, np.zeros(()))
    scale = 1.0 / np.sqrt(_float64(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * _float64(norm.gamma)
    shift = _float64(norm.beta) if norm.center else 0.0
    last = kernels[-1].astype(np.float64)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # (height, width, channels in, multiplier); channels out run over the last two.
        last = last * scale.reshape(last.shape[2:])
    else:
        last = last * scale
    return [*kernels[:-1], last, (bias - _float64(norm.moving_mean)) * scale + shift]


def _float64(variable: Any) -> NDArray[np.float64]:
    """Return the values of a variable in double precision."""
    return np.asarray(variable.numpy(), np.float64)
