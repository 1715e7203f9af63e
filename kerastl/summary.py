"""The last lines that a run writes to a terminal: at most twelve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kerastl.data.imbalance import LARGE_RATIO, LOGIT_ADJUST, NONE
from kerastl.data.wording import counted
from kerastl.deploy.savedmodel import ExportResult
from kerastl.evaluation.measure_words import measure_words
from kerastl.record import Record
from kerastl.run_folder import QUARANTINE, REPORT
from kerastl.training.decision import MODELS


def summary_lines(
    record: Record,
    metrics: dict[str, Any],
    *,
    folder: Path,
    export: ExportResult | None,
    seconds: float,
) -> tuple[str, ...]:
    """Return what a terminal shows at the end, at most twelve lines.

    Args:
        record: The run.
        metrics: From `write_record`.
        folder: Where the run folder is now.
        export: What was exported, if anything.
        seconds: How long all of it took, report and export included.
    """
    counts = ", ".join(f"{len(record.rows(s))} {s}" for s in ("train", "val", "test"))
    facts = metrics["imbalance"]
    uneven = facts is not None and facts["class_ratio"] > LARGE_RATIO
    lines = [f"{record.num_images} images, {len(record.table.class_names)} classes: {counts}."]
    if record.unreadable:
        left_out = counted(len(record.unreadable), "unreadable image was", "unreadable images were")
        lines.append(f"{left_out} left out: {QUARANTINE}.")
    names = [name for name in MODELS if name in metrics]
    for name in names:
        mark = "  <- kept" if name == metrics["kept"] else ""
        measures = measure_words(metrics[name]["test"], uneven=uneven)
        lines.append(f"{name:<{max(map(len, names))}}  {measures}{mark}")
    if record.experiment.few is not None:
        lines.append(record.experiment.few.words)
    lines.append(metrics["kept_because"])
    if metrics["groups"] is not None:
        lines.append(metrics["groups"][metrics["kept"]]["test"]["words"])
    if uneven and facts["remedy"] == NONE and record.experiment.few is None:
        lines.append(
            f"The largest class has {facts['class_ratio']:.1f} times as many images as the "
            f"smallest: --imbalance {LOGIT_ADJUST} finds more of the rare ones."
        )
    lines.append(_computed(record))
    lines.append(f"Run folder: {folder} (open {folder / REPORT})")
    if export is not None:
        lines.append(f"SavedModel: {export.path} (proven on {export.parity.num_images} images)")
    lines.append(f"Took {seconds:.0f} s. Try: python -m kerastl.predict {folder} IMAGES")
    return tuple(lines)


def _computed(record: Record) -> str:
    """Return what ran in which precision, whether XLA compiled it, and if memory ran out."""
    phase = record.experiment.phase
    words = f"Computed in {keras.config.dtype_policy().name}"
    if record.experiment.precision.dtype != "float32":
        words += f", features of training images in {record.experiment.precision.dtype}"
    if phase is None:
        return f"{words}."
    if phase.step_precision.policy != "float32":
        words += f", training steps in {phase.step_precision.policy}"
    return " ".join(filter(None, (f"{words}; XLA {phase.xla.words}.", phase.out_of_memory)))
