"""An assessment as files: page, numbers, and what each model answers image by image."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.answered import AnsweredImages, answer_rows
from kerastl.answered_pictures import (
    cell_images,
    confusion_pictures,
    mistake_pictures,
    ranking_pictures,
    reliability_picture,
)
from kerastl.assessment import Assessment
from kerastl.data.pixels import encoded_image
from kerastl.data.preparation import prepare_pixels
from kerastl.data.sources import ImageTable
from kerastl.evaluation.report import DataSummary, Picture, Report
from kerastl.evaluation.report_page import render_report
from kerastl.run_folder import METRICS, QUARANTINE, REPORT, FolderKind, write_json, write_rows

ANSWERS = "answers.csv"
EVALUATION_FOLDER = FolderKind("folder of an evaluation", "evaluations", (METRICS, ANSWERS))
# Of a thumbnail on the sheet of mistakes, in pixels.
_THUMBNAIL_SIZE = (160, 160)


def write_assessment(folder: Path, assessment: Assessment, *, command: str) -> None:
    """Write every file of the folder of an evaluation.

    Args:
        folder: Where to write; it exists and is empty.
        assessment: What was found.
        command: What was typed, for the page.
    """
    finished = datetime.datetime.now(datetime.UTC)
    write_json(folder / METRICS, _values(assessment, command=command, finished=finished))
    rows = [
        {"model": name, **row}
        for name, answered in assessment.answered.items()
        for row in answer_rows(answered)
    ]
    write_rows(folder / ANSWERS, rows)
    if assessment.table is not None:
        faults = [{"path": one.id, "reason": one.reason} for one in assessment.unreadable]
        write_rows(folder / QUARANTINE, faults, columns=["path", "reason"])
    pictures = _pictures(folder, assessment)
    report = _report(assessment, pictures=pictures, command=command, finished=finished)
    (folder / REPORT).write_text(render_report(report), encoding="utf-8")


def _values(assessment: Assessment, *, command: str, finished: datetime.datetime) -> dict[str, Any]:
    """Return what metrics.json holds."""
    return {
        "kerastl": __version__,
        "finished": finished.isoformat(timespec="seconds"),
        "command": command,
        "images": f"{assessment.name}: images {assessment.untouched}",
        "notes": list(assessment.notes),
        "models": {name: str(path) for name, path in assessment.models.items()},
        "metrics": assessment.metrics,
        "unknown": None if assessment.unknown is None else assessment.unknown.to_dict(),
        "groups": None if assessment.subgroups is None else assessment.subgroups.to_dict(),
        "comparisons_with_the_first": {
            name: dataclasses.asdict(one) for name, one in assessment.comparisons.items()
        },
    }


def _pictures(folder: Path, assessment: Assessment) -> list[Picture]:
    """Return confusion, reliability and the sheet of mistakes of the first model."""
    first, answered = next(iter(assessment.answered.items()))
    metrics = assessment.metrics[first]
    pictures = confusion_pictures(folder, metrics, model=first)
    pictures.append(reliability_picture(folder, metrics, model=first))
    pictures += ranking_pictures(folder, answered)
    if (table := assessment.table) is not None:
        pictures += mistake_pictures(answered, lambda row: _thumbnail(table, row))
    return pictures


def _thumbnail(table: ImageTable, row: int) -> NDArray[np.uint8]:
    """Return an image for the sheet, whole, with a border where it is not square."""
    return prepare_pixels(encoded_image(table, row), image_size=_THUMBNAIL_SIZE, resize_mode="pad")


def _report(
    assessment: Assessment, *, pictures: list[Picture], command: str, finished: datetime.datetime
) -> Report:
    """Return what the page says."""
    first, answered = next(iter(assessment.answered.items()))
    table = assessment.table
    others = "" if len(assessment.models) == 1 else f" and {len(assessment.models) - 1} more"
    of_models = "; ".join(f"{name}: {path}" for name, path in assessment.models.items())
    return Report(
        title=f"{first}{others} on {assessment.name}",
        created=finished,
        version=__version__,
        command=command,
        data=DataSummary(
            name=assessment.name,
            num_images=len(answered.ids),
            class_names=answered.class_names,
            counts={"test": _counts(answered)},
            unreadable=[(one.id, one.reason) for one in assessment.unreadable],
            how_split=f"Models: {of_models}.",
            unlabelled={"test": int(np.sum(~answered.labels.any(axis=1)))}
            if answered.multi_label
            else {},
        ),
        model=None,
        kept=first,
        kept_because="",
        validation={},
        test=assessment.metrics,
        pictures=pictures,
        notes=assessment.notes,
        untouched=assessment.untouched,
        comparisons=list(assessment.comparisons.items()),
        subgroups=None if assessment.subgroups is None else assessment.subgroups.to_dict(),
        unknown=assessment.unknown,
        cell_images=()
        if table is None
        else cell_images(answered, lambda row: _thumbnail(table, row)),
    )


def _counts(answered: AnsweredImages) -> list[int]:
    """Return the images of each class."""
    if answered.multi_label:
        return [int(count) for count in answered.labels.sum(axis=0)]
    return np.bincount(answered.labels, minlength=len(answered.class_names)).tolist()
