"""Every option of a run, once: typed, documented, checked.

The command line of `kerastl.fit` is derived from `FitConfig`, so that a flag, a
key of a configuration file and an attribute in Python are the same thing.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Group, Parameter

from kerastl.errors import ConfigError, did_you_mean
from kerastl.option_values import (
    one_token,
    parse_fold,
    parse_image_size,
    parse_unfreeze_blocks,
    parse_views,
)

_DATA = Group("Data", sort_key=1)
_MODEL = Group("Model", sort_key=2)
_TRAINING = Group("Training", sort_key=3)
_OUTPUT = Group("Output", sort_key=4)


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """Which images, and how they are divided: what `fit` and `check` share."""

    data: Annotated[str, Parameter(group=_DATA)]
    """A folder with one sub-folder per class, a folder with train/ val/ test/, a CSV or
    JSONL file, tfds:NAME, or demo:solar (tasks demo:solar:P1 to demo:solar:P4)."""

    _: KW_ONLY

    data_dir: Annotated[str | None, Parameter(group=_DATA)] = None
    """Where relative paths of a CSV or JSONL file start, or where TFDS keeps its data."""

    path_column: Annotated[str | None, Parameter(group=_DATA)] = None
    """Column of the table with the image paths. Found by its usual names when not given."""

    label_column: Annotated[str | None, Parameter(group=_DATA)] = None
    """Column of the table with the labels. Found by its usual names when not given."""

    label_separator: Annotated[str | None, Parameter(group=_DATA)] = None
    """Several labels per image: what stands between them in the label column, such as "|"."""

    split_column: Annotated[str | None, Parameter(group=_DATA)] = None
    """Column of the table with train, val or test; such rows stay where they are."""

    group_column: Annotated[str | None, Parameter(group=_DATA)] = None
    """Column of the table with what must not be torn apart by a split: patient, module, scene."""

    val_fraction: Annotated[float, Parameter(group=_DATA)] = 0.15
    """Part of the images that decides between models."""

    test_fraction: Annotated[float, Parameter(group=_DATA)] = 0.2
    """Part of the images that is read once, at the end."""

    fold: Annotated[str | None, Parameter(group=_DATA), one_token(parse_fold, "FOLD/FOLDS")] = None
    """Cross-validation, such as 2/5: the test split is the second of five parts, in place of
    test_fraction. Runs 1/5 to 5/5 with one seed test every image once."""

    seed: Annotated[int, Parameter(group=_DATA)] = 0
    """Decides the split, the shuffling, the augmentation and the first weights."""

    def __post_init__(self) -> None:
        """Check every range."""
        if not isinstance(self.data, str | os.PathLike) or not str(self.data).strip():
            raise ConfigError(
                "`data` must name a folder, a table or a data set; "
                f"received data={self.data!r}. Type for example: python -m kerastl.fit photos/"
            )
        object.__setattr__(self, "data", str(self.data))
        object.__setattr__(self, "fold", parse_fold(self.fold))
        for name, (low, high) in _RANGES.items():
            if hasattr(self, name):
                _check_range(name, getattr(self, name), low, high)
        test = 1 / self.fold_numbers[1] if self.fold_numbers else self.test_fraction
        if self.val_fraction + test >= 1:
            raise ConfigError(
                "`val_fraction` and `test_fraction` must leave images to train on (sum below 1); "
                f"received {self.val_fraction} and {test:g}."
            )

    @property
    def fold_numbers(self) -> tuple[int, int] | None:
        """(K, N) of `fold`."""
        if self.fold is None:
            return None
        number, _, count = self.fold.partition("/")
        return int(number), int(count)


@Parameter(name="*")
@dataclass(frozen=True)
class FitConfig(DataOptions):
    """What to learn from which images, how, and where to put the result."""

    _: KW_ONLY

    cache: Annotated[Literal["auto", "memory", "disk", "none"], Parameter(group=_DATA)] = "auto"
    """Where decoded images are kept: memory, disk (an unnamed file beside the run folder) or
    none (read again in every epoch). auto takes the first that has room."""

    feature_cache: Annotated[str, Parameter(group=_DATA, negative="")] = "auto"
    """Folder where the frozen part's answers are kept, image by image: another run with the same
    images starts to train at once, whatever their labels and split, and with some more only those
    are computed. A new or empty folder; auto is $KERASTL_CACHE or ~/.cache/kerastl, none keeps
    nothing. It may be deleted at any time."""

    feature_cache_gib: Annotated[float, Parameter(group=_DATA)] = 10.0
    """What that folder may hold, in GiB; beyond it, what was used longest ago is dropped. 0 keeps
    nothing."""

    unreadable_fraction: Annotated[float, Parameter(group=_DATA)] = 0.1
    """Part of the images that may be unreadable; they are left out and named in
    quarantine.csv. With more, the run stops."""

    backbone: Annotated[str, Parameter(group=_MODEL)] = "EfficientNetLite0"
    """Network to transfer from: EfficientNetLite0 (its ImageNet weights are installed with
    kerastl) or any architecture of keras.applications, such as ResNet50."""

    weights: Annotated[str, Parameter(group=_MODEL)] = "imagenet"
    """imagenet, none, or a file of weights (.weights.h5, .h5, .keras)."""

    image_size: Annotated[
        tuple[int, int] | None, Parameter(group=_MODEL), one_token(parse_image_size, "SIZE")
    ] = None
    """Size that images are brought to, one number or HEIGHTxWIDTH. Default: the backbone's own."""

    resize_mode: Annotated[Literal["stretch", "crop", "pad"], Parameter(group=_MODEL)] = "stretch"
    """How an image of another shape is fitted: all of it stretched, its middle, or all of it
    with a grey border."""

    pooling: Annotated[Literal["avg", "max"], Parameter(group=_MODEL)] = "avg"
    """How the last feature maps become one vector."""

    hidden_units: Annotated[int, Parameter(group=_MODEL)] = 0
    """Width of a hidden layer in the head; 0 for none."""

    dropout: Annotated[float, Parameter(group=_MODEL)] = 0.0
    """Part of the head's inputs that is dropped while fine-tuning. Not 0 undoes part of
    what the probe found, whose weights are large."""

    l1: Annotated[float, Parameter(group=_MODEL)] = 0.0
    """L1 penalty on the head's kernels while fine-tuning."""

    l2: Annotated[float, Parameter(group=_MODEL)] = 0.0
    """L2 penalty on the head's kernels while fine-tuning. (The probe finds its own.)"""

    unfreeze_blocks: Annotated[
        int | Literal["all"] | None,
        Parameter(group=_TRAINING),
        one_token(parse_unfreeze_blocks, "BLOCKS"),
    ] = None
    """How many blocks, counted from the top, fine-tuning trains: a number, 0 or all.
    Default: the top half."""

    fine_tune_epochs: Annotated[int, Parameter(group=_TRAINING)] = 8
    """Longest length of fine-tuning; 0 for the probe alone."""

    patience_epochs: Annotated[int, Parameter(group=_TRAINING)] = 5
    """Fine-tuning stops after so many epochs without a better validation loss."""

    max_minutes: Annotated[float | None, Parameter(group=_TRAINING)] = None
    """Training ends so many minutes after the start, with the best so far: fine-tuning is cut short
    (its rate then has not fallen as planned: prefer fewer epochs) or left out. The probe is
    always fitted, and testing and the report come after."""

    batch_size: Annotated[int, Parameter(group=_TRAINING)] = 32
    """Images per step."""

    accumulate_steps: Annotated[int, Parameter(group=_TRAINING)] = 1
    """In how many parts the images of a step of fine-tuning go through the network; their gradients
    are added up, so that the result stays the same with less memory. When memory runs out, twice
    as many parts are taken by themselves."""

    learning_rate: Annotated[float | None, Parameter(group=_TRAINING)] = None
    """Highest rate of fine-tuning. Default: 2e-4 for networks of mobile size, else 1e-4."""

    weight_decay: Annotated[float, Parameter(group=_TRAINING)] = 1e-3
    """Of AdamW while fine-tuning; none on biases and normalisation."""

    augment: Annotated[
        Literal["none", "light", "medium", "strong", "mirrors", "dihedral"],
        Parameter(group=_TRAINING),
    ] = "light"
    """How training images are varied: light (mirrored, slightly cropped), medium and strong
    (RandAugment on top, for photographs), mirrors (pictures without an up: mirrored both ways,
    small shifts), dihedral (turned by 90° as well), none. The probe is fitted on the mirror
    images too."""

    views: Annotated[
        int | Literal["auto", "live"],
        Parameter(group=_TRAINING),
        one_token(parse_views, "VIEWS"),
    ] = "auto"
    """How many views of each training image, itself and varied ones, run through the frozen part,
    once, for fine-tuning to choose from in every epoch; live runs it in every epoch over new
    ones. auto takes up to 4, or live where the policy needs it or room is short."""

    precision: Annotated[Literal["auto", "float32", "bfloat16"], Parameter(group=_TRAINING)] = (
        "float32"
    )
    """What training computes in; weights and answers are always float32. auto: fine-tuning steps in
    mixed precision on GPUs and TPUs made for it, on CPUs in bfloat16 if that is faster here, and
    features and kept views of training images in bfloat16 where there are many and a sample of
    them agrees (up to twice as fast, some tenths of a point less accurate). bfloat16: also for
    few images; steps stay float32 where that is faster."""

    mix: Annotated[Literal["none", "mixup", "cutmix"], Parameter(group=_TRAINING)] = "none"
    """Blend pairs of training images (mixup) or paste windows (cutmix), and their labels with
    them. For more than some 20,000 images, or long training."""

    imbalance: Annotated[
        Literal["none", "balanced", "sqrt", "effective", "sampling", "logit-adjust"],
        Parameter(group=_TRAINING),
    ] = "none"
    """What to do about classes of very different sizes: logit-adjust (train plainly, then shift
    the answers as if all were equally frequent), sampling (every class drawn equally often), or
    weights in the loss: balanced, sqrt (half way) or effective (number of samples). Not for
    several labels per image, which have thresholds."""

    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None
    """Run folder to make. Default: runs/NAME, then runs/NAME-2 and so on."""

    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False
    """Replace an existing run folder, once the new one is complete."""

    export: Annotated[bool, Parameter(group=_OUTPUT)] = False
    """Also write a SavedModel for TF Serving and prove that it answers like the model."""

    export_dir: Annotated[str, Parameter(group=_OUTPUT)] = "saved_models"
    """Folder of the SavedModels: EXPORT_DIR/NAME/1, then 2 and so on."""

    def __post_init__(self) -> None:
        """Bring flexible values to their one form and check every range."""
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        object.__setattr__(self, "unfreeze_blocks", parse_unfreeze_blocks(self.unfreeze_blocks))
        object.__setattr__(self, "views", parse_views(self.views))
        for name, choices in choices_of_options().items():
            if getattr(self, name) not in choices:
                received = getattr(self, name)
                raise ConfigError(
                    f"`{name}` must be one of {', '.join(choices)}; received {name}={received!r}."
                    f"{did_you_mean(received, choices)}"
                )
        if not str(self.feature_cache).strip():
            raise ConfigError(
                "`feature_cache` must be a folder, auto or none; received an empty name."
            )
        if isinstance(self.views, int) and self.mix != "none":
            raise ConfigError(
                f"`views` cannot be {self.views} with mix={self.mix!r}, which blends new pixels in "
                "every epoch. Leave out one of the two."
            )
        super().__post_init__()
        if self.accumulate_steps > self.batch_size:
            raise ConfigError(
                f"`accumulate_steps` must be at most `batch_size`, which is {self.batch_size}; "
                f"received accumulate_steps={self.accumulate_steps}. It says in how many parts "
                "these images go through the network."
            )


