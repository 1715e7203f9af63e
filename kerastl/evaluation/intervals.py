"""How sure a number is: Wilson's interval for proportions, the bootstrap for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError

WILSON, BOOTSTRAP = "wilson", "bootstrap"
# Where the bootstrap sees no difference between resamples; see `percentile_estimate`.
WILSON_FOR_BOOTSTRAP = "wilson-for-bootstrap"

# Numbers in one block of weights: 16 MB, so that 50,000 rows need no gigabytes.
_BLOCK_SIZE = 2**21


@dataclass(frozen=True)
class Estimate:
    """A measured value and the interval that the true one is believed to lie in.

    Attributes:
        value: As measured.
        low: Lower end of the interval, at most `value`.
        high: Upper end, at least `value`.
        method: Whose interval it is, one of the names in this file; "" for another, which who
            made it names.
    """

    value: float
    low: float
    high: float
    method: str = field(default="", repr=False)


def wilson_interval(
    successes: float, trials: float, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson, JASA 22:209, 1927).

    It stays within 0..1 and keeps a width when all or none succeed, as the usual
    p ± 1.96 s does not; recommended for small samples by Brown, Cai and DasGupta
    (Statistical Science 16:101, 2001).

    Args:
        successes: From 0 to `trials`.
        trials: More than 0; not necessarily whole (an effective sample size).
        confidence: Between 0 and 1.

    Returns:
        The lower and the upper end.

    Example:
        >>> [round(end, 3) for end in wilson_interval(9, 10)]
        [0.596, 0.982]
    """
    z = normal_quantile(confidence)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * (share * (1 - share) / trials + z * z / (4 * trials * trials)) ** 0.5
    scale = 1 + z * z / trials
    # Rounding must not push an end past the value when all or none succeed.
    return max(0.0, min(share, (centre - half) / scale)), min(
        1.0, max(share, (centre + half) / scale)
    )


def normal_quantile(confidence: float) -> float:
    """Return z such that a standard normal value lies within ±z with this probability.

    Args:
        confidence: Between 0 and 1.

    Raises:
        ConfigError: It is not.

    Example:
        >>> round(normal_quantile(0.95), 2)
        1.96
    """
    if not 0 < confidence < 1:
        raise ConfigError(
            f"`confidence` must lie between 0 and 1; received confidence={confidence!r}. "
            "Write 0.95 for a 95 % interval."
        )
    return NormalDist().inv_cdf((1 + confidence) / 2)


def proportion(successes: float, trials: float, *, confidence: float = 0.95) -> Estimate | None:
    """Return successes / trials with Wilson's interval, or None without a trial.

    Args:
        successes: From 0 to `trials`.
        trials: 0 or more.
        confidence: Between 0 and 1.

    Example:
        >>> proportion(0, 0) is None
        True
        >>> proportion(9, 10).value
        0.9
    """
    if trials == 0:
        return None
    low, high = wilson_interval(successes, trials, confidence=confidence)
    return Estimate(successes / trials, low, high, WILSON)


def bootstrap_weights(
    num_rows: int, *, groups: NDArray[Any] | None = None, num_resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Draw rows, or whole groups, with replacement (Efron, Annals of Statistics 7:1, 1979).

    A resample is given as how often each row was drawn, so that sums over it are
    products. Rows of one group (of one patient, one module) are alike: drawn one by one
    they would make the interval too narrow (Davison and Hinkley 1997, section 3.8).

    Args:
        num_rows: Number of rows n.
        groups: Of shape (n,): which group each row is of; None if rows are independent.
        num_resamples: How many resamples.
        seed: Of the draws.

    Yields:
        float64 of shape (n, b): the weights of the next b resamples.

    Example:
        >>> (weights,) = bootstrap_weights(4, num_resamples=3, seed=0)
        >>> weights.shape, weights.sum(axis=0).tolist()
        ((4, 3), [4.0, 4.0, 4.0])
    """
    random = np.random.default_rng(seed)
    member = None if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    num_units = num_rows if member is None else int(member.max()) + 1
    block = max(1, _BLOCK_SIZE // num_rows)
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        drawn = np.empty((num_units, size))
        for column in range(size):
            drawn[:, column] = np.bincount(
                random.integers(num_units, size=num_units), minlength=num_units
            )
        yield drawn if member is None else drawn[member]


def share(
    hits: NDArray[np.bool_],
    *,
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Estimate | None:
    """Return the share of rows that are hits: Wilson's interval, or over groups the bootstrap's.

    Args:
        hits: bool of shape (n,).
        groups: Of shape (n,): rows of one group are alike; None if rows are independent.
        num_resamples: Of whole groups.
        seed: Of the resamples.

    Returns:
        None without a row.

    Example:
        >>> hits = np.arange(40) < 10
        >>> alone, grouped = share(hits), share(hits, groups=np.arange(40) // 10)
        >>> alone.value == grouped.value, grouped.high - grouped.low > alone.high - alone.low
        (True, True)
    """
    if groups is None or not len(hits):
        return proportion(float(hits.sum()), len(hits))
    blocks = bootstrap_weights(len(hits), groups=groups, num_resamples=num_resamples, seed=seed)
    resampled = np.concatenate([hits @ weights / weights.sum(axis=0) for weights in blocks])
    return percentile_estimate(float(hits.mean()), resampled, units=len(np.unique(groups)))


def percentile_estimate(
    value: float,
    resampled: NDArray[np.float64],
    *,
    units: float,
    confidence: float = 0.95,
    largest: float = 1.0,
) -> Estimate | None:
    """Return a value with the percentile bootstrap interval (Efron 1979).

    Where (almost) every resample gives the same number (all answers right, all of one class,
    or a single row) the bootstrap would claim certainty. Then the interval is that of Wilson
    for a share `value / largest` of `units` trials.

    Args:
        value: As measured on all rows, from 0 to `largest`; not a number where undefined.
        resampled: float64 of shape (num_resamples,): the same of each resample, not a
            number where undefined.
        units: Independent things that the value rests on: rows, groups, or an effective
            number of them.
        confidence: Between 0 and 1.
        largest: The largest value that is possible.

    Returns:
        None if `value` is undefined.

    Example:
        >>> estimate = percentile_estimate(0.5, np.linspace(0, 1, 101), units=9)
        >>> round(estimate.low, 3), round(estimate.high, 3)
        (0.025, 0.975)
        >>> perfect = percentile_estimate(1.0, np.ones(100), units=10)
        >>> round(perfect.low, 2), perfect.method
        (0.72, 'wilson-for-bootstrap')
    """
    if np.isnan(value):
        return None
    known = resampled[~np.isnan(resampled)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (value, value)
    if high - low < 1e-12:
        share = min(max(value / largest, 0.0), 1.0)
        low, high = wilson_interval(share * units, units, confidence=confidence)
        ends = min(low * largest, value), max(high * largest, value)
        return Estimate(float(value), *ends, WILSON_FOR_BOOTSTRAP)
    # Resamples lose rare classes, so a macro average can lie outside its own percentiles.
    return Estimate(float(value), float(min(low, value)), float(max(high, value)), BOOTSTRAP)
