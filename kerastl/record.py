"""What a run leaves behind: the files of its folder, its report, its ten lines for a terminal."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.config import FitConfig, config_to_yaml
from kerastl.data.pixels import Unreadable, encoded_image
from kerastl.data.sources import ImageTable
from kerastl.deploy.savedmodel import ExportResult
from kerastl.evaluation.metrics import classification_metrics, multi_label_metrics
from kerastl.models.network import Network
from kerastl.run_folder import (
    CONFIG,
    ENVIRONMENT,
    HELD_OUT,
    HISTORY,
    LABELS,
    METRICS,
    MODEL,
    PREDICTIONS,
    REPORT,
    SPLIT,
    UNREADABLE,
    write_json,
    write_rows,
)
from kerastl.training.experiment import FINE_TUNED, PROBE, Experiment

# Enough that a disagreement of an export shows, few enough to keep in every run folder.
NUM_HELD_OUT = 16


@dataclass(frozen=True)
class Record:
    """All that a finished run knows.

    Attributes:
        config: The options.
        table: Images that could be read, and their labels.
        splits: Of shape (n,): "train", "val" or "test" for each.
        unreadable: Images that were left out.
        network: The backbone and where it was cut.
        experiment: Both models' answers.
        seconds: How long the run took.
    """

    config: FitConfig
    table: ImageTable
    splits: NDArray[np.str_]
    unreadable: tuple[Unreadable, ...]
    network: Network = field(repr=False)
    experiment: Experiment
    seconds: float

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split."""
        return np.flatnonzero(self.splits == split)


def measure(record: Record) -> dict[str, Any]:
    """Return the metrics of both models on validation and test, as metrics.json holds them.

    Args:
        record: The run.
    """
    table, experiment = record.table, record.experiment
    metrics_of = multi_label_metrics if table.multi_label else classification_metrics
    measured: dict[str, Any] = {
        "kept": experiment.kept,
        "kept_because": why_kept(experiment),
    }
    for name, answers in experiment.answers.items():
        measured[name] = {}
        for split, probabilities in (("val", answers.validation), ("test", answers.test)):
            rows = record.rows(split)
            measured[name][split] = metrics_of(
                table.labels[rows],
                probabilities,
                class_names=table.class_names,
                groups=None if table.groups is None else table.groups[rows],
                seed=record.config.seed,
            ).to_dict()
    return measured


def why_kept(experiment: Experiment) -> str:
    """Return the reason for the choice in one sentence.

    Args:
        experiment: Both models' answers.
    """
    if FINE_TUNED not in experiment.answers:
        return "Only the probe was fitted."
    losses = {name: answers.validation_loss for name, answers in experiment.answers.items()}
    other = PROBE if experiment.kept == FINE_TUNED else FINE_TUNED
    return (
        f"The {experiment.kept} model has the smaller log-loss on validation: "
        f"{losses[experiment.kept]:.3f} against {losses[other]:.3f} of the {other} one."
    )


def environment(record: Record) -> dict[str, Any]:
    """Return what ran where: versions, hardware, precision.

    Args:
        record: The run.
    """
    packages = ("tensorflow", "keras", "numpy", "scikit-learn", "pillow")
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "kerastl": __version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_count": os.cpu_count(),
        "gpus": [tf.config.experimental.get_device_details(g).get("device_name") for g in gpus],
        "precision": keras.config.dtype_policy().name,
        "xla": "off" if not gpus else "auto",
        "seconds": round(record.seconds, 1),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_record(folder: Path, record: Record, *, images: NDArray[np.uint8]) -> dict[str, Any]:
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
    write_json(folder / ENVIRONMENT, environment(record))
    write_rows(folder / SPLIT, split_rows_of(record))
    write_rows(folder / PREDICTIONS, prediction_rows(record))
    if record.experiment.phase is not None:
        write_rows(folder / HISTORY, record.experiment.phase.history)
    if record.unreadable:
        write_rows(
            folder / UNREADABLE, [{"path": u.id, "reason": u.reason} for u in record.unreadable]
        )
    record.experiment.classifier.save(folder / MODEL)
    write_held_out(folder, record)
    return metrics


