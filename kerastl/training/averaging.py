"""Better weights out of good ones: averages that validation prefers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[Any]]
Measure = Callable[[Weights], float]

# Of the way from the first weights to the last ones.
PARTS = (0.2, 0.4, 0.6, 0.8)


def mean_of(members: Sequence[Weights]) -> Weights:
    """Return the mean of several models' weights, array by array.

    Args:
        members: Each a list of arrays, all alike.

    Example:
        >>> mean_of([[np.array([1.0])], [np.array([3.0])]])
        [array([2.])]
    """
    return [
        np.mean([one.astype(np.float64) for one in arrays], axis=0).astype(arrays[0].dtype)
        for arrays in zip(*members, strict=True)
    ]


def greedy_soup(
    candidates: Sequence[tuple[float, Weights]], measure: Measure
) -> tuple[float, Weights, int]:
    """Average the best weights with those that make the average better on validation.

    Wortsman et al. 2022, arXiv:2203.05482, recipe 1.

    Args:
        candidates: (Validation loss, weights), at least one.
        measure: From weights to their validation loss.

    Returns:
        Loss, weights, and how many candidates are in them; the best one alone if nothing helps.

    Example:
        >>> soup = greedy_soup(
        ...     [(1.0, [np.array([1.0])]), (1.0, [np.array([-1.0])]), (9.0, [np.array([3.0])])],
        ...     lambda weights: float(abs(weights[0][0])))
        >>> soup[0], soup[2]
        (0.0, 2)
    """
    ranked = sorted(candidates, key=lambda one: one[0])
    loss, weights = ranked[0]
    members = [weights]
    for _, candidate in ranked[1:]:
        mixed = mean_of([*members, candidate])
        found = measure(mixed)
        if found < loss:
            loss, weights = found, mixed
            members.append(candidate)
    return loss, weights, len(members)


def best_between(
    first: Weights, last: Weights, last_loss: float, measure: Measure
) -> tuple[float, Weights, float]:
    """Return the weights on the line from the first to the last ones that validation prefers.

    WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903): between a probe and its fine-tuning lie
    weights that are often better than both, out of distribution above all.

    Args:
        first: Weights before the phase: those of the probe.
        last: Weights after it.
        last_loss: Their validation loss.
        measure: From weights to their validation loss.

    Returns:
        Loss, weights, and the part of the way, 1 for the last ones themselves.

    Example:
        >>> best_between([np.array([0.0])], [np.array([1.0])], 0.5,
        ...              lambda weights: float(abs(weights[0][0] - 0.4)))[2]
        0.4
    """
    best = last_loss, last, 1.0
    for part in PARTS:
        weights = [
            (a + part * (b.astype(np.float64) - a)).astype(b.dtype)
            for a, b in zip(first, last, strict=True)
        ]
        loss = measure(weights)
        if loss < best[0]:
            best = loss, weights, part
    return best
