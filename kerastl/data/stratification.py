"""Dealing rows into parts of given shares so that each part looks like the whole.

The arithmetic below `kerastl.data.splits`: whole numbers in, part numbers out. Random
numbers come in as a generator. Dealing is greedy: where the last units with a class are
needed to have it in every part, they go there, but the caller must check the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]


def deal_rows(
    labels: Integers, shares: NDArray[np.float64], *, strata: Integers, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the part of every row, each class divided by largest remainder.

    The shuffled rows of a class are put in order of their strata and dealt one by one to the
    part that is furthest behind. So a class keeps its exact sizes, a stratum its proportions
    within a row or two, and strata too small to divide share with their neighbours.

    Args:
        labels: Shape (n,): class numbers.
        shares: Shape (num_parts,): what each part gets, sum 1.
        strata: Shape (n,): what to keep in proportion within each class.
        rng: Source of the order.

    Example:
        >>> parts = deal_rows(np.array([0] * 8 + [1] * 4), np.array([0.5, 0.25, 0.25]),
        ...                   strata=np.zeros(12, int), rng=np.random.default_rng(0))
        >>> np.bincount(parts[:8]).tolist(), np.bincount(parts[8:]).tolist()
        ([4, 2, 2], [2, 1, 1])
    """
    order = shuffled_order(labels, strata=strata, rng=rng)
    parts = np.empty(len(labels), np.int64)
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        parts[rows] = _sequence(_sizes(len(rows), shares))
    return parts


