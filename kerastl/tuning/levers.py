"""The levers of fine-tuning that a search may pull, and between which values."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kerastl.config import FitConfig
from kerastl.models.batch_norm import AFFINE_NORM, FROZEN_NORM, norms_in
from kerastl.models.network import Network
from kerastl.training.recipes import Recipe

# How values are chosen.
BAYESIAN, RANDOM = "bayesian", "random"
METHODS = (BAYESIAN, RANDOM)

# Times the recipe's, both ways: three doublings hold every good rate that `--find-lr` has found.
_RATE_FACTOR = 8.0

# Few values each: trials that end in the same kept views share them, and a model of the losses
# that has seen 20 of them knows nothing about finer steps. The recipe's own value joins them.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "layer_decay": (0.65, 0.8, 0.9, 1.0),
    "weight_decay": (0.0, 1e-3, 1e-2, 1e-1),
    "l2_sp": (0.0, 1e-2, 1e-1, 1.0),
    "label_smoothing": (0.0, 0.05, 0.1),
    "dropout": (0.0, 0.1, 0.2, 0.4),
    "soup": (1, 3, 5),
    "batch_norm": (FROZEN_NORM, AFFINE_NORM),
}
# Parts of the network's blocks, and of the recipe's epochs.
_BLOCK_PARTS = (0.25, 0.5, 0.75)
_EPOCH_PARTS = (0.5, 1.0, 2.0)

LEVERS = ("learning_rate", "unfreeze_blocks", "fine_tune_epochs", *_CHOICES)


@dataclass(frozen=True)
class Lever:
    """One number that is searched.

    Attributes:
        name: Of the option.
        own: The recipe's value.
        choices: What it may be, in order; empty where it is anything within `span`.
        span: Smallest and largest value, on a logarithmic scale; (own, own) for choices.
    """

    name: str
    own: Any
    choices: tuple[Any, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)


def find_levers(
    config: FitConfig, recipe: Recipe, network: Network, *, given: Collection[str] = ()
) -> tuple[Lever, ...]:
    """Return the levers that nobody has set, each with the values that it may have.

    Left out are those that have nothing to choose here: BatchNorm where the network has none or
    the recipe has a way of its own, dropout where the head has a hidden layer (which is fitted
    with it, so that trials would not begin at the same head), and epochs where the recipe counts
    them by blocks.

    Args:
        config: All options; those that are not at their default are not searched.
        recipe: Every number of the training.
        network: The backbone.
        given: Options that the user gave, though it may be the default.
    """
    found = []
    for name in free_levers(config, given=given):
        own = getattr(config, name) if name == "dropout" else recipe.value(name)
        if name == "learning_rate":
            span = (own / _RATE_FACTOR, own * _RATE_FACTOR)
            found.append(Lever(name, own, span=span))
            continue
        choices = _choices_of(name, own, config=config, recipe=recipe, network=network)
        if len(choices) > 1:
            found.append(Lever(name, own, choices))
    return tuple(found)


def free_levers(config: FitConfig, *, given: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the levers that nobody has set.

    Args:
        config: All options.
        given: See `find_levers`.

    Example:
        >>> config = FitConfig("photos", learning_rate=1e-4, soup=3)
        >>> free_levers(config, given=("dropout", "l2_sp"))[:4]
        ('unfreeze_blocks', 'fine_tune_epochs', 'layer_decay', 'weight_decay')
    """
    defaults = FitConfig("DATA")
    if config.tune is not None:  # it says which blocks
        given = {*given, "unfreeze_blocks"}
    return tuple(
        name
        for name in LEVERS
        if name not in given and getattr(config, name) == getattr(defaults, name)
    )


def _choices_of(
    name: str, own: Any, *, config: FitConfig, recipe: Recipe, network: Network
) -> tuple[Any, ...]:
    """Return the values that a lever may have, the recipe's among them; few or none to leave it."""
    if name == "unfreeze_blocks":
        # All of them only where the recipe says so: without a frozen part nothing is shared.
        parts = (math.ceil(part * network.num_blocks) for part in _BLOCK_PARTS)
        return tuple(sorted({own, *(part for part in parts if part < network.num_blocks)}))
    if name == "fine_tune_epochs":
        if recipe.value("epochs_per_block"):
            return ()
        return tuple(sorted({max(1, round(part * own)) for part in _EPOCH_PARTS}))
    if name == "batch_norm":
        fits = own in _CHOICES[name] and norms_in(network.backbone)
        return _CHOICES[name] if fits else ()
    if name == "dropout" and config.hidden_units:
        return ()
    return tuple(sorted({own, *_CHOICES[name]}))
