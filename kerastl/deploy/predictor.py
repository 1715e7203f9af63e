"""Encoded images in, labels out: one face for run folders and all exports."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.image_reader import servable_image
from kerastl.data.preparation import prepare_pixels
from kerastl.deploy.export_formats import SAVEDMODEL, SIDECAR, newest_export, require_packages
from kerastl.deploy.portable_runtime import open_runtime
from kerastl.deploy.runs import FinishedRun, load_run
from kerastl.deploy.served_model import load_savedmodel
from kerastl.errors import ConfigError, UnreadableImageError
from kerastl.evaluation.thresholds import DEFAULT_THRESHOLD
from kerastl.features.halving import halving
from kerastl.models.classifier import answering_with_features
from kerastl.run_folder import LABELS


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    Attributes:
        classes: Labels, best first; empty if the image could not be read.
        scores: Their probabilities.
        error: Why the image could not be read, or None.
        unknown_score: How far it is from what the model was trained on, 0..2; None where the
            model does not tell.
        is_unknown: Whether that is farther than all but 5 % of images of the kind that it was
            trained on; None where the model does not tell, or has no threshold.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]
    error: str | None = None
    unknown_score: float | None = None
    is_unknown: bool | None = None


@dataclass(frozen=True)
class Predictor:
    """A model that answers encoded images, and never fails for one bad image among many.

    Attributes:
        predict: From encoded images to one `Answer` each, in order.
        class_names: In the model's own order.
        multi_label: Whether an image can have several labels, or none.
        thresholds: Then by label the score from which it counts as answered.
        tells_unknown: Whether it says how far images are from what it was trained on.
    """

    predict: Callable[[Sequence[bytes]], list[Answer]]
    class_names: tuple[str, ...]
    multi_label: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    tells_unknown: bool = False

    def answered(self, answer: Answer) -> tuple[str, ...]:
        """Return the best label; where several are possible, all that reach their thresholds."""
        if not self.multi_label:
            return answer.classes[:1]
        return tuple(
            label
            for label, score in zip(answer.classes, answer.scores, strict=True)
            if score >= self.thresholds.get(label, DEFAULT_THRESHOLD)
        )


def open_predictor(path: str | Path) -> Predictor:
    """Open a run folder or an export.

    Args:
        path: A run folder, a folder of the versions of an export, or one version.

    Raises:
        ConfigError: It is neither.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(
            f"The model must be a run folder or an export; {str(path)!r} is no folder. "
            "Give for example runs/NAME, saved_models/NAME or saved_models/NAME/onnx."
        )
    if (path / LABELS).is_file():
        return _run_predictor(path)
    found = newest_export(path)
    if found is not None and found[1] != SAVEDMODEL:
        return _portable_predictor(found[0])
    return _savedmodel_predictor(path if found is None else found[0])


def _run_predictor(path: Path) -> Predictor:
    """Answer with the Keras model of a run folder."""
    run = load_run(path)
    forward, novelty = halving(_network_of(run), what="predicting"), run.novelty

    def answer_all(pixels: NDArray[np.uint8]) -> list[Answer]:
        found = np.asarray(forward(tf.cast(pixels, tf.float32)))
        scores: Iterator[float | None] = itertools.repeat(None)
        limit = math.inf
        if novelty is not None:
            scores = iter(novelty.scores(found[:, len(run.class_names) :]).tolist())
            limit = novelty.threshold
        return [
            _best_first(row, run.class_names, score=next(scores), limit=limit)
            for row in found[:, : len(run.class_names)]
        ]

    return Predictor(
        _of_readable(answer_all, image_size=run.image_size, resize_mode=run.resize_mode),
        class_names=run.class_names,
        multi_label=run.multi_label,
        thresholds=_by_label(run.class_names, run.thresholds),
        tells_unknown=novelty is not None,
    )


