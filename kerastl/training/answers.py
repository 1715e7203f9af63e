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


@dataclass(frozen=True)
class Answers:
    """What one model says of the two splits that it was not fitted on.

    Attributes:
        validation: float32 of shape (num_val, num_classes): probabilities.
        test: float32 of shape (num_test, num_classes).
        validation_loss: Log-loss on validation in nats that the models were compared by:
            class-weighted with weights or sampling, before the shift with logit adjustment.
        while_training: float32 of shape (num_val, num_classes): what is said of validation images
            as they are, before any mean over views or shift: what epochs are measured by.
    """

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    validation_loss: float
    while_training: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that may be kept, and how to ask it.

    Attributes:
        read: From int64 rows of images to its answers; asks the classifier, with its weights.
        validation: Its answers on validation.
        while_training: See `Answers`.
        weights: Of the classifier.
    """

    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    validation: NDArray[np.float32]
    while_training: NDArray[np.float32]
    weights: list[NDArray[Any]]


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
