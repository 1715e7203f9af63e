"""Encoded images in, labels out: one face for run folders and SavedModels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.image_reader import servable_image
from kerastl.data.preparation import prepare_pixels
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
    """Open a run folder or a SavedModel.

    Args:
        path: A run folder, a folder of SavedModel versions, or one version.

    Raises:
        ConfigError: It is neither.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(
            f"The model must be a run folder or a SavedModel; {str(path)!r} is no folder. "
            "Give for example runs/NAME or saved_models/NAME."
        )
    if (path / LABELS).is_file():
        return _run_predictor(path)
    return _savedmodel_predictor(path)


def _run_predictor(path: Path) -> Predictor:
    """Answer with the Keras model of a run folder."""
    run = load_run(path)
    forward, novelty = halving(_network_of(run), what="predicting"), run.novelty

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        images: list[Any] = []
        answers: list[Answer | None] = []
        for content in contents:
            try:
                images.append(
                    prepare_pixels(content, image_size=run.image_size, resize_mode=run.resize_mode)
                )
                answers.append(None)
            except UnreadableImageError as error:
                answers.append(Answer((), (), error.reason))
        if not images:
            return [answer for answer in answers if answer is not None]
        pixels = tf.cast(np.stack(images), tf.float32)
        found = np.asarray(forward(pixels))
        probabilities = iter(found[:, : len(run.class_names)])
        scores: Iterator[float | None] = itertools.repeat(None)
        limit = math.inf
        if novelty is not None:
            scores = iter(novelty.scores(found[:, len(run.class_names) :]).tolist())
            limit = novelty.threshold
        return [
            _best_first(next(probabilities), run.class_names, score=next(scores), limit=limit)
            if answer is None
            else answer
            for answer in answers
        ]

    return Predictor(
        predict,
        class_names=run.class_names,
        multi_label=run.multi_label,
        thresholds=_by_label(run.class_names, run.thresholds),
        tells_unknown=novelty is not None,
    )


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
