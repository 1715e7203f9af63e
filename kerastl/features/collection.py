"""All segments of the store that belong to one key: what is there, and where more may go."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.room import Take
from kerastl.features.segment import Segment, open_segment

# Called with the bytes that are needed and what takes them, while no one else does the same.
Reserve = Callable[[int, Take], None]


class Collection:
    """Rows by name in several folders, all of them in use until `close`.

    Other processes may add segments, and rows to segments, at any time.

    Args:
        directory: Of all segments of all keys; theirs are `<key>-<any 32 digits>`.
        key: 64 hexadecimal digits.
        row_bytes: Of one row.

    Raises:
        OSError: The files cannot be read.
    """

    def __init__(self, directory: Path, key: str, *, row_bytes: int) -> None:
        self._directory, self._key, self._row_bytes = directory, key, row_bytes
        self._segments: dict[str, Segment] = {}
        self._stack = ExitStack()
        self._checked: dict[bytes, Segment] = {}
        self._target: Segment | None = None
        self.is_damaged = False
        """Whether something that was asked for is listed, but not as it was written."""

    def refresh(self) -> None:
        """Read what is new since the last time."""
        for segment in self._segments.values():
            segment.refresh()
        self._open_new()

    def find(self, names: Iterable[bytes]) -> set[bytes]:
        """Return which rows are there, checked byte by byte."""
        left = set(names)
        found = {name for name in left if name in self._checked}
        for segment in self._segments.values():
            left -= found
            listed = left & segment.places.keys()
            good = segment.good(listed)
            self.is_damaged |= len(good) < len(listed) or (bool(listed) and not segment.is_whole)
            self._checked |= dict.fromkeys(good, segment)
            found |= good
        return found

    def take_room(self, num_rows: int, *, reserve: Reserve) -> None:
        """Choose the segment that new rows go to, and take the room for them.

        The one with most of what was found, which is of the same images or many of them; a new
        one where nothing was, or where another process appends to it.

        Raises:
            NotKeptError: There is no room.
            OSError: The files cannot be made.
        """
        for segment, _ in Counter(self._checked.values()).most_common():
            if segment.fill():
                self._target = segment
                break
        else:
            path = self._directory / f"{self._key}-{uuid.uuid4().hex}"
            self._target = self._add(open_segment(path, row_bytes=self._row_bytes))
            self._target.fill()
        try:
            reserve(num_rows * self._row_bytes, self._target.space(num_rows))
        except BaseException:
            if not self._target.num_slots:
                shutil.rmtree(self._target.path, ignore_errors=True)
            raise

    def append(self, names: list[bytes], rows: NDArray[Any]) -> None:
        """Keep rows. Only after `take_room`.

        Args:
            names: Of the rows.
            rows: Of shape (number of names, *row shape).

        Raises:
            OSError: They cannot be written.
        """
        assert self._target is not None
        self._target.append(names, rows)
        self._checked |= dict.fromkeys(names, self._target)

    def others_at_work(self) -> bool:
        """Return whether another process adds rows under the same key now.

        Raises:
            OSError: The files cannot be read.
        """
        self._open_new()
        return any(
            segment is not self._target and segment.is_filled_by_another()
            for segment in self._segments.values()
        )

    def arrays(
        self, row_shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[list[NDArray[Any]], dict[Hashable, tuple[int, int]]]:
        """Return what was found and appended, mapped: arrays, and (array, row) by name."""
        used = [*dict.fromkeys(self._checked.values())]
        number = {id(segment): n for n, segment in enumerate(used)}
        places: dict[Hashable, tuple[int, int]] = {
            name: (number[id(segment)], segment.places[name].slot)
            for name, segment in self._checked.items()
        }
        return [segment.mapped(row_shape, dtype) for segment in used], places

    def close(self) -> None:
        """Close all files, give back room that was not needed; what is mapped stays in use."""
        with self._stack:
            if self._target is not None:
                self._target.give_back_room()

    def _open_new(self) -> None:
        for path in sorted(self._directory.glob(f"{self._key}-*")):
            if path.name not in self._segments:
                self._add(open_segment(path, row_bytes=self._row_bytes))

    def _add(self, segment: Segment) -> Segment:
        self._stack.callback(segment.close)
        self._segments[segment.path.name] = segment
        return segment
