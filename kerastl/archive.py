"""A finished run as files: everything that its folder holds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.advice import diagnosis_of
from kerastl.answered import answer_rows
from kerastl.config_file import config_to_yaml
from kerastl.data.image_reader import servable_image
from kerastl.data.pixels import encoded_image
from kerastl.data.stream import Images
from kerastl.errors import DataError
from kerastl.evaluation.model_card import render_model_card
from kerastl.evaluation.report_page import render_report
from kerastl.features.novelty import write_novelty
from kerastl.label_review import COLUMNS, candidate_rows, candidates_of, candidates_sheet
from kerastl.page import report_of
from kerastl.record import Record, environment, labels_of, measure, split_rows_of
from kerastl.run_folder import (
    CHECK,
    CONFIG,
    ENVIRONMENT,
    HELD_OUT,
    HISTORY,
    LABEL_CANDIDATES,
    LABELS,
    METRICS,
    MODEL,
    MODEL_CARD,
    NOVELTY,
    PREDICTIONS,
    QUARANTINE,
    REPORT,
    SPLIT,
    write_json,
    write_rows,
)
from kerastl.run_pictures import draw_pictures
from kerastl.training.checks import flat_rows

logger = logging.getLogger(__name__)

# Enough that a disagreement of an export shows, few enough to keep in every run folder.
NUM_HELD_OUT = 16


def write_record(
    folder: Path, record: Record, *, images: Images, elapsed: Callable[[], float]
) -> dict[str, Any]:
    """Write every file of the run folder and return its metrics.

    Args:
        folder: Where to write; it exists and is empty.
        record: The run.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.
        elapsed: Gives the seconds since the run began.
    """
    metrics = measure(record)
    if (diagnosis := diagnosis_of(record)) is not None:
        metrics["diagnosis"] = dataclasses.asdict(diagnosis)
    if record.experiment.phase is not None:
        metrics["best_epoch"] = record.experiment.phase.best_epoch
        metrics["kept_epoch"] = record.experiment.phase.kept_epoch
    write_json(folder / METRICS, metrics)
    config = config_to_yaml(record.config, heading=_own_parts_heading(record))
    (folder / CONFIG).write_text(config, encoding="utf-8")
    write_json(folder / LABELS, labels_of(record))
    write_json(folder / CHECK, record.audit.to_dict())
    write_rows(folder / SPLIT, split_rows_of(record))
    answered = record.answered("test", record.experiment.kept)
    write_rows(folder / PREDICTIONS, answer_rows(answered))
    if record.experiment.phase is not None:
        write_rows(folder / HISTORY, flat_rows(record.experiment.phase.history))
    left_out = [{"path": fault.id, "reason": fault.reason} for fault in record.unreadable]
    # Also when it is empty: no file would leave it open whether anybody looked.
    write_rows(folder / QUARANTINE, left_out, columns=["path", "reason"])
    candidates = candidates_of(record)
    if candidates is not None:
        rows = candidate_rows(record, candidates)
        write_rows(folder / LABEL_CANDIDATES, rows, columns=COLUMNS)
    record.experiment.classifier.save(folder / MODEL)
    if record.known_kind is not None:
        write_novelty(folder / NOVELTY, record.known_kind.novelty)
    write_held_out(folder, record)
    pictures = draw_pictures(folder, record, metrics, images=images)
    pictures += tuple(candidates_sheet(record, images, candidates))
    around = environment(record, seconds=elapsed())
    write_json(folder / ENVIRONMENT, around)
    report = report_of(record, metrics, pictures=pictures, images=images, environment=around)
    (folder / REPORT).write_text(render_report(report), encoding="utf-8")
    (folder / MODEL_CARD).write_text(render_model_card(report), encoding="utf-8")
    return metrics


def _own_parts_heading(record: Record) -> str:
    """Return what config.yaml cannot tell of a run; "" where it tells all."""
    if not record.own_parts:
        return ""
    own = " and ".join(record.own_parts)
    given = ", ".join(f"{name}=..." for name in record.own_parts)
    given += ", preprocessing=..." if "backbone" in record.own_parts else ""
    unread = [*(["data"] if record.own_table else [])]
    unread += ["backbone", "weights"] if "backbone" in record.own_parts else []
    return (
        f"This file alone cannot make the run again: its {own} came from Python, and "
        f"{', '.join(unread)} below {'was' if len(unread) == 1 else 'were'} not read. Type: "
        f'kerastl.run(kerastl.read_config("{CONFIG}"), {given})'
    )


def write_held_out(folder: Path, record: Record) -> None:
    """Keep some test images and what was answered to them: later exports are proven on these.

    What the exported graph cannot decode (a TIFF) is kept as PNG of the same pixels.

    Args:
        folder: The run folder.
        record: The run.
    """
    place = folder / HELD_OUT
    place.mkdir()
    answers = record.experiment.answers[record.experiment.kept].test
    rows = record.rows("test")
    # Spread over the whole split, whatever order the table has.
    chosen = np.unique(np.linspace(0, len(rows) - 1, NUM_HELD_OUT).astype(int))
    entries = []
    for index in chosen:
        try:
            content = servable_image(encoded_image(record.table, int(rows[index])))
        except DataError as error:  # gone or damaged since it was read: no reason to lose the run
            logger.warning("An image is not kept for the proof of exports: %s", error)
            continue
        name = f"{index:05d}{suffix_of(content)}"
        (place / name).write_bytes(content)
        entries.append(
            {
                "file": name,
                "path": record.table.ids[rows[index]],
                "probabilities": [float(value) for value in answers[index]],
            }
        )
    write_json(place / "answers.json", entries)


def suffix_of(content: bytes) -> str:
    """Return the file suffix that the first bytes of an image ask for.

    Args:
        content: An encoded image.

    Example:
        >>> suffix_of(b"GIF89a...")
        '.gif'
    """
    kinds = {
        b"\xff\xd8": ".jpg",
        b"\x89PNG": ".png",
        b"GIF8": ".gif",
        b"BM": ".bmp",
        b"RIFF": ".webp",
    }
    return next((suffix for start, suffix in kinds.items() if content.startswith(start)), ".img")
