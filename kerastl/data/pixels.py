"""Every image read and brought to size: once into memory or a file, or anew when asked for.

Decoding is the slowest stage of most input pipelines; gathering rows of a uint8
array is 6 to 19 times as fast, so decoded pixels are kept, never augmented ones.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.memory import memory_bytes
from kerastl.data.scratch import scratch_array
from kerastl.data.sources import ImageTable
from kerastl.data.stream import Images, ImageStream, image_reader, in_threads, rgb_of
from kerastl.data.wording import counted
from kerastl.errors import ConfigError, DataError, UnreadableImageError, did_you_mean
from kerastl.progress import track

logger = logging.getLogger(__name__)

# More than this, and the images on disk are probably not what the table says.
LARGEST_UNREADABLE_FRACTION = 0.1

CACHES = ("auto", "memory", "disk", "none")

# Of the free space on the disk: the run folder, the system and others need some too.
_DISK_FRACTION = 0.8


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded, and why."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Pixels:
    """Images of one size.

    Attributes:
        images: uint8 RGB of shape (n, height, width, 3), one per row that could be read: an
            array in memory, an array mapped from a file, or a stream that reads on demand.
        rows: int64 of shape (n,): rows of the table that the images belong to, ascending.
        unreadable: The rows that are missing from `rows`.
        cache: Where decoded pixels are kept: "memory", "disk" or "none".
    """

    images: Images
    rows: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    cache: str


def load_pixels(
    table: ImageTable,
    *,
    image_size: tuple[int, int],
    resize_mode: str = "stretch",
    cache: str = "auto",
    unreadable_fraction: float = LARGEST_UNREADABLE_FRACTION,
    memory_budget_bytes: int | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Pixels:
    """Decode all images of a table once, with all processors, and keep them if they fit.

    Args:
        table: The images.
        image_size: (height, width) in pixels that every image is brought to.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.
        cache: Where decoded pixels are kept: "memory"; "disk", in a file without a name in
            `directory` that is mapped into memory and goes with the process; "none", so that
            images are read again whenever they are asked for and memory stays flat; "auto",
            the first of these that has room.
        unreadable_fraction: Unreadable images are left out and named, unless
            they are more than this part of all, from 0 to 1.
        memory_budget_bytes: What "auto" may take; half of the machine's memory when not
            given.
        directory: Where the file of "disk" is made.

    Returns:
        The pixels, the rows they belong to and the unreadable rows.

    Raises:
        ConfigError: `cache` is unknown, or "disk" without a directory.
        DataError: Too many images are unreadable.

    Example:
        >>> from kerastl.data.sources import table_from_arrays
        >>> arrays = np.zeros((6, 8, 8), np.uint8)
        >>> table = table_from_arrays(arrays, [0, 1, 0, 1, 0, 1])
        >>> pixels = load_pixels(table, image_size=(4, 4))
        >>> pixels.images.shape, pixels.cache
        ((6, 4, 4, 3), 'memory')
    """
    count = len(table.ids)
    shape = (count, *image_size, 3)
    cache = _choose_cache(
        cache, needed=int(np.prod(shape)), budget=memory_budget_bytes, directory=directory
    )
    read = image_reader(table, image_size=image_size, resize_mode=resize_mode)
    if cache == "none":
        one = (*image_size, 3)
        faults = _read_all(read, table, place=lambda _row: scratch_array("checked", one))
        _check_faults(faults, count, unreadable_fraction)
        rows = _readable_rows(count, faults)
        stream = ImageStream(table, image_size=image_size, resize_mode=resize_mode, rows=rows)
        return Pixels(stream, rows, tuple(faults), cache)
    images = np.zeros(shape, np.uint8) if cache == "memory" else _mapped(shape, directory)
    faults = _read_all(read, table, place=images.__getitem__)
    _check_faults(faults, count, unreadable_fraction)
    rows = _readable_rows(count, faults)
    for place, row in enumerate(rows):  # in place: all of it may not fit into memory twice
        if place != row:
            images[place] = images[row]
    return Pixels(images[: len(rows)], rows, tuple(faults), cache)


def _read_all(
    read: Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]],
    table: ImageTable,
    *,
    place: Callable[[int], NDArray[np.uint8]],
) -> list[Unreadable]:
    """Read every image to its place, and return the ones that cannot be read."""

    def one(row: int) -> Unreadable | None:
        try:
            read(row, place(row))
        except UnreadableImageError as error:
            return Unreadable(row, table.ids[row], error.reason)
        return None

    faults = []
    with track("Reading images", total=len(table.ids)) as advance:
        for fault in in_threads(one, range(len(table.ids))):
            if fault is not None:
                faults.append(fault)
            advance(1)
    return faults


def _check_faults(faults: list[Unreadable], count: int, largest_fraction: float) -> None:
    """Name unreadable images, or stop where they are too many."""
    if len(faults) > largest_fraction * count or len(faults) == count:
        raise DataError(
            f"{len(faults):,} of {counted(count)} cannot be read, more than "
            f"{largest_fraction:.0%}; the first is {faults[0].id!r} ({faults[0].reason}). "
            "Repair or remove them and run again."
        )
    for fault in faults:
        logger.warning("Left out %s: %s", fault.id, fault.reason)


def _readable_rows(count: int, faults: list[Unreadable]) -> NDArray[np.int64]:
    """Return the rows that are left."""
    return np.setdiff1d(np.arange(count), [fault.row for fault in faults]).astype(np.int64)


def _choose_cache(
    cache: str, *, needed: int, budget: int | None, directory: str | os.PathLike[str] | None
) -> Literal["memory", "disk", "none"]:
    """Return where decoded pixels are kept."""
    if cache not in CACHES:
        raise ConfigError(
            f"`cache` must be one of {', '.join(CACHES)}; received cache={cache!r}."
            f"{did_you_mean(cache, CACHES)}"
        )
    if cache == "disk" and directory is None:
        raise ConfigError("`cache` 'disk' needs a `directory` for its file; received None.")
    if cache == "memory" or (cache == "auto" and needed <= (budget or memory_bytes() // 2)):
        return "memory"
    size = f"{needed / 2**30:.1f} GiB of decoded pixels"
    has_room = directory is not None and needed <= _DISK_FRACTION * shutil.disk_usage(directory)[2]
    if cache == "disk" or (cache == "auto" and has_room):
        logger.info("%s are kept in a file, not in memory.", size)
        return "disk"
    if cache == "auto":
        logger.info("%s fit neither into memory nor on the disk: images are read anew.", size)
    return "none"


def _mapped(shape: tuple[int, ...], directory: str | os.PathLike[str] | None) -> NDArray[np.uint8]:
    """Return room for the images in a file."""
    path = Path(directory or ".") / "pixels.uint8"
    try:
        with open(path, "xb+") as file:
            # Taken at once: a disk that fills up later would kill the process (SIGBUS).
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
            images = np.memmap(file, np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise DataError(
            f"The decoded images need {np.prod(shape) / 2**30:.1f} GiB in {str(path.parent)!r}: "
            f"{error.strerror}. Make room, choose a smaller image size, or read images anew "
            "in every epoch with --cache none."
        ) from None
    finally:
        # The mapping outlives the name: the room is given back however the process ends.
        path.unlink(missing_ok=True)
    return images


def encoded_image(table: ImageTable, row: int) -> bytes:
    """Return one image of a table as a file would hold it (arrays become PNG, without loss).

    Args:
        table: The images.
        row: Which one.

    Raises:
        DataError: The file is gone since the table was made.
    """
    contents = table.contents
    if isinstance(contents, np.ndarray):
        encoded: bytes = tf.io.encode_png(rgb_of(contents[row])).numpy()
        return encoded
    try:
        return Path(table.ids[row]).read_bytes() if contents is None else contents[row]
    except OSError as error:
        raise DataError(f"{table.ids[row]!r} can no longer be read: {error}.") from None
