"""Two models on the same rows: which is better, and is the difference more than noise?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.intervals import Estimate, bootstrap_weights, normal_quantile


def accuracy_difference(
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    *,
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return how much more accurate the second of two models is on the same rows.

    Both models find the same rows hard, so this interval is narrower than that of two
    separate accuracies: it can show a difference where theirs overlap. It is the adjusted
    Wald interval for paired proportions of Bonett and Price (J. Educ. Behav. Stat. 37:479,
    2012); with groups a bootstrap over whole groups.

    Args:
        right: bool of shape (n,): which rows the first model has right.
        other_right: bool of shape (n,): which the second.
        groups: Of shape (n,): rows of one group are not independent of each other.
        num_resamples: Bootstrap resamples, used with groups only.
        seed: Of the resamples.
        confidence: Between 0 and 1.

    Returns:
        The difference, -1..1; above 0 if the second model is the better.

    Raises:
        DataError: The arrays are empty or of different lengths.

    Example:
        >>> first, second = np.arange(100) < 80, np.arange(100) < 90
        >>> difference = accuracy_difference(first, second)
        >>> difference.value, round(difference.low, 3), round(difference.high, 3)
        (0.1, 0.034, 0.162)
    """
    if len(right) != len(other_right) or len(right) == 0:
        raise DataError(
            "Two models can only be compared on the same rows; received answers of "
            f"{len(right)} and of {len(other_right)} rows. Let both answer the same split."
        )
    gain = np.asarray(other_right, np.float64) - np.asarray(right, np.float64)
    value = float(gain.mean())
    if groups is not None and len(np.unique(groups)) > 1 and np.ptp(gain) > 0:
        blocks = bootstrap_weights(len(gain), groups=groups, num_resamples=num_resamples, seed=seed)
        means = np.concatenate([gain @ weights / weights.sum(axis=0) for weights in blocks])
        tail = (1 - confidence) / 2
        low, high = np.quantile(means, [tail, 1 - tail])
        return Estimate(value, float(min(low, value)), float(max(high, value)))
    trials = len(np.unique(groups)) if groups is not None else len(gain)
    better = (np.sum(gain > 0) * trials / len(gain) + 1) / (trials + 2)
    worse = (np.sum(gain < 0) * trials / len(gain) + 1) / (trials + 2)
    spread = ((better + worse - (better - worse) ** 2) / (trials + 2)) ** 0.5
    half = normal_quantile(confidence) * spread
    low, high = better - worse - half, better - worse + half
    return Estimate(value, float(max(-1.0, min(low, value))), float(min(1.0, max(high, value))))
