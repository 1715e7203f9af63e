"""One trial of a search, and the comparison of several: values, and functions of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.probe import image_losses
from kerastl.training.kept import standard_error
from kerastl.training.temperature import choose_temperature, tempered_probabilities

COMPLETE, DIVERGED, CUT_SHORT = "complete", "diverged", "cut short"


@dataclass(frozen=True, eq=False)
class Judged:
    """How good answers on validation are.

    Attributes:
        probabilities: float32 of shape (num_val, num_classes).
        losses: float64 of shape (num_val,): log-loss of each image in nats, after the temperature
            that a fit would give the model, by the weight of its class where the training has one.
        accuracy: From 0 to 1; with several labels per image, all of them right.
    """

    probabilities: NDArray[np.float32] = field(repr=False)
    losses: NDArray[np.float64] = field(repr=False)
    accuracy: float

    @property
    def loss(self) -> float:
        """Nats per image."""
        return float(self.losses.mean())


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of a search.

    Attributes:
        number: From 1, which is the recipe as it stands.
        values: Of every lever that is searched, by the name of the option.
        state: "complete", "diverged" or "cut short" (by the deadline).
        judged: On validation; None where there is nothing to judge.
        epochs: That were trained.
        seconds: That it took.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    judged: Judged | None = field(repr=False)
    epochs: int
    seconds: float


def judge(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    class_weights: NDArray[np.float32] | None,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> Judged:
    """Return how good answers are, by the loss that a fit decides by.

    Args:
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: float32 of shape (n, num_classes).
        class_weights: float32 of shape (num_classes,), or None.
        groups: See `kerastl.training.temperature.choose_temperature`, like `seed`.
        seed: See there.

    Example:
        >>> judge(np.array([0, 1]), np.array([[0.5, 0.5], [0.2, 0.8]]), class_weights=None).accuracy
        1.0
    """
    if labels.ndim == 2:
        right = np.all((probabilities >= 0.5) == (labels >= 0.5), axis=1)
    else:
        right = probabilities.argmax(axis=1) == labels
    temperature = choose_temperature(
        labels, probabilities, groups=groups, class_weights=class_weights, seed=seed
    )
    tempered = tempered_probabilities(
        probabilities, temperature.value, multi_label=labels.ndim == 2
    )
    losses = image_losses(labels, tempered, class_weights=class_weights)
    return Judged(probabilities, losses, float(right.mean()))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the smallest loss; one that was cut short only where none is complete.

    Args:
        trials: In their order; of equal ones the first is the best.
    """
    for state in (COMPLETE, CUT_SHORT):
        losses = [(loss_of(one), one.number, one) for one in trials if one.state == state]
        known = [row for row in losses if math.isfinite(row[0])]
        if known:
            return min(known, key=lambda row: row[:2])[2]
    return None


def loss_of(trial: Trial) -> float:
    """Return the validation loss of a trial; infinite where there is none.

    Args:
        trial: Any.
    """
    return math.inf if trial.judged is None else trial.judged.loss


def paired_difference(
    one: Judged, other: Judged, *, groups: NDArray[Any] | None
) -> tuple[float, float]:
    """Return by how much the loss of one is below that of the other, and its standard error.

    Both answer the same images, so most of what makes an image hard cancels. The error is that of
    drawing these images; that of having chosen the best of many comes on top.

    Args:
        one: Answers.
        other: Answers to the same images.
        groups: Of shape (num_val,): images of one group are alike; None if none are.
    """
    gains = other.losses - one.losses
    units = len(gains) if groups is None else len(np.unique(groups))
    return float(gains.mean()), standard_error(gains, groups) if units > 1 else math.inf
