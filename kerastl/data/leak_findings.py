"""Findings about splits that tear apart what was taken together, and groups that would not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.candidate_groups import folder_groups, name_groups, suggest_groups
from kerastl.data.duplicates import centred_units
from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.leakage import (
    LeakTest,
    file_ranks,
    group_test,
    nearest_training_rows,
    order_test,
)
from kerastl.data.nearest import Neighbours
from kerastl.data.wording import counted

_SISTERS = {
    "order": "one of the {window} taken before or after it",
    "folders": "from the same folder",
    "file names": "one whose file name starts alike",
}


_APPROXIMATE = (
    " The suggested groups are runs of neighbouring files: where one series ends and the next "
    "begins is not known, so their borders are approximate; a column of your own is better."
)


def leak_findings(
    ids: tuple[str, ...],
    labels: NDArray[Any],
    splits: NDArray[np.str_],
    *,
    assumed_split: bool,
    thumbnails: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    copies: NDArray[np.int64],
    neighbours: Neighbours | None,
    keep_together: str,
) -> tuple[list[Finding], NDArray[np.str_] | None, str]:
    """Return the finding "suspected-group-leakage" if there is one, with suggested groups.

    Args:
        ids: Names of the n images.
        labels: int64 of shape (n,); with several labels per image, 0 and 1 of shape
            (n, num_classes), the most similar image of any label is looked at.
        splits: Text of shape (n,): "train", "val" or "test".
        assumed_split: Whether the split was only drawn to try it.
        thumbnails: uint8 of shape (n, 32, 32): compared where there are no neighbours.
        usable: bool of shape (n,): images that can be compared.
        copies: int64 of shape (n,): rows that are copies of each other have one number. They
            are a finding of their own, so the nearest image is no evidence if it is a copy.
        neighbours: Of all n rows, by embedding.
        keep_together: What to do so that groups stay on one side of a split.

    Returns:
        Findings (none or one), the suggested groups or None, and what they were read from.
    """
    classes = labels if labels.ndim == 1 else np.zeros(len(ids), np.int64)
    units = None if neighbours is not None else centred_units(thumbnails)
    nearest = nearest_training_rows(
        classes, splits, neighbours=neighbours, units=units, usable=usable
    )
    nearest[(nearest >= 0) & (copies == copies[nearest])] = -1
    ranks = file_ranks(ids)
    tests = {"order": order_test(nearest, classes, splits, ranks=ranks, usable=usable)}
    for by, groups in (("folders", folder_groups(ids)), ("file names", name_groups(ids))):
        tests[by] = group_test(nearest, classes, splits, groups=groups, by=by, usable=usable)
    if not any(test.suspicious for test in tests.values()):
        return [], None, ""
    suggested, source = suggest_groups(ids, classes, nearest, tests=tests, copies=copies)
    shown = tests[source] if source in tests else tests["order"]
    if not shown.suspicious:
        shown = next(test for test in tests.values() if test.suspicious)
    finding = _finding(
        shown,
        tests,
        nearest=nearest,
        ranks=ranks,
        num_groups=len(np.unique(suggested)),
        source=source,
        assumed_split=assumed_split,
        by_features=neighbours is not None,
        keep_together=keep_together,
    )
    return [finding], suggested, source


def torn_groups(
    groups: NDArray[np.str_] | None, splits: NDArray[np.str_] | None, *, keep_together: str
) -> Iterator[Finding]:
    """Yield a finding if given groups are on more than one side of a given split.

    Args:
        groups: Text of shape (n,), or None; "" is no group.
        splits: Text of shape (n,), "" for images that cannot be read; or None.
        keep_together: What to do so that groups stay on one side of a split.

    Example:
        >>> groups, splits = np.array(["a", "a"]), np.array(["train", "test"])
        >>> [finding.code for finding in torn_groups(groups, splits, keep_together="")]
        ['groups-across-splits']
    """
    if groups is None or splits is None:
        return
    divided = np.stack([groups, splits.astype(groups.dtype.type)], axis=1)[splits != ""]
    pairs = np.unique(divided, axis=0)
    names, sides = np.unique(pairs[:, 0], return_counts=True)
    torn = names[(sides > 1) & (names != "")]
    if len(torn):
        rows = np.flatnonzero(np.isin(groups, torn))
        yield Finding(
            code="groups-across-splits",
            severity="error",
            title=f"{counted(len(torn), 'group')} of images {'is' if len(torn) == 1 else 'are'} "
            f"in more than one split, such as {str(torn[0])!r}",
            why="Images of one group resemble each other, so results on the held-out part of it "
            "are too good.",
            advice=f"Remove the split column, so that kerastl divides by groups. {keep_together}",
            num_rows=len(rows),
            examples=tuple(
                tuple(np.flatnonzero(groups == name)[:LARGEST_NUM_EXAMPLES].tolist())
                for name in torn[:LARGEST_NUM_EXAMPLES]
            ),
            values={"num_groups": len(torn)},
            rows=tuple(rows.tolist()),
        )


def _finding(
    shown: LeakTest,
    tests: dict[str, LeakTest],
    *,
    nearest: NDArray[np.int64],
    ranks: NDArray[np.int64],
    num_groups: int,
    source: str,
    assumed_split: bool,
    by_features: bool,
    keep_together: str,
) -> Finding:
    """Return the finding in words."""
    sister = _SISTERS[shown.by].format(window=shown.window)
    rows = np.flatnonzero(nearest >= 0)
    closest = rows[np.argsort(np.abs(ranks[rows] - ranks[nearest[rows]]), kind="stable")]
    values: dict[str, float | int | str] = {
        "by": shown.by,
        "num_held_out": shown.num_rows,
        "window": shown.window,
        "observed": shown.observed,
        "expected": shown.expected,
        "p_value": shown.p_value,
        "compared": "features" if by_features else "thumbnails",
        "split": "random" if assumed_split else "given",
        "suggested_groups": num_groups,
        "suggested_groups_from": source,
    }
    for name, test in tests.items():
        key = name.replace(" ", "_")
        values[f"observed_{key}"], values[f"expected_{key}"] = test.observed, test.expected
    split = "a random split of these images" if assumed_split else "this split"
    return Finding(
        code="suspected-group-leakage",
        severity="warning",
        title=f"For {shown.observed:.0%} of {shown.num_rows:,} held-out images the most similar "
        f"training image is {sister}; chance would give {_percent(shown.expected)}",
        why=f"Images that were taken together seem to be on both sides of {split}: the network "
        "can remember them, and results are too good for images of a new series. (On the solar "
        "cells of the demo accuracy falls by 4 to 6 points when modules stay whole.)"
        + (_APPROXIMATE if source == "runs of rows" else ""),
        advice=keep_together,
        num_rows=round(shown.observed * shown.num_rows),
        examples=tuple((int(row), int(nearest[row])) for row in closest[:LARGEST_NUM_EXAMPLES]),
        values=values,
    )


def _percent(part: float) -> str:
    """Return whole percents, or one decimal below 2 %."""
    return f"{part:.1%}" if part < 0.02 else f"{part:.0%}"
