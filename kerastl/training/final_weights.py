"""What a phase gives in the end: a late check, or an average that validation prefers.

Of the way from the probe to the late check validation chooses as much as it likes (WiSE-FT:
Wortsman et al. 2022, https://arxiv.org/abs/2109.01903): where images are few, and fine-tuning has
gone too far, some of it is still worth having.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from kerastl.training.averaging import best_between, greedy_soup
from kerastl.training.kept import Kept
from kerastl.training.phase import Phase
from kerastl.training.validation_callback import ValidationCallback


@dataclass(frozen=True, eq=False)
class FinalWeights:
    """The weights that were chosen, and how.

    Attributes:
        kept: The weights, their validation loss and answers.
        epoch: When they were; None for an average.
        words: What they are an average of, one sentence; empty if they are those of one check.
    """

    kept: Kept
    epoch: float | None
    words: str


def choose_weights(
    keeper: ValidationCallback, phase: Phase, first: list[NDArray[Any]]
) -> FinalWeights:
    """Choose what a phase gives by validation, and put it into the model, in place.

    Args:
        keeper: After training.
        phase: Which averages may be tried.
        first: The weights before training, of the same variables.
    """
    best_checks, late = keeper.kept.best, keeper.kept.late
    assert late is not None  # every epoch ends with a check
    end, of = late, f"those of epoch {late.epoch:g}"
    checks = "epochs" if phase.checks_per_epoch == 1 else "checks"
    averaged = False

    def measure(weights: list[NDArray[Any]]) -> float:
        return keeper.measure(weights).loss

    if len(best_checks) > 1:
        candidates = [(one.loss, one.weights) for one in best_checks]
        _, weights, count = greedy_soup(candidates, measure)
        if count > 1:
            end, averaged = keeper.measure(weights), True
            of = f"the mean of {count} of the best {len(candidates)} {checks}"
    if phase.interpolate:
        loss, weights, part = best_between(first, end.weights, end.loss, measure)
        if loss < end.loss:
            end, averaged = keeper.measure(weights), True
            of = f"{part:.0%} of the way from the first ones to {of}"
    keeper.put_back(end)
    if not averaged:
        return FinalWeights(end, late.epoch, "")
    words = (
        f"The weights are {of}: validation loss {end.loss:.4f}, that of the best {checks[:-1]} "
        f"alone is {best_checks[0].loss:.4f}."
    )
    return FinalWeights(end, None, words)
