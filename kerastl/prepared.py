"""What every job begins with: images read and divided, a network cut, every number settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.config import FitConfig
from kerastl.data.augment import find_augmentation
from kerastl.data.imbalance import check_imbalance
from kerastl.data.pixels import Pixels, load_pixels
from kerastl.data.sources import ImageTable, subset
from kerastl.deadline import NEVER, Deadline
from kerastl.errors import ConfigError
from kerastl.models.network import Network
from kerastl.plan import find_network, find_phase, find_settings, split_table
from kerastl.training.phase import Phase
from kerastl.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a job works with.

    Attributes:
        table: Images that could be read, and their labels.
        pixels: Their pixels, and what could not be read.
        splits: Of shape (n,): "train", "val" or "test".
        network: The backbone, cut as the recipe says.
        recipe: Every number of the training.
        phase: How to fine-tune; None for the probe alone.
    """

    table: ImageTable
    pixels: Pixels = field(repr=False)
    splits: NDArray[np.str_] = field(repr=False)
    network: Network
    recipe: Recipe
    phase: Phase | None

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split.

        Args:
            split: "train", "val" or "test".
        """
        return np.flatnonzero(self.splits == split)


def prepare(
    config: FitConfig,
    table: ImageTable,
    *,
    directory: Path,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
    deadline: Deadline = NEVER,
) -> Prepared:
    """Read the images, divide them, build and cut the network, settle every number.

    Args:
        config: All options.
        table: The images and labels.
        directory: Where a file of decoded pixels may be.
        backbone: The user's own functional `keras.Model`.
        preprocessing: What it expects.
        deadline: When training must end.

    Raises:
        KerasTLError: Something about the options, images or weights cannot work.
    """
    find_augmentation(config.augment)
    check_imbalance(config.imbalance, multi_label=table.multi_label)
    if config.balance_groups and table.multi_label:
        raise ConfigError(
            "`balance_groups` needs one class per image; here an image can have several labels. "
            "Leave out --balance-groups."
        )
    network = find_network(config, backbone=backbone, preprocessing=preprocessing)
    pixels = load_pixels(
        table,
        image_size=network.image_size,
        resize_mode=config.resize_mode,
        cache=config.cache,
        unreadable_fraction=config.unreadable_fraction,
        directory=directory,
    )
    table = subset(table, pixels.rows)
    splits = split_table(table, config)
    num_train = int(np.sum(splits == "train"))
    recipe, network = find_settings(config, network, num_train=num_train)
    phase = find_phase(config, network, recipe, deadline=deadline)
    return Prepared(table, pixels, splits, network, recipe, phase)
