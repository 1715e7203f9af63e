"""Every measure of a set of answers, on all rows and on many resamples of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kerastl.errors import ConfigError
from kerastl.evaluation.intervals import (
    Estimate,
    bootstrap_weights,
    percentile_estimate,
    proportion,
)
from kerastl.evaluation.ranking import Ranking, rank_rows, ranking_areas, ratio

# A probability of 0 for the true class would make one image's loss infinite.
SMALLEST_PROBABILITY = 1e-7
_LARGEST_LOSS = -float(np.log(SMALLEST_PROBABILITY))

# Rows × classes × resamples: some seconds on one core.
_LARGEST_WORK = 1_000_000_000
_FEWEST_RESAMPLES = 100

# With fewer, percentile intervals are known to be too narrow: for rows the central limit
# theorem is far, for groups see Cameron, Gelbach and Miller (2008).
_FEW_ROWS = 30
_FEW_GROUPS = 20

PER_CLASS = ("precision", "recall", "f1", "auroc", "average_precision")


@dataclass(frozen=True)
class Answers:
    """Truth and answers side by side.

    Attributes:
        truth: Sparse, of shape (n, num_classes): 1 where the row is of the class.
        answered: Of the same shape: 1 where the row was called so.
        right: float64 of shape (n,): 1 where the whole row is right.
        losses: float64 of shape (n,): log-loss in nats.
        scores: Float of shape (n, num_classes): probabilities.
    """

    truth: sparse.csr_array = field(repr=False)
    answered: sparse.csr_array = field(repr=False)
    right: NDArray[np.float64] = field(repr=False)
    losses: NDArray[np.float64] = field(repr=False)
    scores: NDArray[np.floating[Any]] = field(repr=False)


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
class Sample:
    """Measures of all rows, and of resamples of them.

    Attributes:
        counts: By name ("support", "answered", "hits"): float64 of shape (num_classes,).
        values: By measure: float64 of shape (num_classes,), or () for a whole.
        resampled: By measure: float64 of shape (num_classes, num_resamples), or
            (num_resamples,) for a whole.
        num_rows: n.
        num_resamples: How many there are; fewer than were asked for where that is much work.
        num_groups: Whole groups that were resampled; None if rows were.
        units: float64 of shape (num_classes,): rows, or groups, with the class.
        others: The same: rows, or groups, with another.
        confidence: Of the intervals.
        notes: What a reader should know.
    """

    counts: dict[str, NDArray[np.float64]] = field(repr=False)
    values: dict[str, NDArray[np.float64]] = field(repr=False)
    resampled: dict[str, NDArray[np.float64]] = field(repr=False)
    num_rows: int
    num_resamples: int
    num_groups: int | None
    units: NDArray[np.float64] = field(repr=False)
    others: NDArray[np.float64] = field(repr=False)
    confidence: float
    notes: tuple[str, ...]


def resample(
    answers: Answers,
    *,
    class_names: Sequence[str],
    groups: NDArray[Any] | None,
    num_resamples: int,
    seed: int,
    confidence: float,
) -> Sample:
    """Measure the answers on all rows and on bootstrap resamples.

    Args:
        answers: Of n rows.
        class_names: For the notes.
        groups: Of shape (n,): whole groups are drawn; None to draw rows.
        num_resamples: How many are wanted.
        seed: Of the draws.
        confidence: Of the intervals, between 0 and 1.

    Raises:
        ConfigError: `num_resamples` is too small to take percentiles of.
    """
    if num_resamples < _FEWEST_RESAMPLES:
        raise ConfigError(
            f"`num_resamples` must be at least {_FEWEST_RESAMPLES}; received "
            f"num_resamples={num_resamples!r}. The default of 1000 takes seconds."
        )
    num_rows, num_classes = answers.scores.shape
    affordable = max(_FEWEST_RESAMPLES, _LARGEST_WORK // (num_rows * num_classes))
    taken = min(num_resamples, affordable)
    positive = answers.truth.toarray() > 0
    rankings = [rank_rows(positive[:, c], answers.scores[:, c]) for c in range(num_classes)]
    whole = _measure(answers, rankings, np.ones((num_rows, 1)))
    blocks = [
        _measure(answers, rankings, weights)
        for weights in bootstrap_weights(num_rows, groups=groups, num_resamples=taken, seed=seed)
    ]
    member = np.arange(num_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    units, others = _units(positive, member.ravel())
    num_groups = None if groups is None else int(member.max()) + 1
    notes = [
        *_notes(whole["support"][:, 0], num_rows, num_groups, class_names),
        *(
            [
                f"{taken:,} bootstrap resamples were drawn, not {num_resamples:,}: "
                f"{num_rows:,} images of {num_classes:,} classes are much to resample."
            ]
            if taken < num_resamples
            else []
        ),
    ]
    counts = ("support", "answered", "hits")
    return Sample(
        counts={name: whole[name][:, 0] for name in counts},
        values={name: value[..., 0] for name, value in whole.items() if name not in counts},
        resampled={
            name: np.concatenate([block[name] for block in blocks], axis=-1)
            for name in whole
            if name not in counts
        },
        num_rows=num_rows,
        num_resamples=taken,
        num_groups=num_groups,
        units=units,
        others=others,
        confidence=confidence,
        notes=tuple(notes),
    )


def whole_estimate(sample: Sample, name: str) -> Estimate | None:
    """Return a measure of all classes together, or None where it is not defined.

    Args:
        sample: From `resample`.
        name: "accuracy", "balanced_accuracy", "macro_f1", "mean_auroc",
            "mean_average_precision" or "log_loss".
    """
    if name == "accuracy" and sample.num_groups is None:
        right = round(float(sample.values[name]) * sample.num_rows)
        return proportion(right, sample.num_rows, confidence=sample.confidence)
    single = name in ("accuracy", "log_loss")
    return percentile_estimate(
        float(sample.values[name]),
        sample.resampled[name],
        units=(sample.num_groups or sample.num_rows) if single else _effective(sample.units),
        confidence=sample.confidence,
        largest=_LARGEST_LOSS if name == "log_loss" else 1.0,
    )


def class_estimates(sample: Sample, class_names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Return the measures of each class.

    Args:
        sample: From `resample`.
        class_names: One for each class.
    """
    return tuple(
        ClassMetrics(
            name=str(name),
            support=int(sample.counts["support"][index]),
            **{measure: _class_estimate(sample, measure, index) for measure in PER_CLASS},
        )
        for index, name in enumerate(class_names)
    )


