"""Everything that looks wrong about images and labels before a model sees them.

Findings, not fixes: nothing is moved, changed or left out here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.candidate_groups import merge_copies
from kerastl.data.class_findings import class_findings
from kerastl.data.copy_findings import copy_findings
from kerastl.data.cropped_copies import CLOSE_SIDE
from kerastl.data.duplicates import SMALLEST_SPREAD, find_duplicates
from kerastl.data.finding import SEVERITIES, Finding
from kerastl.data.image_findings import image_findings
from kerastl.data.leak_findings import leak_findings, torn_groups
from kerastl.data.nearest import Neighbours
from kerastl.data.pixels import Unreadable
from kerastl.data.scan import ImageFacts
from kerastl.data.shortcuts import membership, shortcut_findings
from kerastl.data.splits import split_rows
from kerastl.data.table import ImageTable
from kerastl.data.thumbnails import read_grey
from kerastl.errors import DataError

__all__ = ["Audit", "Finding", "audit_images"]

# The split that is tried where none is given: the fractions that a fit takes when not told.
_VAL_FRACTION, _TEST_FRACTION = 0.15, 0.2


@dataclass(frozen=True, eq=False)
class Audit:
    """What is known about a data set after one look at every image.

    Attributes:
        name: Of the table.
        num_images: Rows of the table, readable or not.
        class_names: In the order of the counts.
        counts: Images per class, by split ("train", "val", "test"), or under "all" when the
            images are not divided. An image with several labels counts for each.
        formats: Images per format that was found in the bytes, most frequent first; empty
            for arrays.
        sizes: "smallest", "median" and "largest" -> (width, height) in pixels: images that
            exist, in the order of their areas; empty if nothing is readable.
        unreadable: Files that are no images, and why.
        findings: Most severe first.
        suggested_groups: Text of shape (n,): what a split should not tear apart, if images
            look as if they were taken together or there are copies; None otherwise.
        suggested_groups_from: "folders", "file names", "runs of rows", "copies" (every image
            for itself, copies together), or "" for None.
    """

    name: str
    num_images: int
    class_names: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, int]
    sizes: Mapping[str, tuple[int, int]]
    unreadable: tuple[Unreadable, ...]
    findings: tuple[Finding, ...]
    suggested_groups: NDArray[np.str_] | None = field(default=None, repr=False)
    suggested_groups_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; of the suggested groups only how many there are."""
        groups = self.suggested_groups
        return {
            "name": self.name,
            "num_images": self.num_images,
            "class_names": list(self.class_names),
            "counts": {split: list(counts) for split, counts in self.counts.items()},
            "formats": dict(self.formats),
            "sizes": {name: list(size) for name, size in self.sizes.items()},
            "unreadable": [asdict(fault) for fault in self.unreadable],
            "findings": [
                {
                    **{name: getattr(finding, name) for name in _FINDING_TEXTS},
                    "num_rows": finding.num_rows,
                    "examples": [list(group) for group in finding.examples],
                    "values": dict(finding.values),
                }
                for finding in self.findings
            ],
            "suggested_groups": {
                "from": self.suggested_groups_from,
                "num_groups": 0 if groups is None else len(np.unique(groups)),
            },
        }


_FINDING_TEXTS = ("code", "severity", "title", "why", "advice")


def audit_images(
    table: ImageTable,
    facts: ImageFacts,
    *,
    splits: NDArray[np.str_] | None = None,
    neighbours: Neighbours | None = None,
    data: str = "photos/",
    keep_together: str | None = None,
    seed: int = 0,
) -> Audit:
    """Return everything that looks wrong about images and labels.

    Args:
        table: Of n images. Its own splits count where none are given here and it has one for
            every image.
        facts: From `kerastl.data.scan.scan_images` or `scan_pixels`, of the same rows.
        splits: Text of shape (n,), "train", "val" or "test", "" for images that cannot be
            read; None when the images are not divided: leaks are then looked for in a random
            split (whole groups, if the table has groups).
        neighbours: Of all n rows, from `kerastl.features.neighbours.nearest_neighbours` with
            some 20 neighbours; thumbnails are compared when not given.
        data: How the user named the data, for what to type.
        keep_together: What to type or do so that a split keeps suggested groups whole;
            worked out from `data` when not given.
        seed: Of the random split.

    Raises:
        DataError: `facts`, `splits` or `neighbours` are not of the table's rows.

    Example:
        >>> from kerastl.data.scan import scan_images
        >>> from kerastl.data.table import table_from_arrays
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 40, 40, 3), np.uint8)
        >>> table = table_from_arrays(images, ["cat", "dog"] * 12)
        >>> audit_images(table, scan_images(table)).findings
        ()
    """
    _check_lengths(table, facts, splits, neighbours)
    if splits is None and table.splits is not None and (table.splits != "").all():
        splits = table.splits
    keep_together = keep_together or keep_together_advice(table, data=data)
    # Where a network was asked there is time to read the images that thumbnails cannot tell apart.
    read = None if neighbours is None else partial(read_grey, table, side=CLOSE_SIDE)
    duplicates = find_duplicates(facts, neighbours=neighbours, read=read)
    leaks, groups, groups_from = leak_findings(
        table.ids,
        table.labels,
        _tried_split(table, seed) if splits is None else splits,
        assumed_split=splits is None,
        thumbnails=facts.thumbnails,
        usable=facts.readable & (facts.spread >= SMALLEST_SPREAD),
        copies=duplicates.groups,
        neighbours=neighbours,
        keep_together=keep_together,
    )
    if groups is None and (len(duplicates.exact) or len(duplicates.near)):
        own = np.array([f"image {row}" for row in range(len(table.ids))])
        start = own if table.groups is None else np.where(table.groups == "", own, table.groups)
        groups, groups_from = merge_copies(start, duplicates.groups), "copies"
    counts = _counts(table, splits)
    findings = [
        *image_findings(facts),
        *copy_findings(duplicates, table.labels, splits, keep_together=keep_together),
        *torn_groups(table.groups, splits, keep_together=keep_together),
        *leaks,
        *shortcut_findings(facts, table.labels, class_names=table.class_names),
        *class_findings(
            counts, class_names=table.class_names, data=data, several=table.multi_label
        ),
    ]
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), -one.num_rows))
    formats = Counter(facts.formats[facts.formats != ""].tolist())
    return Audit(
        name=table.name,
        num_images=len(table.ids),
        class_names=table.class_names,
        counts=counts,
        formats=dict(formats.most_common()),
        sizes=_sizes(facts),
        unreadable=facts.unreadable,
        findings=tuple(findings),
        suggested_groups=groups,
        suggested_groups_from=groups_from,
    )


