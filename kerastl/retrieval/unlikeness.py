"""Is a picture unlike all that is indexed? The score of `kerastl.features.novelty`, of an index.

One less the cosine to the k-th nearest image. Its threshold is from images that are taken out and
compared with the others; a query is compared with all, which can only lower its score, so that
the promise about false alarms holds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import nearest_to
from kerastl.features.novelty import choose_num_neighbours, rank_statistic
from kerastl.retrieval.index_folder import Unknown

# As many as a fit asks; of the small index a fifth.
_MOST_HELD_OUT = 1_000
_HELD_OUT_PART = 5
_FEWEST_HELD_OUT = 19
_MOST_KNOWN = 100_000


def calibrate(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    class_counts: NDArray[np.int64],
    *,
    groups: NDArray[Any] | None = None,
) -> Unknown:
    """Find the distance above which an image is called unknown.

    Over groups one image of each of some groups is held out, and compared with the images of the
    other groups: beside its siblings everything looks known.

    Args:
        vectors: float32 of shape (n, width), of length 1.
        rows: int64: distinct rows that images have.
        class_counts: Images of each class; of all where there are no labels.
        groups: Of shape (number of rows,): rows of one group are alike; None for no groups.

    Example:
        >>> from kerastl.data.nearest import unit_rows
        >>> units = unit_rows(np.random.default_rng(0).normal(3, 1, (400, 8)))
        >>> found = calibrate(units, np.arange(400), np.array([400]))
        >>> found.num_neighbours, found.num_held_out, 0 < found.threshold < 0.5
        (10, 80, True)
    """
    by_group = groups is not None
    held_out, known = _divided(rows, groups)
    neighbours = min(choose_num_neighbours(class_counts), len(known))
    if not len(held_out):
        return Unknown(max(neighbours, 1), None, 0, len(known), by_group)
    nearest = nearest_to(
        np.asarray(vectors[held_out]), vectors, num_neighbours=neighbours, candidates=known
    )
    threshold = rank_statistic(1 - nearest.cosines[:, -1])
    told = None if math.isinf(threshold) else threshold
    return Unknown(neighbours, told, len(held_out), len(known), by_group)


def _divided(
    rows: NDArray[np.int64], groups: NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are held out, and those that they are compared with."""
    random = np.random.default_rng(0)
    order = random.permutation(rows)
    if groups is None:
        count = min(_MOST_HELD_OUT, len(rows) // _HELD_OUT_PART)
        return np.sort(order[:count]), np.sort(order[count : count + _MOST_KNOWN])
    names, group = np.unique(groups, return_inverse=True)
    # Half of the groups where there are few: of fewer than 19 there is no threshold at all.
    count = max(len(names) // _HELD_OUT_PART, min(_FEWEST_HELD_OUT, len(names) // 2))
    chosen = random.permutation(len(names))[: min(_MOST_HELD_OUT, count)]
    shuffled = random.permutation(len(rows))
    _, first = np.unique(group[shuffled], return_index=True)  # of each group one, at random
    held_out = rows[shuffled[first[chosen]]]
    known = rows[~np.isin(group, chosen)]
    return np.sort(held_out), np.sort(random.permutation(known)[:_MOST_KNOWN])
