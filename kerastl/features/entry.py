"""One entry of the store: rows in a file, a journal of checked blocks, and two locks.

`use.lock` is shared by all processes that use the entry: while one of them lives it is not
dropped. `fill.lock` is held by the one process that computes what is missing; the others wait.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import mmap
import os
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.journal import Layout, append_block, read_journal, write_journal
from kerastl.features.locks import alone, hold_shared
from kerastl.features.room import USE_LOCK, NotKeptError
from kerastl.progress import track

logger = logging.getLogger(__name__)

Make = Callable[[slice], NDArray[Any]]
# Called with the bytes that are needed and what takes them, while no one else does the same.
Reserve = Callable[[int, Callable[[], None]], None]

_ROWS, _JOURNAL, _FILL_LOCK = "rows.bin", "journal", "fill.lock"

# For one batch of images through a large network on a slow machine.
_PATIENCE_SECONDS = 60.0

# What is read at once to be checked: stays in the processor's cache.
_CHECK_BYTES = 2**20
_MOST_CHECKING_THREADS = 8


@dataclass(frozen=True)
class Survey:
    """What of an entry is there.

    Attributes:
        layout: Of the file, if there is one.
        good: CRC-32 by block, of the blocks that are as they were written.
        is_new: Whether nothing of the file can be used.
        is_damaged: Whether something is not as it was written.
    """

    layout: Layout
    good: dict[int, int]
    is_new: bool
    is_damaged: bool

    @property
    def missing(self) -> tuple[int, ...]:
        """The blocks that are still to be made."""
        return tuple(block for block in range(self.layout.num_blocks) if block not in self.good)


def kept_rows(
    directory: Path,
    layout: Layout,
    make: Make,
    *,
    reserve: Reserve,
    description: str,
    while_waiting: Callable[[], None],
) -> NDArray[Any]:
    """Return the rows of an entry, computing the blocks that are missing or damaged.

    Args:
        directory: Of the entry, made if missing.
        layout: What the rows are.
        make: From a slice of rows to these rows.
        reserve: Makes room in the store and takes it.
        description: For the progress bar.
        while_waiting: Called again and again while another process computes the rows.

    Returns:
        Read-only, mapped from the file. The entry is in use as long as the array lives.

    Raises:
        NotKeptError: The files cannot be made, read or written.
    """
    with ExitStack() as unless_mapped, ExitStack() as descriptors:
        with _files_work():
            use = hold_shared(directory / USE_LOCK)
            unless_mapped.callback(os.close, use)
            os.utime(use)
            data = _open_rows(directory, descriptors)
            found = _survey(directory, layout, data)
        if found.missing or found.is_damaged:
            data = _complete(
                directory,
                found,
                make,
                reserve=reserve,
                description=description,
                stack=descriptors,
                while_waiting=while_waiting,
            )
        else:
            logger.info("%s: kept by an earlier run.", description)
        with _files_work():
            mapped = mmap.mmap(data, layout.total_bytes, access=mmap.ACCESS_READ)
        # The array holds the map, and the map holds the lock, whatever is sliced from them.
        unless_mapped.pop_all()
        weakref.finalize(mapped, os.close, use)
    rows: NDArray[Any] = np.frombuffer(mapped, np.uint8).view(layout.dtype)
    return rows.reshape(layout.count, *layout.row_shape)


@contextmanager
def _files_work() -> Iterator[None]:
    """Turn a fault of the files into "not kept": the run goes on without them."""
    try:
        yield
    except OSError as error:
        raise NotKeptError(error.strerror or str(error)) from error


def _open_rows(directory: Path, descriptors: ExitStack) -> int:
    """Open the file of rows, empty if there was none.

    What is checked, filled and mapped is this descriptor: the name may lead elsewhere later.
    """
    data = os.open(directory / _ROWS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    descriptors.callback(os.close, data)
    return data


def _survey(directory: Path, layout: Layout, data: int, known: Survey | None = None) -> Survey:
    """Read the journal and check all blocks that it names; `known` need no second look."""
    journal = read_journal(directory / _JOURNAL, layout)
    if journal is None or (not journal.is_whole and not journal.checksums):
        return Survey(layout, {}, is_new=True, is_damaged=journal is not None)
    layout = dataclasses.replace(layout, block_rows=journal.block_rows)
    before = known.good if known is not None and known.layout == layout else {}
    named = {n: crc for n, crc in journal.checksums.items() if 0 <= n < layout.num_blocks}

    def is_good(block: int) -> bool:
        expected = named[block]
        return before.get(block) == expected or _checksum(data, layout, block) == expected

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_CHECKING_THREADS)) as threads:
        answers = dict(zip(named, threads.map(is_good, named), strict=True))
    good = {block: named[block] for block in named if answers[block]}
    is_damaged = len(good) < len(journal.checksums) or not journal.is_whole
    return Survey(layout, good, is_new=False, is_damaged=is_damaged)


def _checksum(data: int, layout: Layout, block: int) -> int | None:
    """Return the CRC-32 of a block as it is on the disk, None if it cannot be read.

    Read and not mapped: a disk with a bad sector then gives an error, not a signal that kills.
    """
    position, left = layout.bytes_of(block)
    buffer, checksum = bytearray(min(_CHECK_BYTES, left)), 0
    while left:
        view = memoryview(buffer)[: min(len(buffer), left)]
        try:
            count = os.preadv(data, [view], position)
        except OSError:
            return None
        if count == 0:
            return None
        checksum = zlib.crc32(view[:count], checksum)
        position, left = position + count, left - count
    return checksum


def _complete(
    directory: Path,
    before: Survey,
    make: Make,
    *,
    reserve: Reserve,
    description: str,
    stack: ExitStack,
    while_waiting: Callable[[], None],
) -> int:
    """Make what is missing, one process at a time; return the descriptor of the rows."""
    with ExitStack() as lock:
        with _files_work():
            lock.enter_context(
                alone(
                    directory / _FILL_LOCK,
                    before_waiting=functools.partial(_say_waiting, description),
                    while_waiting=_patience(directory / _JOURNAL, while_waiting),
                )
            )
            data = _open_rows(directory, stack)
            found = _survey(directory, before.layout, data, known=before)
            if not found.missing and not found.is_damaged:
                logger.info("%s: computed by another process meanwhile.", description)
                return data
            if found.is_new:
                # Others may have the old file mapped: theirs stays as it is.
                (directory / _JOURNAL).unlink(missing_ok=True)
                (directory / _ROWS).unlink()
                data = _open_rows(directory, stack)
            _take_room(data, found.layout.total_bytes, reserve)
            # Whole again before it is appended to.
            if found.is_new or found.is_damaged:
                write_journal(directory / _JOURNAL, found.layout, found.good)
            journal = os.open(directory / _JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            stack.callback(os.close, journal)
        _say_missing(found, description)
        with track(description, total=found.layout.count) as advance:
            advance(sum(_num_rows(found.layout, block) for block in found.good))
            for block in found.missing:
                content = _made(make, found.layout, block)
                with _files_work():
                    _write(data, content, found.layout.bytes_of(block)[0])
                    append_block(journal, block, zlib.crc32(content))
                advance(_num_rows(found.layout, block))
    return data


def _say_waiting(description: str) -> None:
    logger.info("%s: waiting for another process that computes the same.", description)


def _patience(journal: Path, while_waiting: Callable[[], None]) -> Callable[[], None]:
    """Return what is called while another process fills the entry: it ends a wait for nothing."""
    known_size, since = -1, 0.0

    def wait() -> None:
        nonlocal known_size, since
        while_waiting()
        size = journal.stat().st_size if journal.exists() else 0
        if size != known_size:
            known_size, since = size, time.monotonic()
        elif time.monotonic() - since > _PATIENCE_SECONDS:
            raise NotKeptError(
                f"another process computes the same, but has not gone on for "
                f"{_PATIENCE_SECONDS:.0f} seconds"
            )

    return wait


def _say_missing(found: Survey, description: str) -> None:
    """Say in one line why less than all, or more than nothing, is computed."""
    count = f"{found.layout.count:,}"
    todo = f"{sum(_num_rows(found.layout, block) for block in found.missing):,}"
    if found.is_damaged:
        logger.warning(
            "%s: what an earlier run kept is damaged, %s of %s rows are computed again.",
            description,
            todo,
            count,
        )
    elif found.good:
        logger.info(
            "%s: an earlier run was stopped, %s of %s rows are left.", description, todo, count
        )


def _num_rows(layout: Layout, block: int) -> int:
    rows = layout.rows_of(block)
    return rows.stop - rows.start


def _take_room(data: int, total_bytes: int, reserve: Reserve) -> None:
    """Take all room at once: a disk that fills up later would stop the run half-way."""
    size = os.fstat(data).st_size

    def take() -> None:
        try:
            os.posix_fallocate(data, 0, total_bytes)
        except OSError:
            os.ftruncate(data, size)
            raise

    reserve(max(total_bytes - size, 0), take)


def _made(make: Make, layout: Layout, block: int) -> memoryview:
    """Return the bytes of a block, made now."""
    rows = made_rows(make, layout, layout.rows_of(block))
    # As bytes: NumPy hands out no buffer of a bfloat16.
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


def made_rows(make: Make, layout: Layout, rows: slice) -> NDArray[Any]:
    """Return what `make` gives for these rows, if it is what was promised.

    Args:
        make: From a slice of rows to these rows.
        layout: What was promised.
        rows: Which ones.

    Raises:
        ValueError: Shape or dtype are not those of the layout.
    """
    values = make(rows)
    expected = (rows.stop - rows.start, *layout.row_shape)
    if values.shape != expected or values.dtype != layout.dtype:
        raise ValueError(
            f"`make` must return {layout.dtype} of shape {expected} for rows {rows.start} to "
            f"{rows.stop}; received {values.dtype} of shape {values.shape}."
        )
    return values


def _write(data: int, left: memoryview, position: int) -> None:
    """Write all of a block; one call writes 2 GiB at most."""
    while left:
        count = os.pwrite(data, left, position)
        position, left = position + count, left[count:]
