"""How good the answers are, each number with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kerastl.errors import DataError
from kerastl.evaluation.intervals import Estimate
from kerastl.evaluation.resampling import (
    SMALLEST_PROBABILITY,
    Answers,
    ClassMetrics,
    Sample,
    class_estimates,
    resample,
    whole_estimate,
)
from kerastl.evaluation.thresholds import DEFAULT_THRESHOLD, as_thresholds


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
        macro_f1: Mean F1 of the classes that are present or were answered; None if none is.
        auroc: Mean area under the ROC curve; None if a class is in no row or in all.
        mean_average_precision: Mean over the classes; None if a class is in no row.
        log_loss: Mean binary cross-entropy per row and class, in nats.
        per_class: One entry for each class, in order.
        thresholds: For each class the probability from which it counts as answered.
        confidence: Of the intervals.
        num_resamples: Bootstrap resamples behind the intervals.
        num_groups: Whole groups that were resampled; None if rows were.
        notes: What a reader should know, in sentences.
    """

    n: int
    accuracy: Estimate
    macro_f1: Estimate | None
    auroc: Estimate | None
    mean_average_precision: Estimate | None
    log_loss: Estimate
    per_class: tuple[ClassMetrics, ...]
    thresholds: tuple[float, ...]
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
    groups, every interval is that of a bootstrap over whole groups. Where all resamples give
    the same number (nothing is wrong), Wilson's stands in for the bootstrap. Each estimate says
    which it has (`Estimate.method`).

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
    _check_probabilities(probabilities, class_names=class_names, groups=groups)
    _check_class_labels(labels, probabilities)
    num_rows, num_classes = probabilities.shape
    answered = probabilities.argmax(axis=1)
    true = probabilities[np.arange(num_rows), labels].astype(np.float64)
    sample = resample(
        Answers(
            truth=_indicator(labels, num_classes),
            answered=_indicator(answered, num_classes),
            right=(answered == labels).astype(np.float64),
            losses=-np.log(np.clip(true, SMALLEST_PROBABILITY, 1)),
            scores=probabilities,
        ),
        class_names=class_names,
        groups=groups,
        num_resamples=num_resamples,
        seed=seed,
        confidence=confidence,
    )
    per_class = class_estimates(sample, class_names)
    everywhere = all(row.support for row in per_class)
    # Of two classes the area of the one is that of the other; rounding could split ties.
    auroc = per_class[1].auroc if num_classes == 2 else whole_estimate(sample, "mean_auroc")
    confusion = np.bincount(labels * num_classes + answered, minlength=num_classes**2)
    return ClassificationMetrics(
        n=num_rows,
        accuracy=_known(sample, "accuracy"),
        balanced_accuracy=_known(sample, "balanced_accuracy"),
        macro_f1=_known(sample, "macro_f1"),
        auroc=auroc if everywhere else None,
        log_loss=_known(sample, "log_loss"),
        per_class=per_class,
        confusion=confusion.reshape(num_classes, num_classes).astype(np.int64),
        confidence=confidence,
        num_resamples=sample.num_resamples,
        num_groups=sample.num_groups,
        notes=sample.notes,
    )


