"""All segments of the store that belong to one key: what is there, and where more may go."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.room import Take, drop
from kerastl.features.segment import Segment, open_segment

# Called with the bytes that are needed and what takes them, while no one else does the same.
Reserve = Callable[[int, Take], None]


class Collection:
    """Rows by name in several folders, those that are of use held until `close`.

    Other processes may add segments, and rows to segments, at any time.

    Args:
        directory: Of all segments of all keys; theirs are `<key>-<any 32 digits>`.
        key: 64 hexadecimal digits.
        row_bytes: Of one row.
    """

    def __init__(self, directory: Path, key: str, *, row_bytes: int) -> None:
        self._directory, self._key, self._row_bytes = directory, key, row_bytes
        # By name of the folder; None for one that is of no use: held, it could not be dropped.
        self._segments: dict[str, Segment | None] = {}
        self._stack = ExitStack()
        self._checked: dict[bytes, Segment] = {}
        self._target: Segment | None = None
        self.is_damaged = False
        """Whether something that was asked for is listed, but not as it was written."""

    def find(self, names: AbstractSet[bytes]) -> set[bytes]:
        """Return which rows are there now, checked byte by byte.

        Raises:
            OSError: The files cannot be read.
        """
        found = names & self._checked.keys()
        self._open_new(names)
        for segment in self._in_use():
            segment.refresh()
            found |= self._good(segment, names - found)
        return found

    def _good(self, segment: Segment, names: AbstractSet[bytes]) -> set[bytes]:
        """Return which rows a segment has, as they were written."""
        listed = names & segment.places.keys()
        good = segment.good(listed)
        if good:
            segment.touch()
        self.is_damaged |= len(good) < len(listed) or (bool(listed) and not segment.is_whole)
        self._checked |= dict.fromkeys(good, segment)
        return good

    def take_room(self, num_rows: int, *, reserve: Reserve) -> None:
        """Choose the segment that new rows go to, and take the room for them.

        The one with most of what was found, which is of the same images or many of them; a new
        one where nothing was, or where another process appends to it.

        Raises:
            NotKeptError: There is no room.
            OSError: The files cannot be made.
        """
        segments = (segment for segment, _ in Counter(self._checked.values()).most_common())
        target = next((segment for segment in segments if segment.fill()), None) or self._new()
        try:
            reserve(num_rows * self._row_bytes, target.space(num_rows))
        except BaseException:
            target.stop_filling()
            if not target.num_slots:
                with suppress(OSError):
                    drop(target.path)
            raise
        self._target = target

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

    def others_at_work(self, names: AbstractSet[bytes]) -> bool:
        """Return whether another process adds rows under the same key now.

        Args:
            names: What is wanted.

        Raises:
            OSError: The files cannot be read.
        """
        self._open_new(names)
        return any(
            segment is not self._target and segment.is_filled_by_another()
            for segment in self._in_use()
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
        self._stack.close()

    def _in_use(self) -> list[Segment]:
        return [segment for segment in self._segments.values() if segment is not None]

    def _open_new(self, names: AbstractSet[bytes]) -> None:
        """Open the segments that were not seen before, and hold those that may be of use."""
        for path in sorted(self._directory.glob(f"{self._key}-*")):
            if path.name in self._segments:
                continue
            try:
                segment = open_segment(path, row_bytes=self._row_bytes)
            except FileNotFoundError:  # dropped just now
                continue
            if names & segment.places.keys() or segment.is_filled_by_another():
                self._hold(segment)
            else:
                segment.close()
                self._segments[path.name] = None

    def _new(self) -> Segment:
        """Make a segment that nobody sees before it is ours to fill."""
        number = uuid.uuid4().hex
        path = self._directory / f"new-{number}"
        path.mkdir(mode=0o700)
        segment = open_segment(path, row_bytes=self._row_bytes)
        self._stack.callback(segment.close)
        if not segment.fill():  # nobody else knows its name
            raise OSError(f"{str(path)!r} cannot be locked")
        segment.touch()
        segment.moved(self._directory / f"{self._key}-{number}")
        self._segments[segment.path.name] = segment
        return segment

    def _hold(self, segment: Segment) -> None:
        self._stack.callback(segment.close)
        self._segments[segment.path.name] = segment
