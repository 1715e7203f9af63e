"""A finished comparison as files: the page, JSON, CSV, and the picture."""

from __future__ import annotations

import datetime
from pathlib import Path

from kerastl._version import __version__
from kerastl.comparing.figure import tradeoff_caption, tradeoff_figure
from kerastl.comparing.result import (
    CandidateResult,
    Comparison,
    candidate_rows,
    comparison_values,
)
from kerastl.comparing.words import (
    HEADER,
    answer_sentences,
    candidate_cells,
    images_words,
    interval_text,
    milliseconds_text,
)
from kerastl.evaluation.figures import figure_data_uri, save_figure
from kerastl.evaluation.template import dateline, render_template
from kerastl.run_folder import FolderKind, write_json, write_rows

VALUES = "comparison.json"
PAGE = "comparison.html"
CANDIDATES = "candidates.csv"
PICTURE = "accuracy_and_latency"

COMPARISON_FOLDER = FolderKind("comparison folder", "comparisons", (VALUES, PAGE))


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write every file of a comparison folder.

    Args:
        folder: Where to write; it exists and is empty.
        comparison: What was found.
    """
    finished = datetime.datetime.now(datetime.UTC)
    values = comparison_values(comparison, finished=finished.isoformat(timespec="seconds"))
    write_json(folder / VALUES, values)
    # Text for what is not known: a column of whole numbers with gaps would become fractions.
    rows = candidate_rows(comparison)
    filled = [{key: "" if one is None else one for key, one in row.items()} for row in rows]
    write_rows(folder / CANDIDATES, filled)
    save_figure(tradeoff_figure(comparison), folder / PICTURE)
    page = make_comparison_page(comparison, finished=finished)
    (folder / PAGE).write_text(page, encoding="utf-8")


def make_comparison_page(comparison: Comparison, *, finished: datetime.datetime) -> str:
    """Return the page of a comparison as HTML that needs no other file.

    Args:
        comparison: What was found.
        finished: When.
    """
    first, verdict = comparison.advised, comparison.verdict
    return render_template(
        "compare.html",
        comparison=comparison,
        created=dateline(finished),
        finished=finished,
        version=__version__,
        first=first.candidate.name,
        accuracy="" if first.accuracy is None else f"{100 * first.accuracy.value:.1f} %",
        interval="" if first.accuracy is None else interval_text(first.accuracy),
        latency="" if first.speed is None else f"{milliseconds_text(first.speed.latency_ms)} ms",
        batch="" if first.speed is None else f"{milliseconds_text(first.speed.batch_ms)} ms",
        sentences=answer_sentences(comparison),
        images=images_words(comparison),
        fit=comparison.options.fit_command(first.candidate),
        header=HEADER,
        rows=[
            (one.candidate.name, candidate_cells(one)[1:], against_texts(comparison, one))
            for one in comparison.ranked_results
        ],
        tied=verdict.tied,
        efficient=verdict.efficient,
        unreadable=comparison.unreadable,
        refused=[(one.candidate.name, one.refused) for one in comparison.refused_results],
        picture=figure_data_uri(tradeoff_figure(comparison)),
        caption=tradeoff_caption(comparison),
        spread=max(
            (one.speed.latency_spread for one in comparison.ranked_results if one.speed), default=0
        ),
    )


def against_texts(comparison: Comparison, result: CandidateResult) -> tuple[str, str]:
    """Return how a network does against the most accurate one: in points, and the p-value.

    Args:
        comparison: What was found.
        result: Of the network.
    """
    one = comparison.verdict.against_best.get(result.candidate.name)
    if one is None:
        return "", ""
    found = one.accuracy
    points = f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if one.p_value is None:
        return points, ""
    return points, f"p {'< 0.001' if one.p_value < 0.001 else f'= {one.p_value:.2g}'}"
