"""Findings about copies: within a split, across splits, under different labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kerastl.data.duplicates import Duplicates
from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.wording import counted


@dataclass(frozen=True)
class _Words:
    """How findings about one kind of copies speak; what is not certain is not said."""

    code: str
    severity: str
    within: str
    across_labels: str
    across_splits: str
    why_labels: str
    why_splits: str
    why_within: str
    labels_advice: str
    splits_advice: str
    within_advice: str


_ANSWER_SEEN = (
    "The network has seen the answer in training, so results on the held-out images are too good."
)
_COUNT_DOUBLE = (
    "count double in training and in results, and a random split puts some of them on both sides."
)
_EXACT = _Words(
    code="duplicates",
    severity="error",
    within="{images} show only {pictures}: exact copies of other images",
    across_labels="{images} of {pictures} are exact copies but have different labels",
    across_splits="{images} of {pictures} are exact copies but are in different splits",
    why_labels="One picture cannot be two things: at least one label is wrong, and whatever the "
    "network answers is counted as a mistake once.",
    why_splits=_ANSWER_SEEN,
    why_within=f"Copies {_COUNT_DOUBLE}",
    labels_advice="Look at each group, keep the image with the right label and remove the others.",
    splits_advice="Remove the copies from train, or divide anew. ",
    within_advice="Keep one of each. Or: ",
)
_LOOK = "Look at the pairs in check.html"
_NEAR = _Words(
    code="near-duplicates",
    severity="warning",
    within="{images} look like copies of each other (stored anew, resized, cropped): they may "
    "show only {pictures}",
    across_labels="{images} look like copies of each other (perhaps {pictures}) but have different "
    "labels",
    across_splits="{images} look like copies of each other (perhaps {pictures}) but are in "
    "different splits",
    why_labels="If two are one picture, one of their labels is wrong. They may also be two "
    "pictures that are hard to tell apart.",
    why_splits=f"If they are copies: {_ANSWER_SEEN[0].lower()}{_ANSWER_SEEN[1:]}",
    why_within=f"If they are copies, they {_COUNT_DOUBLE}",
    labels_advice=f"{_LOOK}; where they show one picture, correct the label that is wrong. "
    "Two pictures that only look alike are no fault.",
    splits_advice=f"{_LOOK}; if they are copies, divide anew so that they stay together. ",
    within_advice=f"{_LOOK}; if they are copies, keep them together. ",
)


def copy_findings(
    duplicates: Duplicates,
    labels: NDArray[Any],
    splits: NDArray[np.str_] | None,
    *,
    keep_together: str,
) -> Iterator[Finding]:
    """Yield exact and near duplicates, by what makes them harmful.

    Args:
        duplicates: Of the n images.
        labels: int64 of shape (n,), or 0 and 1 of shape (n, num_classes).
        splits: Text of shape (n,), None if the images are not divided.
        keep_together: What to do so that copies stay on one side of a split.

    Example:
        >>> from kerastl.data.duplicates import find_duplicates
        >>> from kerastl.data.scan import scan_pixels
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
        >>> images[3] = images[0]
        >>> found = copy_findings(find_duplicates(scan_pixels(images)), np.array([0, 1, 1, 1]),
        ...                       None, keep_together="Give groups.")
        >>> [(finding.code, finding.severity) for finding in found]
        [('duplicates-across-labels', 'error')]
    """
    links = [(rows[0], row) for rows in duplicates.exact for row in rows[1:]]
    exact = np.array(links, np.int64).reshape(-1, 2)
    for words, pairs in ((_EXACT, exact), (_NEAR, duplicates.near)):
        # For exact copies every two rows of a group matter, not only those that are linked.
        groups = _components(pairs, len(labels))
        by_label = [rows for rows in groups if len(np.unique(labels[rows], axis=0)) > 1]
        by_split = [
            rows for rows in groups if splits is not None and len(np.unique(splits[rows])) > 1
        ]
        harmful = {int(rows[0]) for rows in (*by_label, *by_split)}
        rest = [rows for rows in groups if int(rows[0]) not in harmful]
        together = words.within_advice + keep_together
        if splits is not None and words is _EXACT:
            together = "Keep one of each."
        for suffix, severity, title, why, advice, chosen in (
            (
                "-across-labels",
                words.severity,
                words.across_labels,
                words.why_labels,
                words.labels_advice,
                by_label,
            ),
            (
                "-across-splits",
                words.severity,
                words.across_splits,
                words.why_splits,
                words.splits_advice + keep_together,
                by_split,
            ),
            ("", "warning", words.within, words.why_within, together, rest),
        ):
            if chosen:
                yield _finding(
                    words.code + suffix, severity, title, why=why, advice=advice, groups=chosen
                )


def _finding(
    code: str,
    severity: str,
    title: str,
    *,
    why: str,
    advice: str,
    groups: list[NDArray[np.int64]],
) -> Finding:
    """Return the finding about groups of copies."""
    count = sum(len(rows) for rows in groups)
    return Finding(
        code=code,
        severity=severity,
        title=title.format(images=counted(count), pictures=counted(len(groups), "picture")),
        why=why,
        advice=advice,
        num_rows=count,
        examples=tuple(
            tuple(int(row) for row in rows[:LARGEST_NUM_EXAMPLES])
            for rows in groups[:LARGEST_NUM_EXAMPLES]
        ),
        values={"num_groups": len(groups), "num_images": count},
        rows=tuple(int(row) for rows in groups for row in rows),
    )


def _components(pairs: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Return groups of rows that are linked by pairs, in the order of their first rows."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    codes = connected_components(graph, directed=False)[1]
    rows = np.unique(pairs)
    by_code: dict[int, list[int]] = {}
    for row in rows.tolist():
        by_code.setdefault(int(codes[row]), []).append(row)
    return [np.array(members, np.int64) for members in by_code.values()]
