"""Encoded images in, labels out: one face for run folders and SavedModels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.decode import decode_error_reason, resize_image
from kerastl.data.image_reader import read_image, servable_image
from kerastl.deploy.runs import load_run
from kerastl.deploy.savedmodel import load_savedmodel
from kerastl.errors import ConfigError, UnreadableImageError
from kerastl.run_folder import LABELS


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    Attributes:
        classes: Labels, best first; empty if the image could not be read.
        scores: Their probabilities.
        error: Why the image could not be read, or None.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]
    error: str | None = None


@dataclass(frozen=True)
class Predictor:
    """A model that answers encoded images, and never fails for one bad image among many.

    Attributes:
        predict: From encoded images to one `Answer` each, in order.
        multi_label: Whether an image can have several labels, or none.
    """

    predict: Callable[[Sequence[bytes]], list[Answer]]
    multi_label: bool = False


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

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def resize(pixels: tf.Tensor) -> tf.Tensor:
        return resize_image(pixels, image_size=run.image_size, resize_mode=run.resize_mode)

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        images: list[Any] = []
        answers: list[Answer | None] = []
        for content in contents:
            try:
                images.append(resize(read_image(content)))
                answers.append(None)
            except UnreadableImageError as error:
                answers.append(Answer((), (), error.reason))
        if not images:
            return [answer for answer in answers if answer is not None]
        pixels = tf.cast(tf.stack(images), tf.float32)
        rows = iter(np.asarray(run.model(pixels, training=False)))
        return [
            _best_first(next(rows), run.class_names) if answer is None else answer
            for answer in answers
        ]

    return Predictor(predict, multi_label=run.multi_label)


def _best_first(probabilities: NDArray[np.float32], class_names: Sequence[str]) -> Answer:
    order = np.argsort(-probabilities, kind="stable")
    return Answer(
        classes=tuple(class_names[index] for index in order),
        scores=tuple(float(probabilities[index]) for index in order),
    )


def _savedmodel_predictor(path: Path) -> Predictor:
    """Answer with a SavedModel; one bad image fails its whole batch, so then singly.

    What the SavedModel cannot decode by itself, such as a TIFF, is handed over as PNG.
    """
    model = load_savedmodel(path)

    def answer_all(contents: Sequence[bytes]) -> list[Answer]:
        classes, scores = model.predict(list(contents))
        return [
            Answer(tuple(map(str, labels)), tuple(map(float, values)))
            for labels, values in zip(classes, scores, strict=True)
        ]

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        try:
            return answer_all(contents)
        except tf.errors.InvalidArgumentError as error:
            if len(contents) > 1:
                return [answer for content in contents for answer in predict([content])]
            try:
                png = servable_image(contents[0])
            except UnreadableImageError as unreadable:
                return [Answer((), (), unreadable.reason)]
            if png == contents[0]:
                return [Answer((), (), decode_error_reason(error))]
            return answer_all([png])

    return Predictor(predict, multi_label=model.multi_label)
