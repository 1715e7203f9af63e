"""Models on the same rows: which is better, and is the difference more than noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from kerastl.errors import DataError
from kerastl.evaluation.intervals import (
    BOOTSTRAP,
    Estimate,
    bootstrap_weights,
    normal_quantile,
)


@dataclass(frozen=True)
class PairedComparison:
    """A second model against a first one, on the same rows.

    Attributes:
        n: Rows.
        only_second_right: Rows that the second has right and the first has not.
        only_first_right: The other way round.
        accuracy: How much more accurate the second is, -1..1.
        log_loss: How much larger its mean loss is, in nats per row; below 0 if it is better.
        p_value: Of McNemar's exact test that both are as often right; None over groups, whose
            rows are not independent, as the test takes them to be.
    """

    n: int
    only_second_right: int
    only_first_right: int
    accuracy: Estimate
    log_loss: Estimate
    p_value: float | None


def compare_answers(
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    *,
    losses: NDArray[np.float64],
    other_losses: NDArray[np.float64],
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> PairedComparison:
    """Compare a second model with a first one on the same rows.

    Args:
        right: bool of shape (n,): which rows the first model has right.
        other_right: bool of shape (n,): which the second.
        losses: float64 of shape (n,): log-loss of each row under the first model, in nats.
        other_losses: The same under the second.
        groups: Of shape (n,): rows of one group are not independent of each other.
        seed: Of the resamples.

    Raises:
        DataError: The arrays are empty or of different lengths.

    Example:
        >>> first, second = np.arange(100) < 80, np.arange(100) < 90
        >>> found = compare_answers(first, second, losses=1.0 - first, other_losses=1.0 - second)
        >>> found.only_second_right, found.log_loss.value.__round__(2), found.p_value.__round__(4)
        (10, -0.1, 0.002)
    """
    accuracy = accuracy_difference(right, other_right, groups=groups, seed=seed)
    better, worse = int(np.sum(other_right & ~right)), int(np.sum(right & ~other_right))
    return PairedComparison(
        n=len(right),
        only_second_right=better,
        only_first_right=worse,
        accuracy=accuracy,
        log_loss=mean_difference(losses, other_losses, groups=groups, seed=seed),
        p_value=mcnemar_p_value(better, worse) if groups is None else None,
    )


def mcnemar_p_value(only_second_right: int, only_first_right: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (Psychometrika 12:153, 1947).

    Under the hypothesis that two models are as often right, each row that one of them alone has
    right is that of the one or the other like a tossed coin.

    Args:
        only_second_right: Rows that the second has right and the first has not.
        only_first_right: The other way round.

    Example:
        >>> mcnemar_p_value(10, 0)
        0.001953125
        >>> mcnemar_p_value(0, 0)
        1.0
    """
    trials = only_second_right + only_first_right
    return float(binomtest(only_second_right, trials).pvalue) if trials else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are (Holm, Scand. J. Stat. 6:65, 1979).

    Args:
        p_values: One for each comparison.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def mean_difference(
    values: NDArray[np.float64],
    other_values: NDArray[np.float64],
    *,
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return how much larger the mean of the second values is, with its paired bootstrap interval.

    Args:
        values: float64 of shape (n,), of one model.
        other_values: Of the other, for the same rows.
        groups: Of shape (n,): rows of one group are drawn together.
        num_resamples: Bootstrap resamples (Efron 1979), percentiles.
        seed: Of the resamples.
        confidence: Between 0 and 1.

    Example:
        >>> found = mean_difference(np.zeros(50), np.arange(50) / 50)
        >>> found.value, found.low > 0.3, found.high < 0.7
        (0.49, True, True)
    """
    gain = np.asarray(other_values, np.float64) - np.asarray(values, np.float64)
    value = float(gain.mean())
    blocks = bootstrap_weights(len(gain), groups=groups, num_resamples=num_resamples, seed=seed)
    means = np.concatenate([gain @ weights / weights.sum(axis=0) for weights in blocks])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(min(low, value)), float(max(high, value)), BOOTSTRAP)


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
        options: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence}
        return mean_difference(np.zeros(len(gain)), gain, groups=groups, seed=seed, **options)
    trials = len(np.unique(groups)) if groups is not None else len(gain)
    better = (np.sum(gain > 0) * trials / len(gain) + 1) / (trials + 2)
    worse = (np.sum(gain < 0) * trials / len(gain) + 1) / (trials + 2)
    spread = ((better + worse - (better - worse) ** 2) / (trials + 2)) ** 0.5
    half = normal_quantile(confidence) * spread
    low, high = better - worse - half, better - worse + half
    return Estimate(value, float(max(-1.0, min(low, value))), float(min(1.0, max(high, value))))