def _check_lengths(
    table: ImageTable,
    facts: ImageFacts,
    splits: NDArray[np.str_] | None,
    neighbours: Neighbours | None,
) -> None:
    """Refuse arrays of other rows, such as those without the unreadable images."""
    lengths = {
        "facts": len(facts.widths),
        "splits": len(table.ids) if splits is None else len(splits),
        "neighbours": len(table.ids) if neighbours is None else len(neighbours.rows),
    }
    for name, length in lengths.items():
        if length != len(table.ids):
            raise DataError(
                f"`{name}` must have one row for each of the {len(table.ids)} images of the "
                f"table; received {length}. Take the same subset of the table, such as "
                "kerastl.data.table.subset(table, pixels.rows)."
            )


def keep_together_advice(table: ImageTable, *, data: str, groups_file: str | None = None) -> str:
    """Return what to type so that suggested groups stay on one side of a split.

    Args:
        table: The images.
        data: How the user named the data.
        groups_file: The table with the column "group" that the caller writes; images.csv
            beside the data when not given.

    Example:
        >>> table = ImageTable("photos", ("a.png",), np.zeros(1, np.int64), ("cat",))
        >>> keep_together_advice(table, data="photos/")
        'Type: python -m kerastl.fit photos/images.csv --group-column group'
    """
    if data.startswith("demo:solar"):
        return "Type: python -m kerastl.fit demo:solar:P2"
    if data.startswith("tfds:"):
        return (
            "If a feature says which images belong together, name it: python -m kerastl.fit "
            f"{data} --group-column FEATURE"
        )
    if table.contents is not None:
        return (
            "Give groups, so that a split keeps them whole: table_from_arrays(..., "
            "groups=audit.suggested_groups)."
        )
    if groups_file is None:
        groups_file = f"{data.rstrip('/')}/images.csv"
    return f"Type: python -m kerastl.fit {groups_file} --group-column group"


def _tried_split(table: ImageTable, seed: int) -> NDArray[np.str_]:
    """Return the split that a fit would make; a plain random one if classes are too small."""
    try:
        return split_rows(
            table.labels,
            val_fraction=_VAL_FRACTION,
            test_fraction=_TEST_FRACTION,
            seed=seed,
            strata=table.strata,
            groups=table.groups,
            given=table.splits,
        )
    except DataError:  # what is wrong with the classes is a finding of its own
        held_out = np.random.default_rng(seed).random(len(table.ids))
        return np.where(held_out < _VAL_FRACTION + _TEST_FRACTION, "test", "train")


def _counts(table: ImageTable, splits: NDArray[np.str_] | None) -> dict[str, tuple[int, ...]]:
    """Return images per class, by split."""
    members = membership(table.labels, num_classes=len(table.class_names))
    if splits is None:
        return {"all": tuple(members.sum(axis=0).tolist())}
    return {
        name: tuple(members[splits == name].sum(axis=0).tolist())
        for name in ("train", "val", "test")
        if (splits == name).any()
    }


def _sizes(facts: ImageFacts) -> dict[str, tuple[int, int]]:
    """Return the smallest, median and largest image that there is."""
    rows = np.flatnonzero(facts.readable)
    if not len(rows):
        return {}
    ordered = rows[np.argsort((facts.widths * facts.heights)[rows], kind="stable")]
    chosen = {"smallest": ordered[0], "median": ordered[len(rows) // 2], "largest": ordered[-1]}
    return {name: (int(facts.widths[row]), int(facts.heights[row])) for name, row in chosen.items()}
