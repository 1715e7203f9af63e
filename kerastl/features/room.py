"""Room for rows: within a bound, on a disk that others need too, or without the store."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.memory import free_memory_bytes, memory_bytes
from kerastl.errors import DataError
from kerastl.features.locks import hold_alone

# What takes room that was made.
Take = Callable[[], None]

# Shared by all who use an entry; its time of change is when the entry was used last.
USE_LOCK = "use.lock"

# Of the free space on the disk: the run folder, the system and others need some too.
_DISK_FRACTION = 0.8
# Of the memory, for rows that cannot be kept in files: images and the model need some too.
_MEMORY_FRACTION = 1 / 3

_DROPPED = "dropped-"
# Nothing else is ever deleted.
_ENTRY = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{32})?|new-[0-9a-f]{32}")
_LEFT = re.compile(f"{_DROPPED}({_ENTRY.pattern})")


class NotKeptError(Exception):
    """The store cannot keep these rows; the message says why, in a few words."""


def make_room(entries: Path, *, needed_bytes: int, largest_bytes: int) -> tuple[str, ...]:
    """Drop the entries that were used least recently until there is room for a new one.

    Entries that a living process uses are left alone. If there cannot be enough room, nothing
    is dropped. Only one process at a time may do this.

    Args:
        entries: The folder of entries.
        needed_bytes: Of the new one.
        largest_bytes: Of all entries together, the new one included.

    Returns:
        Names of the entries that were dropped, the oldest first.

    Raises:
        NotKeptError: There is no room.
        OSError: The folder cannot be read or changed.
    """
    if needed_bytes > largest_bytes:
        raise NotKeptError(f"it may take {size_text(largest_bytes)} in all")
    for path in entries.iterdir():
        if _LEFT.fullmatch(path.name):  # by a process that was killed just then
            shutil.rmtree(path)
    ours = (path for path in entries.iterdir() if _ENTRY.fullmatch(path.name))
    found = sorted((*_used_and_size(path), path) for path in ours)
    over_bound = sum(size for _, size, _ in found) + needed_bytes - largest_bytes
    over_disk = needed_bytes - disk_room(entries)
    surplus = max(over_bound, over_disk)
    dropped: list[Path] = []
    with ExitStack() as locks:
        for _, size, path in found:
            if surplus <= 0:
                break
            lock = hold_alone(path / USE_LOCK)
            if lock is not None:
                locks.callback(os.close, lock)
                dropped.append(path)
                surplus -= size
        if surplus > 0 and needed_bytes:
            why = "the disk is full" if over_disk > over_bound else "the rest of it is in use"
            raise NotKeptError(f"it has no room ({why})")
        for path in dropped:
            drop(path)
    return tuple(path.name for path in dropped)


def drop(entry: Path) -> None:
    """Delete an entry, first out of sight: whoever waits for a lock then sees that it is gone.

    Args:
        entry: Its folder.
    """
    gone = entry.with_name(_DROPPED + entry.name)
    entry.rename(gone)
    shutil.rmtree(gone)


def _used_and_size(entry: Path) -> tuple[float, int]:
    """Return when an entry was used last, and the bytes that it takes on the disk."""
    used, size = 0.0, 0
    with suppress(FileNotFoundError):  # dropped meanwhile by whoever had made it, or by a user
        for path in entry.iterdir():
            state = path.stat()
            size += state.st_blocks * 512
            if path.name == USE_LOCK:
                used = state.st_mtime
    return used, size


def entries_bytes(entries: Path) -> int:
    """Return what all entries take on the disk.

    Args:
        entries: The folder of entries.
    """
    return sum(_used_and_size(path)[1] for path in entries.iterdir() if _ENTRY.fullmatch(path.name))


def room_for(
    shape: tuple[int, ...], dtype: np.dtype[Any], directories: tuple[Path, ...]
) -> NDArray[Any]:
    """Return room for rows that goes with the process: in memory, else in a file without name.

    Args:
        shape: Of all rows together.
        dtype: Of the numbers.
        directories: Where such a file may be, in this order.

    Raises:
        DataError: There is room nowhere.
    """
    needed = math.prod(shape) * dtype.itemsize
    # Of what is free, not only of all: several arrays may come one after the other.
    if needed <= min(_MEMORY_FRACTION * memory_bytes(), free_memory_bytes() // 2):
        return np.empty(shape, dtype)
    for directory in (*directories, Path(tempfile.gettempdir())):
        try:
            if needed > disk_room(directory):
                continue
            with tempfile.TemporaryFile(dir=directory) as file:
                # Taken at once: a disk that fills up later would kill the process (SIGBUS).
                os.posix_fallocate(file.fileno(), 0, needed)
                return np.memmap(file, np.uint8, mode="r+").view(dtype).reshape(shape)
        except OSError:
            continue
    raise DataError(
        f"What the frozen part computes takes {size_text(needed)}, and neither memory nor "
        f"{tempfile.gettempdir()!r} has room for it. Make room, name a folder on a larger disk "
        "with --feature-cache or in the variable TMPDIR, choose a smaller image size, or keep "
        "nothing of fine-tuning's frozen part with --views live."
    )


def disk_room(directory: Path) -> int:
    """Return how much of a disk may be taken, in bytes.

    Args:
        directory: A folder on it.
    """
    return int(_DISK_FRACTION * shutil.disk_usage(directory).free)


def size_text(num_bytes: int) -> str:
    """Return a size as a person reads it.

    Args:
        num_bytes: How many.

    Example:
        >>> size_text(3 * 2**30), size_text(5_000)
        ('3.0 GiB', '4.9 KiB')
    """
    size, unit = float(num_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
