"""A backbone in the pieces that fine-tuning sees: frozen below, trained, frozen above."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from kerastl.models.blocks import Border, split_at


@dataclass(frozen=True, eq=False)
class Pieces:
    """A backbone in pieces that share its layers.

    Attributes:
        below: From images to the border; None where nothing below is frozen.
        trained: From there up, as far as it is trained.
        above: From there to the output; None where nothing above is frozen.
    """

    below: keras.Model | None
    trained: keras.Model
    above: keras.Model | None


def cut_in_pieces(
    backbone: keras.Model, *, border: Border | None, frozen_above: Border | None
) -> Pieces:
    """Cut a backbone where its trained part begins and ends.

    Args:
        backbone: A functional `keras.Model`.
        border: Where the trained part begins; None for the input.
        frozen_above: Where it ends; None for the output.

    Raises:
        ConfigError: A border is of another model, or it ends before it begins.

    Example:
        >>> from kerastl.models.blocks import borders
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
        >>> pieces = cut_in_pieces(model, border=None, frozen_above=borders(model, None)[0])
        >>> pieces.below, pieces.trained.output_shape, pieces.above.output_shape
        (None, (None, 3, 3, 4), (None, 1, 1, 2))
    """
    cuts = [one for one in (border, frozen_above) if one is not None]
    parts = list(split_at(backbone, cuts)) if cuts else [backbone]
    above = None if frozen_above is None else parts.pop()
    return Pieces(None if border is None else parts[0], parts[-1], above)
