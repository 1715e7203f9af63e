"""A user's own backbone that leaves the image size open, for the size that is known by then.

`keras.applications` builds such networks when nobody says a size. Which maps are of one stage, how
much memory a step takes and what is kept of an image cannot be told of shapes of None.
"""

from __future__ import annotations

import keras

from kerastl.errors import ConfigError
from kerastl.models.blocks import graph_of, nodes_of, replay


def with_known_size(own: keras.Model, image_size: tuple[int, int]) -> keras.Model:
    """Return a network for images of this size that shares its layers with the given one.

    Training the one trains the other; the order of variables is the same. Layers that are models
    stay models: the shape that they are called on is known as well.

    Args:
        own: A functional or a built sequential `keras.Model`. One of known size, of other sizes,
            or of several inputs is returned as it is.
        image_size: (height, width) in pixels.

    Raises:
        ConfigError: It has no graph, or cannot take images of this size.

    Example:
        >>> inputs = keras.Input((None, None, 3))
        >>> own = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> sized = with_known_size(own, (8, 6))
        >>> sized.output_shape, sized.variables[0] is own.variables[0]
        ((None, 6, 4, 4), True)
    """
    graph = graph_of(own)
    given = graph.inputs[0]
    lengths = tuple(given.shape[1:3])
    fits = all(one in (None, wanted) for one, wanted in zip(lengths, image_size, strict=False))
    if len(graph.inputs) > 1 or len(given.shape) != 4 or None not in lengths or not fits:
        return own
    shape = (given.shape[0], *image_size, given.shape[3])
    entry = keras.Input(batch_shape=shape, dtype=given.dtype, name=given.name)
    tensors = {id(given): entry}
    try:
        replay(nodes_of(own), tensors)
    except ValueError as error:
        raise ConfigError(
            f"`image_size` must be one that your own backbone {own.name} can take; received "
            f"image_size={image_size}, which one of its layers refuses (Keras' words are above). "
            "Try a larger one."
        ) from error
    outputs = [tensors[id(tensor)] for tensor in graph.outputs]
    return keras.Model(entry, keras.tree.pack_sequence_as(graph.output, outputs), name=own.name)
