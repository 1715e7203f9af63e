"""Which images, and how they are divided: the options that `fit` and `check` share."""

import dataclasses
import os
import shlex
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from kerastl.errors import ConfigError
from kerastl.option_ranges import RANGES, check_range
from kerastl.option_values import DATA, WHOLE, one_token, parse_fold


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """Which images, and how they are divided: what `fit` and `check` share."""

    data: Annotated[str, Parameter(group=DATA)]
    """A folder with one sub-folder per class, a folder with train/ val/ test/, a CSV or
    JSONL file, tfds:NAME, or demo:solar (tasks demo:solar:P1 to demo:solar:P4)."""

    _: KW_ONLY

    data_dir: Annotated[str | None, Parameter(group=DATA)] = None
    """Where relative paths of a CSV or JSONL file start, or where TFDS keeps its data."""

    path_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column of the table with the image paths. Found by its usual names when not given."""

    label_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column of the table with the labels. Found by its usual names when not given."""

    label_separator: Annotated[str | None, Parameter(group=DATA)] = None
    """Several labels per image: what stands between them in the label column, such as "|"."""

    split_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column of the table with train, val or test; such rows stay where they are."""

    group_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column of the table with what must not be torn apart by a split: patient, module, scene."""

    label_changes: Annotated[str | None, Parameter(group=DATA)] = None
    """CSV of labels that a person looked at: the label_candidates.csv of a run, its column action
    filled in with keep, relabel (to its column suggested) or drop."""

    val_fraction: Annotated[float, Parameter(group=DATA)] = 0.15
    """Part of the images that decides between models."""

    test_fraction: Annotated[float, Parameter(group=DATA)] = 0.2
    """Part of the images that is read once, at the end."""

    fold: Annotated[str | None, Parameter(group=DATA), one_token(parse_fold, "FOLD/FOLDS")] = None
    """Cross-validation, such as 2/5: the test split is the second of five parts, in place of
    test_fraction. Runs 1/5 to 5/5 with one seed test every image once."""

    seed: Annotated[int, Parameter(group=DATA), WHOLE] = 0
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
        for name, (low, high) in RANGES.items():
            if hasattr(self, name):
                check_range(name, getattr(self, name), low, high)
        test, name = self.test_fraction, "`test_fraction`"
        if self.fold_numbers:
            test, name = 1 / self.fold_numbers[1], f"the test part of `fold` {self.fold}"
        if self.val_fraction + test >= 1:
            raise ConfigError(
                f"`val_fraction` and {name} must leave images to train on (sum below 1); "
                f"received {self.val_fraction} and {test:g}. Choose a smaller --val-fraction."
            )

    @property
    def fold_numbers(self) -> tuple[int, int] | None:
        """(K, N) of `fold`."""
        if self.fold is None:
            return None
        number, _, count = self.fold.partition("/")
        return int(number), int(count)


def data_words(options: DataOptions) -> str:
    """Return what to type after a command for the same images, divided in the same way.

    Args:
        options: Which images; of a `FitConfig` only what is about data.

    Example:
        >>> data_words(DataOptions("my photos", seed=3))
        "'my photos' --seed 3"
    """
    return typed_words(options, DataOptions)


# What does not say where images and labels are, but which of them count, and for what.
_DIVISION = ("label_changes", "val_fraction", "test_fraction", "fold", "seed")


def source_words(options: DataOptions) -> str:
    """Return what to type after a command that divides nothing for the same images.

    Args:
        options: Which images.

    Example:
        >>> source_words(DataOptions("pets.csv", label_column="breed", val_fraction=0.3))
        'pets.csv --label-column breed'
    """
    nothing: dict[str, Any] = dict.fromkeys(_DIVISION)
    return typed_words(options, DataOptions, **nothing)


def typed_words(
    options: DataOptions,
    kind: type[DataOptions],
    *,
    also: Collection[str] = (),
    **changes: Any,
) -> str:
    """Return what to type after a command for options that are not at their defaults.

    Args:
        options: What to type.
        kind: Whose fields count.
        also: Options to type even at their defaults.
        **changes: Options to type otherwise; None for the default.
    """
    words = [str(changes.get("data", options.data))]
    for option in dataclasses.fields(kind):
        value = changes.get(option.name, getattr(options, option.name))
        if option.name == "data" or value is None:
            continue
        if value == option.default and option.name not in also:
            continue
        flag = option.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            # Of what is square one number is enough.
            parts = dict.fromkeys(value) if isinstance(value, tuple) else (value,)
            text = "x".join(map(str, parts))
            words += [f"--{flag}", text]
    return shlex.join(words)
