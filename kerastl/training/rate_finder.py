"""Which learning rate to take: losses of short steps at rising rates, and a suggestion.

Smith 2017, arXiv:1506.01186, section 3.3; in the form of fastai's `lr_find` (100 steps from 1e-7
to 10, stopped at four times the lowest loss, suggestion "valley").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOWEST_RATE, HIGHEST_RATE, NUM_STEPS = 1e-7, 10.0, 100
# Stopped when the smoothed loss is so many times the lowest one.
STOP_AT = 4.0
_SMOOTHING = 0.9


@dataclass(frozen=True)
class RateSweep:
    """Losses at rising rates.

    Attributes:
        rates: float64 of shape (steps,).
        losses: float64 of shape (steps,): of the batch of each step, nats per image.
        suggestion: The rate to take, the highest of a schedule; None if the loss never fell.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float | None

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses as the suggestion is made of them."""
        return smooth(self.losses)


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


def smooth(losses: ArrayLike) -> NDArray[np.float64]:
    """Return exponentially weighted means, without the pull of the beginning to 0 (as fastai).

    Args:
        losses: Of each step.

    Example:
        >>> smooth([2.0, 2.0, 2.0]).tolist()
        [2.0, 2.0, 2.0]
    """
    mean, found = 0.0, []
    for step, loss in enumerate(np.asarray(losses, np.float64), start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**step))
    return np.array(found)


def diverged(losses: ArrayLike) -> bool:
    """Tell whether the sweep is over: the loss is no number, or far above its lowest.

    Args:
        losses: Of the steps so far.

    Example:
        >>> diverged([1.0, 0.5, 0.6]), diverged([1.0, math.nan]), diverged([0.1] * 5 + [40.0])
        (False, True, True)
    """
    values = np.asarray(losses, np.float64)
    if not np.isfinite(values[-1]):
        return True
    smoothed = smooth(values)
    return bool(smoothed[-1] > STOP_AT * smoothed.min())


def suggest_rate(rates: ArrayLike, losses: ArrayLike) -> float | None:
    """Return the rate in the longest valley: half way down the longest fall of the loss.

    The longest subsequence of falling losses is searched, and a rate near its middle is taken
    (fastai's `valley`, by ESRI).

    Args:
        rates: Rising, of each step.
        losses: Smoothed, of each step.

    Returns:
        None if the loss never fell.

    Example:
        >>> losses = [5, 5, 5, 4, 3, 2, 1, 9, 30]
        >>> suggest_rate([10.0**power for power in range(-7, 2)], losses)
        1e-05
    """
    values = np.asarray(losses, np.float64)
    longest = np.ones(len(values), int)
    for end in range(1, len(values)):
        falls = longest[:end][values[:end] > values[end]]
        longest[end] = 1 + (falls.max() if len(falls) else 0)
    end = int(longest.argmax())
    length = int(longest[end])
    if length < 2:
        return None
    sections = length / 3
    place = (end - length) + int(sections) + int(sections / 2)
    return float(np.asarray(rates, np.float64)[max(place, 0)])


def sweep_of(rates: ArrayLike, losses: ArrayLike) -> RateSweep:
    """Return a sweep with its suggestion.

    Args:
        rates: Of each step that was taken.
        losses: Of its batch; the last one may be no number.
    """
    known, found = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    finite = np.isfinite(found)
    known, found = known[finite], found[finite]
    suggestion = suggest_rate(known, smooth(found)) if len(found) > 1 else None
    if suggestion is not None and not math.isfinite(suggestion):
        suggestion = None
    return RateSweep(known, found, suggestion)
