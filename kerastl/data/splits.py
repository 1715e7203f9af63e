"""Which row goes where: training, validation and test, or folds; stratified, grouped, seeded.

NumPy only. All random numbers come from `numpy.random.default_rng`, so that a seed means
the same split on every machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastl.data.given_splits import rows_to_divide, settle_splits
from kerastl.data.stratification import (
    Integers,
    deal_groups,
    deal_label_sets,
    deal_rows,
    shuffled_order,
)
from kerastl.data.wording import counted
from kerastl.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

# Orders of groups (or of rows with several labels) that are tried, and the deviation, as a
# part of a class, that is good enough to try no more.
ATTEMPTS = 20
GOOD_ENOUGH = 0.01


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
    first, where the counts of their classes and strata are most wanting, and the best of a few
    orders is kept. Several labels:
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
        strata: Shape (n,): values to keep in proportion within each class. Not used for rows
            with several labels and no groups.
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
    settled = settle_splits(given, groups=groups, count=count)
    check_class_sizes(label_array, given=settled, groups=groups, class_names=class_names)
    pool, missing = rows_to_divide(settled)
    split = np.where(settled == "", "train", settled)
    _warn_of_absent_classes(label_array, settled, class_names)
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
        order = shuffled_order(label_array, strata=stratum_codes, rng=rng)
        folds = np.empty(count, np.int64)
        folds[order] = np.arange(count) % num_folds
        return folds
    shares = np.full(num_folds, 1 / num_folds)
    if group_codes is None:
        return deal_label_sets(label_array, shares, rng=rng)
    return deal_groups(label_array, shares, strata=stratum_codes, groups=group_codes, rng=rng)


def check_class_sizes(
    labels: ArrayLike,
    *,
    given: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse labels that cannot be in training, validation and test.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        given: Shape (n,): "train", "val", "test" or "" (free); None when all are free.
        groups: Shape (n,): rows with one value stay together.
        class_names: For messages, and to notice classes without images.

    Raises:
        DataError: A class has fewer images or groups than there are splits to fill, or is in
            given validation or test rows but in no training row.

    Example:
        >>> check_class_sizes([0, 0, 0, 1, 1, 1])
    """
    label_array = _label_array(labels)
    settled = settle_splits(given, groups=groups, count=len(label_array))
    pool, missing = rows_to_divide(settled)
    held_out = (settled == "val") | (settled == "test")
    total = _class_counts(label_array, class_names)
    untrained = np.flatnonzero((_class_counts(label_array[~held_out], total) == 0) & (total > 0))
    if untrained.size:
        in_test = _class_counts(label_array[settled == "test"], total)[untrained[0]]
        raise DataError(
            f"Class {_named(untrained[0], class_names)} is in {'test' if in_test else 'val'} but "
            "not in train, so it cannot be learnt. Add training images of it or remove it; check "
            "the spelling."
        )
    needed = 1 + len(missing)
    counts = _class_counts(label_array[pool], total) if missing else total
    small = np.flatnonzero(counts < needed)
    if small.size:
        one = small.size == 1
        listed = ", ".join(
            f"{_named(number, class_names)} has {_plural(counts[number], 'image')}"
            for number in small[:5]
        )
        where = " to divide" if (settled != "").any() and missing else ""
        more = int(small.size) - 5
        classes = counted(more, "more class has", "more classes have")
        others = f" and {classes} too few" if more > 0 else ""
        raise DataError(
            f"{'Class' if one else 'Classes'} {listed}{where}"
            + others
            + f"; every class needs at least {needed}, one for each of "
            f"{', '.join(['train', *missing])}. Add images or drop the "
            f"{'class' if one else 'classes'}."
        )
    if groups is not None and missing:
        _check_groups(
            label_array[pool], np.asarray(groups)[pool], needed=needed, class_names=class_names
        )


