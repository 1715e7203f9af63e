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
        places, values = _largest(similar, kept)
        itself = np.isneginf(values)
        part = slice(start, start + len(queries))
        rows[part, :kept] = np.where(itself, -1, allowed_rows[places])
        cosines[part, :kept] = np.where(itself, -1, np.clip(values, -1, 1))
    return Neighbours(rows, cosines)


def nearest_to(
    queries: NDArray[np.float32],
    units: NDArray[np.float32],
    *,
    num_neighbours: int,
    candidates: NDArray[np.int64] | None = None,
) -> Neighbours:
    """Return which candidates have the largest cosine to vectors from outside.

    The rows are read once for some queries together, and never copied: they may be mapped from a
    file that is larger than memory. Equal cosines: as `nearest_rows`.

    Args:
        queries: float32 of shape (q, length), from `unit_rows`.
        units: float32 of shape (n, length), from `unit_rows`.
        num_neighbours: k, 1 or more.
        candidates: int64 of shape (m,): the row of `units` that each candidate has; one row may be
            that of several candidates, or of none. All rows, each once, when not given.

    Returns:
        Numbers of candidates, and cosines, of shape (q, k).

    Example:
        >>> units = unit_rows([[1, 0], [1, 0.1], [0, 1]])
        >>> nearest_to(unit_rows([[0, 2]]), units, num_neighbours=2).rows.tolist()
        [[2, 1]]
        >>> candidates = np.array([0, 2, 2])
        >>> nearest_to(unit_rows([[0, 2]]), units, num_neighbours=2, candidates=candidates).rows
        array([[1, 2]])
    """
    count = len(units) if candidates is None else len(candidates)
    shape = (len(queries), num_neighbours)
    rows, cosines = np.full(shape, -1, np.int64), np.full(shape, -1, np.float32)
    kept = min(num_neighbours, count)
    if not kept:
        return Neighbours(rows, cosines)
    queries_at_once = max(1, _LARGEST_NUM_SIMILARITIES // max(len(units), count))
    for start in range(0, len(queries), queries_at_once):
        part = slice(start, start + queries_at_once)
        similar = queries[part] @ units.T
        if candidates is not None:
            similar = similar[:, candidates]
        rows[part, :kept], values = _largest(similar, kept)
        cosines[part, :kept] = np.clip(values, -1, 1)
    return Neighbours(rows, cosines)


def _largest(
    similar: NDArray[np.float32], kept: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the columns of the largest numbers of each row, and these, largest first."""
    places = np.sort(np.argpartition(-similar, kept - 1, axis=1)[:, :kept], axis=1)
    values = np.take_along_axis(similar, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)
