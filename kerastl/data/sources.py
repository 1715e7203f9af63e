"""Where images and labels come from: `load_table` finds the reader that a name asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kerastl.data.demo import table_from_demo
from kerastl.data.folders import table_from_folder
from kerastl.data.image_kinds import IMAGE_SUFFIXES
from kerastl.data.label_files import LABEL_FILE_SUFFIXES, table_from_label_file
from kerastl.data.splits import check_class_sizes
from kerastl.data.table import ImageTable, subset, table_from_arrays
from kerastl.errors import ConfigError, DataError, did_you_mean

__all__ = ["ImageTable", "load_table", "subset", "table_from_arrays"]


def load_table(
    data: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    to_learn: bool = True,
) -> ImageTable:
    """Return the table of images and labels that `data` names. No image is decoded.

    Args:
        data: A folder with one sub-folder per class; a folder with train/, val/ and test/ of
            such folders; a CSV, TSV or JSONL file; "tfds:NAME" or "tfds:NAME:SPLIT";
            "demo:solar" or "demo:solar:P1" to "demo:solar:P4".
        data_dir: Where relative paths of a CSV or JSONL start, or where TFDS keeps its data.
        path_column: Column of the table with image paths.
        label_column: Column of the table, or feature of the TFDS data set, with the labels.
        label_separator: What stands between several labels in one cell, such as "|".
        split_column: Column of the table with train, val or test.
        group_column: Column of the table, or feature of the TFDS data set, with what a split
            must not tear apart.
        to_learn: Whether to refuse labels that cannot be learnt: one class alone, or classes with
            too few images to divide.

    Raises:
        ConfigError: An option does not go with this kind of source, or names no column.
        DataError: The source does not exist, is empty, or its labels cannot be learnt.

    Example:
        >>> load_table("no/such/folder")
        Traceback (most recent call last):
        kerastl.errors.DataError: 'no/such/folder' does not exist. Expected a folder with ...
    """
    options = {
        "data_dir": data_dir,
        "path_column": path_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "split_column": split_column,
        "group_column": group_column,
    }
    read, kind, accepted = _reader(os.path.expanduser(os.fspath(data)), to_learn=to_learn)
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in accepted:
            raise ConfigError(
                f"`{name}` does not go with {kind}; received {name}={value!r} for "
                f"{os.fspath(data)!r}. Leave it out"
                + (", or give a CSV or JSONL file." if name != "data_dir" else ".")
            )
    if data_dir is not None:
        given["data_dir"] = os.path.expanduser(os.fspath(data_dir))
    table = read(**given)
    if not to_learn:
        return table
    if len(table.class_names) < 2:
        raise DataError(
            f"{os.fspath(data)!r} has one class only, {table.class_names!r}; a classifier needs "
            "at least two. Add images of another class."
        )
    check_class_sizes(
        table.labels, given=table.splits, groups=table.groups, class_names=table.class_names
    )
    return table


def _reader(data: str, *, to_learn: bool) -> tuple[Callable[..., ImageTable], str, tuple[str, ...]]:
    """Return the function that reads a source, what it is called, and the options it takes."""
    prefix, colon, rest = data.partition(":")
    if colon and prefix == "tfds":
        from kerastl.data.tfds import table_from_tfds  # TensorFlow

        return (
            partial(table_from_tfds, rest),
            "a TFDS data set",
            ("data_dir", "label_column", "group_column"),
        )
    if colon and prefix == "demo":
        return partial(table_from_demo, rest), "a demo", ()
    path = Path(data)
    if path.is_dir():
        return partial(table_from_folder, path, to_learn=to_learn), "a folder", ()
    if path.suffix.lower() in LABEL_FILE_SUFFIXES and path.is_file():
        return (
            partial(table_from_label_file, path),
            "a table",
            (
                "data_dir",
                "path_column",
                "label_column",
                "label_separator",
                "split_column",
                "group_column",
            ),
        )
    raise DataError(_why_no_source(path, prefix=prefix if colon else None))


_EXPECTED = (
    "Expected a folder with one sub-folder per class, a CSV, TSV or JSONL file, tfds:NAME or "
    "demo:solar."
)


def _why_no_source(path: Path, *, prefix: str | None) -> str:
    """Return the message for what is neither a folder nor a table."""
    if path.exists():
        suffix = path.suffix.lower()
        advice = "Save it as a CSV with the columns path and label."
        if suffix in IMAGE_SUFFIXES:
            advice = "This is one image; give the folder that holds the class folders."
        elif suffix in {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz"}:
            advice = "Unpack it first, then give the folder."
        return f"{str(path)!r} is neither a folder nor a table. {_EXPECTED} {advice}"
    if prefix is not None and "/" not in prefix:
        return (
            f"{str(path)!r} does not exist, and {prefix + ':'!r} is no kind of source. {_EXPECTED}"
            f"{did_you_mean(prefix, ['tfds', 'demo'])}"
        )
    parent = next(place for place in path.parents if place.is_dir())
    wanted = path.relative_to(parent).parts[0]
    siblings = sorted(one.name for one in parent.iterdir() if not one.name.startswith("."))
    near = did_you_mean(wanted, siblings)
    more = ", …" if len(siblings) > 5 else ""
    listed = f" {str(parent)!r} has: {', '.join(siblings[:5])}{more}."
    inside = listed if siblings and not near else ""
    return f"{str(path)!r} does not exist. {_EXPECTED}{near}{inside}"
