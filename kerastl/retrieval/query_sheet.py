"""Sheets of what was asked for: an image with its answers, and two images that are same or not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerastl.data.image_reader import read_image
from kerastl.data.wording import counted
from kerastl.evaluation.figures import BLUE, FAINT, GREEN, INK, ORANGE
from kerastl.evaluation.measure_words import percent
from kerastl.retrieval.answers import Answer, Hit
from kerastl.retrieval.index import Index
from kerastl.retrieval.pictures import (
    LONGEST_SIDE,
    folder_and_name,
    picture_of,
    verification_figure,
)
from kerastl.retrieval.sheet import GAP, LINE, SIDE, WIDTH, Sheet
from kerastl.retrieval.verification import Verification

_COLUMNS = 6
_QUERY_SIDE = 1.8
_PAIR_WIDTH = 7.0
# From the upper edge of one row of answers to that of the next: the picture and three lines.
_ROW = SIDE + 3 * LINE + 0.24
_LONGEST_STEM = 60


def sheet_name(number: int, query: str) -> str:
    """Return what the sheet of one of several queries is called, without ".png".

    Args:
        number: Of the query, from 1.
        query: Its path.

    Example:
        >>> sheet_name(2, "photos/solar cell/cell 03.png")
        'sheet-2-cell-03'
    """
    stem = os.path.splitext(os.path.basename(query))[0]
    plain = re.sub(r"[^\w.]+", "-", stem).strip("-.")[:_LONGEST_STEM]
    return f"sheet-{number}-{plain}" if plain else f"sheet-{number}"


def answer_figure(index: Index, answer: Answer, content: bytes) -> Figure:
    """Draw an image in a frame, what is said of it, and what was found for it.

    Args:
        index: The index.
        answer: Of it.
        content: Of the file that was asked for.
    """
    above = _QUERY_SIDE + 0.3
    num_rows = -(-len(answer.hits) // _COLUMNS)
    sheet = Sheet(above + num_rows * _ROW)
    pixels = read_image(content, at_least=(LONGEST_SIDE, LONGEST_SIDE))
    _show_query(sheet, pixels, 0.0)
    x = _QUERY_SIDE + 0.25
    folder, name = folder_and_name(os.path.abspath(answer.query))
    rows = [
        ("Asked for", 8.5, BLUE, False),
        (f"{folder}{name}", 13.0, INK, True),
        *_verdict_rows(index, answer),
        (_found_words(index, answer), 9.5, INK, False),
        (_label_words(answer.hits), 9.5, INK, False),
    ]
    y = 0.1
    for text, size, colour, bold in rows:
        sheet.write(text, x, y, width=WIDTH - x, size=size, colour=colour, bold=bold)
        y += size / 72 * 1.75
    for place, hit in enumerate(answer.hits):
        row, column = divmod(place, _COLUMNS)
        _show_hit(sheet, index, hit, place + 1, x=column * (SIDE + GAP), y=above + row * _ROW)
    return sheet.figure


def _show_query(sheet: Sheet, pixels: NDArray[np.uint8], x: float) -> None:
    """Show an image that was asked for: larger, in a frame of its own colour."""
    sheet.show(pixels, x, 0, side=_QUERY_SIDE, frame=BLUE, at_top=True)


def _verdict_rows(index: Index, answer: Answer) -> list[tuple[str, float, str, bool]]:
    """Return whether the image is unlike what is indexed, and what that rests on."""
    score = f"unknown score {answer.unknown_score:.3f}"
    if answer.is_unknown is None:
        return [
            ("Known or unknown? The index has no threshold", 11.0, FAINT, True),
            (score, 9.5, FAINT, False),
        ]
    threshold = index.state.unknown.threshold
    if answer.is_unknown:
        said, colour, relation = "Unlike what is indexed", ORANGE, "above"
    else:
        said, colour, relation = "Of a known kind", GREEN, "not above"
    return [
        (said, 11.0, colour, True),
        (f"{score}, {relation} the threshold {threshold:.3f}", 9.5, FAINT, False),
    ]


def _found_words(index: Index, answer: Answer) -> str:
    """Return what is shown below."""
    how = "" if answer.exact else ", found approximately"
    return f"Below: the {len(answer.hits):,} nearest of {counted(len(index))}, with cosines{how}"


def _label_words(hits: tuple[Hit, ...]) -> str:
    """Return which labels the answers have, the most frequent first; "" without labels."""
    counts = Counter(hit.label for hit in hits if hit.label)
    words = ", ".join(f"{count} {label}" for label, count in counts.most_common(6))
    return f"Their labels: {words}" if words else ""


def _show_hit(sheet: Sheet, index: Index, hit: Hit, rank: int, *, x: float, y: float) -> None:
    """Show one answer: rank and cosine, label or folder, and the name."""
    pixels = picture_of(index, hit.image)
    sheet.show(pixels, x, y)
    y += SIDE + 0.06
    sheet.write(f"{rank}", x, y, width=SIDE, bold=True)
    if hit.same_bytes:
        sheet.write("same file", x + 0.28, y, width=SIDE - 0.7, colour=BLUE)
    sheet.write(f"{hit.cosine:.3f}", x + SIDE, y, width=SIDE, at_right=True)
    folder, name = folder_and_name(hit.id)
    # Folders are classes most often: then one of both is enough.
    label = "" if folder == f"{hit.label}/" else hit.label
    where = " · ".join(filter(None, (label, folder)))
    sheet.write(where, x, y + LINE, width=SIDE)
    sheet.write_name(name, x, y + 2 * LINE, width=SIDE, gone=pixels.ndim == 2)


def pair_figures(
    verification: Verification, images: Sequence[str], cosine: float | None
) -> dict[str, Figure]:
    """Draw two images side by side if they were named, and the ROC curve, by the names of files.

    Args:
        verification: The threshold, and what it is worth.
        images: Paths of two images, or none.
        cosine: Of the two images; None without them.
    """
    figures = {"roc": verification_figure(verification)}
    if cosine is None:
        return figures
    return {"pair": _pair_figure(verification, images, cosine), **figures}


def _pair_figure(verification: Verification, images: Sequence[str], cosine: float) -> Figure:
    """Draw two images side by side, and whether they are of one label."""
    same = cosine > verification.threshold
    sheet = Sheet(_QUERY_SIDE + 2 * LINE + 0.1, width=_PAIR_WIDTH)
    for place, path in enumerate(images):
        x = place * (_QUERY_SIDE + GAP)
        pixels = read_image(Path(path).read_bytes(), at_least=(LONGEST_SIDE, LONGEST_SIDE))
        _show_query(sheet, pixels, x)
        folder, name = folder_and_name(os.path.abspath(path))
        sheet.write(folder, x, _QUERY_SIDE + 0.08, width=_QUERY_SIDE)
        sheet.write_name(name, x, _QUERY_SIDE + 0.08 + LINE, width=_QUERY_SIDE)
    x, y = 2 * (_QUERY_SIDE + GAP) + 0.2, 0.1
    relation = "above" if same else "not above"
    rows = [
        ("Same label" if same else "Different labels", 16.0, GREEN if same else ORANGE, True),
        (f"cosine {cosine:.4f}", 11.0, INK, False),
        (f"{relation} the threshold {verification.threshold:.4f}", 11.0, INK, False),
        ("", 4.0, INK, False),
        (f"wanted: {100 * verification.wanted_rate:g} % false accepts", 9.0, FAINT, False),
        (
            f"measured: {percent(asdict(verification.false_accepts))} false accepts",
            9.0,
            FAINT,
            False,
        ),
        (f"and {percent(asdict(verification.true_accepts))} true accepts", 9.0, FAINT, False),
    ]
    for text, size, colour, bold in rows:
        sheet.write(text, x, y, width=_PAIR_WIDTH - x, size=size, colour=colour, bold=bold)
        y += size / 72 * 1.6
    return sheet.figure
