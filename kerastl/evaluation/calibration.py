"""Whether a model is as sure as it is right: reliability, ECE, Brier score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.intervals import (
    BOOTSTRAP,
    Estimate,
    bootstrap_weights,
    percentile_estimate,
    proportion,
)

# As Guo et al. 2017 (https://arxiv.org/abs/1706.04599) and most papers since.
NUM_BINS = 15
# What perfectly calibrated models show on so many images: 1 in 20 shows more than this quantile.
_NULL_QUANTILE = 0.95
_NULL_DRAWS = 1000
# Answers that are drawn one by one for that.
_MOST_DRAWN = 20_000


@dataclass(frozen=True)
class CalibrationBin:
    """Answers of about the same confidence.

    Attributes:
        low: Smallest confidence of the bin; itself in the bin below, but for the lowest.
        high: Largest confidence of the bin.
        n: Answers in it.
        mean_confidence: Of these answers; None without any.
        accuracy: Share of them that is right, with Wilson's interval; None without any.
    """

    low: float
    high: float
    n: int
    mean_confidence: float | None
    accuracy: Estimate | None


@dataclass(frozen=True)
class Calibration:
    """Whether a model is as sure as it is right.

    Attributes:
        n: Answers: one per row; where a row can have several classes, one per row and class.
        ece: Expected calibration error, 0..1: mean distance of confidence and accuracy over the
            bins, weighed by their answers. Its interval is that of the true error in these bins.
        ece_if_calibrated: What the ECE of a model without any such error stays below in 19 of 20
            cases on so many answers of this confidence: an ECE is never 0.
        gap: Mean confidence less accuracy, -1..1: above 0 the model is surer than it is right.
        brier: Mean squared distance of probabilities from the truth, summed over the classes:
            0..2 (Brier 1950); with several classes in a row per class, 0..1.
        bins: From the lowest confidence to the highest.
        confidence: Of the intervals.
        num_groups: Whole groups that were resampled; None if rows were.
    """

    n: int
    ece: Estimate
    ece_if_calibrated: float
    gap: Estimate
    brier: Estimate
    bins: tuple[CalibrationBin, ...] = field(repr=False)
    confidence: float
    num_groups: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return {**dataclasses.asdict(self), "words": self.words}

    @property
    def words(self) -> str:
        """What the numbers say, in a sentence."""
        percent = f"{100 * self.ece.value:.1f} %"
        usual = f"on {self.n:,} answers (up to {100 * self.ece_if_calibrated:.1f} %)"
        if self.ece.value <= self.ece_if_calibrated:
            return (
                f"Confidence and accuracy differ by {percent} (ECE), no more than chance makes of "
                f"a perfectly calibrated model {usual}."
            )
        side = ""
        if self.gap.low > 0:
            side = f"; it is {100 * self.gap.value:.1f} points surer than it is right"
        elif self.gap.high < 0:
            side = f"; it is {-100 * self.gap.value:.1f} points less sure than it is right"
        return (
            f"Confidence and accuracy differ by {percent} (ECE), more than chance makes of a "
            f"perfectly calibrated model {usual}{side}."
        )


def calibration_metrics(
    labels: NDArray[Any],
    probabilities: NDArray[np.floating[Any]],
    *,
    groups: NDArray[Any] | None = None,
    num_bins: int = NUM_BINS,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Calibration:
    """Compare how sure answers are with how often they are right.

    With one class per row an answer is the most probable class, and its probability is the
    confidence. Where a row can have several classes, every row and class is an answer: how
    probable the class is, and whether it is there.

    The lower end of an interval is the basic bootstrap's (Davison and Hinkley 1997, section 5.2),
    which takes away what chance adds to every ECE, where the percentile bootstrap adds it once
    more; the upper end is the larger one of both, and where an ECE of 0 is not ruled out, the
    lower end is 0. In a simulation of 3 classes and 200 images they hold the true ECE in 94 to
    96 % of the cases (`tests/evaluation/test_calibration.py` has a smaller one). What chance adds
    is shown by drawing labels from the probabilities themselves (consistency resampling, Bröcker
    and Smith 2007, https://doi.org/10.1175/WAF993.1); the draws take rows as independent, groups
    or not.

    Args:
        labels: Integers of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: Float of shape (n, num_classes), 0..1.
        groups: Of shape (n,): rows of one group are not independent of each other.
        num_bins: Bins of equal width from 0 to 1.
        num_resamples: Bootstrap resamples.
        seed: Of all draws.
        confidence: Of the intervals, between 0 and 1.

    Raises:
        DataError: The arrays do not fit each other, or are empty.

    Example:
        >>> labels = np.repeat([0, 1], 50)
        >>> sure = np.where(np.arange(100)[:, None] % 5 == 0, [[0.1, 0.9]], [[0.9, 0.1]])
        >>> measured = calibration_metrics(labels, sure)
        >>> round(measured.ece.value, 3), round(measured.gap.value, 3)
        (0.4, 0.4)
    """
    labels, scores = np.asarray(labels), np.asarray(probabilities, np.float64)
    if len(labels) == 0 or len(labels) != len(scores) or scores.ndim != 2:
        raise DataError(
            "`labels` and `probabilities` must have one row for each image, and at least one; "
            f"received {labels.shape} and {scores.shape}."
        )
    sure, right, squares = _answers(labels, scores)
    place = np.clip(np.ceil(sure * num_bins).astype(int) - 1, 0, num_bins - 1)
    # By row and bin: answers, confidence, hits. A resample is a weighted sum of rows.
    cell, cells = np.arange(len(labels))[:, None] * num_bins + place, len(labels) * num_bins
    sums = [
        np.bincount(cell.ravel(), values.ravel(), minlength=cells).reshape(-1, num_bins)
        for values in (np.ones_like(sure), sure, right)
    ]
    gaps, errors, briers = [], [], []
    for weights in bootstrap_weights(
        len(labels), groups=groups, num_resamples=num_resamples, seed=seed
    ):
        count, confident, hits = (weights.T @ one for one in sums)
        errors.append(_ece(count, confident, hits))
        gaps.append((confident - hits).sum(axis=1) / count.sum(axis=1))
        briers.append(squares @ weights / weights.sum(axis=0))
    count, confident, hits = (one.sum(axis=0) for one in sums)
    num_groups = None if groups is None else len(np.unique(groups))
    null_ece = _null_ece(sure, place, num_bins=num_bins, seed=seed)
    ece = _basic(
        float(_ece(count, confident, hits)),
        np.concatenate(errors),
        confidence=confidence,
        smallest=0.0,
    )
    if ece.value <= null_ece:  # no error at all is not ruled out, so that 0 belongs in
        ece = dataclasses.replace(ece, low=0.0)
    brier = percentile_estimate(
        float(squares.mean()),
        np.concatenate(briers),
        units=num_groups or len(labels),
        confidence=confidence,
        largest=1.0 if labels.ndim == 2 else 2.0,
    )
    assert brier is not None  # there is a row
    return Calibration(
        n=sure.size,
        ece=ece,
        ece_if_calibrated=null_ece,
        gap=_basic(
            float((confident - hits).sum() / sure.size),
            np.concatenate(gaps),
            confidence=confidence,
            smallest=-1.0,
        ),
        brier=brier,
        bins=_bins(count, confident, hits, confidence=confidence),
        confidence=confidence,
        num_groups=num_groups,
    )


def _answers(
    labels: NDArray[Any], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return confidence and truth of each answer, (n, answers of a row), and each row's Brier."""
    if labels.ndim == 2:
        truth = (labels == 1).astype(np.float64)
        return scores, truth, np.square(scores - truth).mean(axis=1)
    truth = np.zeros_like(scores)
    truth[np.arange(len(labels)), labels] = 1
    right = (scores.argmax(axis=1) == labels).astype(np.float64)
    return scores.max(axis=1)[:, None], right[:, None], np.square(scores - truth).sum(axis=1)


def _ece(
    count: NDArray[np.float64], confident: NDArray[np.float64], hits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the expected calibration error from sums by bin, on the last axis."""
    return np.abs(confident - hits).sum(axis=-1) / count.sum(axis=-1)


def _basic(
    value: float, resampled: NDArray[np.float64], *, confidence: float, smallest: float
) -> Estimate:
    """Return a value with the basic bootstrap interval, which holds the value in any case."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(
        value,
        float(max(smallest, min(2 * value - high, value))),
        float(min(1.0, max(2 * value - low, high, value))),
        BOOTSTRAP,
    )


def _null_ece(
    sure: NDArray[np.float64], place: NDArray[np.int64], *, num_bins: int, seed: int
) -> float:
    """Return the ECE that a perfectly calibrated model of this confidence seldom exceeds."""
    random = np.random.default_rng(seed)
    flat, bins = sure.ravel(), place.ravel()
    confident = np.bincount(bins, weights=flat, minlength=num_bins)
    if flat.size > _MOST_DRAWN:
        # Hits of a bin are a sum of many independent draws, so that its spread is enough.
        spread = np.sqrt(np.bincount(bins, weights=flat * (1 - flat), minlength=num_bins))
        gaps = np.abs(random.normal(size=(_NULL_DRAWS, num_bins)) * spread).sum(axis=1)
        return float(np.quantile(gaps / flat.size, _NULL_QUANTILE))
    errors = [
        np.abs(
            confident
            - np.bincount(bins, weights=random.random(flat.size) < flat, minlength=num_bins)
        ).sum()
        / flat.size
        for _ in range(_NULL_DRAWS)
    ]
    return float(np.quantile(errors, _NULL_QUANTILE))


def _bins(
    count: NDArray[np.float64],
    confident: NDArray[np.float64],
    hits: NDArray[np.float64],
    *,
    confidence: float,
) -> tuple[CalibrationBin, ...]:
    """Return the bins of the reliability diagram."""
    edges = np.linspace(0, 1, len(count) + 1)
    return tuple(
        CalibrationBin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            n=int(count[index]),
            mean_confidence=float(confident[index] / count[index]) if count[index] else None,
            accuracy=proportion(float(hits[index]), float(count[index]), confidence=confidence),
        )
        for index in range(len(count))
    )
