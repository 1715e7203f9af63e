"""Rows that lie in several files or in memory, read like one array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StoredRows:
    """n rows of one shape; `rows[places]` is an array of those that are asked for.

    Attributes:
        arrays: Read-only, each of shape (slots, *row shape). Mapped from the store they stay
            there as long as this, or anything sliced from it, lives.
        sources: int64 of shape (n,): which array a row is in.
        slots: int64 of shape (n,): where in it.

    Example:
        >>> rows = StoredRows(
        ...     (np.zeros((2, 3)), np.ones((1, 3))), np.array([0, 1, 0]), np.array([1, 0, 0])
        ... )
        >>> rows.shape, rows[1:].tolist()
        ((3, 3), [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """

    arrays: tuple[NDArray[Any], ...]
    sources: NDArray[np.int64]
    slots: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *row shape)."""
        return len(self.slots), *self.arrays[0].shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.arrays[0].dtype

    @property
    def nbytes(self) -> int:
        """What all rows take."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows: neighbours in one array without a copy.

        Args:
            places: A slice without a step, or int64 of shape (m,).
        """
        sources, slots = self.sources[places], self.slots[places]
        present = np.unique(sources)
        if len(present) > 1:
            found = np.empty((len(slots), *self.shape[1:]), self.dtype)
            for source in present:
                chosen = sources == source
                found[chosen] = self.arrays[source][slots[chosen]]
            return found
        array = self.arrays[present[0] if len(present) else 0]
        first = int(slots[0]) if len(slots) else 0
        if np.array_equal(slots, np.arange(first, first + len(slots))):
            return array[first : first + len(slots)]
        return array[slots]


def rows_in_memory(array: NDArray[Any]) -> StoredRows:
    """Return rows that are all in one array.

    Args:
        array: Of shape (n, *row shape).

    Example:
        >>> rows_in_memory(np.ones((3, 2)))[1:].shape
        (2, 2)
    """
    return StoredRows((array,), np.zeros(len(array), np.int64), np.arange(len(array)))
