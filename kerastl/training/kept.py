"""Which checks of a training are worth their weights: the best ones, and the last as good as these.

Of many checks on a few hundred images the one with the smallest loss is the luckiest, and often an
early one: on the solar cells the last check that is not surely worse is better on other images, by
1.0 points of accuracy with whole modules held out and by 0.3 without (means of 5 seeds, both after
a temperature, `benchmarks/what_to_keep.py`). It is the one-standard-error rule (Breiman et al.
1984, section 3.4.3), which prefers the simplest model there and the longest training here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A standard error over a few groups is uncertain itself: where one of four collapses and the others
# hold, the mean rises by no more than one of them. So much of a loss is never nothing.
_LARGEST_PART = 0.25


@dataclass(frozen=True, eq=False)
class Kept:
    """Weights that may be what a phase gives.

    Attributes:
        epoch: When they were: 4 at the end of the fourth epoch, 3.5 in its middle; not a number
            for weights that are of no check.
        losses: float64 of shape (num_val,): log-loss of each validation image in nats, after the
            temperature that fits all of them best, by the weight of its class.
        weights: Of all variables that the phase may change.
        probabilities: float32 of shape (num_val, num_classes): the answers on validation, before
            any temperature.
    """

    epoch: float
    losses: NDArray[np.float64] = field(repr=False)
    weights: list[NDArray[Any]] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)

    @property
    def loss(self) -> float:
        """On validation, nats per image."""
        return float(self.losses.mean())


class KeptChecks:
    """What is worth keeping of the checks so far.

    Args:
        groups: Of shape (num_val,): validation images of one group are alike; None if none are.
        num_best: Of how many of the best checks the weights are kept.

    Attributes:
        best: The best checks, the best first.
        late: The last check whose loss is not surely above the best one's, see `margin`.
    """

    def __init__(self, groups: NDArray[Any] | None, *, num_best: int) -> None:
        self.best: list[Kept] = []
        self.late: Kept | None = None
        self._groups, self._num_best = groups, num_best

    def add(
        self,
        epoch: float,
        losses: NDArray[np.float64],
        probabilities: NDArray[np.float32],
        weights: Callable[[], list[NDArray[Any]]],
    ) -> bool:
        """Keep a check if it is worth it; return whether it is the best so far.

        Args:
            epoch: See `Kept`, like `losses` and `probabilities`.
            losses: See there.
            probabilities: See there.
            weights: Gives a copy of the present ones.
        """
        loss = float(losses.mean())
        is_best = not self.best or loss < self.best[0].loss
        is_good = is_best or len(self.best) < self._num_best or loss < self.best[-1].loss
        is_late = is_best or loss - self.best[0].loss <= margin(
            self.best[0].losses, losses, self._groups
        )
        if is_good or is_late:
            kept = Kept(epoch, losses, weights(), probabilities)
            if is_good:
                ranked = sorted([*self.best, kept], key=lambda one: one.loss)
                self.best = ranked[: self._num_best]
            if is_late:
                self.late = kept
        return is_best

    def go_on(self, best: Sequence[Kept], late: Kept) -> None:
        """Know what an interrupted run kept, in place.

        Args:
            best: Its best checks, the best first.
            late: Its late one.
        """
        self.best, self.late = list(best), late


def margin(
    reference: NDArray[np.float64], losses: NDArray[np.float64], groups: NDArray[Any] | None
) -> float:
    """Return by how much the mean of losses may be above that of others and be as good.

    By one standard error of their difference, which is paired by image, and taken over groups where
    there are several; by a quarter of the others' mean at most.

    Args:
        reference: float64 of shape (n,): the others.
        losses: float64 of shape (n,).
        groups: Of shape (n,): images of one group are alike; None if none are.

    Example:
        >>> margin(np.array([1.0, 1.0]), np.array([1.0, 1.2]), None).__round__(3)
        0.1
        >>> margin(np.array([1.0, 1.0]), np.array([1.0, 9.0]), None)
        0.25
    """
    error = standard_error(losses - reference, groups)
    return min(error, _LARGEST_PART * float(reference.mean()))


def standard_error(values: NDArray[np.float64], groups: NDArray[Any] | None) -> float:
    """Return the standard error of a mean over images, those of a group drawn together.

    Args:
        values: Of shape (n,).
        groups: Of shape (n,); None if every image is by itself.

    Returns:
        That over images where there is one group: of other groups nothing is known, it is at least
        so uncertain. 0 where there is one image.

    Example:
        >>> round(standard_error(np.array([1.0, 3.0]), None), 3)  # deviation sqrt 2, over sqrt 2
        1.0
        >>> round(standard_error(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])), 3)
        1.0
    """
    images = np.arange(len(values))
    _, member = np.unique(images if groups is None else groups, return_inverse=True)
    if not member.any():
        member = images
    sums = np.bincount(member, weights=values - values.mean())
    freedom = len(sums) / max(len(sums) - 1, 1)
    return float(np.sqrt(np.sum(np.square(sums)) * freedom)) / len(values)
