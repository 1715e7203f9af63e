"""Findings about copies: within a split, across splits, under different labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kerastl.data.duplicates import Duplicates
from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.image_findings import counted

_ACROSS_LABELS = (
    "One picture cannot be two things: at least one label is wrong, and whatever the network "
    "answers is counted as a mistake once."
)
_ACROSS_SPLITS = (
    "The network has seen the answer in training, so results on the held-out images are too good."
)
_WITHIN = (
    "Copies count double in training and in results, and a random split puts some of them on "
    "both sides."
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
    kinds = (
        ("duplicates", "error", "exact copies", exact),
        ("near-duplicates", "warning", "copies (stored anew, resized, cropped)", duplicates.near),
    )
    for code, worst, words, pairs in kinds:
        # For exact copies every two rows of a group matter, not only those that are linked.
        groups = _components(pairs, len(labels))
        by_label = [rows for rows in groups if len(np.unique(labels[rows], axis=0)) > 1]
        by_split = [
            rows for rows in groups if splits is not None and len(np.unique(splits[rows])) > 1
        ]
        harmful = {int(rows[0]) for rows in (*by_label, *by_split)}
        rest = [rows for rows in groups if int(rows[0]) not in harmful]
        together = "Keep one of each. " + ("Or: " + keep_together if splits is None else "")
        for suffix, severity, where, why, advice, chosen in (
            (
                "-across-labels",
                worst,
                "have different labels",
                _ACROSS_LABELS,
                "Look at each group, keep the image with the right label and remove the others.",
                by_label,
            ),
            (
                "-across-splits",
                worst,
                "are in different splits",
                _ACROSS_SPLITS,
                f"Remove the copies from train, or divide anew. {keep_together}",
                by_split,
            ),
            ("", "warning", "of other images", _WITHIN, together.strip(), rest),
        ):
            if chosen:
                yield _finding(
                    code + suffix,
                    severity,
                    _title(chosen, words, where),
                    why=why,
                    advice=advice,
                    groups=chosen,
                )


def _title(groups: list[NDArray[np.int64]], words: str, where: str) -> str:
    """Return one line with the numbers."""
    count = sum(len(rows) for rows in groups)
    pictures = counted(len(groups), "picture")
    if where == "of other images":
        return f"{counted(count)} show only {pictures}: {words} {where}"
    return f"{counted(count)} of {pictures} are {words} but {where}"


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
        title=title,
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
