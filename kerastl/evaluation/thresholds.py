"""From which probability on a label counts as answered: one threshold per label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, DataError

DEFAULT_THRESHOLD = 0.5

# Of either kind: with fewer, the best threshold is that of a handful of pictures.
FEWEST_ROWS = 5


def choose_thresholds(
    labels: NDArray[Any],
    probabilities: NDArray[np.floating[Any]],
    *,
    fewest: int = FEWEST_ROWS,
    worth_hits: int = 1,
) -> tuple[float, ...]:
    """Return for each label a threshold of the largest F1 on these rows, near 0.5 if that will do.

    A threshold matters only by which rows it lets through, so between two neighbouring
    probabilities one is as good as another. Of all such stretches, those count as best whose F1
    is no less than the largest would be with one hit fewer: a single row is no reason to move.
    Of them the one nearest to 0.5 is taken; in it 0.5 itself if it lies there, else the middle,
    as far from the next row as can be. Where rows with or without the label are fewer than
    `fewest`, its threshold stays at 0.5.

    One threshold per label by its own F1 is SCut (Yang, SIGIR 2001). The one hit is ours: in a
    simulation of 30 kinds of labels it keeps a mean gain of 4.1 points of F1 on other rows over
    0.5, and no kind loses more than 0.1; the plain maximum gains 4.3, but common or easy labels
    lose up to 2.6 (`python benchmarks/thresholds.py`).

    Args:
        labels: 0 or 1, of shape (n, num_classes): validation rows, never those of the test.
        probabilities: Float of shape (n, num_classes), 0..1.
        fewest: Rows with, and rows without a label, that it takes to move its threshold.
        worth_hits: Hits that a move must be worth; 0 is the plain maximum.

    Returns:
        One number per label, above 0 and at most 1. A label counts as answered where its
        probability is this or more.

    Raises:
        DataError: The shapes differ.

    Example:
        >>> labels = np.array([[1]] * 5 + [[0]] * 5)
        >>> choose_thresholds(labels, np.where(labels == 1, 0.375, 0.25))
        (0.3125,)
        >>> choose_thresholds(labels, np.where(labels == 1, 0.625, 0.25))
        (0.5,)
    """
    if labels.shape != probabilities.shape or labels.ndim != 2:
        raise DataError(
            "`labels` and `probabilities` must both have the shape (n, num_classes); received "
            f"{labels.shape} and {probabilities.shape}."
        )
    present, few = labels == 1, few_rows(labels, fewest=fewest)
    return tuple(
        DEFAULT_THRESHOLD
        if index in few
        else _best_threshold(present[:, index], probabilities[:, index], worth_hits=worth_hits)
        for index in range(labels.shape[1])
    )


def few_rows(labels: NDArray[Any], *, fewest: int = FEWEST_ROWS) -> tuple[int, ...]:
    """Return the labels that too few rows have, or lack, to choose a threshold.

    Args:
        labels: 0 or 1, of shape (n, num_classes).
        fewest: Rows of either kind that it takes.

    Returns:
        Their columns, in order.

    Example:
        >>> few_rows(np.array([[1, 0]] * 5 + [[0, 0]] * 5))
        (1,)
    """
    positives = np.sum(labels == 1, axis=0)
    few = np.minimum(positives, len(labels) - positives) < fewest
    return tuple(int(index) for index in np.flatnonzero(few))


def as_thresholds(
    threshold: float | Sequence[float] | NDArray[Any], num_classes: int
) -> NDArray[np.float64]:
    """Return one threshold per label, from one for all or one for each.

    Args:
        threshold: One number, or one for each label.
        num_classes: Number of labels.

    Returns:
        float64 of shape (num_classes,).

    Raises:
        ConfigError: There are more or fewer, or they are no probabilities.

    Example:
        >>> as_thresholds(0.5, 2).tolist()
        [0.5, 0.5]
    """
    values = np.asarray(threshold, np.float64)
    if values.ndim == 0:
        values = np.full(num_classes, float(values))
    if values.shape != (num_classes,) or not np.all((values >= 0) & (values <= 1)):
        raise ConfigError(
            f"`threshold` must be one number from 0 to 1, or one for each of {num_classes} "
            f"labels; received {threshold!r}."
        )
    return values


def _best_threshold(
    present: NDArray[np.bool_],
    probabilities: NDArray[np.floating[Any]],
    *,
    worth_hits: int,
) -> float:
    """Choose the threshold of one label."""
    positives = int(present.sum())
    order = np.argsort(-probabilities, kind="stable")
    scores = probabilities[order].astype(np.float64)
    # Rows of equal probability go through together: a stretch ends at the last of them, and any
    # threshold in it is above the next row's probability and at most its own.
    last = np.flatnonzero(np.append(np.diff(scores) < 0, True))
    high, low = scores[last], np.append(scores[last[1:]], 0.0)
    hits, through = np.cumsum(present[order])[last], last + 1
    f1 = 2 * hits / (through + positives)
    best = int(np.argmax(f1))
    enough = 2 * (hits[best] - worth_hits) / (through[best] + positives)
    near = np.flatnonzero(f1 >= enough - 1e-12)
    distance = np.maximum(np.maximum(low - DEFAULT_THRESHOLD, DEFAULT_THRESHOLD - high), 0.0)
    chosen = near[np.argmin(distance[near])]
    if low[chosen] < DEFAULT_THRESHOLD <= high[chosen]:
        return DEFAULT_THRESHOLD
    return float((low[chosen] + high[chosen]) / 2)
