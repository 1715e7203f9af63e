"""Blocks counted from the top: how many, where the top ones begin, how deep a layer lies."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from kerastl.errors import ConfigError
from kerastl.models.blocks import Border, ancestors, borders, nodes_of


def count_blocks(backbone: keras.Model, pattern: str | None, *, max_tensors: int = 1) -> int:
    """Return how many blocks a network has: one more than it has borders.

    Args:
        backbone: A functional `keras.Model`.
        pattern: See `borders`.
        max_tensors: See `borders`.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        >>> count_blocks(keras.Model(inputs, keras.layers.Conv2D(4, 3)(x)), None)
        2
    """
    return len(borders(backbone, pattern, max_tensors=max_tensors)) + 1


def top_blocks_border(
    backbone: keras.Model, pattern: str | None, unfreeze_blocks: int, *, max_tensors: int = 1
) -> Border | None:
    """Return the border below the top blocks of a network.

    Layers with weights behind the last border, such as EfficientNet's `top_conv`, are a block
    of their own, the first from the top; a mere normalisation belongs to the block before it.

    Args:
        backbone: A functional `keras.Model`.
        pattern: See `borders`.
        unfreeze_blocks: How many blocks, counted from the output, lie above the border, 1 to
            `count_blocks`.
        max_tensors: See `borders`.

    Returns:
        The border, or None if these are all blocks.

    Raises:
        ConfigError: The network has fewer blocks, or `unfreeze_blocks` is below 1.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(x))
        >>> top_blocks_border(model, None, 1).name
        'pool'
        >>> top_blocks_border(model, None, 2) is None
        True
    """
    cuts = borders(backbone, pattern, max_tensors=max_tensors)
    return border_below(cuts, unfreeze_blocks, of=backbone.name)


def border_below(cuts: Sequence[Border], unfreeze_blocks: int, *, of: str) -> Border | None:
    """Return the border below the top blocks, or None if these are all blocks.

    Args:
        cuts: All borders of a network.
        unfreeze_blocks: How many blocks, counted from the output, lie above it.
        of: Name of the network, for messages.

    Raises:
        ConfigError: There are fewer blocks, or `unfreeze_blocks` is below 1.
    """
    if not 1 <= unfreeze_blocks <= len(cuts) + 1:
        raise ConfigError(
            f"`unfreeze_blocks` must be 1 to {len(cuts) + 1}, the number of blocks of "
            f"{of}; received unfreeze_blocks={unfreeze_blocks!r}. "
            "Write 'all' to train the whole backbone, or 0 to keep it frozen."
        )
    return None if unfreeze_blocks > len(cuts) else cuts[len(cuts) - unfreeze_blocks]


def variable_depths(
    backbone: keras.Model, borders: Sequence[Border], *, frozen_above: Border | None = None
) -> dict[int, int]:
    """Return for each variable of a backbone how many blocks from the top it lies.

    Args:
        backbone: A functional `keras.Model`.
        borders: All of its borders, from `kerastl.models.blocks.borders`.
        frozen_above: The border where what is trained ends: the block below it is the top one
            then, and what lies above counts with it. None for the output.

    Returns:
        From the `id` of a variable to 1 for the top block, 2 for the one below, and so on. A
        layer that is used in several blocks belongs to the lowest.

    Example:
        >>> from kerastl.models.blocks import borders
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
        >>> depths = variable_depths(model, borders(model, None))
        >>> [depths[id(variable)] for variable in model.variables]
        [2, 2, 1, 1]
    """
    nodes = nodes_of(backbone)
    below = ancestors(nodes)
    cuts = [one for one in borders if frozen_above is None or one.position < frozen_above.position]
    depths: dict[int, int] = {}
    for index, node in enumerate(nodes):
        depth = 1 + sum(bool(below[border.position] >> index & 1) for border in cuts)
        for variable in getattr(node.operation, "variables", ()):
            depths[id(variable)] = max(depth, depths.get(id(variable), 0))
    return depths
