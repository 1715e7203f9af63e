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
    """

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    validation_loss: float


def answers_to_test(
    classifier: keras.Model,
    readers: Mapping[str, Callable[[NDArray[np.int64]], NDArray[np.float32]]],
    images: Images,
    rows: NDArray[np.int64],
    *,
    model_weights: Mapping[str, list[NDArray[Any]]],
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return each model's answers to the test rows that all of them could read, and these rows.

    Args:
        classifier: Takes the weights of one model after the other, in place.
        readers: By name of the model: from rows to its answers.
        images: uint8 of shape (n, height, width, 3).
        rows: int64: the test rows.
        model_weights: By name of the model.
    """
    tested: dict[str, NDArray[np.float32]] = {}
    for name, read in readers.items():
        classifier.set_weights(model_weights[name])
        found, left = _read_what_is_left(read, images, rows)
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
