"""A classifier as it is served: BatchNorm layers folded into convolutions, where they can be."""

from __future__ import annotations

from typing import Any

import keras

from kerastl.models.blocks import graph_of, nodes_of, replay
from kerastl.models.classifier import CLASSIFIER, parts_of
from kerastl.models.fold import fold_batch_norm


def fold_classifier(model: keras.Model) -> tuple[keras.Model, int]:
    """Return a copy of a classifier for inference only, with its BatchNorm layers folded.

    It answers the same but for rounding and has the same parts, so that its features can be asked
    for too. Preprocessing, pooling and head are shared with the model.

    Args:
        model: Made by `kerastl.models.classifier.build_classifier`, or one around it such as
            `kerastl.models.view_mean` makes.

    Returns:
        The copy, and how many BatchNorm layers were folded.

    Raises:
        ConfigError: It is no such model.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = build_classifier(keras.Model(inputs, x), num_classes=2, image_size=(8, 8),
        ...                          preprocessing="identity")
        >>> folded, num_folded = fold_classifier(model)
        >>> folded.output_shape, num_folded
        ((None, 2), 1)
    """
    parts = parts_of(model)
    backbone, num_folded = fold_batch_norm(parts.backbone)
    pixels = keras.Input(model.input_shape[1:], name="pixels", dtype="float32")
    x = parts.pooling(backbone(parts.preprocessing(pixels), training=False))
    for layer in parts.head:
        x = layer(x)
    folded = keras.Model(pixels, x, name=CLASSIFIER)
    return (folded if model.name == CLASSIFIER else _around(model, folded)), num_folded


def _around(model: keras.Model, folded: keras.Model) -> keras.Model:
    """Return what is around a classifier, around another one."""

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        operation = node.operation
        if operation.name == CLASSIFIER:
            return folded(*args, **{**kwargs, "training": False})
        return operation(*args, **kwargs)

    pixels = keras.Input(model.input_shape[1:], name="pixels", dtype="float32")
    graph = graph_of(model)
    tensors = {id(graph.inputs[0]): pixels}
    replay(nodes_of(model), tensors, call)
    return keras.Model(pixels, tensors[id(graph.outputs[0])], name=model.name)
