"""Every image read and brought to size once, into one array in memory or on disk.

Decoding is the slowest stage of most input pipelines; gathering rows of a uint8
array is 6 to 19 times as fast, so decoded pixels are kept, never augmented ones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.decode import decode_error_reason, prepare_image, resize_image, to_rgb
from kerastl.data.sources import ImageTable
from kerastl.errors import DataError
from kerastl.progress import track

logger = logging.getLogger(__name__)

# More than this, and the images on disk are probably not what the table says.
LARGEST_UNREADABLE_FRACTION = 0.1


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded, and why."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Pixels:
    """Decoded images of one size.

    Attributes:
        images: uint8 RGB of shape (n, height, width, 3), one per row that could be read.
        rows: int64 of shape (n,): rows of the table that the images belong to, ascending.
        unreadable: The rows that are missing from `rows`.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]


def load_pixels(
    table: ImageTable,
    *,
    image_size: tuple[int, int],
    resize_mode: str = "stretch",
    largest_unreadable_fraction: float = LARGEST_UNREADABLE_FRACTION,
    memory_budget_bytes: int | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Pixels:
    """Decode all images of a table, with all processors, and keep them as uint8.

    Args:
        table: The images.
        image_size: (height, width) in pixels that every image is brought to.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.decode.resize_image`.
        largest_unreadable_fraction: Unreadable images are left out and named, unless
            they are more than this part of all, from 0 to 1.
        memory_budget_bytes: Above this size the pixels go to a file in `directory`
            that is mapped into memory; half of the machine's memory when not given.
        directory: Where that file is made. It has no name and goes with the process.

    Returns:
        The pixels, the rows they belong to and the unreadable rows.

    Raises:
        DataError: Too many images are unreadable, or there is no `directory` to put
            pixels in that do not fit.

    Example:
        >>> from kerastl.data.sources import table_from_arrays
        >>> arrays = np.zeros((6, 8, 8), np.uint8)
        >>> table = table_from_arrays(arrays, [0, 1, 0, 1, 0, 1])
        >>> load_pixels(table, image_size=(4, 4)).images.shape
        (6, 4, 4, 3)
    """
    height, width = image_size
    count = len(table.ids)
    shape = (count, height, width, 3)
    images = _allocate(shape, memory_budget_bytes=memory_budget_bytes, directory=directory)
    read = _reader(table, image_size=image_size, resize_mode=resize_mode)

    def fill(row: int) -> Unreadable | None:
        try:
            images[row] = read(row)
        except tf.errors.InvalidArgumentError as error:
            return Unreadable(row, table.ids[row], decode_error_reason(error))
        except (tf.errors.OpError, OSError) as error:
            reason = getattr(error, "message", None) or str(error)
            return Unreadable(row, table.ids[row], reason.splitlines()[0])
        return None

    unreadable = []
    workers = ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1))
    with workers, track("Reading images", total=count) as advance:
        try:
            for fault in workers.map(fill, range(count)):
                if fault is not None:
                    unreadable.append(fault)
                advance(1)
        except BaseException:
            workers.shutdown(cancel_futures=True)  # Ctrl-C: do not read the rest first
            raise
    return _without(images, unreadable, largest_unreadable_fraction)


def _without(
    images: NDArray[np.uint8], unreadable: list[Unreadable], largest_fraction: float
) -> Pixels:
    """Return the pixels of the rows that could be read."""
    count = len(images)
    if len(unreadable) > largest_fraction * count or len(unreadable) == count:
        first = unreadable[0]
        raise DataError(
            f"{len(unreadable)} of {count} images cannot be read, more than "
            f"{largest_fraction:.0%}; the first is {first.id!r} ({first.reason}). "
            "Repair or remove them and run again."
        )
    for fault in unreadable:
        logger.warning("Left out %s: %s", fault.id, fault.reason)
    keep = np.setdiff1d(np.arange(count), [fault.row for fault in unreadable])
    for place, row in enumerate(keep):  # in place: all of it may not fit into memory twice
        if place != row:
            images[place] = images[row]
    return Pixels(
        images=images[: len(keep)], rows=keep.astype(np.int64), unreadable=tuple(unreadable)
    )


def _allocate(
    shape: tuple[int, int, int, int],
    *,
    memory_budget_bytes: int | None,
    directory: str | os.PathLike[str] | None,
) -> NDArray[np.uint8]:
    """Return room for the images, in memory or in a file."""
    needed = int(np.prod(shape))
    if memory_budget_bytes is None:
        memory_budget_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if needed <= memory_budget_bytes:
        return np.zeros(shape, np.uint8)
    if directory is None:
        raise DataError(
            f"The images need {needed / 2**30:.1f} GiB at this size, more than the budget of "
            f"{memory_budget_bytes / 2**30:.1f} GiB; pass `directory` to keep them in a file, "
            "or choose a smaller `image_size`."
        )
    logger.info("Keeping %.1f GiB of pixels in a file, not in memory.", needed / 2**30)
    path = Path(directory) / "pixels.uint8"
    images = np.memmap(path, np.uint8, mode="w+", shape=shape)
    # The mapping outlives the name: the room is given back however the process ends.
    path.unlink()
    return images


def _reader(
    table: ImageTable, *, image_size: tuple[int, int], resize_mode: str
) -> Callable[[int], NDArray[np.uint8]]:
    """Return the function from a row to its pixels, traced once."""
    contents = table.contents

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def from_bytes(image_bytes: tf.Tensor) -> tf.Tensor:
        return prepare_image(image_bytes, image_size=image_size, resize_mode=resize_mode)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.uint8)])
    def from_array(pixels: tf.Tensor) -> tf.Tensor:
        return resize_image(pixels, image_size=image_size, resize_mode=resize_mode)

    if contents is None:
        return lambda row: from_bytes(tf.io.read_file(table.ids[row])).numpy()
    if isinstance(contents, np.ndarray):
        return lambda row: from_array(to_rgb(contents[row])).numpy()
    return lambda row: from_bytes(contents[row]).numpy()


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
        encoded: bytes = tf.io.encode_png(to_rgb(contents[row])).numpy()
        return encoded
    try:
        return Path(table.ids[row]).read_bytes() if contents is None else contents[row]
    except OSError as error:
        raise DataError(f"{table.ids[row]!r} can no longer be read: {error}.") from None
