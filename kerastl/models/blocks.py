"""Where a network can be cut, what its "top N blocks" are, and the cutting itself.

A border lies behind an operation such that only its output (for NASNet: the outputs of
two cells) is needed by the rest of the network. So a border never opens a residual
block: there the skip connection would cross it as well.

Keras numbers operations such as `add_7` anew in every build, so a border is known by its
position in the order of operations, not by its name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerastl.errors import ConfigError

_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
)
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)
_POOLINGS = (
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.MaxPooling2D,
)
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True)
class Border:
    """A place where a network can be cut.

    Attributes:
        name: Name of the last operation below the border, for people to read.
        position: Index of that operation in the order of operations; identifies the border.
        num_tensors: How many tensors cross the border.
    """

    name: str
    position: int
    num_tensors: int


def has_graph(model: Any) -> bool:
    """Tell whether a layer is a model that is made of recorded calls.

    Args:
        model: A functional or a built sequential model has a graph; other layers and models
            whose class defines `call` have none.
    """
    return hasattr(getattr(model, "_functional", None) or model, "_nodes_by_depth")


def graph_of(model: keras.Model) -> Any:
    """Return a functional model, or the functional model inside a sequential one.

    Args:
        model: A functional or a built sequential model.

    Raises:
        ConfigError: The model has no graph.
    """
    if not has_graph(model):
        raise ConfigError(
            "The model must be a functional (or built sequential) keras.Model, whose graph "
            f"can be cut; received a {type(model).__name__} named {model.name!r}. Rebuild it "
            "as keras.Model(inputs, outputs)."
        )
    return getattr(model, "_functional", None) or model


def nodes_of(model: keras.Model) -> list[Any]:
    """Return the calls a functional model is made of, each after all that it depends on.

    Only the calls of this model: a layer that other models share remembers all of its calls,
    and `layer.input`, `layer.output` or its first inbound node may belong to another graph.

    Args:
        model: A functional or a built sequential model.

    Returns:
        Keras `Node`s with `operation`, `arguments`, `input_tensors` and `output_tensors`.

    Raises:
        ConfigError: The model has no graph, because its class defines `call`.

    Example:
        >>> inputs = keras.Input((8,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2, name="head")(inputs))
        >>> [node.operation.name for node in nodes_of(model)][1:]
        ['head']
    """
    by_depth = graph_of(model)._nodes_by_depth
    # The order in which Keras itself runs a functional model (keras.Function).
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def replay(
    nodes: Iterable[Any], tensors: dict[int, Any], call: Callable[..., Any] | None = None
) -> None:
    """Repeat recorded calls on other tensors, in place in `tensors`.

    Args:
        nodes: Calls in the order of `nodes_of`.
        tensors: From the `id` of each tensor of the recorded graph to the tensor that takes
            its place; the outputs of the calls are added.
        call: Called with the node and its new arguments in place of the node's own operation.
    """
    for node in nodes:
        if node.is_input:
            continue
        args, kwargs = node.arguments.fill_in(tensors)
        outputs = node.operation(*args, **kwargs) if call is None else call(node, *args, **kwargs)
        for recorded, new in zip(node.output_tensors, keras.tree.flatten(outputs), strict=True):
            tensors[id(recorded)] = new


def borders(
    backbone: keras.Model, pattern: str | None, *, max_tensors: int = 1
) -> tuple[Border, ...]:
    """Return the borders between the blocks of a network, from input to output.

    Without a pattern, a structural rule finds them among the places where one tensor passes: a
    block ends where branches join (but not in a product, the gate inside a block), after a
    pooling, and after a strided convolution with the normalisation behind it; activations that
    follow belong to the block before them.

    With either, a block holds at least one layer with weights other than a normalisation, so
    that there is something to train in it: of two ends with nothing but normalisations and
    activations between them only the later one counts, and an end with no more than that
    behind it is the output, not a border.

    Args:
        backbone: A functional `keras.Model`.
        pattern: Regular expression for the whole name of the operations that end a block, as in
            `Backbone.border_pattern`; None for the structural rule.
        max_tensors: How many tensors may cross a border (`Backbone.border_tensors`).

    Returns:
        Borders with increasing positions; empty if the network is a single block.

    Raises:
        ConfigError: The model has no graph, because its class defines `call`.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(x))
        >>> [border.name for border in borders(model, None)]
        ['pool']
    """
    graph, nodes = graph_of(backbone), nodes_of(backbone)
    below = ancestors(nodes)
    matches = [
        index
        for index, node in enumerate(nodes)
        if pattern is None or re.fullmatch(pattern, node.operation.name)
    ]
    crossing = {i: len(_crossing(graph, nodes, below[i])) for i in matches}
    positions = [i for i in matches if crossing[i] <= max_tensors]
    if pattern is None:
        positions = _structural_ends(nodes, positions)
    found: list[int] = []
    above = (1 << len(nodes)) - 1
    for position in sorted(positions, reverse=True):
        nested = not below[position] & ~above
        if nested and _trainable_between(nodes, below[position], above):
            found.append(position)
            above = below[position]
    if found and not _trainable_between(nodes, 0, below[found[-1]]):
        found.pop()
    return tuple(
        Border(name=nodes[i].operation.name, position=i, num_tensors=crossing[i])
        for i in reversed(found)
    )


def split(backbone: keras.Model, border: Border) -> tuple[keras.Model, keras.Model]:
    """Cut a network in two models that share its layers.

    `suffix(prefix(x))` is `backbone(x)`, and training the suffix trains the backbone.

    Args:
        backbone: A functional `keras.Model`.
        border: One of its borders.

    Returns:
        The part from the input to the border and the part from the border to the output. Where
        more than one tensor crosses, the prefix returns and the suffix takes a list of tensors.

    Raises:
        ConfigError: The border is of another model.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
        >>> prefix, suffix = split(model, borders(model, None)[0])
        >>> prefix.output_shape, suffix.output_shape
        ((None, 3, 3, 4), (None, 1, 1, 2))
    """
    prefix, suffix = split_at(backbone, [border])
    return prefix, suffix


def split_at(backbone: keras.Model, cuts: Sequence[Border]) -> tuple[keras.Model, ...]:
    """Cut a network at several borders in models that share its layers, see `split`.

    Args:
        backbone: A functional `keras.Model`.
        cuts: Some of its borders, from input to output, at least one.

    Returns:
        The parts from input to output, one more than there are borders.

    Raises:
        ConfigError: A border is of another model, or they are in another order.
    """
    graph, nodes = graph_of(backbone), nodes_of(backbone)
    _check_borders(backbone, nodes, cuts)
    below = [_with_vectors(nodes, border.position) for border in cuts]
    crossings = [_crossing(graph, nodes, one) for one in below]
    parts = [keras.Model(graph.input, _single(crossings[0]), name=f"{backbone.name}_prefix")]
    ends = [*below[1:], (1 << len(nodes)) - 1]
    wanted = [*map(_single, crossings[1:]), graph.output]
    names = [*(f"part{number}" for number in range(1, len(cuts))), "suffix"]
    steps = zip(below, ends, crossings, wanted, names, strict=True)
    for begin, end, crossing, outputs, name in steps:
        entries = [
            keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"border_{index}")
            for index, tensor in enumerate(crossing)
        ]
        tensors = {id(tensor): entry for tensor, entry in zip(crossing, entries, strict=True)}
        replay((node for i, node in enumerate(nodes) if (end & ~begin) >> i & 1), tensors)
        rebuilt = [tensors[id(tensor)] for tensor in keras.tree.flatten(outputs)]
        packed = keras.tree.pack_sequence_as(outputs, rebuilt)
        parts.append(keras.Model(_single(entries), packed, name=f"{backbone.name}_{name}"))
    return tuple(parts)


def renumbered(border: Border, backbone: keras.Model, extended: keras.Model) -> Border:
    """Return a border of a network as a border of another one that was built upon it.

    Args:
        border: One of the borders of `backbone`.
        backbone: A functional `keras.Model`.
        extended: One that holds the same calls, and others above them.
    """
    output = nodes_of(backbone)[border.position].output_tensors[0]
    graph, nodes = graph_of(extended), nodes_of(extended)
    position = next(index for index, node in enumerate(nodes) if output is node.output_tensors[0])
    crossing = _crossing(graph, nodes, _with_vectors(nodes, position))
    return Border(border.name, position, len(crossing))


def _with_vectors(nodes: list[Any], position: int) -> int:
    """Return the bit set of what lies below a border: its ancestors, and vectors made of them.

    What a head wants of a lower stage then crosses as a vector of means, not as the maps. Only
    what is made without weights: the rest is to be trained.
    """
    every = ancestors(nodes)
    below = every[position]
    for index, node in enumerate(nodes):
        if all(len(tensor.shape) <= 2 for tensor in node.output_tensors):
            more = every[index] & ~below
            operations = (node.operation for i, node in enumerate(nodes) if more >> i & 1)
            if not any(getattr(operation, "variables", ()) for operation in operations):
                below |= more
    return below


def _single(tensors: list[Any]) -> Any:
    """Return the only tensor of a list, or the list if it has several."""
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _check_borders(backbone: keras.Model, nodes: list[Any], cuts: Sequence[Border]) -> None:
    """Refuse borders that this model does not have, and an order that is not theirs."""
    for border in cuts:
        own = border.position < len(nodes) and nodes[border.position].operation.name == border.name
        if not own:
            raise ConfigError(
                f"`border` must be a border of {backbone.name}; received {border}, which is of "
                "another model. Ask kerastl.models.blocks.borders for the borders of this one."
            )
    if any(one.position >= other.position for one, other in itertools.pairwise(cuts)):
        raise ConfigError(
            "Borders must come from input to output, each above the one before; received "
            f"{', '.join(border.name for border in cuts)}."
        )


def ancestors(nodes: list[Any]) -> list[int]:
    """Return for each node the bit set of the nodes that it depends on, itself and all inputs.

    Args:
        nodes: From `nodes_of`.

    Example:
        >>> inputs = keras.Input((8,))
        >>> ancestors(nodes_of(keras.Model(inputs, keras.layers.Dense(2)(inputs))))
        [1, 3]
    """
    inputs = sum(1 << index for index, node in enumerate(nodes) if node.is_input)
    producer = {id(t): i for i, node in enumerate(nodes) for t in node.output_tensors}
    below: list[int] = []
    for index, node in enumerate(nodes):
        bits = inputs | 1 << index
        for tensor in node.input_tensors:
            bits |= below[producer[id(tensor)]]
        below.append(bits)
    return below


def _crossing(graph: Any, nodes: list[Any], below: int) -> list[Any]:
    """Return the tensors made by the nodes in the bit set `below` and needed outside of it."""
    needed = {id(tensor) for tensor in graph.outputs}
    for index, node in enumerate(nodes):
        if not below >> index & 1:
            needed.update(id(tensor) for tensor in node.input_tensors)
    return [
        tensor
        for index, node in enumerate(nodes)
        if below >> index & 1
        for tensor in node.output_tensors
        if id(tensor) in needed
    ]


def _trainable_between(nodes: list[Any], below: int, above: int) -> bool:
    """Tell whether there is more than normalisations to train between two borders."""
    between = above & ~below
    return any(
        _has_kernel(node.operation) for index, node in enumerate(nodes) if between >> index & 1
    )


def _has_kernel(operation: Any) -> bool:
    """Tell whether a layer has weights and is not a normalisation."""
    if isinstance(operation, keras.Model):
        return any(_has_kernel(layer) for layer in operation.layers)
    if isinstance(operation, _NORMALIZATIONS):
        return False
    return bool(getattr(operation, "weights", ()))


def _structural_ends(nodes: list[Any], cuts: list[int]) -> list[int]:
    """Return the positions at which a block ends, judged by the operations alone."""
    users: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for tensor in node.input_tensors:
            users.setdefault(id(tensor), []).append(index)
    ends: list[int] = []
    for cut in cuts:
        followers = _followers(nodes[cut])
        end = cut
        while followers:
            (user, *others) = users.get(id(nodes[end].output_tensors[0]), [end])
            if user == end or others or not isinstance(nodes[user].operation, followers):
                ends.append(end)
                break
            end = user
    return ends


def _followers(node: Any) -> tuple[type, ...]:
    """Return what still belongs to a block that ends with this call, nothing if none does."""
    operation = node.operation
    if len({id(tensor) for tensor in node.input_tensors}) > 1:
        # Branches join; a product is the gate of squeeze-and-excitation, inside a block.
        return () if type(operation).__name__ == "Multiply" else _ACTIVATIONS
    if isinstance(operation, _POOLINGS):
        return _ACTIVATIONS
    if isinstance(operation, _CONVOLUTIONS) and max(operation.strides) > 1:
        return (*_NORMALIZATIONS, *_ACTIVATIONS)
    return ()