def _portable_predictor(path: Path) -> Predictor:
    """Answer with an export whose runtime takes pixels, brought to it as its run does."""
    try:
        sidecar = json.loads((path / SIDECAR).read_text(encoding="utf-8"))
        names, thresholds = tuple(map(str, sidecar["class_names"])), sidecar["thresholds"]
        (height, width), mode = map(int, sidecar["image_size"]), str(sidecar["resize_mode"])
        format_, multi_label = str(sidecar["format"]), bool(sidecar["multi_label"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unopened(path, error) from error
    require_packages([format_])
    try:
        run = open_runtime(path)
    except Exception as error:  # nothing but the runtime runs here, and each has its own errors
        raise _unopened(path, error) from error

    def answer_all(pixels: NDArray[np.uint8]) -> list[Answer]:
        found = run(pixels.astype(np.float32))
        return [_best_first(row, names, score=None, limit=math.inf) for row in found]

    return Predictor(
        _of_readable(answer_all, image_size=(height, width), resize_mode=mode),
        class_names=names,
        multi_label=multi_label,
        thresholds=_by_label(names, thresholds),
    )


def _unopened(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"The export {str(path)!r} cannot be opened: {' '.join(str(error).split())[:200]} "
        "python -m kerastl.export makes another of its run folder."
    )


def _of_readable(
    answer_all: Callable[[NDArray[np.uint8]], list[Answer]],
    *,
    image_size: tuple[int, int],
    resize_mode: str,
) -> Callable[[Sequence[bytes]], list[Answer]]:
    """Return what answers encoded images by their pixels, and says which cannot be read."""

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        images: list[NDArray[np.uint8]] = []
        answers: list[Answer | None] = []
        for content in contents:
            try:
                images.append(
                    prepare_pixels(content, image_size=image_size, resize_mode=resize_mode)
                )
                answers.append(None)
            except UnreadableImageError as error:
                answers.append(Answer((), (), error.reason))
        found = iter(answer_all(np.stack(images)) if images else ())
        return [next(found) if answer is None else answer for answer in answers]

    return predict


def _network_of(run: FinishedRun) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return what gives probabilities, and features beside them where they tell of novelty."""
    if run.novelty is None:
        return lambda pixels: run.model(pixels, training=False)
    both = answering_with_features(run.model)
    return lambda pixels: tf.concat(
        [tf.cast(one, tf.float32) for one in both(pixels, training=False)], axis=1
    )


def _best_first(
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    *,
    score: float | None,
    limit: float,
) -> Answer:
    order = np.argsort(-probabilities, kind="stable")
    return Answer(
        classes=tuple(class_names[index] for index in order),
        scores=tuple(float(probabilities[index]) for index in order),
        unknown_score=score,
        is_unknown=None if score is None or math.isinf(limit) else score > limit,
    )


def _savedmodel_predictor(path: Path) -> Predictor:
    """Answer with a SavedModel.

    What the SavedModel cannot decode by itself, such as a TIFF, is handed over as PNG.
    """
    model = load_savedmodel(path)

    def answer_all(contents: Sequence[bytes]) -> list[Answer]:
        found = model.ask(list(contents))
        unknown = found.get("unknown_score"), found.get("is_unknown")
        return [
            Answer((), (), str(error))
            if error
            else Answer(
                tuple(map(str, found["classes"][row])),
                tuple(map(float, found["scores"][row])),
                unknown_score=None if unknown[0] is None else float(unknown[0][row]),
                is_unknown=bool(unknown[1][row])
                if model.has_threshold and unknown[1] is not None
                else None,
            )
            for row, error in enumerate(found["error"])
        ]

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        answers = answer_all(contents)
        for row, answer in enumerate(answers):
            if answer.error is not None:
                answers[row] = _read_otherwise(contents[row], answer.error, answer_all)
        return answers

    return Predictor(
        predict,
        class_names=tuple(model.class_names),
        multi_label=model.multi_label,
        thresholds=_by_label(model.class_names, model.thresholds),
        tells_unknown=model.tells_unknown,
    )


def _read_otherwise(
    content: bytes, error: str, answer_all: Callable[[Sequence[bytes]], list[Answer]]
) -> Answer:
    """Return the answer to an image that a SavedModel could not decode, or why nobody can."""
    try:
        png = servable_image(content)
    except UnreadableImageError as unreadable:
        return Answer((), (), unreadable.reason)
    return Answer((), (), error) if png == content else answer_all([png])[0]


def _by_label(class_names: Sequence[str], thresholds: Sequence[float] | None) -> dict[str, float]:
    """Return thresholds by label; none for models that were made without."""
    return {} if thresholds is None else dict(zip(class_names, thresholds, strict=True))
