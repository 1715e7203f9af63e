"""Thresholds for a wanted recall or precision: found on validation, measured on test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.intervals import Estimate, proportion

# Fewer validation images with the class, or without it, fix no threshold.
LEAST_IMAGES = 20
WANTED: tuple[tuple[Literal["recall", "precision"], float], ...] = (
    ("recall", 0.95),
    ("recall", 0.99),
    ("precision", 0.95),
    ("precision", 0.99),
)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for a wanted recall or precision, and what it gives on other images.

    Attributes:
        class_name: Of the class that is answered from the threshold on.
        wanted: "recall" or "precision".
        value: How much of it, 0..1.
        threshold: Probability of the class; None where no threshold gives so much on validation.
        recall: Of the test images with the class, the share that is found; None without threshold.
        precision: Of the test images that are answered so, the share that is right; None without
            threshold, or where none is.
    """

    class_name: str
    wanted: str
    value: float
    threshold: float | None
    recall: Estimate | None
    precision: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def threshold_for(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    *,
    wanted: Literal["recall", "precision"],
    value: float,
) -> float | None:
    """Return the threshold that gives a wanted recall or precision at the least cost.

    For a recall it is the highest threshold that reaches it; for a precision the one of those that
    reach it which finds most.

    Args:
        positive: bool of shape (n,): which images have the class.
        scores: Float of shape (n,): its probability.
        wanted: "recall" or "precision".
        value: How much of it, above 0 and up to 1.

    Returns:
        The threshold: from it on an image is answered so; None where no threshold is as precise.

    Raises:
        ConfigError: `value` is not between 0 and 1.
        DataError: No image has the class.

    Example:
        >>> positive = np.array([True, True, False, True, False])
        >>> scores = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
        >>> [threshold_for(positive, scores, wanted="recall", value=r) for r in (0.6, 1.0)]
        [0.8, 0.6]
        >>> [threshold_for(positive, scores, wanted="precision", value=p) for p in (0.7, 0.9)]
        [0.6, 0.8]
    """
    if not 0 < value <= 1:
        raise ConfigError(f"`value` must be above 0 and up to 1; received value={value}.")
    if not positive.any():
        raise DataError("No image has the class, so no threshold finds it. Give some that have it.")
    if wanted == "recall":
        own = np.sort(scores[positive])[::-1]
        # Rounding must not ask for one hit more: 0.95 * 20 is 19.
        return float(own[math.ceil(value * len(own) - 1e-9) - 1])
    order = np.argsort(-scores, kind="stable")
    hits = positive[order].cumsum()
    last_of_its_score = np.append(np.diff(scores[order]) != 0, True)
    precise = last_of_its_score & (hits / np.arange(1, len(hits) + 1) >= value)
    if not precise.any():
        return None
    return float(scores[order][np.flatnonzero(precise)[-1]])


def operating_points(
    validation: tuple[NDArray[np.bool_], NDArray[np.floating[Any]]],
    test: tuple[NDArray[np.bool_], NDArray[np.floating[Any]]],
    *,
    class_names: Sequence[str],
) -> list[OperatingPoint]:
    """Return thresholds for high recalls and precisions of each class, and what they give.

    Args:
        validation: Which classes each image has, bool of shape (n, num_classes), and their
            probabilities: thresholds are found here.
        test: The same of other images: thresholds are measured here.
        class_names: One for each class.

    Returns:
        Those of the classes that at least 20 validation images have and at least 20 have not.

    Example:
        >>> random = np.random.default_rng(0)
        >>> truth = np.eye(2, dtype=bool)[np.arange(200) % 2]
        >>> scores = np.clip(truth * 0.6 + 0.4 * random.random((200, 2)), 0, 1)
        >>> points = operating_points((truth, scores), (truth, scores), class_names=["cat", "dog"])
        >>> len(points), points[0].recall.value >= 0.95
        (8, True)
    """
    found = []
    for index, name in enumerate(class_names):
        known, scores = validation[0][:, index], validation[1][:, index]
        if min(known.sum(), np.sum(~known)) < LEAST_IMAGES:
            continue
        for wanted, value in WANTED:
            threshold = threshold_for(known, scores, wanted=wanted, value=value)
            recall = precision = None
            if threshold is not None:
                own, said = test[0][:, index], test[1][:, index] >= threshold
                hits = float(np.sum(own & said))
                recall = proportion(hits, float(own.sum()))
                precision = proportion(hits, float(said.sum()))
            found.append(OperatingPoint(str(name), wanted, value, threshold, recall, precision))
    return found
