"""A finished run as files: everything that its folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kerastl.config_file import config_to_yaml
from kerastl.data.image_reader import servable_image
from kerastl.data.pixels import encoded_image
from kerastl.data.stream import Images
from kerastl.page import make_report
from kerastl.record import Record, environment, labels_of, measure, prediction_rows, split_rows_of
from kerastl.run_folder import (
    CHECK,
    CONFIG,
    ENVIRONMENT,
    HELD_OUT,
    HISTORY,
    LABELS,
    METRICS,
    MODEL,
    PREDICTIONS,
    QUARANTINE,
    REPORT,
    SPLIT,
    write_json,
    write_rows,
)
from kerastl.run_pictures import draw_pictures

# Enough that a disagreement of an export shows, few enough to keep in every run folder.
NUM_HELD_OUT = 16


def write_record(folder: Path, record: Record, *, images: Images) -> dict[str, Any]:
    """Write every file of the run folder and return its metrics.

    Args:
        folder: Where to write; it exists and is empty.
        record: The run.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.
    """
    metrics = measure(record)
    write_json(folder / METRICS, metrics)
    (folder / CONFIG).write_text(config_to_yaml(record.config), encoding="utf-8")
    write_json(folder / LABELS, labels_of(record))
    around = environment(record)
    write_json(folder / ENVIRONMENT, around)
    write_json(folder / CHECK, record.audit.to_dict())
    write_rows(folder / SPLIT, split_rows_of(record))
    write_rows(folder / PREDICTIONS, prediction_rows(record))
    if record.experiment.phase is not None:
        write_rows(folder / HISTORY, record.experiment.phase.history)
    left_out = [{"path": fault.id, "reason": fault.reason} for fault in record.unreadable]
    # Also when it is empty: no file would leave it open whether anybody looked.
    write_rows(folder / QUARANTINE, left_out, columns=["path", "reason"])
    record.experiment.classifier.save(folder / MODEL)
    write_held_out(folder, record)
    pictures = draw_pictures(folder, record, metrics, images=images)
    page = make_report(record, metrics, pictures=pictures, images=images, environment=around)
    (folder / REPORT).write_text(page, encoding="utf-8")
    return metrics


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
        content = servable_image(encoded_image(record.table, int(rows[index])))
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
