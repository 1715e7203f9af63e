"""Splits that the source decides: their names, what they leave free, what they tear apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastl.errors import DataError, did_you_mean

SPLIT_NAMES = ("train", "val", "test")

# As people write them, in names of folders and in tables.
SPLIT_SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def settle_splits(
    given: ArrayLike | None, *, groups: ArrayLike | None, count: int
) -> NDArray[np.str_]:
    """Return the given splits, completed within groups, "" where a row is free.

    Args:
        given: Shape (n,): "train", "val", "test" or "" (free); None when all are free.
        groups: Shape (n,): rows with one value stay together.
        count: n.

    Raises:
        DataError: A name is none of these, or a group is in two splits.

    Example:
        >>> settle_splits(["test", "", ""], groups=["a", "a", "b"], count=3).tolist()
        ['test', 'test', '']
    """
    if given is None:
        return np.full(count, "", "<U5")
    settled = np.asarray(given).astype(np.str_)
    if settled.shape != (count,):
        raise DataError(
            f"`given` must have one value for each of the {count} rows; received shape "
            f"{settled.shape}."
        )
    known = ("", *SPLIT_NAMES)
    wrong = settled[~np.isin(settled, known)]
    if wrong.size:
        raise DataError(
            f"A given split must be train, val, test or empty; received {str(wrong[0])!r}."
            f"{did_you_mean(wrong[0], SPLIT_NAMES)}"
        )
    settled = settled.astype("<U5")
    if groups is None:
        return settled
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    split_of_group = np.full(len(names), "", "<U5")
    for name in SPLIT_NAMES:
        members = np.unique(codes[settled == name])
        torn = members[split_of_group[members] != ""]
        if torn.size:
            raise DataError(
                f"The given splits put group {str(names[torn[0]])!r} into both "
                f"{split_of_group[torn[0]]} and {name}"
                + (f" ({torn.size - 1} more groups too)" if torn.size > 1 else "")
                + ", so the test would flatter. Give whole groups one split, or leave the "
                "split column out."
            )
        split_of_group[members] = name
    return np.where(settled == "", split_of_group[codes], settled)


def rows_to_divide(settled: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows that missing splits are cut from, and the names of those splits.

    Args:
        settled: From `settle_splits`.

    Raises:
        DataError: There is no row to train on.

    Example:
        >>> rows_to_divide(np.array(["train", "test", "train"]))
        (array([0, 2]), ['val'])
    """
    free = settled == ""
    missing = [name for name in ("val", "test") if not (settled == name).any()]
    pool = np.flatnonzero(free if free.any() else settled == "train")
    if not pool.size and not (settled == "train").any():
        raise DataError(
            "The given splits leave no image for training. Give some images the split 'train'."
        )
    return pool, missing
