"""Everything that looks wrong about images and labels before a model sees them.

Findings, not fixes: nothing is moved, changed or left out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.finding import Finding
from kerastl.data.pixels import Unreadable

__all__ = ["Audit", "Finding"]


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
            look as if they were taken together; None otherwise.
        suggested_groups_from: "folders", "file names", "runs of rows", or "" for None.
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
