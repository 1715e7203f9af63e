"""Which row goes where: training, validation and test, or folds; stratified, grouped, seeded.

NumPy only. All random numbers come from `numpy.random.default_rng`, so that a seed means
the same split on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastl.errors import ConfigError, DataError, did_you_mean

SPLIT_NAMES = ("train", "val", "test")

# Orders of groups (or of rows with several labels) that are tried before giving up.
ATTEMPTS = 20


def split_rows(
    labels: ArrayLike,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    given: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> NDArray[np.str_]:
    """Return "train", "val" or "test" for every row.

    One label per row: every class is divided by largest remainder, at least one row to each
    split, and the rows of a class are dealt stratum by stratum, so that small strata share
    with their neighbours what they cannot divide alone. Groups: whole groups go, large ones
    first, where the counts of their classes and strata are most wanting. Several labels:
    iterative stratification, rarest label first (Sechidis et al. 2011,
    https://doi.org/10.1007/978-3-642-23808-6_10).

    Given splits stay. What they lack (validation, test or both) is cut, by the same
    fractions, from the rows that have no given split if there are any, otherwise from the
    training rows; what is left is training. A row without a given split goes with its
    group where that has one.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        val_fraction: Part of the divided rows for validation, between 0 and 1.
        test_fraction: Part of the divided rows for the test, between 0 and 1.
        seed: Same seed, same split.
        strata: Shape (n,): values to keep in proportion within each class.
        groups: Shape (n,): rows with one value stay together.
        given: Shape (n,): "train", "val", "test" or "" (free).
        class_names: For messages; the numbers are used when not given.

    Raises:
        ConfigError: The fractions leave no rows for training.
        DataError: A class has too few images or groups to be in every split, or given splits
            tear a group apart.

    Example:
        >>> split = split_rows([0] * 10 + [1] * 20, val_fraction=0.2, test_fraction=0.3, seed=0)
        >>> [int((split == name).sum()) for name in ("train", "val", "test")]
        [15, 6, 9]
    """
    _check_fractions(val_fraction, test_fraction)
    label_array = _label_array(labels)
    count = len(label_array)
    stratum_codes = _codes(strata, count, "strata")
    group_codes = None if groups is None else _codes(groups, count, "groups")
    settled = _settled(given, groups, count)
    check_class_sizes(label_array, given=settled, class_names=class_names)
    pool, missing = _pool(settled)
    split = np.where(settled == "", "train", settled)
    if not missing:
        return split
    fractions = {"val": val_fraction, "test": test_fraction}
    cut = [fractions[name] for name in missing]
    dealt = _divide(
        label_array[pool],
        np.array([1 - sum(cut), *cut]),
        strata=stratum_codes[pool],
        groups=None if group_codes is None else group_codes[pool],
        seed=seed,
        class_names=class_names,
    )
    split[pool] = np.array(["train", *missing])[dealt]
    return split


def fold_rows(
    labels: ArrayLike,
    *,
    num_folds: int,
    seed: int,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Return the fold of every row, for cross-validation, stratified like `split_rows`.

    There are never more folds than rows, or than groups. A class with fewer rows than folds
    is in as many folds as it has rows.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        num_folds: Folds, 2 or more.
        seed: Same seed, same folds.
        strata: Shape (n,): values to keep in proportion within each class.
        groups: Shape (n,): rows with one value stay in one fold.

    Returns:
        int64 of shape (n,), from 0; no fold is empty.

    Raises:
        ConfigError: `num_folds` is not a whole number of 2 or more.
        DataError: There are fewer than two rows, or fewer than two groups.

    Example:
        >>> folds = fold_rows([0, 0, 0, 1, 1, 1], num_folds=3, seed=0)
        >>> sorted(folds[:3].tolist()), sorted(folds[3:].tolist())
        ([0, 1, 2], [0, 1, 2])
    """
    if isinstance(num_folds, bool) or not isinstance(num_folds, int) or num_folds < 2:
        raise ConfigError(
            f"`num_folds` must be a whole number of 2 or more; received num_folds={num_folds!r}."
        )
    label_array = _label_array(labels)
    count = len(label_array)
    stratum_codes = _codes(strata, count, "strata")
    group_codes = None if groups is None else _codes(groups, count, "groups")
    units = count if group_codes is None else len(np.unique(group_codes))
    if units < 2:
        unit = "image" if group_codes is None else "group"
        raise DataError(
            f"Cross-validation needs at least 2 {unit}s of training images; received {units}. "
            f"Add images{'' if group_codes is None else ' of other groups'}."
        )
    num_folds = min(num_folds, units)
    rng = np.random.default_rng(seed)
    if group_codes is None and label_array.ndim == 1:
        order = _shuffled_order(label_array, stratum_codes, rng)
        folds = np.empty(count, np.int64)
        folds[order] = np.arange(count) % num_folds
        return folds
    shares = np.full(num_folds, 1 / num_folds)
    if group_codes is None:
        return _deal_rarest_first(label_array, shares, rng=rng, every_class=False)
    return _deal_groups(
        label_array,
        shares,
        strata=stratum_codes,
        groups=group_codes,
        rng=rng,
        by_size=True,
        every_class=False,
    )


def check_class_sizes(
    labels: ArrayLike,
    *,
    given: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse labels that cannot be in training, validation and test.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        given: Shape (n,): "train", "val", "test" or "" (free); None when all are free.
        class_names: For messages, and to notice classes without images.

    Raises:
        DataError: A class has fewer images than there are splits to fill, or is in given
            validation or test rows but in no training row.

    Example:
        >>> check_class_sizes([0, 0, 0, 1, 1, 1])
    """
    label_array = _label_array(labels)
    settled = _settled(given, None, len(label_array))
    pool, missing = _pool(settled)
    held_out = (settled == "val") | (settled == "test")
    total = _class_counts(label_array, class_names)
    untrained = np.flatnonzero((_class_counts(label_array[~held_out], total) == 0) & (total > 0))
    if untrained.size:
        rows = _class_counts(label_array[settled == "test"], total)
        place = "test" if rows[untrained[0]] else "val"
        raise DataError(
            f"Class {_named(untrained[0], class_names)} is in {place} but not in train, so it "
            "cannot be learnt. Add training images of it or remove it; check the spelling."
        )
    needed = 1 + len(missing)
    counts = _class_counts(label_array[pool], total)
    counts = np.minimum(counts, total) if missing else total
    small = np.flatnonzero(counts < needed)
    if small.size:
        listed = ", ".join(
            f"{_named(number, class_names)} has {_plural(counts[number], 'image')}"
            for number in small[:5]
        )
        more = f" and {small.size - 5} more classes too few" if small.size > 5 else ""
        splits = " and ".join(["train", *missing]) if needed < 3 else "train, val and test"
        raise DataError(
            f"{'Class' if small.size == 1 else 'Classes'} {listed}{more}; every class needs at "
            f"least {needed}, one for each of {splits}. Add images or drop the "
            f"{'class' if small.size == 1 else 'classes'}."
        )


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse fractions that leave a split empty."""
    if not (0 < val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise ConfigError(
            "`val_fraction` and `test_fraction` must be above 0 and leave rows to train on (sum "
            f"below 1); received {val_fraction!r} and {test_fraction!r}."
        )


def _label_array(labels: ArrayLike) -> NDArray[np.integer[Any]]:
    """Return labels as an array of whole numbers with one or two axes."""
    array = np.asarray(labels)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iub" or not len(array):
        raise DataError(
            "`labels` must be class numbers of shape (n,) or 0 and 1 of shape (n, num_classes); "
            f"received dtype {array.dtype} and shape {array.shape}."
        )
    return array.astype(np.int8) if array.dtype.kind == "b" else array


def _codes(values: ArrayLike | None, count: int, name: str) -> NDArray[np.int64]:
    """Return numbers from 0 in place of any values; all 0 for None."""
    if values is None:
        return np.zeros(count, np.int64)
    array = np.asarray(values)
    if array.shape != (count,):
        raise DataError(
            f"`{name}` must have one value for each of the {count} rows; received shape "
            f"{array.shape}."
        )
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _settled(given: ArrayLike | None, groups: ArrayLike | None, count: int) -> NDArray[np.str_]:
    """Return the given splits, completed within groups, "" where a row is free."""
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


def _pool(settled: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows that missing splits are cut from, and the names of those splits."""
    free = settled == ""
    missing = [name for name in ("val", "test") if not (settled == name).any()]
    pool = np.flatnonzero(free if free.any() else settled == "train")
    if not pool.size and not (settled == "train").any():
        raise DataError(
            "The given splits leave no image for training. Give some images the split 'train'."
        )
    return pool, missing


def _class_counts(
    labels: NDArray[np.integer[Any]], like: Sequence[str] | NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return images per class, for as many classes as `like` has."""
    if labels.ndim == 2:
        return labels.sum(axis=0, dtype=np.int64)
    return np.bincount(labels, minlength=0 if like is None else len(like)).astype(np.int64)


def _named(number: Any, class_names: Sequence[str] | None) -> str:
    """Return the name of a class, for a message."""
    return repr(class_names[number]) if class_names is not None else str(number)


def _plural(count: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
