"""Is a picture unlike all that is indexed? The score of `kerastl.features.novelty`, of an index.

One less the cosine to the k-th nearest image. Its threshold is from images that are taken out and
compared with the others; a query is compared with all, which can only lower its score, so that
the promise about false alarms holds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import nearest_to
from kerastl.features.novelty import choose_num_neighbours, rank_statistic
from kerastl.retrieval.index_folder import Unknown

# As many as a fit asks; of the small index a fifth.
_MOST_HELD_OUT = 1_000
_HELD_OUT_PART = 5
_MOST_KNOWN = 100_000


def calibrate(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], class_counts: NDArray[np.int64]
) -> Unknown:
    """Find the distance above which an image is called unknown.

    Args:
        vectors: float32 of shape (n, width), of length 1.
        rows: int64: distinct rows that images have.
        class_counts: Images of each class; of all where there are no labels.

    Example:
        >>> from kerastl.data.nearest import unit_rows
        >>> units = unit_rows(np.random.default_rng(0).normal(3, 1, (400, 8)))
        >>> found = calibrate(units, np.arange(400), np.array([400]))
        >>> found.num_neighbours, found.num_held_out, 0 < found.threshold < 0.5
        (10, 80, True)
    """
    order = np.random.default_rng(0).permutation(rows)
    num_held_out = min(_MOST_HELD_OUT, len(rows) // _HELD_OUT_PART)
    held_out = np.sort(order[:num_held_out])
    known = np.sort(order[num_held_out : num_held_out + _MOST_KNOWN])
    neighbours = min(choose_num_neighbours(class_counts), len(known))
    if not num_held_out:
        return Unknown(max(neighbours, 1), None, 0, len(known))
    nearest = nearest_to(
        np.asarray(vectors[held_out]), vectors, num_neighbours=neighbours, candidates=known
    )
    threshold = rank_statistic(1 - nearest.cosines[:, -1])
    told = None if math.isinf(threshold) else threshold
    return Unknown(neighbours, told, num_held_out, len(known))