def data_words(options: DataOptions) -> str:
    """Return what to type after a command for the same images, divided in the same way.

    Args:
        options: Which images; of a `FitConfig` only what is about data.

    Example:
        >>> data_words(FitConfig("my photos", seed=3, batch_size=8))
        "'my photos' --seed 3"
    """
    words = [options.data]
    for option in dataclasses.fields(DataOptions):
        value = getattr(options, option.name)
        if option.name != "data" and value != option.default:
            words += [f"--{option.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


# Smallest and largest value; the smallest of a fraction of rows is not zero,
# because all three splits are needed: one trains, one decides, one is read once.
_RANGES: dict[str, tuple[float, float]] = {
    "val_fraction": (0.01, 0.9),
    "test_fraction": (0.01, 0.9),
    "feature_cache_gib": (0, 1e6),
    "unreadable_fraction": (0, 1),
    "hidden_units": (0, 65536),
    "dropout": (0, 0.95),
    "l1": (0, 1e3),
    "l2": (0, 1e3),
    "fine_tune_epochs": (0, 100_000),
    "patience_epochs": (1, 100_000),
    "max_minutes": (0, 1e6),
    "batch_size": (1, 65536),
    "accumulate_steps": (1, 65536),
    "learning_rate": (1e-12, 10),
    "weight_decay": (0, 10),
    "seed": (0, 2**31 - 1),
}


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is not a number from low to high (None passes where it is the default)."""
    if value is None:
        return
    whole = isinstance(low, int) and isinstance(high, int) and name not in _FRACTIONAL
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ConfigError(
            f"`{name}` must be a {'whole ' if whole else ''}number from {low:g} to {high:g}; "
            f"received {name}={value!r}."
        )


_FRACTIONAL = {
    "feature_cache_gib",
    "unreadable_fraction",
    "dropout",
    "l1",
    "l2",
    "learning_rate",
    "max_minutes",
    "weight_decay",
}


def choices_of_options() -> dict[str, tuple[str, ...]]:
    """Return the fields that take one word of a fixed list."""
    found = {}
    for name, hint in get_type_hints(FitConfig).items():
        arguments = get_args(hint)
        if str(hint).startswith("typing.Literal") and all(isinstance(a, str) for a in arguments):
            found[name] = arguments
    return found


def option_names() -> tuple[str, ...]:
    """Return the names of all options, in the order of the help page.

    Example:
        >>> option_names()[:2]
        ('data', 'data_dir')
    """
    return tuple(field.name for field in dataclasses.fields(FitConfig))