def _divide(
    labels: Integers,
    shares: NDArray[np.float64],
    *,
    strata: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    seed: int,
    class_names: Sequence[str] | None,
) -> NDArray[np.int64]:
    """Return the part of every row, every class in every part, or say which cannot be."""
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
    best, least = None, np.inf
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, attempt])
        if groups is not None:
            # Groups of very different sizes have one order only; then any order is tried.
            parts = deal_groups(
                labels,
                shares,
                strata=strata,
                groups=groups,
                rng=rng,
                by_size=attempt < ATTEMPTS // 2,
            )
        elif labels.ndim == 2:
            parts = deal_label_sets(labels, shares, rng=rng)
        else:
            parts = deal_rows(labels, shares, strata=strata, rng=rng)
        imbalance = _imbalance(labels, parts, shares)
        if imbalance < least:
            best, least = parts, imbalance
        if least <= GOOD_ENOUGH or (groups is None and labels.ndim == 1):
            break
    if best is not None:
        return best
    unit = "groups" if groups is not None else "images"
    raise DataError(
        f"No division of {unit} in {ATTEMPTS} tries had every class in each of {len(shares)} "
        f"splits; the rarest is {_rarest(labels, class_names)}. Add {unit} with the rare "
        "classes, drop those classes, or give a split column."
    )


def _imbalance(labels: Integers, parts: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Return how far the parts of a class are from their shares; infinite if one is empty."""
    total = _class_counts(labels, None)
    counts = np.stack([_class_counts(labels[parts == part], total) for part in range(len(shares))])[
        :, total > 0
    ]
    if not counts.all():
        return float(np.inf)
    return float(np.abs(counts / total[total > 0] - shares[:, np.newaxis]).max())


def _check_groups(
    labels: Integers,
    groups: NDArray[Any],
    *,
    needed: int,
    class_names: Sequence[str] | None,
) -> None:
    """Refuse classes that are in fewer groups than there are splits."""
    num_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    for number in range(num_classes):
        has = labels[:, number] > 0 if labels.ndim == 2 else labels == number
        found = len(np.unique(groups[has]))
        if has.any() and found < needed:
            raise DataError(
                f"Class {_named(number, class_names)} is in {_plural(found, 'group')}; every "
                f"class needs at least {needed}, one for each split, because a group is never "
                "torn apart. Add images of other groups, drop the class, or group by something "
                "finer."
            )


def _rarest(labels: Integers, class_names: Sequence[str] | None) -> str:
    """Return the name and count of the rarest class, for a message."""
    counts = _class_counts(labels, None)
    number = int(np.argmin(np.where(counts > 0, counts, np.iinfo(np.int64).max)))
    return f"class {_named(number, class_names)} with {_plural(int(counts[number]), 'image')}"


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse fractions that leave a split empty."""
    if not (0 < val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise ConfigError(
            "`val_fraction` and `test_fraction` must be above 0 and leave rows to train on (sum "
            f"below 1); received {val_fraction!r} and {test_fraction!r}."
        )


def _label_array(labels: ArrayLike) -> Integers:
    """Return labels as an array of whole numbers with one or two axes."""
    array = np.asarray(labels)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iub" or not len(array):
        raise DataError(
            "`labels` must be class numbers of shape (n,) or 0 and 1 of shape (n, num_classes); "
            f"received dtype {array.dtype} and shape {array.shape}."
        )
    if array.min() < 0 or (array.ndim == 2 and array.max() > 1):
        raise DataError(
            "`labels` must be class numbers from 0, or 0 and 1 in columns; received values from "
            f"{array.min()} to {array.max()}."
        )
    return array.astype(np.int64 if array.ndim == 1 else np.int8)


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


def _class_counts(
    labels: Integers, like: Sequence[str] | NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return images per class, for as many classes as `like` has."""
    if labels.ndim == 2:
        return np.asarray(labels.sum(axis=0, dtype=np.int64))
    counts: NDArray[np.int64] = np.bincount(labels, minlength=0 if like is None else len(like))
    return counts


def _warn_of_absent_classes(
    labels: Integers, settled: NDArray[np.str_], class_names: Sequence[str] | None
) -> None:
    """Log classes that given validation or test rows do not have."""
    total = _class_counts(labels, None)
    for name in ("val", "test"):
        if not (settled == name).any():
            continue
        absent = np.flatnonzero((total > 0) & (_class_counts(labels[settled == name], total) == 0))
        if absent.size:
            logger.warning(
                "The given %s split has no image of %s of %d classes, such as %s.",
                name,
                absent.size,
                len(total),
                _named(absent[0], class_names),
            )


def _named(number: Any, class_names: Sequence[str] | None) -> str:
    """Return the name of a class, for a message."""
    return repr(class_names[number]) if class_names is not None else str(number)


def _plural(count: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
