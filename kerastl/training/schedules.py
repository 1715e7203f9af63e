"""How the learning rate changes over a phase: pure functions of the step, as part of the highest.

A phase knows its length, so a schedule is a table with one row per step: what a picture shows, a
test compares and training takes are the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import ConfigError, did_you_mean

Factors = NDArray[np.float64]

# A constant rate that a callback lowers.
PLATEAU = "plateau"
# From 1e-8 of the highest rate to all of it, the same factor in each step, see
# `kerastl.training.rate_finder`.
SWEEP = "sweep"

# Part of the steps in which the rate climbs (AutoGluon, ViT).
WARMUP_FRACTION = 0.1


def schedule_factors(name: str, *, total_steps: int, epoch_steps: int) -> Factors:
    """Return the rate of every step of a phase, as part of its highest.

    Args:
        name: One of `SCHEDULES`.
        total_steps: Of the phase, from 1.
        epoch_steps: Of an epoch; only the cyclical schedules count in epochs.

    Returns:
        float64 of shape (total_steps,), 0..1.

    Raises:
        ConfigError: There is no such schedule.

    Example:
        >>> schedule_factors("step", total_steps=10, epoch_steps=5).round(3).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
        >>> float(schedule_factors("cosine", total_steps=100, epoch_steps=5).max())
        1.0
    """
    if name not in SCHEDULES:
        raise ConfigError(
            f"`schedule` must be one of {', '.join(SCHEDULES)}; received schedule={name!r}."
            f"{did_you_mean(name, list(SCHEDULES))}"
        )
    return SCHEDULES[name](max(total_steps, 1), max(epoch_steps, 1))


def warmup_steps(*, total_steps: int) -> int:
    """Return the steps in which the rate climbs to its highest value: 10 % (AutoGluon, ViT).

    Args:
        total_steps: Of the whole phase.

    Example:
        >>> warmup_steps(total_steps=500)
        50
    """
    return max(1, round(WARMUP_FRACTION * total_steps))


def _constant(total: int, _epoch: int) -> Factors:
    """Return the highest rate throughout."""
    return np.ones(total)


def _cosine(total: int, _epoch: int) -> Factors:
    """Return a linear climb, then half a cosine to 0 (Loshchilov and Hutter 2017, SGDR).

    The first step is not taken at 0: a step that moves nothing proves nothing (`prove_frozen`).
    """
    step, warmup = np.arange(total), warmup_steps(total_steps=total)
    rising = (1 + step * (warmup - 1) / warmup) / warmup
    falling = _half_cosine((step - warmup) / max(1, total - warmup))
    return np.where(step < warmup, rising, falling)


def _one_cycle(total: int, _epoch: int) -> Factors:
    """Return 1/25 to 1 over 25 % of the steps, then to 1/100,000, each half a cosine.

    As fastai's `fit_one_cycle` has it (Smith and Topin 2018, arXiv:1708.07120).
    """
    part = np.arange(total) / max(total - 1, 1)
    rising = 1 / 25 + (1 - 1 / 25) * (1 - _half_cosine(part / 0.25))
    falling = 1e-5 + (1 - 1e-5) * _half_cosine((part - 0.25) / 0.75)
    return np.where(part < 0.25, rising, falling)


def _fastai_fine_tune(total: int, _epoch: int) -> Factors:
    """Return what fastai's `fine_tune` has: 1/5 to 1 over 30 % of the steps, then to 1/100,000."""
    part = np.arange(total) / max(total - 1, 1)
    rising = 1 / 5 + (1 - 1 / 5) * (1 - _half_cosine(part / 0.3))
    falling = 1e-5 + (1 - 1e-5) * _half_cosine((part - 0.3) / 0.7)
    return np.where(part < 0.3, rising, falling)


def _step(total: int, _epoch: int) -> Factors:
    """Return 1, and a tenth of it from 40, 60 and 80 % of the steps on (BiT-HyperRule)."""
    part = np.arange(total) / total
    return np.asarray(0.1 ** np.searchsorted([0.4, 0.6, 0.8], part, side="right"))


def _bit(total: int, _epoch: int) -> Factors:
    """Return `step` after a linear climb over 20 % of the steps (BiT: 100 of 500)."""
    warmup = max(1, round(0.2 * total))
    return np.asarray(_step(total, 1) * np.minimum(1, (1 + np.arange(total)) / warmup))


def _triangular(total: int, epoch: int) -> Factors:
    """Return a quarter to 1 and back, again and again, in cycles of four epochs.

    Smith 2017, arXiv:1506.01186: a half cycle of 2 to 8 epochs, the lower rate a third or a
    quarter of the higher one. Shorter where the phase would not hold a whole cycle.
    """
    return 0.25 + 0.75 * _triangle(total, epoch)[0]


def _triangular2(total: int, epoch: int) -> Factors:
    """Return `triangular`, each cycle half as high as the one before (Smith 2017)."""
    height, cycle = _triangle(total, epoch)
    return np.asarray(0.25 + 0.75 * height / 2.0**cycle)


def _exp_range(total: int, epoch: int) -> Factors:
    """Return `triangular`, its height falling exponentially to a tenth at the end (Smith 2017)."""
    height, _ = _triangle(total, epoch)
    return np.asarray(0.25 + 0.75 * height * 0.1 ** (np.arange(total) / total))


def _sweep(total: int, _epoch: int) -> Factors:
    """Return what `kerastl.training.rate_finder.sweep_rates` has, as part of its highest rate."""
    return np.geomspace(1e-8, 1, total)


def _slanted_triangle(total: int, _epoch: int) -> Factors:
    """Return a short climb and a long fall: 10 % of the steps up from 1/32 (ULMFiT, section 3.2).

    Howard and Ruder 2018, arXiv:1801.06146.
    """
    number, cut = np.arange(total), max(1, math.floor(0.1 * total))
    rising = number / cut
    falling = 1 - (number - cut) / max(total - cut, 1)
    return (1 + np.where(number < cut, rising, falling) * 31) / 32


SCHEDULES: dict[str, Callable[[int, int], Factors]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "fastai": _fastai_fine_tune,
    "step": _step,
    "bit": _bit,
    "triangular": _triangular,
    "triangular2": _triangular2,
    "exp-range": _exp_range,
    "slanted-triangle": _slanted_triangle,
    PLATEAU: _constant,
    SWEEP: _sweep,
}


@keras.saving.register_keras_serializable("kerastl")
class RateTable(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate for every step; after the last one it stays.

    Args:
        rates: Of each step, from 0.

    Example:
        >>> [round(float(RateTable([0.1, 0.2])(step)), 1) for step in range(4)]
        [0.1, 0.2, 0.2, 0.2]
    """

    def __init__(self, rates: Any) -> None:
        super().__init__()
        self.rates = np.asarray(rates, np.float32)

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step."""
        last = len(self.rates) - 1
        return tf.gather(self.rates, tf.minimum(tf.cast(step, tf.int64), last))

    def get_config(self) -> dict[str, Any]:
        """Return the table."""
        return {"rates": self.rates.tolist()}


def _half_cosine(part: Any) -> Factors:
    """Return 1 at 0 and before, 0 at 1 and after, half a cosine between."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(part, 0, 1))))


def _triangle(total: int, epoch: int) -> tuple[Factors, NDArray[np.int64]]:
    """Return the height 0..1 of every step between the lower and the higher rate, and its cycle."""
    half = max(1, min(2 * epoch, math.ceil(total / 2)))
    number = np.arange(total)
    cycle = number // (2 * half)
    return 1 - np.abs(number / half - 2 * cycle - 1), cycle
