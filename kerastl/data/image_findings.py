"""Findings about single images: unreadable, blank, tiny, of odd shape, of mixed sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.scan import ImageFacts
from kerastl.data.wording import counted

# Standard deviation of grey values, of 255: photographs have 40 to 70, the darkest cell of ELPV
# 4; one value and the noise of JPEG has less than 1.
BLANK_SPREAD = 1.0
FAINT_SPREAD = 3.0

# Every backbone halves an image five times: below 32 pixels nothing is left of it.
SMALLEST_SIDE = 32

# Brought to a square, such an image shows a strip of its scene, or a squeezed one.
LARGEST_ASPECT_RATIO = 4.0

# Areas this many times apart: some images lose detail that others never had.
LARGEST_AREA_RATIO = 4.0


def image_findings(facts: ImageFacts) -> Iterator[Finding]:
    """Yield what is wrong with single images, whatever their labels.

    Args:
        facts: Of n images.

    Example:
        >>> from kerastl.data.scan import scan_pixels
        >>> blank = np.zeros((2, 64, 64, 3), np.uint8)
        >>> [finding.code for finding in image_findings(scan_pixels(blank))]
        ['blank-images']
    """
    yield from _unreadable(facts)
    readable = facts.readable
    blank = readable & (facts.spread < BLANK_SPREAD)
    yield from _about_rows(
        blank,
        code="blank-images",
        severity="warning",
        title="{count} show one colour and nothing else",
        why="A blank image teaches nothing about its class, and in the test split it is a guess.",
        advice="Look at them; remove those that failed to be taken.",
    )
    yield from _about_rows(
        readable & (facts.spread < FAINT_SPREAD) & ~blank,
        code="almost-blank-images",
        severity="note",
        title="{count} have hardly any contrast",
        why="Lens caps, black frames and failed scans look like this.",
        advice="Look at them; remove those that failed to be taken.",
    )
    yield from _about_rows(
        readable & (np.minimum(facts.widths, facts.heights) < SMALLEST_SIDE),
        code="small-images",
        severity="note",
        title=f"{{count}} are less than {SMALLEST_SIDE} pixels wide or high",
        why="Enlarged to what the network expects they are blurred, and may be icons or crops.",
        advice="Look at them; if all images are that small, fit with --image-size 64 or less.",
    )
    longer = np.maximum(facts.widths, facts.heights)
    shorter = np.maximum(np.minimum(facts.widths, facts.heights), 1)
    yield from _about_rows(
        readable & (longer > LARGEST_ASPECT_RATIO * shorter),
        code="extreme-aspect-ratios",
        severity="note",
        title=f"{{count}} are over {LARGEST_ASPECT_RATIO:g} times as long as wide",
        why="Stretched to the shape that the network expects they are distorted.",
        advice="Fit with --resize-mode pad, which keeps the whole image and its shape.",
    )
    yield from _mixed_sizes(facts)


def examples_of(rows: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """Return single rows as examples to show, the first twelve.

    Args:
        rows: int64: row numbers.

    Example:
        >>> examples_of(np.array([4, 7]))
        ((4,), (7,))
    """
    return tuple((int(row),) for row in rows[:LARGEST_NUM_EXAMPLES])


def _about_rows(
    chosen: NDArray[np.bool_], *, code: str, severity: str, title: str, why: str, advice: str
) -> Iterator[Finding]:
    """Yield a finding if there are such rows."""
    rows = np.flatnonzero(chosen)
    if len(rows):
        yield Finding(
            code=code,
            severity=severity,
            title=title.format(count=counted(len(rows))),
            why=why,
            advice=advice,
            num_rows=len(rows),
            examples=examples_of(rows),
            values={"num_images": len(rows), "fraction": len(rows) / len(chosen)},
            rows=tuple(rows.tolist()),
        )


def _unreadable(facts: ImageFacts) -> Iterator[Finding]:
    """Yield the files that are no images."""
    faults = facts.unreadable
    if faults:
        first = faults[0]
        yield Finding(
            code="unreadable-images",
            severity="error",
            title=f"{counted(len(faults))} cannot be read, the first is {first.id} "
            f"({first.reason})",
            why="A fit leaves them out and stops if they are many.",
            advice="Fetch or export them again, or remove them.",
            num_rows=len(faults),
            values={
                "num_images": len(faults),
                "fraction": len(faults) / len(facts.widths),
                "first": first.id,
                "reason": first.reason,
            },
            rows=tuple(fault.row for fault in faults),
        )


def _mixed_sizes(facts: ImageFacts) -> Iterator[Finding]:
    """Yield a note if some images have far more pixels than others."""
    rows = np.flatnonzero(facts.readable)
    areas = (facts.widths * facts.heights)[rows]
    if not len(rows) or areas.max() <= LARGEST_AREA_RATIO * areas.min():
        return
    smallest, largest = rows[areas.argmin()], rows[areas.argmax()]
    texts = [f"{facts.widths[row]} x {facts.heights[row]}" for row in (smallest, largest)]
    yield Finding(
        code="mixed-sizes",
        severity="note",
        title=f"Sizes from {texts[0]} to {texts[1]} pixels are mixed",
        why="All are brought to one size, so the small ones are blurred where the large ones "
        "are sharp.",
        advice="Nothing, if sizes have nothing to do with the classes; sort out thumbnails among "
        "whole images.",
        num_rows=len(rows),
        examples=((int(smallest),), (int(largest),)),
        values={"smallest": texts[0], "largest": texts[1]},
    )
