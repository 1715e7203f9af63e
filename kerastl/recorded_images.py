"""Images of a finished run as its network saw them, read again from where they were."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.config_file import read_config
from kerastl.data.pixels import encoded_image
from kerastl.data.preparation import prepare_pixels
from kerastl.data.scan import pixel_digest
from kerastl.data.sources import ImageTable
from kerastl.data.stream import in_threads
from kerastl.errors import DataError, KerasTLError, UnreadableImageError
from kerastl.plan import read_table
from kerastl.progress import track
from kerastl.recorded_answers import recorded_split
from kerastl.run_folder import CONFIG, read_labels

logger = logging.getLogger(__name__)


def recorded_pixels(
    path: Path, split: str, *, most: int, seed: int = 0
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return images of one split of a run, those that are still what they were.

    Args:
        path: The run folder.
        split: "train", "val" or "test".
        most: Images at most; more are drawn from, each as likely as any other.
        seed: Of that draw.

    Returns:
        Their names, and uint8 of shape (n, height, width, 3). None if the source of the images
        cannot be read any more; what is gone, damaged or has changed since is left out. The log
        says so.
    """
    labels = read_labels(path)
    (height, width), mode = map(int, labels["image_size"]), str(labels["resize_mode"])
    names, digests = recorded_split(path, split)
    order = np.random.default_rng(seed).permutation(len(names))
    try:
        table = read_table(read_config(path / CONFIG), to_learn=False)
    except KerasTLError as error:
        logger.warning("The images of the run cannot be read again: %s", error)
        return (), np.zeros((0, height, width, 3), np.uint8)
    rows = {name: row for row, name in enumerate(table.ids)}
    found: dict[int, NDArray[np.uint8]] = {}
    lost = 0

    def read(index: int) -> NDArray[np.uint8] | None:
        return _unchanged(
            table, rows.get(names[index]), digests[index], size=(height, width), mode=mode
        )

    with track(f"Reading {split} images of the run", total=min(most, len(names))) as advance:
        left = order.tolist()
        while left and len(found) < most:
            wanted, left = left[: most - len(found)], left[most - len(found) :]
            for index, pixels in zip(wanted, in_threads(read, wanted), strict=True):
                if pixels is None:
                    lost += 1
                    continue
                found[index] = pixels
                advance(1)
    if lost:
        logger.warning(
            "%d %s images of the run are gone or are other images now; left out.", lost, split
        )
    chosen = sorted(found)
    stacked = np.stack([found[index] for index in chosen]) if chosen else None
    empty = np.zeros((0, height, width, 3), np.uint8)
    return tuple(names[index] for index in chosen), empty if stacked is None else stacked


def _unchanged(
    table: ImageTable, row: int | None, digest: str, *, size: tuple[int, int], mode: str
) -> NDArray[np.uint8] | None:
    """Return the pixels of one image as the network sees it; None if they are others now."""
    if row is None:
        return None
    try:
        pixels = prepare_pixels(encoded_image(table, row), image_size=size, resize_mode=mode)
    except (DataError, UnreadableImageError):
        return None
    return pixels if not digest or pixel_digest(pixels).startswith(digest) else None
