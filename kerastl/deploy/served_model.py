"""A SavedModel that kerastl exported, loaded to be asked from Python."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.deploy.export_formats import LABELS_FILE, SIDECAR, versions_in
from kerastl.deploy.savedmodel import THRESHOLDS_FILE
from kerastl.errors import ConfigError


@dataclass(frozen=True)
class ServedModel:
    """A loaded SavedModel.

    Attributes:
        path: DIRECTORY/VERSION.
        class_names: The labels, in the order of the model's outputs.
        multi_label: Whether an image can have several labels, or none.
        thresholds: Then the score from which each label counts, in the same order.
        has_threshold: Whether it says from where on an image is of an unknown kind.
    """

    path: Path
    class_names: tuple[str, ...]
    multi_label: bool
    thresholds: tuple[float, ...] | None
    has_threshold: bool
    _root: Any = field(repr=False)

    @property
    def functions(self) -> Mapping[str, Any]:
        """What it can be asked, by the name of the signature: functions of tensors by name."""
        functions: Mapping[str, Any] = self._root.signatures
        return functions

    @property
    def tells_unknown(self) -> bool:
        """Whether it says how far images are from what it was trained on."""
        return "unknown_score" in self._root.signatures["serving_default"].structured_outputs

    def predict(
        self, images_bytes: Sequence[bytes], *, batch_size: int = 32
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return labels and scores, best first.

        Args:
            images_bytes: The contents of n image files.
            batch_size: Images at a time.

        Returns:
            classes, str of shape (n, num_classes), and scores, float32 of the same shape; labels
            are "" and scores 0 for images that cannot be read, see `ask`.
        """
        answers = self.ask(images_bytes, batch_size=batch_size)
        return answers["classes"], answers["scores"]

    def ask(
        self, images_bytes: Sequence[bytes], *, batch_size: int = 32
    ) -> dict[str, NDArray[Any]]:
        """Return all that the model says of images.

        Args:
            images_bytes: The contents of n image files.
            batch_size: Images at a time.

        Returns:
            classes and scores as `predict`; error, str of shape (n,): why an image could not be
            read, or ""; and where it tells pictures of another kind unknown_score, float32 of shape
            (n,), and is_unknown, bool of the same shape.
        """
        serve = self._root.signatures["serving_default"]
        # An empty batch too, for the shapes of the answers.
        starts = range(0, max(len(images_bytes), 1), batch_size)
        batches = [
            serve(image_bytes=tf.constant(batch, tf.string, shape=[len(batch)]))
            for batch in (list(images_bytes[start : start + batch_size]) for start in starts)
        ]
        answers = {
            name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]
        }
        classes = [[label.decode() for label in labels] for labels in answers["classes"]]
        return {
            **answers,
            "classes": np.array(classes, object).reshape(answers["scores"].shape).astype(np.str_),
            "error": np.array([error.decode() for error in answers["error"]], np.str_),
        }


def load_savedmodel(path: str | os.PathLike[str]) -> ServedModel:
    """Load what `export_savedmodel` wrote.

    Args:
        path: DIRECTORY, for its highest version, or DIRECTORY/VERSION.

    Returns:
        The model, whose `predict` takes encoded images.

    Raises:
        ConfigError: There is no such SavedModel.
    """
    path = Path(path)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        versions = versions_in(path)
        path = path / str(versions[-1]) if versions else path
    labels_path = path / "assets" / LABELS_FILE
    try:
        labels = labels_path.read_text(encoding="utf-8")
        sidecar = json.loads((path / "assets.extra" / SIDECAR).read_text("utf-8"))
        multi_label = bool(sidecar["multi_label"])
        thresholds = _read_thresholds(path / "assets" / THRESHOLDS_FILE)
        root = tf.saved_model.load(str(path))
    except (OSError, tf.errors.OpError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{str(path)!r} is no SavedModel that kerastl exported "
            f"({str(error).splitlines()[0][:200]}). Give a folder such as saved_models/NAME or "
            "saved_models/NAME/1; python -m kerastl.export makes one of a run folder."
        ) from None
    return ServedModel(
        path=path,
        class_names=tuple(labels.splitlines()),
        multi_label=multi_label,
        thresholds=thresholds,
        has_threshold=(sidecar.get("unknown") or {}).get("threshold") is not None,
        _root=root,
    )


def _read_thresholds(path: Path) -> tuple[float, ...] | None:
    """Return one number per line, or None where there is no such file."""
    if not path.is_file():
        return None
    return tuple(float(line) for line in path.read_text(encoding="utf-8").splitlines())
