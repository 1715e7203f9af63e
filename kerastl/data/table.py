"""The one form that all images and labels take: a frozen table, whatever their source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastl.data.lazy_contents import LazyContents
from kerastl.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images, their labels and what must be known to split them.

    Attributes:
        name: Short name, for run folders.
        ids: What to call each of the n images: a path, or a name where there is no file.
        labels: int64 of shape (n,): indices into `class_names`; or int8 of shape
            (n, num_classes) of 0 and 1 when an image may have several labels.
        class_names: In natural order ("2" before "10"), unless the source has an order of
            its own (TFDS, the demo, `class_names` given to `table_from_arrays`).
        contents: None: `ids` are files to read. A sequence of bytes: encoded images, in
            memory (a tuple) or read when asked for (`LazyContents`). uint8 of shape
            (n, height, width, channels), 1 to 4 channels: pixels 0..255.
        groups: Text of shape (n,): images of one group must stay on one side of a split.
        splits: Text of shape (n,), "train", "val" or "test" where the source decides, ""
            where it does not; None when it never does.
        strata: Shape (n,): what to keep in proportion beyond the class; None for nothing.
        subgroups: Text of shape (n,): for whom to measure apart, such as the camera; has no part
            in any split. None for nobody.
        before: What was divided before labels were changed, so that all images stay on their side;
            None where none were.
    """

    name: str
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | NDArray[np.int8]
    class_names: tuple[str, ...]
    contents: Sequence[bytes] | NDArray[np.uint8] | None = None
    groups: NDArray[np.str_] | None = None
    splits: NDArray[np.str_] | None = None
    strata: NDArray[Any] | None = None
    subgroups: NDArray[np.str_] | None = None
    before: TableBefore | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        for column in ("labels", "contents", "groups", "splits", "strata", "subgroups"):
            values = getattr(self, column)
            if values is not None and len(values) != len(self.ids):
                raise DataError(
                    f"`{column}` must have one value for each of the {len(self.ids)} images; "
                    f"received {len(values)}. Pass columns of the same length."
                )
        if self.multi_label and self.labels.shape[1] != len(self.class_names):
            raise DataError(
                f"`labels` must have one column for each of the {len(self.class_names)} class "
                f"names; received shape {self.labels.shape}."
            )

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.labels.ndim == 2


@dataclass(frozen=True, eq=False)
class TableBefore:
    """Images as they were before a person changed labels or dropped some.

    Attributes:
        table: All of them, with the labels of that time.
        rows: int64 of shape (n,): which of them each image is that is left.
    """

    table: ImageTable
    rows: NDArray[np.int64]

    def chosen(self, rows: NDArray[np.int64]) -> TableBefore:
        """Return the same without images that are not chosen; those that were dropped stay.

        Args:
            rows: Which of the images that are left.
        """
        stays = np.ones(len(self.table.ids), bool)
        stays[self.rows] = False
        stays[self.rows[rows]] = True
        place = np.cumsum(stays) - 1
        return TableBefore(subset(self.table, stays), place[self.rows[rows]])


def label_words(label: NDArray[Any] | np.integer[Any], class_names: Sequence[str]) -> str:
    """Return a label in words, several joined by "|".

    Args:
        label: An index into the class names, or 0 and 1 for each of them.
        class_names: In their order.

    Example:
        >>> label_words(np.array([1, 0, 1]), ["crack", "dent", "stain"])
        'crack|stain'
    """
    if np.ndim(label):
        return "|".join(class_names[int(index)] for index in np.flatnonzero(label))
    return class_names[int(label)]


def label_text(table: ImageTable, row: int) -> str:
    """Return the label of one image, several joined by "|".

    Args:
        table: The images.
        row: Which one.
    """
    return label_words(table.labels[row], table.class_names)


def subset(table: ImageTable, rows: ArrayLike) -> ImageTable:
    """Return the table of some rows; the class names stay.

    Args:
        table: The images.
        rows: Row numbers in the wanted order, or a mask of shape (n,) of booleans.

    Example:
        >>> table = table_from_arrays(np.zeros((3, 8, 8), np.uint8), ["cat", "dog", "cat"])
        >>> subset(table, [2, 1]).ids
        ('arrays[2]', 'arrays[1]')
    """
    chosen = np.arange(len(table.ids))[np.asarray(rows)]
    contents = table.contents
    if isinstance(contents, np.ndarray):
        contents = contents[chosen]
    elif isinstance(contents, LazyContents):
        contents = contents.take(chosen)
    elif contents is not None:
        contents = tuple(contents[row] for row in chosen)
    return replace(
        table,
        ids=tuple(table.ids[row] for row in chosen),
        labels=table.labels[chosen],
        contents=contents,
        groups=None if table.groups is None else table.groups[chosen],
        splits=None if table.splits is None else table.splits[chosen],
        strata=None if table.strata is None else table.strata[chosen],
        subgroups=None if table.subgroups is None else table.subgroups[chosen],
        before=None if table.before is None else table.before.chosen(chosen),
    )


