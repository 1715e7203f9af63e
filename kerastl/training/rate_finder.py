"""Which learning rate to take: where steps become too long, and what short trainings say below.

The range test (Smith 2017, arXiv:1506.01186, section 3.3; fastai's `lr_find`) takes steps at rising
rates and looks for the fall of the loss. That works for a head of random numbers. After a probe
there is no fall: the head is at its best already, and what a step gains drowns in the noise of
its batch (on the solar cells fastai's "valley" suggests 2e-6, where 3e-5 to 2e-4 train best;
2026-11). So here the loss is that of the same images after every step, the test finds where it
doubles, and short trainings at a few rates below decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOWEST_RATE, HIGHEST_RATE, NUM_STEPS = 1e-7, 10.0, 80
# The test ends when the loss is so many times that before the first step, and more by so much: a
# perfect probe has a loss of nearly 0, which doubles at any rate.
STOP_AT, _LEAST_RISE = 2.0, 0.2
# Rates of the short trainings: the highest half of where the loss doubles, each a third of the
# one before.
NUM_TRAININGS = 5
_FIRST_PART, _FACTOR = 0.5, 10**-0.5
# How many more are tried beyond, as long as the best is the highest or the lowest of them.
_MOST_BEYOND = 3
# Losses that differ by less than this part, or by so many nats, are one: the noise of a short
# training. Far enough down all rates are alike, because none of them moves anything.
_FLAT, _NOTHING = 0.02, 0.002
# Part of the epochs of a whole training that a short one has, and the fewest steps that say
# anything of a high rate: it loses first and gains later (984 solar cells in four classes, after
# 62 steps: 0.80 at the best rate, 0.71 at a tenth of it; after 124: 0.69 and 0.73; 2026-11).
_EPOCH_PART, _LEAST_STEPS = 0.25, 120


@dataclass(frozen=True)
class RateSweep:
    """What was found.

    Attributes:
        rates: float64 of shape (steps,), rising.
        losses: float64 of shape (steps,): of the same images after each step, nats per image.
        tried: (Rate, validation loss) of each short training.
        epochs: Length of each.
        suggestion: The rate to take, the highest of its schedule: see `suggested_rate`.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    tried: tuple[tuple[float, float], ...]
    epochs: int
    suggestion: float


def short_epochs(epochs: int, *, num_train: int, batch_size: int) -> int:
    """Return how many epochs a short training has: a quarter, and more where steps are few.

    Args:
        epochs: Of the whole training, at least 1.
        num_train: Training images.
        batch_size: Of a step.

    Example:
        >>> [short_epochs(8, num_train=images, batch_size=32) for images in (32_000, 984, 128)]
        [2, 4, 8]
    """
    least = math.ceil(_LEAST_STEPS / math.ceil(num_train / batch_size))
    return max(1, min(epochs, max(round(_EPOCH_PART * epochs), least)))


def sweep_rates(num_steps: int = NUM_STEPS) -> NDArray[np.float64]:
    """Return rates from the lowest to the highest, each the same factor over the one before.

    Args:
        num_steps: How many.

    Example:
        >>> rates = sweep_rates(9)
        >>> [f"{rate:.0e}" for rate in rates[:3]]
        ['1e-07', '1e-06', '1e-05']
    """
    return np.geomspace(LOWEST_RATE, HIGHEST_RATE, num_steps)


def diverged(losses: ArrayLike, *, before: float) -> bool:
    """Tell whether the test is over: the loss is no number, or far above where it began.

    Args:
        losses: After each step so far.
        before: Before the first.

    Example:
        >>> diverged([1.0, 1.5], before=1.0), diverged([1.0, 2.5], before=1.0)
        (False, True)
        >>> diverged([math.nan], before=1.0)
        True
    """
    last = float(np.asarray(losses, np.float64)[-1])
    return not math.isfinite(last) or last > _limit(before)


def _limit(before: float) -> float:
    return max(STOP_AT * before, before + _LEAST_RISE)


def rates_to_try(rates: ArrayLike, losses: ArrayLike, *, before: float) -> tuple[float, ...]:
    """Return the rates of the short trainings, the highest first.

    Args:
        rates: Of the range test.
        losses: After each of its steps.
        before: Before the first.

    Example:
        >>> [f"{rate:.0e}" for rate in rates_to_try([1e-4, 1e-3, 1e-2], [1, 1, 9], before=1.0)]
        ['5e-03', '2e-03', '5e-04', '2e-04', '5e-05']
    """
    known, found = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    over = np.flatnonzero(~(found <= _limit(before)))
    limit = float(known[over[0]] if len(over) else known[-1])
    return tuple(limit * _FIRST_PART * _FACTOR**number for number in range(NUM_TRAININGS))


def next_rate(tried: Sequence[tuple[float, float]]) -> float | None:
    """Return a rate beyond those that were tried, if the best of them so far is at their edge.

    Args:
        tried: (Rate, validation loss), the highest rate first; a loss may be no number.

    Example:
        >>> next_rate([(1e-3, 0.4), (3e-4, 0.5)]) > 1e-3
        True
        >>> next_rate([(1e-3, math.nan), (3e-4, math.nan)]) < 3e-4
        True
        >>> next_rate([(1e-2, 0.5), (1e-3, 0.4), (3e-4, 0.5)]) is None
        True
        >>> next_rate([(1e-5, 0.4), (3e-6, 0.399)]) is None  # nothing moves any more
        True
    """
    if len(tried) >= NUM_TRAININGS + _MOST_BEYOND:
        return None
    finite = [loss for _, loss in tried if math.isfinite(loss)]
    lowest, *higher = [loss for _, loss in reversed(tried)]
    falls = not finite or not higher or not lowest > (1 - _FLAT) * higher[0]
    if falls and (not finite or best_rate(tried) == tried[-1][0]):
        return tried[-1][0] * _FACTOR
    return tried[0][0] / _FACTOR if best_rate(tried) == tried[0][0] else None


def suggested_rate(tried: ArrayLike) -> float:
    """Return the highest rate whose loss is as good as the smallest, but for noise.

    A short training says little against a rate that does no harm, and a whole one gains more by it.
    Where all is learned already at several rates, nothing is gained by the highest, which can be
    next to chaos: then it is the middle one of them.

    Args:
        tried: Rows of (rate, validation loss); a loss may be no number, but not all.

    Example:
        >>> suggested_rate([(1e-3, 0.5), (3e-4, 0.402), (1e-4, 0.4), (3e-5, 0.41)])
        0.0003
        >>> suggested_rate([(1e-1, 1e-4), (3e-2, 1e-6), (1e-2, 1e-5), (1e-3, 0.4)])
        0.03
    """
    rows = np.asarray(tried, np.float64)
    losses = np.where(np.isfinite(rows[:, 1]), rows[:, 1], math.inf)
    best = float(losses.min())
    limit = max((1 + _FLAT) * best, best + _NOTHING)
    alike = np.sort(rows[losses <= limit, 0])
    return float(alike[len(alike) // 2] if limit <= 2 * _NOTHING else alike[-1])


def best_rate(tried: ArrayLike) -> float:
    """Return the rate with the smallest validation loss.

    Args:
        tried: Rows of (rate, validation loss); a loss may be no number, but not all.

    Example:
        >>> best_rate([(1e-2, math.nan), (1e-3, 0.5), (1e-4, 0.4)])
        0.0001
    """
    rows = np.asarray(tried, np.float64)
    losses = np.where(np.isfinite(rows[:, 1]), rows[:, 1], math.inf)
    return float(rows[int(losses.argmin()), 0])
