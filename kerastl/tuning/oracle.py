"""Where the next trial looks: KerasTuner's oracles, told the recipe first and when time is up.

KerasTuner (O'Malley et al. 2019) takes any exception in a trial for a trial that failed, prints,
and leaves files. Here an exception is an exception, nothing is printed, and its files are in a
folder that is gone when the search ends.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.hyperparameters import Float
from keras_tuner.errors import FatalError
from keras_tuner.oracles import BayesianOptimizationOracle, RandomSearchOracle
from threadpoolctl import threadpool_limits

from kerastl.tuning.levers import BAYESIAN, Lever

_OBJECTIVE = "val_loss"

# Part of the trials that are drawn at random, before a Gaussian process has enough to go by; three
# for each lever, KerasTuner's own number, would be all of a small budget.
_RANDOM_PART = 1 / 3

# Of the losses' variance: of the same values with other seeds. KerasTuner's own 1e-4 takes every
# wiggle of a validation loss for a fact.
_NOISE = 1e-2


def search_values(
    levers: Sequence[Lever],
    loss_of: Callable[[dict[str, Any]], float],
    *,
    method: str,
    trials: int,
    seed: int,
    stop: Callable[[], bool],
) -> None:
    """Try values one after the other: the recipe's first, then those that promise most.

    Args:
        levers: What is searched.
        loss_of: From the value of every lever, by name, to a finite loss: runs the trial.
        method: "bayesian" (a Gaussian process of the losses so far) or "random".
        trials: Largest number of them; fewer where all combinations were tried.
        seed: The same one gives the same trials, as long as the losses are the same.
        stop: Asked before each trial: whether there is time for no more.

    Raises:
        Exception: What `loss_of` raises, as it is.
    """
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective(_OBJECTIVE, direction="min"),
        "max_trials": trials,
        "hyperparameters": _space(levers),
        "seed": seed + 1,  # it takes 0 for none
    }
    oracle: _RecipeFirst
    if method == BAYESIAN:
        first = max(2, round(_RANDOM_PART * trials))
        oracle = _Bayesian(num_initial_points=first, alpha=_NOISE, **options)
    else:
        oracle = _Random(**options)
    oracle.stop, oracle.verbose = stop, 0
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # Its own use of threading.currentThread; kernels of few points, which are what they are.
        for module in (r"keras_tuner\.", r"sklearn\."):
            warnings.filterwarnings("ignore", module=module)
        tuner = _Tuner(loss_of, oracle=oracle, directory=directory, project_name="search")
        try:
            tuner.search()
        except FatalError as error:
            raise error.__cause__ or error from None


def _space(levers: Sequence[Lever]) -> keras_tuner.HyperParameters:
    """Return the levers as KerasTuner knows them."""
    space = keras_tuner.HyperParameters()
    for lever in levers:
        if lever.choices:
            space.Choice(lever.name, list(lever.choices), default=lever.own)
        else:
            low, high = lever.span
            space.Float(lever.name, low, high, sampling="log", default=lever.own)
    return space


class _Tuner(BaseTuner):
    """Runs trials; whatever goes wrong in one ends the search."""

    def __init__(self, loss_of: Callable[[dict[str, Any]], float], **options: Any) -> None:
        super().__init__(**options)
        self._loss_of = loss_of

    def run_trial(self, trial: Any, *_arguments: Any, **_options: Any) -> float:
        """Return the loss of one trial."""
        try:
            return self._loss_of(dict(trial.hyperparameters.values))
        except Exception as error:
            raise FatalError(str(error)) from error


class _RecipeFirst:
    """An oracle that begins with the defaults, repeats nothing, and ends when it is told to."""

    stop: Callable[[], bool]
    verbose: int
    trials: dict[str, Any]
    hyperparameters: Any
    _duplicate: Callable[[dict[str, Any]], bool]
    _random_values: Callable[[], dict[str, Any] | None]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial."""
        if self.stop():
            return {"status": "STOPPED", "values": None}
        if not self.trials:
            defaults = {one.name: one.default for one in self.hyperparameters.space}
            return {"status": "RUNNING", "values": defaults}
        # 50 searches in matrices of some 20 numbers: with two threads each takes 5 times as long.
        with threadpool_limits(1, user_api="blas"):
            answer = super().populate_space(trial_id)  # type: ignore[misc]
        values = self._rounded(answer["values"])
        if values is not None and self._duplicate(values):
            values = self._rounded(self._random_values())
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}

    def _rounded(self, values: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return values that people can read and type: two digits of what is no choice."""
        if values is None:
            return None
        free = {one.name for one in self.hyperparameters.space if isinstance(one, Float)}
        return {
            name: float(f"{value:.2g}") if name in free else value for name, value in values.items()
        }


class _Bayesian(_RecipeFirst, BayesianOptimizationOracle):
    """A Gaussian process of the losses so far."""


class _Random(_RecipeFirst, RandomSearchOracle):
    """Any values."""
