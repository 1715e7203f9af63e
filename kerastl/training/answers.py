"""What models answer to validation and test images, as far as these can still be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.errors import DataError
from kerastl.features.probe import image_losses
from kerastl.models.classifier import parts_of
from kerastl.training.temperature import (
    Temperature,
    bake_temperature,
    choose_temperature,
    tempered_probabilities,
)


@dataclass(frozen=True)
class Answers:
    """What one model says of the two splits that it was not fitted on.

    Attributes:
        validation: float32 of shape (num_val, num_classes): probabilities.
        test: float32 of shape (num_test, num_classes).
        losses: float64 of shape (num_val,): log-loss of each validation image in nats, which the
            models were compared by: weighted by class with weights or sampling, after the
            temperature, before the shift with logit adjustment.
        while_training: float32 of shape (num_val, num_classes): what is said of validation images
            as they are, before any mean over views, temperature or shift: what epochs are measured
            by.
        temperature: What the logits were divided by.
    """

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    losses: NDArray[np.float64]
    while_training: NDArray[np.float32]
    temperature: Temperature

    @property
    def validation_loss(self) -> float:
        """Mean of the losses, nats per image."""
        return float(self.losses.mean())


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that may be kept, and how to ask it.

    Attributes:
        read: From int64 rows of images to its answers; asks the classifier, with its weights.
        validation: Its answers on validation.
        while_training: See `Answers`.
        losses: See `Answers`, like `temperature`.
        temperature: See there.
        weights: Of the classifier, the temperature in them.
    """

    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    validation: NDArray[np.float32]
    while_training: NDArray[np.float32]
    losses: NDArray[np.float64]
    temperature: Temperature
    weights: list[NDArray[Any]]


def candidate_of(
    classifier: keras.Model,
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    validation: NDArray[np.float32],
    *,
    labels: NDArray[Any],
    while_training: NDArray[np.float32],
    groups: NDArray[Any] | None,
    class_weights: NDArray[np.float32] | None,
    seed: int,
) -> Candidate:
    """Return what a classifier is now as one of those that may be kept, as sure as it should be.

    The classifier itself stays as it is: its training may begin here.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        read: See `Candidate`.
        validation: What it answers to validation now.
        labels: Of the validation images: int64 of shape (num_val,), or 0/1 of shape (num_val,
            num_classes).
        while_training: See `Answers`.
        groups: Of shape (num_val,): see `kerastl.training.temperature.choose_temperature`.
        class_weights: float32 of shape (num_classes,): of the loss.
        seed: Of the folds that the temperature is proven on.
    """
    options: dict[str, Any] = {"class_weights": class_weights}
    temperature = choose_temperature(labels, validation, groups=groups, seed=seed, **options)
    tempered = tempered_probabilities(validation, temperature.value, multi_label=labels.ndim == 2)
    output = parts_of(classifier).output
    own = output.get_weights()
    bake_temperature(classifier, temperature.value)
    weights = classifier.get_weights()
    output.set_weights(own)
    return Candidate(
        read,
        tempered,
        while_training,
        image_losses(labels, tempered, **options),
        temperature,
        weights,
    )


def answers_to_test(
    classifier: keras.Model,
    candidates: Mapping[str, Candidate],
    images: Images,
    rows: NDArray[np.int64],
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return each model's answers to the test rows that all of them could read, and these rows.

    Args:
        classifier: Takes the weights of one model after the other, in place.
        candidates: By name of the model.
        images: uint8 of shape (n, height, width, 3).
        rows: int64: the test rows.
    """
    tested: dict[str, NDArray[np.float32]] = {}
    for name, candidate in candidates.items():
        classifier.set_weights(candidate.weights)
        found, left = _read_what_is_left(candidate.read, images, rows)
        tested = {model: values[np.isin(rows, left)] for model, values in tested.items()}
        tested[name], rows = found, left
    return tested, rows


def _read_what_is_left(
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    images: Images,
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the answers to the rows that can still be read, and which these are.

    Of images that are read anew, one can go in the hours of training: no reason to lose these.
    """
    try:
        return read(rows), rows
    except DataError:
        left = np.array([row for row in rows if _is_readable(images, row)], np.int64)
        if len(left) in (0, len(rows)):
            raise
    return read(left), left


def _is_readable(images: Images, row: np.int64) -> bool:
    """Whether one image can be read now."""
    try:
        images[row]
    except DataError:
        return False
    return True
