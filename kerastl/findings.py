"""The findings of an audit for people: lines for a log, and pictures for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kerastl.data.finding import LARGEST_NUM_EXAMPLES, Finding
from kerastl.data.table import ImageTable, label_text
from kerastl.data.wording import counted
from kerastl.evaluation.findings import ShownFinding, Thumbnail, thumbnail_data_uri

# Pictures of one group side by side: what fits into a line of the page.
_MOST_IN_A_GROUP = 4

# All pictures of a page together, in characters: it must open at once and go by mail.
_LARGEST_PICTURES = 2_000_000

Reader = Callable[[int], NDArray[np.uint8] | None]


def show_findings(
    findings: Sequence[Finding],
    table: ImageTable,
    *,
    splits: NDArray[np.str_] | None,
    read: Reader,
) -> tuple[ShownFinding, ...]:
    """Return findings with thumbnails of their examples.

    Args:
        findings: Most severe first: where the page grows too large, the last ones lose
            their pictures.
        table: The images that the findings speak of.
        splits: Text of shape (n,): "train", "val", "test" or "" for each; None if the images
            are not divided.
        read: From a row to uint8 (height, width, 3), or None where it cannot be read.
    """
    made: dict[int, Thumbnail] = {}
    left = _LARGEST_PICTURES

    def picture(row: int) -> Thumbnail:
        nonlocal left
        if row not in made:
            pixels = read(row)
            source = "" if pixels is None else thumbnail_data_uri(pixels)
            made[row] = Thumbnail(source, table.ids[row], _caption(table, splits, row))
        left -= len(made[row].source)
        return made[row]

    shown = []
    for finding in findings:
        groups, hidden = [], []
        for rows in finding.examples[:LARGEST_NUM_EXAMPLES]:
            if left <= 0:
                break
            groups.append(tuple(picture(row) for row in rows[:_MOST_IN_A_GROUP]))
            hidden.append(max(0, len(rows) - _MOST_IN_A_GROUP))
        shown.append(
            ShownFinding(
                severity=finding.severity,
                title=finding.title,
                why=finding.why,
                advice=finding.advice,
                groups=groups,
                num_hidden=hidden,
            )
        )
    return tuple(shown)


def _caption(table: ImageTable, splits: NDArray[np.str_] | None, row: int) -> str:
    """Return label and split of an image."""
    split = "" if splits is None else str(splits[row])
    label = label_text(table, row) or "no label"
    return f"{label} · {split}" if split else label


def one_line(text: str) -> str:
    r"""Return a text on one line, without the control characters that file names may hold.

    Args:
        text: Any.

    Example:
        >>> one_line("a\x1b[31m b\n  c.")
        'a [31m b c'
    """
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split()).rstrip(".")


def finding_lines(findings: Sequence[Finding], *, limit: int, rest: str) -> list[str]:
    """Return errors and warnings in one line each, and what to type or to do.

    Advice that several of them share is said once.

    Args:
        findings: Most severe first.
        limit: Most lines.
        rest: Where to look for what does not fit.

    Example:
        >>> copies = Finding("copies", "error", "3 copies", "", "Type: rm b.png; look again.", 3)
        >>> for line in finding_lines([copies] * 3, limit=2, rest="See check.json."):
        ...     print(line)
        Error in the data: 3 copies. Type: rm b.png; look again.
        2 more findings about the data. See check.json.
    """
    serious = [finding for finding in findings if finding.severity != "note"]
    kept = serious if len(serious) <= limit else serious[: limit - 1]
    said: set[str] = set()
    lines = []
    for finding in kept:
        line = f"{finding.severity.capitalize()} in the data: {one_line(finding.title)}."
        if finding.advice and finding.advice not in said:
            # No full stop behind a command: it would be copied with it.
            line += f" {one_line(finding.advice)}{'.' if finding.advice.endswith('.') else ''}"
        said.add(finding.advice)
        lines.append(line)
    if len(kept) < len(serious):
        more = counted(len(serious) - len(kept), "more finding")
        lines.append(f"{more} about the data. {rest}")
    return lines