def _class_estimate(sample: Sample, measure: str, index: int) -> Estimate | None:
    """Return one measure of one class."""
    if sample.num_groups is None and measure in ("precision", "recall", "f1"):
        support, answered, hits = (
            float(sample.counts[name][index]) for name in ("support", "answered", "hits")
        )
        trials = {"precision": answered, "recall": support, "f1": support + answered - hits}
        found = proportion(hits, trials[measure], confidence=sample.confidence)
        if measure != "f1" or found is None:
            return found
        # F1 = 2 J / (1 + J), rising in J = hits / (hits + misses + false alarms), which is a
        # proportion of the rows that the class has to do with.
        value, low, high = (2 * end / (1 + end) for end in (found.value, found.low, found.high))
        return Estimate(value, low, high, found.method)
    units, others = sample.units[index], sample.others[index]
    if measure in ("auroc", "average_precision"):
        units = _effective(np.array([units, others]))
    return percentile_estimate(
        float(sample.values[measure][index]),
        sample.resampled[measure][index],
        units=max(float(units), 1.0),
        confidence=sample.confidence,
    )


def _measure(
    answers: Answers, rankings: Sequence[Ranking], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return all measures of weighted rows: (num_classes, b) per class, (b,) for a whole."""
    hits = np.asarray(answers.truth.multiply(answers.answered).T @ weights)
    support = np.asarray(answers.truth.T @ weights)
    answered = np.asarray(answers.answered.T @ weights)
    recall, f1 = ratio(hits, support), ratio(2 * hits, support + answered)
    areas = [ranking_areas(ranking, weights) for ranking in rankings]
    auroc, average_precision = (np.stack(column) for column in zip(*areas, strict=True))
    num_rows = weights.sum(axis=0)
    return {
        "support": support,
        "answered": answered,
        "hits": hits,
        "precision": ratio(hits, answered),
        "recall": recall,
        "f1": f1,
        "auroc": auroc,
        "average_precision": average_precision,
        "accuracy": answers.right @ weights / num_rows,
        "log_loss": answers.losses @ weights / num_rows,
        "balanced_accuracy": _mean_of_known(recall),
        "macro_f1": _mean_of_known(f1),
        "mean_auroc": _mean_of_known(auroc),
        "mean_average_precision": _mean_of_known(average_precision),
    }


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the first axis of what is a number."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _units(
    positive: NDArray[np.bool_], member: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many rows or groups have each class, and how many have another."""
    num_rows = len(member)
    adder = sparse.csc_array((np.ones(num_rows), member, np.arange(num_rows + 1)))
    inside, outside = adder @ positive.astype(np.float64), adder @ (~positive).astype(np.float64)
    return (inside > 0).sum(axis=0).astype(float), (outside > 0).sum(axis=0).astype(float)


def _effective(units: NDArray[np.float64]) -> float:
    """Return n such that a mean over classes is as sure as a share of n rows.

    The variance of a mean of k proportions is p (1 - p) Σ(1 / n_c) / k², so n = k² / Σ(1 / n_c).
    """
    present = units[units > 0]
    return float(len(present) ** 2 / np.sum(1 / present)) if len(present) else 1.0


def _notes(
    support: NDArray[np.float64],
    num_rows: int,
    num_groups: int | None,
    class_names: Sequence[str],
) -> list[str]:
    """Return what a reader of the intervals should know."""
    notes = []
    absent = [str(name) for name, rows in zip(class_names, support, strict=True) if rows == 0]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        notes.append(
            f"No image here is of {', '.join(repr(name) for name in absent[:5])}{more}: means "
            "over classes leave out what is not there, and there is no mean AUROC."
        )
    if num_rows < _FEW_ROWS:
        images = "image: its interval says" if num_rows == 1 else "images: their intervals say"
        notes.append(f"Only {num_rows} {images} little. Give more to measure on.")
    if num_groups is not None and num_groups < _FEW_GROUPS:
        notes.append(
            f"Only {num_groups} independent group{'s' * (num_groups != 1)} of images: intervals "
            "over so few are too narrow."
        )
    return notes
