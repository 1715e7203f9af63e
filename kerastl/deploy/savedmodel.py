"""A classifier as a SavedModel that takes encoded images and answers with labels.

Decoding, resizing, preprocessing and labels are inside, as TensorFlow operations only, so
that TF Serving, TensorFlow's C API and Python without Keras all give the same answer.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerastl._version import __version__
from kerastl.deploy.export_formats import LABELS_FILE, SIDECAR
from kerastl.deploy.judgement import Judgement
from kerastl.deploy.parity import Parity, prove_parity
from kerastl.deploy.serving_files import write_serving_files, write_warmup
from kerastl.deploy.signatures import (
    DESCRIPTIONS,
    UNKNOWN_DESCRIPTION,
    NoveltyInGraph,
    trace_signatures,
)
from kerastl.deploy.versions import partial_version, publish_version, writing_version
from kerastl.errors import ConfigError
from kerastl.evaluation.thresholds import as_thresholds
from kerastl.evaluation.unknown import FALSE_ALARMS
from kerastl.features.novelty import Novelty
from kerastl.models.classifier import feature_model
from kerastl.models.fold import fold_batch_norm
from kerastl.models.folded_classifier import fold_classifier

THRESHOLDS_FILE = "thresholds.txt"
_MADE_WITH = {
    "preprocessing": "inside the graph; give encoded images or RGB 0..255",
    # The decoder is part of TensorFlow: WebP needs 2.21 or later to serve.
    "exported_with": {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "kerastl": __version__,
    },
}
ASSETS = {
    LABELS_FILE: "one label per line, in the order of class_names",
    THRESHOLDS_FILE: "the score from which each label counts as answered, in the same order",
}


@dataclass(frozen=True)
class ExportResult:
    """An export that was proven.

    Attributes:
        path: DIRECTORY/VERSION.
        version: 1, 2 and so on.
        parity: How alike the export and the model answered.
        size_bytes: Of all files.
        seconds: For writing and proving.
    """

    path: Path
    version: int
    parity: Parity
    size_bytes: int
    seconds: float

    @property
    def summary_lines(self) -> tuple[str, ...]:
        """What a person wants to read about it."""
        parity = self.parity
        return (
            f"Exported {self.path} ({self.size_bytes / 1e6:.1f} MB) in {self.seconds:.0f} s.",
            f"Proven on {parity.num_images} held-out images in a fresh process without Keras: "
            f"largest difference of a probability {parity.max_difference:.1g}, "
            f"{parity.num_top_class_differences} best classes differ.",
            f"To serve it with TF Serving: cd {shlex.quote(str(self.path.parent))} && docker "
            "compose up",
        )


def export_savedmodel(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    held_out: Sequence[bytes],
    resize_mode: str = "stretch",
    features: keras.Model | None = None,
    measured: Sequence[Sequence[float]] | None = None,
    multi_label: bool = False,
    thresholds: Sequence[float] | None = None,
    novelty: Novelty | None = None,
    fold: bool = True,
    judgement: Judgement | None = None,
) -> ExportResult:
    """Write a model as DIRECTORY/VERSION for TF Serving, once it is proven to answer alike.

    It is written under a temporary name that TF Serving does not look at, loaded in a fresh
    process in which Keras cannot be imported, asked the held-out images, and given its name
    only if it answers like `model`. Existing versions are never touched.

    Args:
        model: From float32 (batch, height, width, 3), RGB 0..255, to probabilities
            (batch, num_classes). It does its own scaling.
        directory: The folder that TF Serving is given as the base path of the model.
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels that images are brought to.
        held_out: Encoded images (JPEG, PNG…) that were not trained on; at least one.
        resize_mode: "stretch", "crop" or "pad", see `kerastl.data.resize.resize_image`.
        features: The model up to its pooled features, for a third signature.
        measured: Probabilities (len(held_out), num_classes) that `model` gave when it was
            trained, to prove that it is still the same.
        multi_label: Whether an image can have several classes; noted for the readers.
        thresholds: Then for each class the score from which it counts as answered; an asset
            of its own beside the labels, one per line. Without them, 0.5.
        novelty: What tells pictures of another kind by `features`, for two outputs more; then
            `model` must be one of `kerastl.models.classifier`.
        fold: Whether BatchNorm layers are folded into the convolutions before them, where they can
            be: the same answers but for rounding, on CPUs faster (`benchmarks/frozen_forward.py`).

        judgement: Images that it is asked beside the held-out ones, and who decides.

    Returns:
        Where it is and how alike it answers.

    Raises:
        ConfigError: The arguments do not fit together.
        ExportError: The answers differ, or nothing can be written; nothing is left behind.

    Example::

        result = export_savedmodel(model, "saved_models/photos", class_names=["cat", "dog"],
                                   image_size=(224, 224), held_out=[path.read_bytes()])
        classes, scores = load_savedmodel(result.path).predict([path.read_bytes()])
    """
    started = time.monotonic()
    check_classifier(model, class_names=class_names, image_size=image_size)
    assets = {LABELS_FILE: class_names}
    if thresholds is not None:
        assets[THRESHOLDS_FILE] = [
            repr(float(t)) for t in as_thresholds(thresholds, len(class_names))
        ]
    directory = Path(directory)
    with partial_version(directory) as partial:
        in_graph = None if novelty is None else NoveltyInGraph(novelty)
        # Held until they are saved: traced functions hold variables weakly.
        served, served_features, num_folded = folded_or_not(model, features, fold=fold)
        signatures = trace_signatures(
            served,
            features=served_features,
            class_names=class_names,
            image_size=image_size,
            resize_mode=resize_mode,
            novelty=in_graph,
        )
        with writing_version(directory):
            _save(signatures, partial, assets=assets)
        parity = prove_parity(
            partial,
            model,
            class_names=class_names,
            image_size=image_size,
            resize_mode=resize_mode,
            held_out=held_out,
            features=features,
            measured=measured,
            novelty=novelty,
        )
        judged = None if judgement is None else dict(judgement.of(partial))
        with writing_version(directory):
            sidecar = {
                "class_names": list(class_names),
                "image_size": list(image_size),
                "resize_mode": resize_mode,
                "multi_label": multi_label,
                "assets": {name: ASSETS[name] for name in assets},
                "signatures": {name: DESCRIPTIONS[name] for name in signatures},
                "unknown": _unknown_note(novelty),
                "largest_probability_difference": parity.max_difference,
                "parity": judged,
                "batch_norm_layers_folded": num_folded,
                **_MADE_WITH,
            }
            _write_sidecar(partial, sidecar)
            write_warmup(partial, held_out, name=directory.resolve().name, signatures=signatures)
            size_bytes = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
            version = publish_version(partial, directory)
            write_serving_files(directory)
    return ExportResult(
        path=directory / str(version),
        version=version,
        parity=parity,
        size_bytes=size_bytes,
        seconds=time.monotonic() - started,
    )


def folded_or_not(
    model: keras.Model, features: keras.Model | None, *, fold: bool
) -> tuple[keras.Model, keras.Model | None, int]:
    """Return both networks as they are served, and how many BatchNorm layers were folded.

    Args:
        model: From images to probabilities.
        features: The same up to its pooled features, if wanted.
        fold: Whether to fold at all.
    """
    if not fold:
        return model, features, 0
    try:
        served, num_folded = fold_classifier(model)
        return served, None if features is None else feature_model(served), num_folded
    except ConfigError:  # a model that kerastl did not build
        pass
    try:
        served, num_folded = fold_batch_norm(model)
        return served, None if features is None else fold_batch_norm(features)[0], num_folded
    except ConfigError:  # one without a graph
        return model, features, 0


def _unknown_note(novelty: Novelty | None) -> dict[str, Any] | None:
    """Return what a reader should know of the outputs that tell pictures of another kind."""
    if novelty is None:
        return None
    return {
        "outputs": UNKNOWN_DESCRIPTION,
        "threshold": novelty.threshold if math.isfinite(novelty.threshold) else None,
        "false_alarms": FALSE_ALARMS,
        "num_validation": novelty.num_validation,
        "num_neighbours": novelty.num_neighbours,
        "num_known": len(novelty.known),
    }


def check_classifier(
    model: keras.Model, *, class_names: Sequence[str], image_size: tuple[int, int]
) -> None:
    """Refuse what cannot fit, before anything is written.

    Args:
        model: From images to probabilities.
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels.

    Raises:
        ConfigError: The shapes do not fit, or a name is no line of text, or is there twice.
    """
    expected_input, expected_output = (None, *image_size, 3), (None, len(class_names))
    if not (
        _fits(model.input_shape, expected_input) and _fits(model.output_shape, expected_output)
    ):
        raise ConfigError(
            f"The model must map images {expected_input} to probabilities {expected_output}; it "
            f"maps {model.input_shape} to {model.output_shape}. Check `image_size` and "
            "`class_names`."
        )
    if len(set(class_names)) != len(class_names):
        raise ConfigError("`class_names` must differ from each other; some occur twice.")
    for name in class_names:
        if name.splitlines() != [name] or name != name.encode(errors="replace").decode():
            raise ConfigError(
                f"A class name must be one line of UTF-8 text, because {LABELS_FILE} has one "
                f"label per line; received {name!r}. Rename the class."
            )


def _fits(shape: Any, expected: tuple[int | None, ...]) -> bool:
    """Whether one tensor of the expected shape goes through; None is any size."""
    return (
        isinstance(shape, tuple)
        and len(shape) == len(expected)
        and all(size in (None, wanted) for size, wanted in zip(shape, expected, strict=True))
    )


def _save(
    signatures: dict[str, Any], partial: Path, *, assets: Mapping[str, Sequence[str]]
) -> None:
    """Write the SavedModel, with labels and thresholds as assets of one line per class."""
    module = tf.Module(name="classifier")
    for name, lines in assets.items():
        (partial / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        asset = tf.saved_model.Asset(str(partial / name))
        setattr(module, f"{Path(name).stem}_file", asset)
    # The variables and not the Keras model: nothing of Keras is in the file, and no optimizer.
    used = (variable for function in signatures.values() for variable in function.variables)
    module.weights = list({id(variable): variable for variable in used}.values())
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.WARNING)  # not its note of where the assets went: a partial name
    try:
        tf.saved_model.save(module, str(partial), signatures=signatures)
    finally:
        logger.setLevel(level)
    for name in assets:
        (partial / name).unlink()  # assets/ has it now


def _write_sidecar(partial: Path, sidecar: dict[str, Any]) -> None:
    """Write what a reader needs to know, where TF Serving expects extra files."""
    extra = partial / "assets.extra"
    extra.mkdir()
    text = json.dumps(sidecar, indent=2, ensure_ascii=False)
    (extra / SIDECAR).write_text(text + "\n", encoding="utf-8")
