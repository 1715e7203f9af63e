"""Which images a network finds most alike: exact nearest neighbours of pooled features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import Neighbours, nearest_rows, unit_rows
from kerastl.errors import DataError

__all__ = ["Neighbours", "nearest_neighbours"]


def nearest_neighbours(
    features: NDArray[np.float32],
    *,
    num_neighbours: int = 20,
    rows: NDArray[np.int64] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> Neighbours:
    """Return the images with the largest cosine to each image, never the image itself.

    Exact: 10,000 images with 1,280 features take some seconds, and time grows with the square
    of the number. An index that is approximate would save time, and lose copies.

    Args:
        features: float32 of shape (n, num_features), from `kerastl.features.extract`.
        num_neighbours: k, 1 or more.
        rows: int64 of shape (q,): whose neighbours; all rows when not given.
        allowed: bool of shape (n,): which rows may be neighbours ("the training images");
            all when not given.

    Returns:
        Rows and cosines of shape (q, k), most similar first; -1 where fewer than k are
        allowed.

    Raises:
        DataError: Features are not finite numbers of shape (n, num_features), or `allowed`
            is no mask of the n rows.

    Example:
        >>> features = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
        >>> train = np.array([False, False, True])
        >>> nearest_neighbours(features, num_neighbours=1, allowed=train).rows.tolist()
        [[2], [2], [-1]]
    """
    if features.ndim != 2 or not np.isfinite(features).all():
        raise DataError(
            "`features` must be finite numbers of shape (n, num_features); received shape "
            f"{features.shape}{'' if features.ndim != 2 else ' with NaN or infinity'}. Extract "
            "them again with kerastl.features.extract.extract_features."
        )
    if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (len(features),)):
        raise DataError(
            f"`allowed` must be booleans of shape ({len(features)},); received dtype "
            f"{allowed.dtype} and shape {allowed.shape}. Pass a mask such as splits == 'train'."
        )
    return nearest_rows(
        unit_rows(features),
        num_neighbours=num_neighbours,
        query_rows=rows,
        allowed_rows=None if allowed is None else np.flatnonzero(allowed),
    )