def labels_of(record: Record) -> dict[str, Any]:
    """Return what must be known to use the model: labels and how images are brought to size.

    Args:
        record: The run.
    """
    return {
        "class_names": list(record.table.class_names),
        "image_size": list(record.network.image_size),
        "resize_mode": record.config.resize_mode,
        "multi_label": record.table.multi_label,
    }


def split_rows_of(record: Record) -> list[dict[str, Any]]:
    """Return one row for each image: path, label, split, and group if there are any.

    Args:
        record: The run.
    """
    table = record.table
    rows = [
        {"path": id_, "label": label_text(table, row), "split": str(record.splits[row])}
        for row, id_ in enumerate(table.ids)
    ]
    if table.groups is not None:
        for row, group in zip(rows, table.groups, strict=True):
            row["group"] = str(group)
    return rows


def label_text(table: ImageTable, row: int) -> str:
    """Return the label of one image, several joined by "|".

    Args:
        table: The images.
        row: Which one.
    """
    if table.multi_label:
        return "|".join(table.class_names[i] for i in np.flatnonzero(table.labels[row]))
    return table.class_names[int(table.labels[row])]


def prediction_rows(record: Record) -> list[dict[str, Any]]:
    """Return what the kept model says of each test image.

    Args:
        record: The run.
    """
    table = record.table
    probabilities = record.experiment.answers[record.experiment.kept].test
    rows = []
    for row, values in zip(record.rows("test"), probabilities, strict=True):
        best = int(values.argmax())
        rows.append(
            {
                "path": table.ids[row],
                "label": label_text(table, int(row)),
                "predicted": table.class_names[best],
                **{
                    f"p({name})": round(float(value), 6)
                    for name, value in zip(table.class_names, values, strict=True)
                },
            }
        )
    return rows


def write_held_out(folder: Path, record: Record) -> None:
    """Keep some test images and what was answered to them: later exports are proven on these.

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
        content = encoded_image(record.table, int(rows[index]))
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


def summary_lines(
    record: Record, metrics: dict[str, Any], *, folder: Path, export: ExportResult | None
) -> tuple[str, ...]:
    """Return what a terminal shows at the end, at most ten lines.

    Args:
        record: The run.
        metrics: From `write_record`.
        folder: Where the run folder is now.
        export: What was exported, if anything.
    """
    counts = ", ".join(f"{len(record.rows(s))} {s}" for s in ("train", "val", "test"))
    lines = [f"{len(record.table.ids)} images, {len(record.table.class_names)} classes: {counts}."]
    if record.unreadable:
        lines.append(f"{len(record.unreadable)} unreadable images were left out: {UNREADABLE}.")
    for name in (PROBE, FINE_TUNED):
        if name in metrics:
            test = metrics[name]["test"]
            mark = "  <- kept" if name == metrics["kept"] else ""
            lines.append(
                f"{name:<10}  test accuracy {percent(test['accuracy'])}"
                f", AUROC {number(test['auroc'])}{mark}"
            )
    lines.append(metrics["kept_because"])
    lines.append(f"Run folder: {folder} (open {folder / REPORT})")
    if export is not None:
        lines.append(f"SavedModel: {export.path} (proven on {export.parity.num_images} images)")
    lines.append(f"Took {record.seconds:.0f} s. Try: python -m kerastl.predict {folder} IMAGES")
    return tuple(lines)


def percent(estimate: dict[str, float] | None) -> str:
    """Return a share with its interval in percent.

    Args:
        estimate: value, low and high from 0 to 1; None where it cannot be known.

    Example:
        >>> percent({"value": 0.88, "low": 0.85, "high": 0.9})
        '88.0 % (85.0 to 90.0)'
    """
    if estimate is None:
        return "unknown"
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def number(estimate: dict[str, float] | None) -> str:
    """Return a number with its interval.

    Args:
        estimate: value, low and high; None where it cannot be known.

    Example:
        >>> number({"value": 0.912, "low": 0.89, "high": 0.93})
        '0.912 (0.890 to 0.930)'
    """
    if estimate is None:
        return "unknown"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
