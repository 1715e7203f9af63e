"""K-fold cross-validation as runs: every image is in the test split of exactly one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastl.data.given_splits import settle_splits
from kerastl.data.splits import fold_rows, split_rows
from kerastl.errors import DataError


def split_rows_of_fold(
    labels: ArrayLike,
    *,
    fold: int,
    num_folds: int,
    val_fraction: float,
    seed: int,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    given: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> NDArray[np.str_]:
    """Return "train", "val" or "test" for every row of one run of a k-fold cross-validation.

    With one seed, the test splits of folds 1 to `num_folds` have no row in common and
    together have all rows; validation is cut from the rest as `split_rows` does it.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        fold: Which fold is the test split, from 1.
        num_folds: Folds, 2 or more.
        val_fraction: Part of all rows for validation, between 0 and 1.
        seed: Same seed, same folds.
        strata: Shape (n,): values to keep in proportion within each class.
        groups: Shape (n,): rows with one value stay together.
        given: Shape (n,): "train", "val" or "" (free); rows that have a split stay there.
        class_names: For messages.

    Raises:
        ConfigError: The numbers leave no rows for training.
        DataError: A test split is given, or there are fewer rows or groups than folds.

    Example:
        >>> labels = [0, 1] * 10
        >>> tests = [split_rows_of_fold(labels, fold=k, num_folds=5, val_fraction=0.2, seed=0)
        ...          == "test" for k in range(1, 6)]
        >>> np.sum(tests, axis=0).tolist() == [1] * 20
        True
    """
    label_array = np.asarray(labels)
    settled = settle_splits(given, groups=groups, count=len(label_array))
    if (settled == "test").any():
        raise DataError(
            f"--fold {fold}/{num_folds} makes test splits of its own, but the data gives one "
            f"({(settled == 'test').sum()} images). Leave --fold or the given split out."
        )
    free = np.flatnonzero(settled == "")
    folds = fold_rows(
        label_array[free],
        num_folds=num_folds,
        seed=seed,
        strata=None if strata is None else np.asarray(strata)[free],
        groups=None if groups is None else np.asarray(groups)[free],
    )
    found = int(folds.max()) + 1
    if found < num_folds:
        unit = "images" if groups is None else "groups"
        raise DataError(
            f"{num_folds} folds need at least {num_folds} {unit}; there are {found}. Choose "
            f"fewer folds, such as --fold {min(fold, found)}/{found}."
        )
    settled[free[folds == fold - 1]] = "test"
    return split_rows(
        labels,
        val_fraction=val_fraction * num_folds / (num_folds - 1),
        # Given now, so that it is not cut; any fraction that leaves room will do.
        test_fraction=1e-3,
        seed=seed,
        strata=strata,
        groups=groups,
        given=settled,
        class_names=class_names,
    )
