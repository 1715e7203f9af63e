"""Images that are read when they are asked for, for sets that fit nowhere decoded."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kerastl.data.preparation import prepare_pixels
from kerastl.data.resize import compile_resizing, resize_pixels
from kerastl.data.table import ImageTable
from kerastl.errors import DataError, UnreadableImageError

# Images from which on compiled resizing saves the time that it takes to load.
_WORTH_COMPILING = 1000

_ROWS_AT_ONCE = 512
# Handing out rows costs locks and switches between threads: not one by one.
_ROWS_PER_TASK = 8


class Images(Protocol):
    """What training takes: a NumPy array of images, or something that reads them.

    Attributes:
        shape: (n, height, width, 3).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> NDArray[np.uint8]: ...


class ImageStream:
    """Reads images as an array would give them: `stream[rows]` is uint8 (len(rows), h, w, 3).

    Nothing is kept: memory stays at what was asked for. A batch is read by all processors.

    Args:
        table: The images.
        image_size: (height, width) in pixels that every image is brought to.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.
        rows: int64: rows of the table that count; all when not given.

    Raises:
        DataError: When images are asked for: one cannot be read (any more).

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((6, 8, 8), np.uint8), [0, 1, 0, 1, 0, 1])
        >>> stream = ImageStream(table, image_size=(4, 4))
        >>> stream.shape, stream[np.array([5, 0])].shape
        ((6, 4, 4, 3), (2, 4, 4, 3))
    """

    def __init__(
        self,
        table: ImageTable,
        *,
        image_size: tuple[int, int],
        resize_mode: str = "stretch",
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._table = table
        self._rows = np.arange(len(table.ids)) if rows is None else rows
        self._read = image_reader(table, image_size=image_size, resize_mode=resize_mode)
        self.shape = (len(self._rows), *image_size, 3)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any, /) -> NDArray[np.uint8]:
        chosen = self._rows[key]
        if np.ndim(chosen) == 0:
            return self._one(int(chosen), out=np.empty(self.shape[1:], np.uint8))
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)

        def fill(place: int) -> None:
            self._one(int(chosen[place]), out=images[place])

        for _ in in_threads(fill, range(len(chosen))):
            pass
        return images

    def _one(self, row: int, *, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read one image into an array, or say that it has gone bad since it was listed."""
        try:
            return self._read(row, out)
        except UnreadableImageError as error:
            raise DataError(
                f"{self._table.ids[row]!r} cannot be read: {error.reason}. Files must not change "
                "during a run; run again."
            ) from error


def image_reader(
    table: ImageTable, *, image_size: tuple[int, int], resize_mode: str
) -> Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return the function that reads one image of a table into an array.

    Args:
        table: The images.
        image_size: (height, width) in pixels that every image is brought to.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.

    Returns:
        From a row and uint8 of shape (height, width, 3), C-contiguous, to that array with the
        image in it. It raises `UnreadableImageError`.
    """
    if len(table.ids) >= _WORTH_COMPILING:
        compile_resizing()
    contents = table.contents
    if isinstance(contents, np.ndarray):
        return lambda row, out: resize_pixels(
            rgb_of(contents[row]), image_size=image_size, resize_mode=resize_mode, out=out
        )

    def read(row: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return prepare_pixels(
            _content(table, row), image_size=image_size, resize_mode=resize_mode, out=out
        )

    return read


def _content(table: ImageTable, row: int) -> bytes:
    """Return the bytes of one image that is not an array."""
    try:
        if table.contents is None:
            with open(table.ids[row], "rb") as file:
                return file.read()
        content: bytes = table.contents[row]
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from None
    return content


def rgb_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels with the three channels red, green and blue: grey repeated, alpha dropped.

    Args:
        pixels: uint8 of shape (height, width, channels), 1 to 4 channels.

    Example:
        >>> rgb_of(np.zeros((5, 6, 2), np.uint8)).shape
        (5, 6, 3)
    """
    return np.repeat(pixels[..., :1], 3, axis=-1) if pixels.shape[-1] <= 2 else pixels[..., :3]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads that read images, made once. Decoders release Python's lock."""
    return ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="kerastl-read")


def in_threads(work: Callable[[int], Any], rows: Sequence[int]) -> Iterator[Any]:
    """Yield the results of `work` in order, done by all processors.

    Rows are handed out a few hundred at a time: a set of millions takes no more memory, and
    Ctrl-C does not wait for the rest.

    Args:
        work: From a row to anything.
        rows: Which rows.

    Example:
        >>> list(in_threads(lambda row: row * row, [3, 2]))
        [9, 4]
    """

    def some(chosen: Sequence[int]) -> list[Any]:
        return [work(row) for row in chosen]

    step = min(_ROWS_PER_TASK, max(len(rows) // (4 * (os.cpu_count() or 1)), 1))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        end = min(start + _ROWS_AT_ONCE, len(rows))
        tasks = [rows[first : min(first + step, end)] for first in range(start, end, step)]
        for results in _threads().map(some, tasks):
            yield from results
