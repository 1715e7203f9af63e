"""Every option of a run, once: typed, documented, checked.

The command line of `kerastl.fit` is derived from `FitConfig`, so that a flag, a
key of a configuration file and an attribute in Python are the same thing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from kerastl.data_options import typed_words
from kerastl.domains import AUTO, USUAL, settled_value
from kerastl.errors import ConfigError, did_you_mean
from kerastl.option_values import (
    DATA,
    MODEL,
    OUTPUT,
    UNMIRRORED,
    WHOLE,
    one_token,
    parse_image_size,
    parse_tune,
    parse_unfreeze_blocks,
    parse_views,
)
from kerastl.training_options import TrainingOptions


@Parameter(name="*")
@dataclass(frozen=True)
class FitConfig(TrainingOptions):
    """What to learn from which images, how, and where to put the result."""

    _: KW_ONLY

    cache: Annotated[Literal["auto", "memory", "disk", "none"], Parameter(group=DATA)] = "auto"
    """Where decoded images are kept: memory, disk (an unnamed file beside the run folder) or
    none (read again in every epoch). auto takes the first that has room."""

    feature_cache: Annotated[str, Parameter(group=DATA, negative="")] = "auto"
    """Folder where the frozen part's answers are kept, image by image: another run with the same
    images starts to train at once, whatever their labels and split, and with some more only those
    are computed. A new or empty folder; auto is $KERASTL_CACHE or ~/.cache/kerastl, none keeps
    nothing. It may be deleted at any time."""

    feature_cache_gib: Annotated[float, Parameter(group=DATA)] = 10.0
    """What that folder may hold, in GiB; beyond it, what was used longest ago is dropped. 0 keeps
    nothing."""

    group_by: Annotated[str | None, Parameter(group=DATA)] = None
    """Column of the table with what to tell apart: camera, place, age. The report says for which
    of them the model is worst, and whether by more than chance. It has no part in the splits."""

    balance_groups: Annotated[bool, Parameter(group=DATA, negative="")] = False
    """Fit the last layer of the kept model anew, every class of every group of `group_by` counting
    the same, on images that its features were not trained on: for the groups that it is worst
    for. Kept if validation says that it helps; the report has both. Not for several labels per
    image."""

    unreadable_fraction: Annotated[float, Parameter(group=DATA)] = 0.1
    """Part of the images that may be unreadable; they are left out and named in
    quarantine.csv. With more, the run stops."""

    domain: Annotated[
        Literal["photo", "dihedral-gray", "satellite", "document"] | None, Parameter(group=MODEL)
    ] = None
    """What kind of pictures these are: photo, dihedral-gray (grey and without an up: cells,
    microscopes, EL, some X-rays), satellite or document. It settles augment, colour, batch_norm,
    image_size and resize_mode, as far as they are not given; --print-recipe shows how, and why."""

    backbone: Annotated[str, Parameter(group=MODEL)] = "EfficientNetLite0"
    """Network to transfer from: EfficientNetLite0 (its ImageNet weights are installed with
    kerastl) or any architecture of keras.applications, such as ResNet50."""

    weights: Annotated[str, Parameter(group=MODEL)] = "imagenet"
    """imagenet, none, or a file of weights (.weights.h5, .h5, .keras)."""

    image_size: Annotated[
        tuple[int, int] | None, Parameter(group=MODEL), one_token(parse_image_size, "SIZE")
    ] = None
    """Size that images are brought to, one number or HEIGHTxWIDTH. Default: the domain's, or the
    backbone's own."""

    resize_mode: Annotated[Literal["auto", "stretch", "crop", "pad"], Parameter(group=MODEL)] = (
        "auto"
    )
    """How an image of another shape is fitted: all of it stretched, its middle, or all of it
    with a grey border. auto: the domain's, or stretch."""

    colour: Annotated[Literal["auto", "keep", "grey"], Parameter(group=MODEL)] = "auto"
    """grey: the first step of the model, of every export too, takes the luminance of each pixel,
    so that a tint or noise of colour has no influence; what is grey is answered the same. keep:
    pixels as they are. auto: the domain's, or keep."""

    pooling: Annotated[Literal["avg", "max", "gem", "stages"], Parameter(group=MODEL)] = "avg"
    """How feature maps become one vector: the mean or the largest value of the last ones, gem
    (the cubic mean, between these two), or stages: also mean and deviation of lower ones, which
    see textures and small faults."""

    tta: Annotated[bool, Parameter(group=MODEL)] = False
    """Test-time augmentation: every answer is the mean over the mirror images of `augment` (2 with
    most policies, 4 with mirrors, 8 with dihedral), the exported model's too. Often better,
    and takes so many times as long."""

    hidden_units: Annotated[int, Parameter(group=MODEL), WHOLE] = 0
    """Width of a hidden layer in the head; 0 for none."""

    dropout: Annotated[float, Parameter(group=MODEL)] = 0.0
    """Part of the head's inputs that is dropped while fine-tuning. Not 0 undoes part of
    what the probe found, whose weights are large."""

    l1: Annotated[float, Parameter(group=MODEL)] = 0.0
    """L1 penalty on the head's kernels while fine-tuning."""

    l2: Annotated[float, Parameter(group=MODEL)] = 0.0
    """L2 penalty on the head's kernels while fine-tuning. (The probe finds its own.)"""

    out: Annotated[str | None, Parameter(group=OUTPUT)] = None
    """Run folder to make. Default: runs/NAME, then runs/NAME-2 and so on."""

    overwrite: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False
    """Replace an existing run folder, once the new one is complete."""

    export: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Also write a SavedModel for TF Serving and prove that it answers like the model."""

    export_dir: Annotated[str, Parameter(group=OUTPUT)] = "saved_models"
    """Folder of the SavedModels: EXPORT_DIR/NAME/1, then 2 and so on."""

    def __post_init__(self) -> None:
        """Bring flexible values to their one form and check every range."""
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        object.__setattr__(self, "unfreeze_blocks", parse_unfreeze_blocks(self.unfreeze_blocks))
        object.__setattr__(self, "tune", parse_tune(self.tune))
        object.__setattr__(self, "views", parse_views(self.views))
        for name in USUAL:
            if getattr(self, name) == AUTO:
                object.__setattr__(self, name, settled_value(name, self.domain))
        for name, choices in choices_of_options().items():
            if getattr(self, name) not in (*choices, *_default_of(name)):
                received = getattr(self, name)
                raise ConfigError(
                    f"`{name}` must be one of {', '.join(choices)}; received {name}={received!r}."
                    f"{did_you_mean(received, choices)}"
                )
        if not str(self.feature_cache).strip():
            raise ConfigError(
                "`feature_cache` must be a folder, auto or none; received an empty name."
            )
        if self.tta and self.augment in UNMIRRORED:
            raise ConfigError(
                f"`tta` is the mean over the mirror images of `augment`; augment={self.augment!r} "
                "has none. Leave out `tta`, or give another `augment`."
            )
        if isinstance(self.views, int) and self.mix != "none":
            raise ConfigError(
                f"`views` cannot be {self.views} with mix={self.mix!r}, which blends new pixels in "
                "every epoch. Leave out one of the two."
            )
        _refuse_other_blocks(self)
        _refuse_other_balance(self)
        super().__post_init__()
        if self.accumulate_steps > 1 and self.batch_norm == "train":
            raise ConfigError(
                "`accumulate_steps` takes the images of a step in parts, and with "
                "batch_norm='train' BatchNorm would learn from the statistics of a part, which are "
                f"others; received accumulate_steps={self.accumulate_steps}. Leave out one of the "
                "two: a smaller batch_size takes less memory likewise, and batch_norm='affine' "
                "trains scale and shift with the statistics that are kept."
            )
        if self.batch_size is not None and self.accumulate_steps > self.batch_size:
            raise ConfigError(
                f"`accumulate_steps` must be at most `batch_size`, which is {self.batch_size}; "
                f"received accumulate_steps={self.accumulate_steps}. It says in how many parts "
                "these images go through the network."
            )


def _refuse_other_blocks(config: TrainingOptions) -> None:
    """Refuse what says in another way than `tune` which blocks are trained, and when."""
    if config.tune is None:
        return
    if config.unfreeze_blocks is not None:
        raise ConfigError(
            "`tune` and `unfreeze_blocks` both say which blocks are trained; received "
            f"tune={config.tune!r} and unfreeze_blocks={config.unfreeze_blocks!r}. Leave out one "
            "of the two."
        )
    gradual = config.recipe == "gradual" and config.epochs_per_block is None
    if gradual or config.epochs_per_block:
        received = (
            f"recipe={config.recipe!r}"
            if gradual
            else f"epochs_per_block={config.epochs_per_block}"
        )
        raise ConfigError(
            "`tune` trains its blocks from the start, gradual unfreezing one after the other from "
            f"the top; received tune={config.tune!r} and {received}. Leave out one of the two."
        )


def _refuse_other_balance(config: FitConfig) -> None:
    """Refuse to balance groups that are not named, or together with another remedy."""
    if not config.balance_groups:
        return
    if config.group_by is None:
        raise ConfigError(
            "`balance_groups` needs the column that says which group an image is of; received no "
            "`group_by`. Type for example: --group-by camera --balance-groups"
        )
    if config.imbalance != "none":
        raise ConfigError(
            "`balance_groups` makes classes count the same too; received "
            f"imbalance={config.imbalance!r} with it. Leave out one of the two."
        )


def fit_words(config: FitConfig, *, also: Collection[str] = (), **changes: Any) -> str:
    """Return what to type after `python -m kerastl.fit` for these options.

    Args:
        config: All options.
        also: Options to type even at their defaults.
        **changes: Options to type otherwise; None for the default.

    Example:
        >>> fit_words(FitConfig("my photos", image_size=96, export=True, seed=3), seed=None)
        "'my photos' --image-size 96 --export"
        >>> fit_words(FitConfig("tiles", domain="satellite", augment="light"))
        'tiles --augment light --domain satellite'
    """
    domain = changes.get("domain", config.domain)
    for name in USUAL:
        # It need not be typed: "auto" would become the same.
        same = changes.get(name, getattr(config, name)) == settled_value(name, domain)
        if same and name not in also:
            changes[name] = None
    return typed_words(config, FitConfig, also=also, **changes)


def is_at_default(config: FitConfig, name: str) -> bool:
    """Tell whether an option has the value that it would have if nobody had given it.

    Args:
        config: All options.
        name: Of one.

    Example:
        >>> config = FitConfig("tiles", domain="satellite", resize_mode="pad")
        >>> [is_at_default(config, name) for name in ("domain", "augment", "resize_mode")]
        [False, True, False]
    """
    value = getattr(config, name)
    if name in USUAL:
        return value == settled_value(name, config.domain)
    return value == next(one.default for one in dataclasses.fields(FitConfig) if one.name == name)


def _default_of(name: str) -> tuple[Any, ...]:
    """Return None for an option that is the recipe's when not given."""
    default = next(one.default for one in dataclasses.fields(FitConfig) if one.name == name)
    return (None,) if default is None else ()


def choices_of_options() -> dict[str, tuple[str, ...]]:
    """Return the fields that take one word of a fixed list."""
    found = {}
    for name, hint in get_type_hints(FitConfig).items():
        literals = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
        words = get_args(literals[0]) if literals else ()
        others = [part for part in get_args(hint) if part is not NoneType and part not in literals]
        if words and set(map(type, words)) == {str} and others in ([], list(words)):
            found[name] = words
    return found


def option_names() -> tuple[str, ...]:
    """Return the names of all options, in the order of the help page.

    Example:
        >>> option_names()[:2]
        ('data', 'data_dir')
    """
    return tuple(field.name for field in dataclasses.fields(FitConfig))
