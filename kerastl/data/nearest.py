"""The most similar rows by cosine, exactly: one matrix product after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Similarities held at a time: 256 MiB of float32.
_LARGEST_NUM_SIMILARITIES = 2**26


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k most similar rows of each of q rows, most similar first.

    Attributes:
        rows: int64 of shape (q, k); -1 where there are fewer than k.
        cosines: float32 of shape (q, k), -1..1; -1 where there are fewer than k.
    """

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def unit_rows(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return rows of length 1, so that a product of two is their cosine; rows of 0 stay 0.

    Args:
        vectors: Numbers of shape (n, ...); all but the first axis become one.

    Example:
        >>> unit_rows([[3, 4], [0, 0]]).round(3).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    array = np.asarray(vectors, np.float32)
    array = array.reshape(len(array), math.prod(array.shape[1:]))
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return np.asarray(array / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def nearest_rows(
    units: NDArray[np.float32],
    *,
    num_neighbours: int,
    query_rows: NDArray[np.int64] | None = None,
    allowed_rows: NDArray[np.int64] | None = None,
) -> Neighbours:
    """Return the rows with the largest cosine to each query row, never the row itself.

    Equal cosines: the smaller row number first, unless so many are equal that some of them
    are left out.

    Args:
        units: float32 of shape (n, length), from `unit_rows`.
        num_neighbours: k, 1 or more.
        query_rows: int64 of shape (q,): whose neighbours; all rows when not given.
        allowed_rows: int64: which rows may be neighbours, ascending; all when not given.

    Returns:
        Arrays of shape (q, k).

    Example:
        >>> units = unit_rows([[1, 0], [1, 0.1], [0, 1]])
        >>> nearest_rows(units, num_neighbours=1).rows.tolist()
        [[1], [0], [1]]
    """
    count = len(units)
    query_rows = np.arange(count) if query_rows is None else query_rows
    allowed_rows = np.arange(count) if allowed_rows is None else allowed_rows
    shape = (len(query_rows), num_neighbours)
    rows, cosines = np.full(shape, -1, np.int64), np.full(shape, -1, np.float32)
    kept = min(num_neighbours, len(allowed_rows))
    if not kept:
        return Neighbours(rows, cosines)
    candidates = units[allowed_rows].T
    place_of = np.full(count, -1, np.int64)
    place_of[allowed_rows] = np.arange(len(allowed_rows))
    rows_at_once = max(1, _LARGEST_NUM_SIMILARITIES // len(allowed_rows))
    for start in range(0, len(query_rows), rows_at_once):
        queries = query_rows[start : start + rows_at_once]
        similar = units[queries] @ candidates
        own = place_of[queries]
        similar[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        places = np.sort(np.argpartition(-similar, kept - 1, axis=1)[:, :kept], axis=1)
        values = np.take_along_axis(similar, places, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        places = np.take_along_axis(places, order, axis=1)
        values = np.take_along_axis(values, order, axis=1)
        itself = np.isneginf(values)
        part = slice(start, start + len(queries))
        rows[part, :kept] = np.where(itself, -1, allowed_rows[places])
        cosines[part, :kept] = np.where(itself, -1, np.clip(values, -1, 1))
    return Neighbours(rows, cosines)
