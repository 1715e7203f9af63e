"""Encoded images that stay where they are until one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike


class LazyContents(Sequence[bytes]):
    """A sequence of encoded images, of which none is in memory.

    It reads again each time, so an image that is needed twice should be kept by who needs
    it. Any number of threads may read at once, if `read` allows it.

    Attributes:
        read: From the number of an image to its bytes. Raises OSError when it is gone.
        rows: int64 of shape (n,): the number of each image, in the order of the sequence.
    """

    __slots__ = ("read", "rows")

    def __init__(self, read: Callable[[int], bytes], rows: ArrayLike) -> None:
        """Keep where to read from; nothing is read."""
        self.read = read
        self.rows = np.asarray(rows, np.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> LazyContents: ...

    def __getitem__(self, index: Any) -> Any:
        """Read one image; a slice reads nothing."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.read(int(self.rows[index]))

    def take(self, rows: ArrayLike) -> LazyContents:
        """Return the sequence of some images; nothing is read.

        Args:
            rows: Places in this sequence, in the wanted order.

        Example:
            >>> letters = LazyContents(lambda number: b"abcd"[number : number + 1], range(4))
            >>> list(letters.take([3, 1])), letters[2:][0]
            ([b'd', b'b'], b'c')
        """
        return LazyContents(self.read, self.rows[np.asarray(rows, np.int64)])
