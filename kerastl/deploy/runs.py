"""A run folder and what can be made from it: its model again, and its SavedModel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerastl.deploy.export_formats import require_model_name
from kerastl.deploy.judgement import Judgement
from kerastl.deploy.savedmodel import ExportResult, export_savedmodel
from kerastl.errors import ConfigError, ExportError
from kerastl.features.novelty import Novelty, read_novelty
from kerastl.models.classifier import feature_model
from kerastl.run_folder import HELD_OUT, MODEL, NOVELTY, read_labels


@dataclass(frozen=True)
class FinishedRun:
    """What a run folder says of its model.

    Attributes:
        path: The folder.
        model: From float32 (batch, height, width, 3), RGB 0..255, to probabilities.
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels.
        resize_mode: How images of other sizes are fitted.
        multi_label: Whether an image can have several classes.
        thresholds: Then for each class the probability from which it counts; else None.
        novelty: What tells pictures of another kind; None for runs that did not learn it.
    """

    path: Path
    model: keras.Model
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    resize_mode: str
    multi_label: bool
    thresholds: tuple[float, ...] | None = None
    novelty: Novelty | None = None


def load_run(path: str | Path) -> FinishedRun:
    """Load the model of a run folder.

    Args:
        path: A folder that `kerastl.fit` made.

    Raises:
        ConfigError: It is not a finished run folder, or its model is damaged.
    """
    path = Path(path)
    labels = read_labels(path)
    try:
        model = keras.saving.load_model(path / MODEL, compile=False, safe_mode=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The model of the run folder {str(path)!r} cannot be loaded: "
            f"{' '.join(str(error).split())[:200]} "
            f"Make the run again with: python -m kerastl.fit --config {path / 'config.yaml'}"
        ) from None
    height, width = labels["image_size"]
    thresholds = labels.get("thresholds")
    return FinishedRun(
        path=path,
        model=model,
        class_names=tuple(labels["class_names"]),
        image_size=(int(height), int(width)),
        resize_mode=str(labels["resize_mode"]),
        multi_label=bool(labels["multi_label"]),
        thresholds=None if thresholds is None else tuple(map(float, thresholds)),
        novelty=read_novelty(path / NOVELTY) if (path / NOVELTY).is_file() else None,
    )


def export_run(
    path: str | Path,
    *,
    export_dir: str | Path = "saved_models",
    name: str | None = None,
    fold: bool = True,
    judgement: Judgement | None = None,
) -> ExportResult:
    """Write the SavedModel of a run folder, proven on the run's held-out images.

    Two proofs: the model loaded from the run folder must give the probabilities that were
    measured when it was trained, and the SavedModel must give what the model gives.

    Args:
        path: The run folder.
        export_dir: The model goes to EXPORT_DIR/NAME/VERSION.
        name: Name of the served model; that of the run folder when not given.
        fold: Whether BatchNorm layers are folded, see `kerastl.deploy.savedmodel`.
        judgement: Images that it is asked beside the held-out ones, and who decides.

    Raises:
        ConfigError: It is not a finished run folder.
        ExportError: The answers differ, or nothing can be written.
    """
    if name is not None:
        require_model_name(name)
    run = load_run(path)
    contents, measured = read_held_out(run.path)
    return export_savedmodel(
        run.model,
        Path(export_dir) / (name or run.path.resolve().name),
        class_names=run.class_names,
        image_size=run.image_size,
        resize_mode=run.resize_mode,
        multi_label=run.multi_label,
        thresholds=run.thresholds,
        features=feature_model(run.model),
        held_out=contents,
        measured=measured,
        novelty=run.novelty,
        fold=fold,
        judgement=judgement,
    )


def read_held_out(path: Path) -> tuple[list[bytes], list[list[float]]]:
    """Return the held-out images of a run folder, and what its model answered to them.

    Args:
        path: The run folder.

    Raises:
        ExportError: They are gone, so that nothing can be proven.
    """
    folder = path / HELD_OUT
    try:
        rows: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text("utf-8"))
        contents = [(folder / row["file"]).read_bytes() for row in rows]
    except (OSError, ValueError):
        raise ExportError(
            f"The held-out images of the run folder {str(path)!r} are gone or damaged "
            f"({folder}); without them an export cannot be proven. Make the run again with: "
            f"python -m kerastl.fit --config {path / 'config.yaml'}"
        ) from None
    return contents, [row["probabilities"] for row in rows]
