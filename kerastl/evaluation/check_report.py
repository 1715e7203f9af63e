"""One page that says what is in a data set and what looks wrong about it."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerastl.evaluation.findings import ShownFinding
from kerastl.evaluation.report import Picture
from kerastl.evaluation.template import dateline, render_template

# Longer tables show their first rows; the rest opens on demand.
_MOST_OPEN_ROWS = 24

_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test", "all": "images"}


@dataclass(frozen=True)
class CheckReport:
    """All that the page says; plain values.

    Attributes:
        title: Headline of the page.
        created: When the check was finished.
        version: Of kerastl.
        command: What to type to make it again.
        num_images: Rows, readable or not.
        class_names: In the order of the counts.
        counts: Images per class, by split ("train", "val", "test"), or under "all".
        several: Whether an image can have several labels.
        formats: Images per file format; empty for arrays.
        sizes: "smallest", "median" and "largest" -> (width, height) in pixels.
        unreadable: (path, reason) of files that are no images.
        findings: Most severe first.
        how: What was compared and how the images were divided, in sentences.
        files: Other files beside the page, name to what they hold.
        augmentation: What training pictures become; None if nobody asked.
        seconds: How long the check took.
    """

    title: str
    created: datetime.datetime
    version: str
    command: str
    num_images: int
    class_names: Sequence[str]
    counts: Mapping[str, Sequence[int]]
    formats: Mapping[str, int]
    sizes: Mapping[str, tuple[int, int]]
    findings: Sequence[ShownFinding]
    several: bool = False
    unreadable: Sequence[tuple[str, str]] = ()
    how: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    augmentation: Picture | None = None
    seconds: float = 0.0


def verdict(severities: Iterable[str]) -> str:
    """Return how many findings there are, in words.

    Args:
        severities: "error", "warning" or "note", one for each finding.

    Example:
        >>> verdict(["error", "warning", "warning"]), verdict([])
        ('1 error, 2 warnings', 'Nothing looks wrong')
    """
    counts = Counter(severities)
    known = [(name, counts[name]) for name in ("error", "warning", "note") if counts[name]]
    words = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in known]
    return ", ".join(words) or "Nothing looks wrong"


def render_check(report: CheckReport) -> str:
    """Return the page: one HTML text that loads nothing from anywhere.

    It follows the reader's light or dark setting and can be printed. All text is escaped: a
    file may be called "<script>.png".

    Args:
        report: What to say.

    Example:
        >>> page = render_check(CheckReport(
        ...     title="pets", created=datetime.datetime(2026, 1, 2), version="1.0",
        ...     command="python -m kerastl.check pets/", num_images=3, class_names=["cat", "dog"],
        ...     counts={"all": [1, 2]}, formats={"PNG": 3}, sizes={}, findings=[]))
        >>> page.startswith("<!doctype html>"), "Nothing looks wrong" in page
        (True, True)
    """
    return render_template(
        "check.html",
        report=report,
        created=dateline(report.created),
        verdict=verdict(finding.severity for finding in report.findings),
        worst=report.findings[0].severity if report.findings else "none",
        rows=_count_rows(report),
        totals={split: sum(counts) for split, counts in report.counts.items()},
        formats=", ".join(f"{name} {count:,}" for name, count in report.formats.items()),
        sizes=size_text(report.sizes),
        num_open=_MOST_OPEN_ROWS,
        split_names=_SPLIT_NAMES,
    )


def _count_rows(report: CheckReport) -> list[dict[str, Any]]:
    """Return for each class its images in every split, and how long its bar is."""
    totals = [sum(column) for column in zip(*report.counts.values(), strict=True)]
    longest = max([*totals, 1])
    rows = []
    for index, name in enumerate(report.class_names):
        counts = {split: int(counts[index]) for split, counts in report.counts.items()}
        widths = {split: f"{100 * count / longest:.2f}" for split, count in counts.items()}
        rows.append({"name": name, "counts": counts, "widths": widths, "total": totals[index]})
    return rows


def size_text(sizes: Mapping[str, tuple[int, int]]) -> str:
    """Return the sizes of images in a line.

    Args:
        sizes: Name to (width, height) in pixels; may be empty.

    Example:
        >>> size_text({"smallest": (8, 9), "largest": (8, 9)})
        'all 8 × 9 pixels'
    """
    if not sizes:
        return ""
    texts = {name: f"{w:,} \N{MULTIPLICATION SIGN} {h:,}" for name, (w, h) in sizes.items()}
    if len(set(texts.values())) == 1:
        return f"all {next(iter(texts.values()))} pixels"
    return ", ".join(f"{name} {text}" for name, text in texts.items()) + " pixels"
