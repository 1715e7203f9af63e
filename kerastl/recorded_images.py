"""Images of a finished run as its network saw them, read again from where they were."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
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
    path: Path, split: str, *, most: int, of_each: int = 0, seed: int = 0
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return images of one split of a run, those that are still what they were.

    They are looked for where the run's own configuration says. Those which are not there (of a
    class that was added later, or after the table was lost) are read by their paths, if their
    pixels are still the same.

    Args:
        path: The run folder.
        split: "train", "val" or "test".
        most: Images at most; more are drawn from, each as likely as any other.
        of_each: Images of each class that are drawn before all others, so that a class with few is
            not missed.
        seed: Of that draw.

    Returns:
        Their names, and uint8 of shape (n, height, width, 3). What is gone, damaged or has changed
        since is left out. The log says so.
    """
    labels = read_labels(path)
    (height, width), mode = map(int, labels["image_size"]), str(labels["resize_mode"])
    recorded = recorded_split(path, split)
    names, digests = recorded.names, recorded.digests
    order = _first_of_each(
        recorded.labels, np.random.default_rng(seed).permutation(len(names)), of_each
    )
    table: ImageTable | None = None
    rows: dict[str, int] = {}
    try:
        table = read_table(read_config(path / CONFIG), to_learn=False)
        rows = {name: row for row, name in enumerate(table.ids)}
    except KerasTLError as error:
        logger.warning("The images of the run cannot be read as it read them: %s", error)
    found: dict[int, NDArray[np.uint8]] = {}
    lost = 0

    def read(index: int) -> NDArray[np.uint8] | None:
        try:
            if table is not None and names[index] in rows:
                content = encoded_image(table, rows[names[index]])
            elif digests[index]:
                content = Path(names[index]).read_bytes()
            else:
                return None
            pixels = prepare_pixels(content, image_size=(height, width), resize_mode=mode)
        except (OSError, ValueError, DataError, UnreadableImageError):
            return None
        same = not digests[index] or pixel_digest(pixels).startswith(digests[index])
        return pixels if same else None

    with track(f"Reading {split} images of the run", total=min(most, len(names))) as advance:
        left = list(order)
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


def _first_of_each(
    labels: Sequence[str], order: NDArray[np.int64], of_each: int
) -> tuple[int, ...]:
    """Return rows in an order, but that so many of each label come first."""
    seen: Counter[str] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for row in order.tolist():
        (first if seen[labels[row]] < of_each else rest).append(row)
        seen[labels[row]] += 1
    return (*first, *rest)
