"""The options of `python -m kerastl.benchmark`: defaults, ranges, words. No TensorFlow."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal, get_args

from cyclopts import Group, Parameter

from kerastl.config import FitConfig
from kerastl.errors import ConfigError, did_you_mean
from kerastl.models.backbones import find_backbone
from kerastl.option_values import one_token, parse_image_size, parse_unfreeze_blocks

Growing = Literal["images", "classes", "size", "all"]
GROWING: tuple[str, ...] = ("images", "classes", "size")

_WHAT = Group("What", sort_key=1)
_HOW = Group("How", sort_key=2)
_GROWTH = Group("Growth", sort_key=3)
_GENERATED = "generated"


@Parameter(name="*")
@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured, and how often."""

    data: Annotated[str | None, Parameter(group=_WHAT)] = None
    """Your own images, as for kerastl.fit: a folder, a table, tfds:NAME or demo:solar. Without it,
    JPEGs of 500 x 375 pixels are made."""

    _: KW_ONLY

    backbone: Annotated[str, Parameter(group=_WHAT)] = "EfficientNetLite0"
    """Network to measure: EfficientNetLite0 or any architecture of keras.applications."""

    weights: Annotated[str, Parameter(group=_WHAT)] = "none"
    """none (random: no network is faster or slower for its weights), imagenet, or a file. The
    probe alone depends on them: classes that are told apart easily take it less time."""

    image_size: Annotated[
        tuple[int, int] | None, Parameter(group=_WHAT), one_token(parse_image_size, "SIZE")
    ] = None
    """Size that images are brought to, one number or HEIGHTxWIDTH. Default: the backbone's own."""

    classes: Annotated[int, Parameter(group=_WHAT)] = 2
    """Classes of the images that are made."""

    unfreeze_blocks: Annotated[
        int | Literal["all"] | None,
        Parameter(group=_WHAT),
        one_token(parse_unfreeze_blocks, "BLOCKS"),
    ] = None
    """Blocks, counted from the top, that fine-tuning trains: a number, 0 or all. Default: the
    top half."""

    augment: Annotated[str, Parameter(group=_WHAT)] = "light"
    """Policy that training images are varied by, as for kerastl.fit."""

    batch_size: Annotated[int, Parameter(group=_WHAT)] = 32
    """Images per step."""

    job_images: Annotated[int | None, Parameter(group=_WHAT)] = None
    """Estimate how long a fit of so many images takes. Default: all of DATA, else 1,000."""

    job_epochs: Annotated[int, Parameter(group=_WHAT)] = 8
    """Epochs of fine-tuning in that estimate."""

    images: Annotated[int, Parameter(group=_HOW)] = 128
    """How many images each stage is measured with; of DATA, images spread over all of it."""

    rounds: Annotated[int, Parameter(group=_HOW)] = 5
    """How often each stage is measured; one more round before is not counted."""

    seed: Annotated[int, Parameter(group=_HOW)] = 0
    """Decides the images that are made, the augmentation and the first weights."""

    growth: Annotated[
        tuple[Growing, ...], Parameter(group=_GROWTH, negative="", consume_multiple=True)
    ] = ()
    """Also run whole small jobs, each in a process of its own, to see how time and memory grow
    with images (1x, 4x, 16x), classes (2, 8, 32), size (half, once, twice the side), or all. Takes
    minutes; the images are always made, not those of DATA."""

    growth_images: Annotated[int, Parameter(group=_GROWTH)] = 64
    """Images of the smallest job; 4 times as many where classes or size grow."""

    growth_rounds: Annotated[int, Parameter(group=_GROWTH)] = 1
    """How often each job is run, in turns."""

    def __post_init__(self) -> None:
        """Bring flexible values to their one form and check every range."""
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        object.__setattr__(self, "unfreeze_blocks", parse_unfreeze_blocks(self.unfreeze_blocks))
        growth = self.growth
        for one in growth:
            if one not in get_args(Growing):
                raise ConfigError(
                    f"`growth` must be of {', '.join(get_args(Growing))}; received {one!r}."
                    f"{did_you_mean(one, get_args(Growing))}"
                )
        everything = GROWING if "all" in growth else growth
        object.__setattr__(self, "growth", tuple(one for one in GROWING if one in everything))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and low <= value <= high):
                raise ConfigError(
                    f"`{name}` must be a whole number from {low:,} to {high:,}; received "
                    f"{name}={value!r}."
                )
        if self.data is None and self.images < 3 * self.classes:
            raise ConfigError(
                f"`images` must be at least 3 times `classes`; received images={self.images} and "
                f"classes={self.classes}."
            )
        object.__setattr__(self, "backbone", find_backbone(self.backbone).name)
        self.fit_config()

    def fit_config(self) -> FitConfig:
        """Return a fit with the same network and training, which checks these options too.

        Raises:
            ConfigError: A value cannot work.
        """
        return FitConfig(
            self.data or _GENERATED,
            backbone=self.backbone,
            weights=self.weights,
            image_size=self.image_size,
            unfreeze_blocks=self.unfreeze_blocks,
            augment=self.augment,  # type: ignore[arg-type]  # any word: it is checked there
            batch_size=self.batch_size,
            fine_tune_epochs=self.job_epochs,
            seed=self.seed,
        )


_RANGES = {
    "classes": (2, 1000),
    "images": (4, 1_000_000),
    "rounds": (1, 1000),
    "job_images": (10, 1_000_000_000),
    "growth_images": (16, 1_000_000),
    "growth_rounds": (1, 100),
}


def command_of(options: BenchmarkOptions) -> str:
    """Return what to type for the same measurement: every option that is not at its default.

    Args:
        options: What is measured.

    Example:
        >>> command_of(BenchmarkOptions(backbone="resnet50", rounds=9, growth=("all",)))
        'python -m kerastl.benchmark --backbone ResNet50 --rounds 9 --growth images classes size'
    """
    words = ["python", "-m", "kerastl.benchmark"]
    words += [options.data] if options.data is not None else []
    for field in dataclasses.fields(BenchmarkOptions):
        value = getattr(options, field.name)
        if field.name == "data" or value == field.default:
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        if field.name == "image_size":
            height, width = value
            words.append(str(height) if height == width else f"{height}x{width}")
        elif isinstance(value, tuple):
            words += value
        else:
            words.append(str(value))
    return shlex.join(words)