def table_from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    splits: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    subgroups: ArrayLike | None = None,
    name: str = "arrays",
) -> ImageTable:
    """Return the table of images that are in memory already.

    Args:
        images: uint8 of shape (n, height, width) or (n, height, width, channels) with 1 to
            4 channels. Other numbers are taken if they are pixels from 0 to 255.
        labels: Shape (n,) or (n, 1): class numbers, or text. Or shape (n, num_classes) of 0
            and 1: one class per image if every row has exactly one 1, else several labels.
        class_names: Names of classes 0, 1, ...; made from the labels when not given.
        groups: Shape (n,): images of one group stay on one side of a split.
        splits: Shape (n,) of "train", "val", "test", or "" where it is free.
        strata: Shape (n,): what to keep in proportion beyond the class.
        subgroups: Shape (n,): for whom to measure apart.
        name: Short name, for run folders.

    Raises:
        DataError: Shapes do not agree, pixels are not 0..255, or a label has no class name.

    Example:
        >>> table = table_from_arrays(np.zeros((3, 8, 8), np.uint8), ["10", "2", "10"])
        >>> table.class_names, table.labels.tolist(), table.contents.shape
        (('2', '10'), [1, 0, 1], (3, 8, 8, 1))
    """
    pixels = _checked_pixels(images)
    encoded, names = _encoded_labels(np.asarray(labels), class_names)
    if len(encoded) != len(pixels):
        raise DataError(
            f"`images` and `labels` must have the same length; received {len(pixels)} images "
            f"and {len(encoded)} labels."
        )
    return ImageTable(
        name=name,
        ids=tuple(f"{name}[{row}]" for row in range(len(pixels))),
        labels=encoded,
        class_names=names,
        contents=pixels,
        groups=None if groups is None else np.asarray(groups).astype(np.str_),
        splits=None if splits is None else np.asarray(splits).astype(np.str_),
        strata=None if strata is None else np.asarray(strata),
        subgroups=None if subgroups is None else np.asarray(subgroups).astype(np.str_),
    )


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names sorted as people count: "2" before "10".

    Sorting as text puts "10" before "2" (keras #14416, tensorflow #50124).

    Args:
        names: In any order, with repetitions.

    Example:
        >>> natural_order(["class 10", "class 2", "Class 1", "class 2"])
        ('Class 1', 'class 2', 'class 10')
    """
    return tuple(sorted(set(names), key=natural_key))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return the key that sorts names in natural order.

    Args:
        name: Any text.

    Example:
        >>> sorted(["a10", "a9"], key=natural_key)
        ['a9', 'a10']
    """
    # The pattern's group makes text and numbers alternate, so like meets like.
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def encode_names(names: Sequence[str], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each name in `class_names`.

    Args:
        names: One class name per image.
        class_names: All class names.

    Example:
        >>> encode_names(["dog", "cat"], ["cat", "dog"]).tolist()
        [1, 0]
    """
    index = {name: number for number, name in enumerate(class_names)}
    return np.array([index[name] for name in names], np.int64)


def encode_name_sets(
    name_sets: Sequence[Iterable[str]], class_names: Sequence[str]
) -> NDArray[np.int8]:
    """Return int8 of shape (n, num_classes): 1 where an image has the label.

    Args:
        name_sets: The labels of each image.
        class_names: All class names.

    Example:
        >>> encode_name_sets([{"sun"}, {"sea", "sun"}, []], ["sea", "sun"]).tolist()
        [[0, 1], [1, 1], [0, 0]]
    """
    index = {name: number for number, name in enumerate(class_names)}
    encoded = np.zeros((len(name_sets), len(class_names)), np.int8)
    for row, names in enumerate(name_sets):
        encoded[row, [index[name] for name in names]] = 1
    return encoded


def _checked_pixels(images: ArrayLike) -> NDArray[np.uint8]:
    """Return uint8 of shape (n, height, width, channels), or say why not."""
    try:
        array = np.asarray(images)
    except ValueError:
        array = np.asarray(None)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or not 1 <= array.shape[-1] <= 4 or 0 in array.shape:
        raise DataError(
            "`images` must have shape (n, height, width) or (n, height, width, channels) with "
            f"1 to 4 channels; received shape {np.shape(array)}. Resize images to one size "
            "first, or give a folder of files, which may have any sizes."
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"`images` must be pixels of dtype uint8; received dtype {array.dtype}.")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):  # also False for NaN
        raise DataError(
            f"`images` must be pixels from 0 to 255; received values from {low} to {high}. Undo "
            "any scaling or normalisation: kerastl scales pixels as the backbone needs them."
        )
    if array.dtype.kind == "f" and high <= 1:
        raise DataError(
            f"`images` must be pixels from 0 to 255; received {array.dtype} from {low} to {high}, "
            "which looks scaled to 0..1. Pass (images * 255).round().astype('uint8')."
        )
    return np.round(array).astype(np.uint8)


def _encoded_labels(
    labels: NDArray[Any], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64] | NDArray[np.int8], tuple[str, ...]]:
    """Return labels as numbers, and the class names."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        names = tuple(map(str, range(labels.shape[1]) if class_names is None else class_names))
        if len(names) != labels.shape[1]:
            raise DataError(
                f"`labels` must have one column for each of the {len(names)} class names; "
                f"received shape {labels.shape}."
            )
        if (labels.sum(axis=1) == 1).all():
            return labels.argmax(axis=1).astype(np.int64), names
        return labels.astype(np.int8), names
    if labels.ndim != 1 or labels.dtype.kind not in "iubUO":
        raise DataError(
            "`labels` must be class numbers or text of shape (n,), or 0 and 1 of shape "
            f"(n, num_classes); received dtype {labels.dtype} and shape {labels.shape}."
        )
    if class_names is None:
        texts = [str(label) for label in labels.tolist()]
        names = natural_order(texts)
        return encode_names(texts, names), names
    names = tuple(str(name) for name in class_names)
    if labels.dtype.kind in "iub":
        wrong = labels[(labels < 0) | (labels >= len(names))]
    else:
        wrong = labels[~np.isin(labels, names)]
    if wrong.size:
        raise DataError(
            f"`labels` has {wrong[0]!r}, which is none of the {len(names)} `class_names` "
            f"{_some(names)} nor the number of one (from 0)."
        )
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64), names
    return encode_names([str(label) for label in labels], names), names


def _some(names: Sequence[str]) -> str:
    """Return the first names, for a message."""
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