def multi_label_metrics(
    labels: NDArray[Any],
    probabilities: NDArray[np.floating[Any]],
    *,
    class_names: Sequence[str],
    groups: NDArray[Any] | None = None,
    threshold: float | Sequence[float] = DEFAULT_THRESHOLD,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> MultiLabelMetrics:
    """Measure the answers where a row can have several classes, or none.

    Intervals are those of `classification_metrics`.

    Args:
        labels: 0 or 1, of shape (n, num_classes).
        probabilities: Float of shape (n, num_classes), 0..1, each class for itself.
        class_names: One for each class.
        groups: Of shape (n,): rows of one group are not independent of each other.
        threshold: Probability from which a class counts as answered, for all or one for each;
            see `kerastl.evaluation.thresholds.choose_thresholds`.
        num_resamples: Bootstrap resamples; fewer are drawn where rows × classes are many,
            which the result tells.
        seed: Of the resamples.
        confidence: Of the intervals, between 0 and 1.

    Returns:
        The numbers; what cannot be known from these rows is None.

    Raises:
        DataError: The arrays do not fit each other or hold impossible values.
        ConfigError: `threshold`, `num_resamples` or `confidence` cannot work.

    Example:
        >>> metrics = multi_label_metrics(
        ...     np.array([[1, 1], [1, 0], [0, 1], [0, 0]]),
        ...     np.array([[0.9, 0.6], [0.7, 0.2], [0.1, 0.3], [0.2, 0.1]]),
        ...     class_names=["crack", "stain"])
        >>> metrics.accuracy.value, round(metrics.macro_f1.value, 3), metrics.auroc.value
        (0.75, 0.833, 1.0)
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check_probabilities(probabilities, class_names=class_names, groups=groups, several=True)
    _check_several_labels(labels, probabilities)
    thresholds = as_thresholds(threshold, len(class_names))
    truth, answered = labels == 1, probabilities >= thresholds
    of_truth = np.where(truth, probabilities, 1 - probabilities).astype(np.float64)
    losses = -np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1)).mean(axis=1)
    sample = resample(
        Answers(
            truth=sparse.csr_array(truth.astype(np.float64)),
            answered=sparse.csr_array(answered.astype(np.float64)),
            right=np.all(truth == answered, axis=1).astype(np.float64),
            losses=losses,
            scores=probabilities,
        ),
        class_names=class_names,
        groups=groups,
        num_resamples=num_resamples,
        seed=seed,
        confidence=confidence,
    )
    per_class = class_estimates(sample, class_names)
    somewhere = all(row.support > 0 for row in per_class)
    both = somewhere and all(row.support < len(labels) for row in per_class)
    precision = whole_estimate(sample, "mean_average_precision") if somewhere else None
    return MultiLabelMetrics(
        n=len(labels),
        accuracy=_known(sample, "accuracy"),
        macro_f1=whole_estimate(sample, "macro_f1"),
        auroc=whole_estimate(sample, "mean_auroc") if both else None,
        mean_average_precision=precision,
        log_loss=_known(sample, "log_loss"),
        per_class=per_class,
        thresholds=tuple(thresholds.tolist()),
        confidence=confidence,
        num_resamples=sample.num_resamples,
        num_groups=sample.num_groups,
        notes=sample.notes,
    )


def most_confused(
    confusion: NDArray[np.integer[Any]], class_names: Sequence[str], *, limit: int = 10
) -> list[dict[str, Any]]:
    """Return the mistakes that are made most often.

    Args:
        confusion: Integers of shape (num_classes, num_classes), rows true.
        class_names: One for each class.
        limit: At most so many.

    Returns:
        Entries with "true", "answered" (class names), "count" and "share" (of the rows of
        the true class), by falling count.

    Example:
        >>> most_confused(np.array([[8, 2], [1, 9]]), ["cat", "dog"], limit=1)
        [{'true': 'cat', 'answered': 'dog', 'count': 2, 'share': 0.2}]
    """
    wrong = np.array(confusion)
    support = wrong.sum(axis=1)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        {
            "true": str(class_names[row]),
            "answered": str(class_names[column]),
            "count": int(wrong[row, column]),
            "share": float(wrong[row, column] / support[row]),
        }
        for row, column in pairs
        if wrong[row, column]
    ]


def _known(sample: Sample, name: str) -> Estimate:
    """Return an estimate that any row at all defines."""
    estimate = whole_estimate(sample, name)
    if estimate is None:
        raise DataError(f"`{name}` is not defined on these rows. Give at least one labelled row.")
    return estimate


def _indicator(classes: NDArray[np.integer[Any]], num_classes: int) -> sparse.csr_array:
    """Return 1 at each row's class."""
    num_rows = len(classes)
    entries = (np.ones(num_rows), classes, np.arange(num_rows + 1))
    return sparse.csr_array(entries, shape=(num_rows, num_classes))


def _check_probabilities(
    probabilities: NDArray[Any],
    *,
    class_names: Sequence[str],
    groups: NDArray[Any] | None,
    several: bool = False,
) -> None:
    """Raise DataError unless these are probabilities of named classes."""
    expected = f"(n, {len(class_names)}), one column for each of `class_names`"
    if probabilities.ndim != 2 or probabilities.shape[1] != len(class_names):
        raise DataError(
            f"`probabilities` must have the shape {expected}; received {probabilities.shape}."
        )
    if len(probabilities) == 0 or len(class_names) < (1 if several else 2):
        raise DataError(
            f"There is nothing to measure: {len(probabilities)} rows, {len(class_names)} classes. "
            "Give at least one row and two classes; a larger `test_fraction` makes a larger split."
        )
    # Written so that NaN fails.
    if not np.all((probabilities >= -1e-6) & (probabilities <= 1 + 1e-6)):
        raise DataError(
            "`probabilities` must be finite and lie within 0..1; received values from "
            f"{probabilities.min():g} to {probabilities.max():g}. "
            f"If they are logits, give {'their sigmoid' if several else 'their softmax'}."
        )
    largest = 0.0 if several else float(np.abs(probabilities.sum(axis=1, dtype=float) - 1).max())
    # float16 outputs of 1,000 classes are this far off; logits squeezed into 0..1 much further.
    if largest > 2e-2:
        raise DataError(
            f"Each row of `probabilities` must have the sum 1; received one that is {largest:.3g} "
            "off. If an image can have several classes, use `multi_label_metrics`."
        )
    if groups is not None and np.shape(groups) != (len(probabilities),):
        raise DataError(
            f"`groups` must have the shape ({len(probabilities)},), one for each row; received "
            f"{np.shape(groups)}."
        )


def _check_class_labels(labels: NDArray[Any], probabilities: NDArray[Any]) -> None:
    """Raise DataError unless there is one class for each row."""
    num_rows, num_classes = probabilities.shape
    if labels.shape != (num_rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"`labels` must be integers of shape ({num_rows},); received {labels.dtype} of shape "
            f"{labels.shape}. For several classes in a row use `multi_label_metrics`."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"`labels` must lie within 0..{num_classes - 1}, the columns of `probabilities`; "
            f"received {labels.min()} to {labels.max()}. Number the classes in the order of "
            "`class_names`, from 0."
        )


def _check_several_labels(labels: NDArray[Any], probabilities: NDArray[Any]) -> None:
    """Raise DataError unless there is 0 or 1 for each row and class."""
    if labels.shape != probabilities.shape or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"`labels` must be 0 or 1 in the shape of `probabilities`, {probabilities.shape}; "
            f"received shape {labels.shape}, values {np.unique(labels)[:5].tolist()}. With one "
            "class for each row use `classification_metrics`."
        )
