"""A file of rows of one kind that only grows: appended to by one process, mapped by many."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError


@dataclass(frozen=True)
class RowFile:
    """Rows one after the other, nothing else.

    What others have mapped stays as it is: rows are only added behind what was published.

    Attributes:
        path: The file.
        dtype: Of the numbers, little-endian.
        row_shape: Of each row.
    """

    path: Path
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """What one row takes."""
        return self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64))

    def cut(self, num_rows: int) -> None:
        """Drop what was appended after these rows, such as half a segment; in place.

        Args:
            num_rows: How many stay.

        Raises:
            ConfigError: There are fewer.
        """
        with self.path.open("ab") as file:
            size = num_rows * self.row_bytes
            self._check(file.tell(), num_rows)
            file.truncate(size)

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows, and return when the disk has them.

        Args:
            rows: Of shape (m, *row_shape).
        """
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def mapped(self, num_rows: int) -> NDArray[Any]:
        """Return the first rows, read-only, mapped from the file.

        Args:
            num_rows: How many.

        Raises:
            ConfigError: There are fewer, or there is no such file.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     rows = RowFile(Path(folder) / "rows", np.dtype("<f4"), (2,))
            ...     rows.append(np.ones((3, 2)))
            ...     rows.mapped(2).tolist()
            [[1.0, 1.0], [1.0, 1.0]]
        """
        shape = (num_rows, *self.row_shape)
        try:
            self._check(self.path.stat().st_size, num_rows)
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from None
        if not num_rows:  # nothing cannot be mapped
            return np.empty(shape, self.dtype)
        return np.asarray(np.memmap(self.path, self.dtype, mode="r", shape=shape))

    def _check(self, size: int, num_rows: int) -> None:
        if size < num_rows * self.row_bytes:
            raise self._damaged(f"it has {size // self.row_bytes:,} rows of {num_rows:,}")

    def _damaged(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{str(self.path)!r} is missing or damaged: {reason}. Remove the index and make it "
            "again."
        )