def shuffled_order(
    labels: Integers, *, strata: Integers, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows class by class, within it stratum by stratum, within it at random.

    Args:
        labels: Shape (n,): class numbers.
        strata: Shape (n,): numbers from 0.
        rng: Decides the order of strata and of rows.

    Example:
        >>> order = shuffled_order(np.array([1, 0, 1, 0]), strata=np.array([0, 0, 1, 1]),
        ...                        rng=np.random.default_rng(0))
        >>> sorted(order[:2].tolist())
        [1, 3]
    """
    rank = rng.permutation(int(strata.max()) + 1)[strata]
    return np.lexsort((rng.permutation(len(labels)), rank, labels))


def deal_label_sets(
    labels: Integers, shares: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the part of every row that may have several labels, rarest label first.

    Iterative stratification: of the rows that are left, those with the rarest label go one
    by one to the part that wants this label most, then to the one that wants rows most
    (Sechidis, Tsoumakas and Vlahavas 2011, https://doi.org/10.1007/978-3-642-23808-6_10).

    Args:
        labels: 0 and 1 of shape (n, num_classes).
        shares: Shape (num_parts,): what each part gets, sum 1.
        rng: Source of the order and of ties.

    Example:
        >>> labels = np.array([[1, 0]] * 4 + [[1, 1]] * 4 + [[0, 0]] * 4)
        >>> parts = deal_label_sets(labels, np.array([0.5, 0.5]),
        ...                         rng=np.random.default_rng(0))
        >>> [int(labels[parts == 0][:, 1].sum()), int((parts == 0).sum())]
        [2, 6]
    """
    count, num_classes = labels.shape
    # The last key counts rows, with or without labels.
    keyed = np.column_stack([labels, np.ones(count, labels.dtype)])
    tally = _new_tally(keyed, shares, num_classes=num_classes)
    parts = np.full(count, -1, np.int64)
    left = labels.sum(axis=0, dtype=np.int64)
    while left.any():
        rarest = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        for row in rng.permutation(np.flatnonzero((parts < 0) & (labels[:, rarest] > 0))):
            keys = np.flatnonzero(keyed[row])
            allowed = tally.allowed(keys)
            ties = rng.random(len(shares))
            ranking = np.lexsort((ties, tally.wanting[:, -1], tally.wanting[:, rarest], allowed))
            parts[row] = ranking[-1]
            tally.place(keys, keyed[row, keys], int(parts[row]))
            left -= labels[row]
    for row in rng.permutation(np.flatnonzero(parts < 0)):
        parts[row] = np.argmax(tally.wanting[:, -1])
        tally.place(np.array([num_classes]), np.array([1]), int(parts[row]))
    return parts


def deal_groups(
    labels: Integers,
    shares: NDArray[np.float64],
    *,
    strata: Integers,
    groups: Integers,
    rng: np.random.Generator,
    by_size: bool = True,
) -> NDArray[np.int64]:
    """Return the part of every row, whole groups in one part.

    Each group goes where it lowers the squared deviation of the counts of classes, strata
    and rows from their targets most, each relative to its total.

    Args:
        labels: Class numbers of shape (n,), or 0 and 1 of shape (n, num_classes).
        shares: Shape (num_parts,): what each part gets, sum 1.
        strata: Shape (n,): numbers from 0.
        groups: Shape (n,): numbers from 0, none left out.
        rng: Source of the order.
        by_size: Large groups first (those within a factor of two shuffled), or any order.

    Example:
        >>> parts = deal_groups(np.array([0, 0, 1, 1, 0, 1]), np.array([0.5, 0.5]),
        ...                     strata=np.zeros(6, int), groups=np.array([0, 0, 1, 1, 2, 3]),
        ...                     rng=np.random.default_rng(0))
        >>> bool(parts[0] == parts[1] and parts[2] == parts[3])
        True
    """
    rows, keys, num_classes = _keys(labels, strata)
    num_keys = int(keys.max()) + 1
    cells, counts = np.unique(groups[rows] * num_keys + keys, return_counts=True)
    group_of_cell, key_of_cell = np.divmod(cells, num_keys)
    starts = np.searchsorted(group_of_cell, np.arange(int(groups.max()) + 2))
    totals = np.bincount(keys, minlength=num_keys)
    tally = _Tally(
        wanting=shares[:, np.newaxis] * totals,
        present=np.zeros((len(shares), num_classes), bool),
        units_left=np.bincount(key_of_cell, minlength=num_keys)[:num_classes],
    )
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    if by_size:
        order = order[np.argsort(-np.floor(np.log2(sizes[order])), kind="stable")]
    part_of_group = np.empty(len(sizes), np.int64)
    for group in order:
        own = slice(starts[group], starts[group + 1])
        own_keys, own_counts = key_of_cell[own], counts[own]
        allowed = tally.allowed(own_keys)
        gain = tally.wanting[:, own_keys] @ (own_counts / totals[own_keys] ** 2)
        part_of_group[group] = np.argmax(np.where(allowed, gain, -np.inf))
        tally.place(own_keys, own_counts, int(part_of_group[group]))
    return part_of_group[groups]


@dataclass(frozen=True)
class _Tally:
    """What each part still wants; the arrays change in place.

    Attributes:
        wanting: float of shape (num_parts, num_keys): rows below target. Keys are classes,
            then whatever else is kept in proportion.
        present: bool of shape (num_parts, num_classes): whether a part has the class.
        units_left: Shape (num_classes,): units with the class that are not dealt yet.
    """

    wanting: NDArray[np.float64]
    present: NDArray[np.bool_]
    units_left: NDArray[np.int64]

    def allowed(self, keys: Integers) -> NDArray[np.bool_]:
        """Return the parts that a unit must go to, if possible, for every class to be in each."""
        classes = keys[keys < len(self.units_left)]
        lacking = ~self.present[:, classes]
        needed = lacking.sum(axis=0)
        urgent = (needed > 0) & (self.units_left[classes] <= needed)
        allowed = np.asarray(lacking[:, urgent].all(axis=1))
        return allowed if allowed.any() else np.ones_like(allowed)

    def place(self, keys: Integers, counts: Integers, part: int) -> None:
        """Book a unit into a part."""
        self.wanting[part, keys] -= counts
        classes = keys[keys < len(self.units_left)]
        self.present[part, classes] = True
        self.units_left[classes] -= 1


def _new_tally(keyed: Integers, shares: NDArray[np.float64], *, num_classes: int) -> _Tally:
    """Return the tally of rows that are not dealt yet."""
    totals = keyed.sum(axis=0, dtype=np.int64)
    return _Tally(
        wanting=shares[:, np.newaxis] * totals,
        present=np.zeros((len(shares), num_classes), bool),
        units_left=totals[:num_classes].copy(),
    )


def _keys(labels: Integers, strata: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return (row, key) pairs: a row's classes, its strata within them, and a key of all rows."""
    if labels.ndim == 2:
        rows, classes = np.nonzero(labels)
        num_classes = labels.shape[1]
    else:
        rows, classes = np.arange(len(labels)), labels.astype(np.int64)
        num_classes = int(labels.max()) + 1
    cells = np.unique(classes * (int(strata.max()) + 1) + strata[rows], return_inverse=True)[1]
    everything = num_classes + (int(cells.max()) + 1 if cells.size else 0)
    return (
        np.concatenate([rows, rows, np.arange(len(labels))]),
        np.concatenate([classes, num_classes + cells, np.full(len(labels), everything)]),
        num_classes,
    )


def _sizes(count: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return whole numbers in proportion to the shares: largest remainder, none 0 if possible."""
    quotas = count * shares
    sizes = np.floor(quotas).astype(np.int64)
    rest = count - int(sizes.sum())
    sizes[np.argsort(sizes - quotas, kind="stable")[:rest]] += 1
    while count >= len(shares) and (sizes == 0).any():
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmin(sizes)] += 1
    return sizes


def _sequence(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the parts in turn, `sizes[part]` times each, spread as evenly as they can be."""
    # The j-th turn of a part that has s turns is due at (j + 1/2) / s of the way.
    parts = np.repeat(np.arange(len(sizes)), sizes)
    turn = np.concatenate([np.arange(size) for size in sizes])
    return parts[np.argsort((turn + 0.5) / sizes[parts], kind="stable")]
