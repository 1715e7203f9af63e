"""The images that networks are compared on: those that a fit would learn from, or some of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.comparing.options import CompareOptions
from kerastl.data.pixels import load_pixels
from kerastl.data.sources import ImageTable, subset
from kerastl.data.splits import fold_rows
from kerastl.data.stream import Images
from kerastl.plan import split_table
from kerastl.training.frozen_fit import NUM_FOLDS


@dataclass(frozen=True, eq=False)
class Material:
    """Images to compare networks on, at one size.

    Attributes:
        table: n images, none of them a test image, all of them readable.
        folds: int64 of shape (n,): the fold that each is held out in, the same for all networks.
        num_held_back: Test images, which nobody looks at.
        unreadable: Files that were left out, and why.
        images: uint8 of shape (m, height, width, 3), RGB 0..255.
        rows: int64 of shape (n,): which of them belong to the table.
    """

    table: ImageTable = field(repr=False)
    folds: NDArray[np.int64] = field(repr=False)
    num_held_back: int
    unreadable: tuple[tuple[str, str], ...] = field(repr=False)
    images: Images = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.images.shape[1], self.images.shape[2]


def read_material(
    table: ImageTable,
    options: CompareOptions,
    *,
    image_size: tuple[int, int],
    directory: Path | None,
) -> Material:
    """Read images, divide them as a fit would, and draw some of those that are no test images.

    Args:
        table: All images.
        options: How they are divided, and how many are drawn.
        image_size: (height, width) in pixels to bring them to.
        directory: Where pixels go that do not fit into memory.

    Raises:
        KerasTLError: Too few can be read or divided.
    """
    resize_mode = options.fit_config(options.candidates[0]).resize_mode
    pixels = load_pixels(table, image_size=image_size, resize_mode=resize_mode, directory=directory)
    readable = subset(table, pixels.rows)
    splits = split_table(readable, options)
    rows = np.flatnonzero(splits != "test")
    rows = rows[_drawn(subset(readable, rows), most=options.most_images, seed=options.seed)]
    chosen = subset(readable, rows)
    folds = fold_rows(
        chosen.labels,
        strata=chosen.strata,
        groups=chosen.groups,
        num_folds=NUM_FOLDS,
        seed=options.seed,
    )
    return Material(
        table=chosen,
        folds=folds,
        num_held_back=int(np.sum(splits == "test")),
        unreadable=tuple((one.id, one.reason) for one in pixels.unreadable),
        images=pixels.images,
        rows=rows,
    )


def at_size(
    material: Material,
    options: CompareOptions,
    *,
    image_size: tuple[int, int],
    directory: Path | None,
) -> Material:
    """Return the same images at another size.

    Args:
        material: The images.
        options: How they are fitted.
        image_size: (height, width) in pixels.
        directory: Where pixels go that do not fit into memory.

    Raises:
        DataError: One of them cannot be read any more.
    """
    pixels = load_pixels(
        material.table,
        image_size=image_size,
        resize_mode=options.fit_config(options.candidates[0]).resize_mode,
        unreadable_fraction=0.0,
        directory=directory,
    )
    return dataclasses.replace(
        material, images=pixels.images, rows=np.arange(len(material.table.ids))
    )


def _drawn(table: ImageTable, *, most: int, seed: int) -> NDArray[np.int64]:
    """Return which rows are drawn: every class in proportion, and one for each fold at least.

    So many as may be; more only where a class would have too few for the folds.
    """
    count = len(table.ids)
    if count <= most:
        return np.arange(count)
    # At even steps through class after class, within each stratum after stratum: of none is there
    # one more or less than its share.
    random = np.random.default_rng(seed)
    classes = np.unique(table.labels, axis=0, return_inverse=True)[1].reshape(count)
    strata = np.zeros(count) if table.strata is None else table.strata
    order = np.lexsort((random.permutation(count), strata, classes))
    drawn = np.zeros(count, bool)
    drawn[order[((np.arange(most) + random.random()) * count / most).astype(int)]] = True
    labels = table.labels if table.multi_label else np.eye(len(table.class_names))[table.labels]
    for column in labels.T:
        of_class = np.flatnonzero(column)
        missing = max(0, NUM_FOLDS - int(drawn[of_class].sum()))
        drawn[of_class[~drawn[of_class]][:missing]] = True
    return np.flatnonzero(drawn)
