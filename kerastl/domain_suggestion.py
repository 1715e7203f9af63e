"""Which domain `kerastl.check` suggests, from what it sees; nothing where it is not sure.

A wrong suggestion is worse than none, so that `photo`, which is what a fit does anyway, is never
suggested.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kerastl.data.finding import Finding
from kerastl.data.pages import PAGE_SIDE, is_page
from kerastl.data.scan import ImageFacts
from kerastl.data.stream import Images
from kerastl.data.table import ImageTable
from kerastl.data.thumbnails import read_thumbnail
from kerastl.data.wording import counted
from kerastl.features.orientation import (
    FEWEST_IMAGES,
    MOST_IMAGES,
    Orientation,
    measure_orientation,
    turned,
)

CODE = "domain"

# Images that are looked at one by one, and how many of them must agree.
_NUM_LOOKED_AT, _FEWEST_LOOKED_AT, _LEAST_PAGES = 24, 16, 0.9

# Pictures from above look like many others; a name that says so is a hint, and called one.
_FROM_ABOVE = re.compile(
    r"(?<![a-z])(satellites?|sentinel-?[12]?|landsat|aerials?|orthophotos?|eurosat|naip|resisc45"
    r"|uc_?merced|so2sat|bigearthnet|planetscope)(?![a-z])"
)

Extract = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def suggested_domain(
    table: ImageTable, facts: ImageFacts, *, orientation: Orientation | None, data: str
) -> tuple[Finding, ...]:
    """Return a note that names a domain, or nothing.

    Args:
        table: Of n images.
        facts: From `kerastl.data.scan.scan_images`, of the same rows.
        orientation: From `find_orientation`; None where no network was asked.
        data: How the user named the data, for what to type.

    Example:
        >>> from kerastl.data.scan import scan_images
        >>> from kerastl.data.table import table_from_arrays
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 40, 40, 3), np.uint8)
        >>> table = table_from_arrays(images, ["cat", "dog"] * 12)
        >>> suggested_domain(table, scan_images(table), orientation=None, data="photos/")
        ()
    """
    if are_pages(table, facts):
        return (
            _note(
                "document",
                "Images are pages: light paper, dark letters in lines",
                "A mirrored page is none, and writing is fine: other pictures are made of pages "
                "to learn from, larger ones.",
                data=data,
                num_rows=len(table.ids),
            ),
        )
    if orientation is not None and orientation.has_no_up:
        return (_without_up(orientation, data=data, num_rows=len(table.ids)),)
    if facts.colour.any() and (found := _FROM_ABOVE.search(table.name.casefold())):
        return (
            _note(
                "satellite",
                f"The name says {found[0]!r}: views from above?",
                "If so, every turn and mirror image of them is another such view, to learn from.",
                data=data,
                num_rows=len(table.ids),
            ),
        )
    return ()


def find_orientation(
    table: ImageTable,
    facts: ImageFacts,
    images: Images,
    features: NDArray[np.float32],
    *,
    extract: Extract,
    seed: int,
) -> Orientation | None:
    """Return how much the way up matters; None where images are in colour or few.

    Args:
        table: Of n images.
        facts: Of the same rows.
        images: uint8 of shape (num_readable, side, side, 3): those that can be read.
        features: float32 of shape (num_readable, num_features): of these.
        extract: From such images to such features.
        seed: Of which images are asked about.
    """
    rows = np.flatnonzero(facts.readable)
    if table.multi_label or len(rows) < FEWEST_IMAGES or facts.colour[rows].any():
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(rows))[:MOST_IMAGES])
    upside_down, quarter = turned(np.stack([images[row] for row in chosen]), seed=seed)
    return measure_orientation(
        features[chosen],
        extract(upside_down),
        extract(quarter),
        table.labels[rows[chosen]].astype(np.int64),
        seed=seed,
    )


def are_pages(table: ImageTable, facts: ImageFacts) -> bool:
    """Tell whether images are pages, by some of them.

    Args:
        table: Of n images.
        facts: Of the same rows.
    """
    rows = np.flatnonzero(facts.readable)
    if len(rows) < _FEWEST_LOOKED_AT:
        return False
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _NUM_LOOKED_AT).astype(int))]
    seen = [read_thumbnail(table, int(row), side=PAGE_SIDE) for row in chosen]
    pages = [is_page(pixels) for pixels in seen if pixels is not None]
    return len(pages) >= _FEWEST_LOOKED_AT and sum(pages) >= _LEAST_PAGES * len(pages)


def _without_up(orientation: Orientation, *, data: str, num_rows: int) -> Finding:
    """Return the note about grey images that may be turned."""
    both = orientation.has_no_side
    loss = [100 * orientation.upside_down[0], 100 * orientation.quarter[0]]
    return _note(
        "dihedral-gray",
        f"No image has colour, and {'turned' if both else 'upside down'} they seem to be of the "
        "same class",
        f"Of {counted(orientation.num_images)}, a probe that had seen others as they are answers "
        f"{orientation.accuracy:.0%} right; upside down {loss[0]:+.1f} points, by a quarter turn "
        f"{loss[1]:+.1f}.",
        data=data,
        num_rows=num_rows,
        more="" if both else " --augment mirrors",
        values={
            "up": orientation.up,
            "accuracy": orientation.accuracy,
            "upside_down": orientation.upside_down[0],
            "quarter": orientation.quarter[0],
        },
    )


def _note(
    domain: str,
    title: str,
    why: str,
    *,
    data: str,
    num_rows: int,
    more: str = "",
    values: dict[str, float] | None = None,
) -> Finding:
    """Return the finding that names a domain."""
    return Finding(
        code=CODE,
        severity="note",
        title=title,
        why=f"{why} What the domain settles, and why: --print-recipe.",
        advice=f"Type: python -m kerastl.fit {data} --domain {domain}{more}",
        num_rows=num_rows,
        values={"domain": domain, **(values or {})},
    )
