"""How good the answers are, each number with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.intervals import (
    Estimate,
    bootstrap_weights,
    normal_quantile,
    percentile_estimate,
    proportion,
)
from kerastl.evaluation.ranking import Ranking, rank_rows, ranking_areas, ratio

# A probability of 0 for the true class would make one image's loss infinite.
_SMALLEST_PROBABILITY = 1e-7
_LARGEST_LOSS = -float(np.log(_SMALLEST_PROBABILITY))
# Rows × classes × resamples: some seconds of work on one core.
_LARGEST_WORK = 1_000_000_000
_FEWEST_RESAMPLES = 100
# Below these, the coverage of a percentile bootstrap interval falls clearly under its
# nominal value (Cameron, Gelbach and Miller 2008 for groups); readers should know.
_FEW_ROWS = 30
_FEW_GROUPS = 20


@dataclass(frozen=True)
class ClassMetrics:
    """One class.

    Attributes:
        name: Of the class.
        support: Rows that are of the class.
        precision: Share of the rows called so that are so; None if none was called so.
        recall: Share of the rows that are so that were called so; None if none is so.
        f1: Harmonic mean of the two; None if no row is so or was called so.
        auroc: Area under the ROC curve of this class against the rest; None if either
            is missing.
        average_precision: Area under the precision-recall curve; None if no row is so.
    """

    name: str
    support: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    auroc: Estimate | None
    average_precision: Estimate | None


@dataclass(frozen=True)
class ClassificationMetrics:
    """How good the answers are where each row has one class.

    Attributes:
        n: Rows.
        accuracy: Share of the rows whose most probable class is the true one.
        balanced_accuracy: Mean recall of the classes that are present.
        macro_f1: Mean F1 of the classes that are present or were answered.
        auroc: Of the second of two classes; mean of one class against the rest if there
            are more; None if a class is absent.
        log_loss: Mean negative logarithm of the true class's probability, in nats.
        per_class: One entry for each class, in order.
        confusion: int64 of shape (num_classes, num_classes): rows are true, columns answered.
        confidence: Of the intervals.
        num_resamples: Bootstrap resamples behind the intervals.
        num_groups: Whole groups that were resampled; None if rows were.
        notes: What a reader should know, in sentences.
    """

    n: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    auroc: Estimate | None
    log_loss: Estimate
    per_class: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64] = field(repr=False, compare=False)
    confidence: float
    num_resamples: int
    num_groups: int | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return {**dataclasses.asdict(self), "confusion": self.confusion.tolist()}


@dataclass(frozen=True)
class MultiLabelMetrics:
    """How good the answers are where a row can have several classes.

    Attributes:
        n: Rows.
        accuracy: Share of the rows with every class right (subset accuracy).
        macro_f1: Mean F1 of the classes that are present or were answered.
        auroc: Mean area under the ROC curve; None if a class is in no row or in all.
        mean_average_precision: Mean over the classes; None if a class is in no row.
        log_loss: Mean binary cross-entropy per row and class, in nats.
        per_class: One entry for each class, in order.
        threshold: Probability from which a class counts as answered.
        confidence: Of the intervals.
        num_resamples: Bootstrap resamples behind the intervals.
        num_groups: Whole groups that were resampled; None if rows were.
        notes: What a reader should know, in sentences.
    """

    n: int
    accuracy: Estimate
    macro_f1: Estimate
    auroc: Estimate | None
    mean_average_precision: Estimate | None
    log_loss: Estimate
    per_class: tuple[ClassMetrics, ...]
    threshold: float
    confidence: float
    num_resamples: int
    num_groups: int | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def classification_metrics(
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    *,
    class_names: Sequence[str],
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> ClassificationMetrics:
    """Measure the answers where each row has one class.

    Accuracy, precision and recall are proportions and have Wilson's interval (1927). So
    has F1: it is 2 J / (1 + J) of the proportion J = hits / (hits + misses + false alarms).
    All others have the percentile bootstrap interval (Efron 1979) over rows. With
    groups, every interval is that of a bootstrap over whole groups.

    Args:
        labels: Integers of shape (n,), 0..num_classes-1.
        probabilities: Float of shape (n, num_classes), 0..1, each row with the sum 1.
        class_names: One for each class.
        groups: Of shape (n,): rows of one group are not independent of each other.
        num_resamples: Bootstrap resamples; fewer are drawn where rows × classes are many,
            which the result tells.
        seed: Of the resamples.
        confidence: Of the intervals, between 0 and 1.

    Returns:
        The numbers; what cannot be known from these rows is None.

    Raises:
        DataError: The arrays do not fit each other or hold impossible values.
        ConfigError: `num_resamples` or `confidence` cannot work.

    Example:
        >>> answers = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
        >>> metrics = classification_metrics(
        ...     np.array([0, 1, 1, 1]), answers, class_names=["cat", "dog"])
        >>> metrics.accuracy.value, round(metrics.accuracy.low, 2), metrics.auroc.value
        (0.75, 0.3, 1.0)
        >>> metrics.confusion.tolist()
        [[1, 0], [1, 2]]
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check_probabilities(probabilities, class_names=class_names)
    _check_labels(labels, probabilities)
    num_rows, num_classes = probabilities.shape
    answers = probabilities.argmax(axis=1)
    true = np.clip(probabilities[np.arange(num_rows), labels], _SMALLEST_PROBABILITY, 1)
    measured = _Measured(
        class_names=tuple(class_names),
        truth=_indicator(labels, num_classes),
        answered=_indicator(answers, num_classes),
        right=(answers == labels).astype(np.float64),
        losses=-np.log(true.astype(np.float64)),
        scores=probabilities,
        # The area of the first of two classes is that of the second.
        ranked=(1,) if num_classes == 2 else tuple(range(num_classes)),
    )
    sample = _resample(measured, groups, num_resamples, seed=seed, confidence=confidence)
    return ClassificationMetrics(
        n=num_rows,
        accuracy=sample.accuracy(),
        balanced_accuracy=sample.known("balanced_accuracy"),
        macro_f1=sample.known("macro_f1"),
        auroc=sample.mean_over_classes("auroc"),
        log_loss=sample.known("log_loss"),
        per_class=sample.per_class(),
        confusion=np.bincount(labels * num_classes + answers, minlength=num_classes**2).reshape(
            num_classes, num_classes
        ),
        confidence=confidence,
        num_resamples=sample.num_resamples,
        num_groups=sample.num_groups,
        notes=sample.notes,
    )
