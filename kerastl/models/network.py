"""A backbone ready for use: weights, image size, preprocessing, and where fine-tuning cuts it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import keras

from kerastl.errors import ConfigError
from kerastl.models.backbones import build_backbone, find_backbone
from kerastl.models.blocks import Border, borders
from kerastl.models.depth import border_below
from kerastl.models.known_size import with_known_size
from kerastl.models.stage_features import with_stage_features
from kerastl.models.tuned_blocks import TunedBlocks, named_blocks, top_blocks

# Where the weights of a user's own model come from.
OWN = "own"


@dataclass(frozen=True)
class Network:
    """A backbone and all that must be known to use it.

    Attributes:
        name: For people.
        weights: For people: imagenet, none, a file, or "own".
        backbone: The model, on preprocessed pixels.
        image_size: (height, width) in pixels.
        preprocessing: Mode of `kerastl.models.backbones.preprocess`.
        borders: All between its blocks, from input to output.
        tuned: The blocks that fine-tuning trains; None for none.
    """

    name: str
    weights: str
    backbone: keras.Model = field(repr=False)
    image_size: tuple[int, int]
    preprocessing: str
    borders: tuple[Border, ...] = field(repr=False)
    tuned: TunedBlocks | None = None

    @property
    def num_blocks(self) -> int:
        """Blocks that it has."""
        return len(self.borders) + 1

    @property
    def unfreeze_blocks(self) -> int:
        """How many of them fine-tuning trains."""
        return 0 if self.tuned is None else self.tuned.count

    @property
    def tuned_words(self) -> str:
        """Which blocks fine-tuning trains, for a sentence."""
        return "none" if self.tuned is None else self.tuned.words

    @property
    def border(self) -> Border | None:
        """Where the trained part begins; None where nothing below it is frozen, or all is."""
        if self.tuned is None or self.tuned.first == 1:
            return None
        return self.borders[self.tuned.first - 2]

    @property
    def frozen_above(self) -> Border | None:
        """Where the trained part ends; None where that is the output."""
        if self.tuned is None or self.tuned.last == self.num_blocks:
            return None
        return self.borders[self.tuned.last - 1]

    def unfrozen(self, blocks: int) -> Network:
        """Return the same network, cut elsewhere.

        Args:
            blocks: How many, counted from the top, are trained: 0 for none, `num_blocks` for all.

        Raises:
            ConfigError: It has not so many blocks.
        """
        if not blocks:
            return dataclasses.replace(self, tuned=None)
        border_below(self.borders, blocks, of=self.backbone.name)  # there are so many
        return dataclasses.replace(self, tuned=top_blocks(blocks, num_blocks=self.num_blocks))

    def tuning(self, tune: str) -> Network:
        """Return the same network, of which other blocks are trained.

        Args:
            tune: Which, see `kerastl.models.tuned_blocks.named_blocks`.

        Raises:
            ConfigError: It has not so many blocks.
        """
        tuned = named_blocks(tune, num_blocks=self.num_blocks, of=self.backbone.name)
        return dataclasses.replace(self, tuned=tuned)


def build_network(
    name: str,
    *,
    weights: str = "imagenet",
    image_size: tuple[int, int] | None = None,
    unfreeze_blocks: int | Literal["all"] | None = None,
    tune: str | None = None,
    own: keras.Model | None = None,
    own_preprocessing: str = "identity",
    stage_features: bool = False,
) -> Network:
    """Return a known backbone, or one's own, and where it is cut.

    Args:
        name: A known backbone, see `kerastl.models.backbones.backbone_names`.
        weights: "imagenet", "none" or a file.
        image_size: (height, width) in pixels; the backbone's own when not given.
        unfreeze_blocks: Blocks to train; None for the upper half, "all" for all.
        tune: Blocks to train in place of these: "first", "middle", "last", "5" or "5-8".
        own: A functional `keras.Model` in place of `name` and `weights`. Where it leaves the image
            size open, a network for this size over the same layers takes its place.
        own_preprocessing: What it expects.
        stage_features: Whether it gives one vector of features of all of its stages, see
            `kerastl.models.stage_features`, in place of its last feature maps.

    Raises:
        ConfigError: The name is unknown, the images too small, or the blocks too many.
        WeightsError: The weights cannot be had.
    """
    if own is None:
        row = find_backbone(name)
        size = image_size or row.native_size
        backbone = build_backbone(name, image_size=size, weights=weights)
        name, preprocessing, pattern = row.name, row.preprocessing, row.border_pattern
        max_tensors = row.border_tensors
    else:
        size = image_size or _size_of(own)
        backbone, name, weights = with_known_size(own, size), own.name, OWN
        preprocessing, pattern, max_tensors = own_preprocessing, None, 1
    found = borders(backbone, pattern, max_tensors=max_tensors)
    if stage_features:
        backbone, found = with_stage_features(backbone, found)
    network = Network(
        name=name,
        weights=weights,
        backbone=backbone,
        image_size=size,
        preprocessing=preprocessing,
        borders=found,
    )
    if tune is not None:
        return network.tuning(tune)
    if unfreeze_blocks is None:
        unfreeze_blocks = upper_half(num_blocks=network.num_blocks)
    elif unfreeze_blocks == "all":
        unfreeze_blocks = network.num_blocks
    return network.unfrozen(unfreeze_blocks)


def upper_half(*, num_blocks: int) -> int:
    """Return how many blocks the upper half of a network has: what is trained when nobody says.

    Early blocks hold edges and textures that serve every task; the upper half holds most
    of the parameters and costs a third of the time of training everything.

    Args:
        num_blocks: Blocks that the backbone has, see `kerastl.models.blocks`.

    Example:
        >>> upper_half(num_blocks=17)
        9
    """
    return max(1, (num_blocks + 1) // 2)


def _size_of(own: keras.Model) -> tuple[int, int]:
    """Return the image size that a user's own backbone was built for."""
    shape = own.input_shape
    if isinstance(shape, tuple) and len(shape) == 4 and None not in shape[1:3]:
        return int(shape[1]), int(shape[2])
    raise ConfigError(
        f"Your own backbone takes images of shape {shape}; `image_size` must say which size "
        "to bring them to. Pass for example image_size=224."
    )
