"""One folder of the store: rows in a file, the list of what they are, and two locks.

`use.lock` is shared by all processes that use the segment: while one of them lives it is not
dropped. `fill.lock` is held by the one process that appends to it. What is written is never
changed: who has it mapped may go on.
"""

from __future__ import annotations

import mmap
import os
import weakref
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.locks import hold_alone, hold_shared
from kerastl.features.records import Place, append_records, read_records
from kerastl.features.room import USE_LOCK, Take

_ROWS, _RECORDS, _FILL_LOCK = "rows.bin", "records", "fill.lock"

_MOST_CHECKING_THREADS = 8
# What one thread checks between two looks at what the others do.
_CHECK_BYTES = 2**22


@dataclass(eq=False)
class Segment:
    """Rows of one shape and type by name. Made by `open_segment`; open files until `close`.

    Attributes:
        path: The folder.
        row_bytes: Of one row.
        places: Where rows are, by name; what is listed, not what was checked.
        num_slots: Records in the list, damaged ones included.
        is_whole: Whether no record is damaged.
    """

    path: Path
    row_bytes: int
    places: dict[bytes, Place] = field(default_factory=dict, repr=False)
    num_slots: int = 0
    is_whole: bool = True
    _open: ExitStack = field(default_factory=ExitStack, repr=False)
    _use: int = -1
    _rows: int = -1
    _records: int = -1
    _fill: int | None = None

    def refresh(self) -> None:
        """Read what was listed since the last time."""
        found, self.num_slots, whole = read_records(self._records, first=self.num_slots)
        self.is_whole &= whole
        self.places |= found

    def good(self, names: Iterable[bytes]) -> set[bytes]:
        """Return those of the listed rows that are as they were written."""
        known = sorted(set(names) & self.places.keys(), key=lambda name: self.places[name].slot)
        step = max(_CHECK_BYTES // max(self.row_bytes, 1), 1)
        parts = [known[start : start + step] for start in range(0, len(known), step)]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_CHECKING_THREADS)) as threads:
            answers = threads.map(lambda part: [n for n in part if self._is_good(n)], parts)
            return {name for answer in answers for name in answer}

    def _is_good(self, name: bytes) -> bool:
        """Read and not mapped: a bad sector then gives an error, not a signal that kills."""
        place = self.places[name]
        left, position, checksum = self.row_bytes, place.slot * self.row_bytes, 0
        while left:
            try:
                content = os.pread(self._rows, min(left, _CHECK_BYTES), position)
            except OSError:
                return False
            if not content:
                return False
            checksum = zlib.crc32(content, checksum)
            left, position = left - len(content), position + len(content)
        return checksum == place.checksum

    def touch(self) -> None:
        """Note that it is of use now: what was used longest ago is dropped first."""
        os.utime(self._use)

    def is_filled_by_another(self) -> bool:
        """Return whether another process, or this one elsewhere, appends to it now."""
        try:
            lock = hold_alone(self.path / _FILL_LOCK)
        except FileNotFoundError:  # dropped, by its owner or by a user
            return False
        if lock is None:
            return self._fill is None
        os.close(lock)
        return False

    def fill(self) -> bool:
        """Take the right to append, if nobody else has it and no record is damaged."""
        lock = hold_alone(self.path / _FILL_LOCK)
        if lock is None:
            return False
        self.refresh()
        if not self.is_whole:
            # Its end is not where the list says: rows that others have mapped could be hit.
            os.close(lock)
            return False
        self._fill = lock
        return True

    def moved(self, path: Path) -> None:
        """Give the folder another name. Only after `fill`, before which nobody may see it."""
        self.path.rename(path)
        self.path = path

    def stop_filling(self) -> None:
        """Give back room that was taken and not written, and the right to append."""
        if self._fill is not None:
            with suppress(OSError):
                os.ftruncate(self._rows, self.num_slots * self.row_bytes)
            os.close(self._fill)
            self._fill = None

    def space(self, num_rows: int) -> Take:
        """Return what takes the room for more rows: a disk that fills up later stops a run."""

        def take() -> None:
            size = os.fstat(self._rows).st_size
            try:
                os.posix_fallocate(
                    self._rows, self.num_slots * self.row_bytes, num_rows * self.row_bytes
                )
            except OSError:
                os.ftruncate(self._rows, size)
                raise

        return take

    def append(self, names: Sequence[bytes], rows: NDArray[Any]) -> None:
        """Write rows, then list them. Only after `fill`.

        Args:
            names: Of the rows, 32 bytes each.
            rows: Of shape (number of names, *row shape).
        """
        # As bytes: NumPy hands out no buffer of a bfloat16.
        content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        position, left = self.num_slots * self.row_bytes, content
        while left:  # one call writes 2 GiB at most
            count = os.pwrite(self._rows, left, position)
            position, left = position + count, left[count:]
        checksums = [
            zlib.crc32(content[start : start + self.row_bytes])
            for start in range(0, len(content), self.row_bytes)
        ]
        append_records(self._records, names, checksums, first=self.num_slots)
        for name, checksum in zip(names, checksums, strict=True):
            self.places[name] = Place(self.num_slots, checksum)
            self.num_slots += 1

    def mapped(self, row_shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return all rows, read-only; the segment is in use as long as the array lives."""
        # A file that somebody cut has fewer: none of those is good.
        num_rows = min(self.num_slots, os.fstat(self._rows).st_size // self.row_bytes)
        content = mmap.mmap(self._rows, num_rows * self.row_bytes, access=mmap.ACCESS_READ)
        # The array holds the map, and the map holds the lock, whatever is sliced from them.
        weakref.finalize(content, os.close, os.dup(self._use))
        rows: NDArray[Any] = np.frombuffer(content, np.uint8).view(dtype)
        return rows.reshape(num_rows, *row_shape)

    def close(self) -> None:
        """Close the files, give back the locks; arrays that are mapped stay."""
        self.stop_filling()
        self._open.close()


def open_segment(path: Path, *, row_bytes: int) -> Segment:
    """Open a segment; its files are made if missing. It is in use from now on.

    Args:
        path: The folder.
        row_bytes: Of one row.

    Raises:
        FileNotFoundError: The folder is not there (any more).
        OSError: The files cannot be made or read.
    """
    with ExitStack() as stack:
        use = hold_shared(path / USE_LOCK)
        stack.callback(os.close, use)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        rows = os.open(path / _ROWS, flags, 0o600)
        stack.callback(os.close, rows)
        records = os.open(path / _RECORDS, flags | os.O_APPEND, 0o600)
        stack.callback(os.close, records)
        segment = Segment(path, row_bytes, _use=use, _rows=rows, _records=records)
        segment.refresh()
        segment._open = stack.pop_all()
    return segment
