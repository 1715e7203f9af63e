"""Feature maps layer by layer, and how much of the image each number of them has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, did_you_mean
from kerastl.models.blocks import graph_of, nodes_of
from kerastl.models.classifier import parts_of

_BATCH_SIZE = 8
# What looks at a window around each place, and where its strides and size stand.
_POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True)
class MapLayer:
    """A layer of a backbone that gives feature maps.

    Attributes:
        name: Of the layer.
        position: Of its call among the calls of the backbone, see
            `kerastl.models.blocks.nodes_of`.
        shape: (height, width, channels) of its maps.
        kind: Class of the layer, such as "Conv2D".
        receptive_field: Side in pixels of the square of the image that one number of the maps can
            depend on; None where that is all of it (behind a gate that has seen the whole image).
        stride: Pixels between the squares of two neighbours; None where that is not known.
    """

    name: str
    position: int
    shape: tuple[int, int, int]
    kind: str
    receptive_field: int | None
    stride: int | None


def map_layers(backbone: keras.Model) -> tuple[MapLayer, ...]:
    """Return the layers of a backbone that give feature maps, from the input to the top.

    The receptive field grows by (window - 1) × stride with each window, times its dilation, and
    that of several inputs is the largest (Araujo et al., Distill 2019,
    https://doi.org/10.23915/distill.00021). It is a bound: most of the influence comes from the
    middle (Luo et al. 2016, https://arxiv.org/abs/1701.04128).

    Args:
        backbone: A functional `keras.Model` from images to feature maps or features.

    Example:
        >>> inputs = keras.Input((16, 16, 3))
        >>> x = keras.layers.Conv2D(4, 3, strides=2, name="stem")(inputs)
        >>> model = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="top")(x))
        >>> [(one.name, one.shape, one.receptive_field, one.stride) for one in map_layers(model)]
        [('stem', (7, 7, 4), 3, 2), ('top', (5, 5, 8), 7, 2)]
    """
    seen: dict[int, tuple[int | None, int | None]] = {}
    found = []
    for position, node in enumerate(nodes_of(backbone)):
        if node.is_input:
            for tensor in node.output_tensors:
                seen[id(tensor)] = (1, 1)
            continue
        field = _field_behind(node, [seen[id(tensor)] for tensor in node.input_tensors])
        for tensor in node.output_tensors:
            seen[id(tensor)] = field
        maps = node.output_tensors[0]
        if len(maps.shape) == 4 and None not in maps.shape[1:]:
            operation = node.operation
            shape = (int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3]))
            found.append(
                MapLayer(operation.name, position, shape, type(operation).__name__, *field)
            )
    return tuple(found)


def _field_behind(
    node: Any, entering: Sequence[tuple[int | None, int | None]]
) -> tuple[int | None, int | None]:
    """Return receptive field and stride behind a call, from those of what enters it."""
    fields = [field for field, _ in entering]
    strides = {stride for _, stride in entering}
    field = None if None in fields else max((one for one in fields if one is not None), default=1)
    stride = strides.pop() if len(strides) == 1 else None
    operation = node.operation
    if field is None or stride is None:
        return field, stride
    if isinstance(operation, _CONVOLUTIONS):
        window, dilation = max(operation.kernel_size), max(_pair(operation.dilation_rate))
        step = max(_pair(operation.strides))
        return field + (window - 1) * dilation * stride, stride * step
    if isinstance(operation, _POOLINGS):
        step = max(_pair(operation.strides))
        return field + (max(_pair(operation.pool_size)) - 1) * stride, stride * step
    if _forgets_places(node):
        return None, stride
    return field, stride


def _forgets_places(node: Any) -> bool:
    """Whether a call makes of maps what is no map of the same places any more.

    Means over all places (the gates of squeeze-and-excitation), attention, nested models.
    """
    if isinstance(node.operation, keras.Model):
        return True
    sizes = [tuple(tensor.shape[1:3]) for tensor in node.input_tensors if len(tensor.shape) == 4]
    maps = node.output_tensors[0]
    if not sizes:
        return False
    return len(maps.shape) != 4 or (tuple(maps.shape[1:3]) == (1, 1) and max(sizes) != (1, 1))


def find_layer(backbone: keras.Model, name: str | None = None) -> MapLayer:
    """Return a layer by its name, or the last one whose maps are more than one place.

    Args:
        backbone: A functional `keras.Model`.
        name: Of the layer.

    Raises:
        ConfigError: There is no such layer.
    """
    layers = map_layers(backbone)
    if name is not None:
        found = [layer for layer in layers if layer.name == name]
        if not found:
            names = [layer.name for layer in layers]
            raise ConfigError(
                f"{backbone.name} has no layer {name!r} with feature maps."
                f"{did_you_mean(name, names)} It has {', '.join(names[:5])}, …, {names[-1]}."
            )
        return found[-1]
    wide = [layer for layer in layers if max(layer.shape[:2]) > 1] or list(layers)
    if not wide:
        raise ConfigError(f"{backbone.name} has no layer with feature maps.")
    return wide[-1]


def maps_of(
    classifier: keras.Model, images: NDArray[np.uint8], layers: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the feature maps of some layers for some images.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        layers: Names, see `map_layers`.

    Returns:
        By name: float32 of shape (n, map height, map width, channels).

    Raises:
        ConfigError: There is no such layer.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="stem")(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> maps_of(classifier, np.zeros((2, 8, 8, 3), np.uint8), ["stem"])["stem"].shape
        (2, 6, 6, 4)
    """
    parts = parts_of(classifier)
    nodes = nodes_of(parts.backbone)
    found = [find_layer(parts.backbone, name) for name in layers]
    tensors = [nodes[layer.position].output_tensors[0] for layer in found]
    model = keras.Model(graph_of(parts.backbone).inputs, tensors)
    batches: list[list[NDArray[np.float32]]] = []
    for start in range(0, len(images), _BATCH_SIZE):
        pixels = np.asarray(images[start : start + _BATCH_SIZE], np.float32)
        maps = keras.tree.flatten(model(parts.preprocessing(pixels), training=False))
        batches.append([keras.ops.convert_to_numpy(one).astype(np.float32) for one in maps])
    return {
        layer.name: np.concatenate(parts_of_layer)
        for layer, parts_of_layer in zip(found, zip(*batches, strict=True), strict=True)
    }


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    """Return a size in both directions."""
    return (value, value) if isinstance(value, int) else tuple(value)
