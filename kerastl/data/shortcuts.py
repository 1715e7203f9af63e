"""Properties of files that give the class away: format, size, colour.

A network learns what is easiest. If all cats are 512 x 512 PNG and all dogs are JPEG, it tells
PNG from JPEG, and fails on the first cat from a telephone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.image_findings import examples_of
from kerastl.data.scan import ImageFacts

# A property goes with a class if the share of images that have it differs by so much from the
# rest, and chance would do that less often than this, over all classes and values tried.
SMALLEST_DIFFERENCE = 0.3
LARGEST_P_VALUE = 1e-3

# Values of a property that are tried, the most frequent first.
_LARGEST_NUM_VALUES = 10


def shortcut_findings(
    facts: ImageFacts, labels: NDArray[Any], *, class_names: Sequence[str]
) -> Iterator[Finding]:
    """Yield properties of the files that go with a class, by Fisher's exact test.

    One class against all others, one-sided, corrected for the number of tests (Bonferroni).

    Args:
        facts: Of n images.
        labels: int64 of shape (n,), or 0 and 1 of shape (n, num_classes).
        class_names: Of the classes.

    Example:
        >>> from kerastl.data.scan import scan_pixels
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
        >>> images[:20] = images[:20, ..., :1]
        >>> labels = np.repeat([0, 1], 20)
        >>> for finding in shortcut_findings(scan_pixels(images), labels, class_names="ab"):
        ...     print(finding.title)
        100% of the images of 'a' are grey, but 0% of the others
    """
    members = membership(labels, num_classes=len(class_names))[facts.readable]
    rows = np.flatnonzero(facts.readable)
    areas = np.maximum(facts.widths * facts.heights, 1)
    octaves = np.round(np.log2(areas) / 2).astype(np.int64)
    sizes = np.char.add(np.char.add(facts.widths.astype(np.str_), " x "), facts.heights.astype(str))
    about = np.char.add("about ", np.char.add((2**octaves).astype(np.str_), " pixels a side"))
    colours = np.where(facts.colour, "in colour", "grey")
    for name, columns in (
        ("colour", [colours]),
        ("format", [facts.formats]),
        ("size", [sizes, about]),
    ):
        for values in columns:
            found = _strongest(values[rows], members)
            if found is None and name == "colour":
                yield from _mixed_colour(facts, rows)
            if found is not None:
                yield _finding(
                    name, found, rows=rows, values=values, members=members, class_names=class_names
                )
                break


def membership(labels: NDArray[Any], *, num_classes: int) -> NDArray[np.bool_]:
    """Return which image is of which class, bool of shape (n, num_classes).

    Args:
        labels: int64 of shape (n,), or 0 and 1 of shape (n, num_classes).
        num_classes: Number of columns.

    Example:
        >>> membership(np.array([1, 0]), num_classes=2).tolist()
        [[False, True], [True, False]]
    """
    if labels.ndim == 2:
        return labels > 0
    return labels[:, np.newaxis] == np.arange(num_classes)


def _strongest(
    values: NDArray[np.str_], members: NDArray[np.bool_]
) -> tuple[str, int, float, float, float] | None:
    """Return (value, class, share in it, share in the rest, p) of the largest difference."""
    names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    frequent = np.argsort(-counts, kind="stable")[:_LARGEST_NUM_VALUES]
    has = (codes[:, np.newaxis] == frequent).astype(np.float64)
    total, with_value, in_class = len(values), has.sum(axis=0), members.sum(axis=0)[:, np.newaxis]
    both = members.T.astype(np.float64) @ has
    inside = both / np.maximum(in_class, 1)
    outside = (with_value - both) / np.maximum(total - in_class, 1)
    p_values = hypergeom.sf(both - 1, total, with_value, in_class) * both.size
    difference = inside - outside
    difference[(p_values >= LARGEST_P_VALUE) | (in_class == 0) | (in_class == total)] = 0
    number, place = np.unravel_index(int(difference.argmax()), difference.shape)
    if difference[number, place] < SMALLEST_DIFFERENCE:
        return None
    return (
        str(names[frequent[place]]),
        int(number),
        float(inside[number, place]),
        float(outside[number, place]),
        float(min(p_values[number, place], 1.0)),
    )


_ADVICE = {
    "colour": "Make all images grey, or collect colour images of every class the same way; then "
    "check again.",
    "format": "Save all images in one format, in one way, best from the originals; then check "
    "again.",
    "size": "Bring all images to one size in one way, best from the originals; then check again.",
}


def _finding(
    name: str,
    found: tuple[str, int, float, float, float],
    *,
    rows: NDArray[np.int64],
    values: NDArray[np.str_],
    members: NDArray[np.bool_],
    class_names: Sequence[str],
) -> Finding:
    """Return the finding about one property."""
    value, number, inside, outside, p_value = found
    has = values[rows] == value
    typical = rows[members[:, number] & has]
    others = rows[~members[:, number] & ~has]
    pairs = zip(typical.tolist(), others.tolist(), strict=False)
    return Finding(
        code=f"{name}-goes-with-class",
        severity="warning",
        title=f"{inside:.0%} of the images of {class_names[number]!r} are {value}, but "
        f"{outside:.0%} of the others",
        why="A network learns what is easiest: it may tell the classes apart by how the files "
        "were made, and the test split, made the same way, will not show it.",
        advice=_ADVICE[name],
        num_rows=int((members[:, number] & has).sum()),
        examples=tuple(pairs)[:LARGEST_NUM_EXAMPLES],
        values={
            "class": class_names[number],
            "value": value,
            "fraction_in_class": inside,
            "fraction_in_others": outside,
            "p_value": p_value,
        },
        rows=tuple(typical.tolist()),
    )


def _mixed_colour(facts: ImageFacts, rows: NDArray[np.int64]) -> Iterator[Finding]:
    """Yield a note if some images are grey and others are not."""
    grey = rows[~facts.colour[rows]]
    if 0 < len(grey) < len(rows):
        yield Finding(
            code="colour-and-grey",
            severity="note",
            title=f"{len(grey):,} of {len(rows):,} images are grey, the others in colour",
            why="Both kinds must be in every split and class, or colour becomes a hint.",
            advice="Nothing: it goes with no class here. Think whether new images will be grey.",
            num_rows=len(grey),
            examples=examples_of(grey),
            values={"num_grey": len(grey), "num_colour": len(rows) - len(grey)},
            rows=tuple(grey.tolist()),
        )
