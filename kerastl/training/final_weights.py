"""What a phase gives in the end: a late check, or an average that beats the best one."""

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
        words: What they are an average of, one sentence; empty if they are those of one check.
    """

    kept: Kept
    words: str

    @property
    def epoch(self) -> float | None:
        """When they were; None for an average."""
        return None if self.words else self.kept.epoch


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
    alone = best = best_checks[0]
    checks = "epochs" if phase.checks_per_epoch == 1 else "checks"
    tried = []

    def measure(weights: list[NDArray[Any]]) -> float:
        return keeper.measure(weights).loss

    if len(best_checks) > 1:
        candidates = [(one.loss, one.weights) for one in best_checks]
        loss, weights, count = greedy_soup(candidates, measure)
        if count > 1:
            best = keeper.measure(weights)
            tried.append(f"the mean of {count} of the best {len(candidates)} {checks}")
    if phase.interpolate:
        loss, weights, part = best_between(first, best.weights, best.loss, measure)
        if loss < best.loss:
            best = keeper.measure(weights)
            tried.append(f"{part:.0%} of the way there from the first ones")
    if not tried:
        keeper.put_back(late)
        return FinalWeights(late, "")
    keeper.put_back(best)
    return FinalWeights(
        best,
        f"The weights are {', '.join(tried)}: validation loss {best.loss:.4f}, that of the "
        f"best {checks[:-1]} alone is {alone.loss:.4f}.",
    )
