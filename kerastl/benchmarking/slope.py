"""How something grows: its slope on logarithmic axes, and a fixed part plus a part for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Slope:
    """How a cost grows with a size.

    Attributes:
        overall: Exponent p of cost ~ size**p, by least squares over all points: 1 is
            proportional, 0 is constant.
        last: The same between the two largest sizes alone, where a fixed part weighs least.
        fixed: Cost that does not depend on the size, not below 0.
        each: Further cost for each unit of size, not below 0.
    """

    overall: float
    last: float
    fixed: float
    each: float

    def at(self, size: float) -> float:
        """Return the cost that the fixed part and the part for each give together."""
        return self.fixed + self.each * size


def fit_slope(sizes: Sequence[float], costs: Sequence[float]) -> Slope:
    """Fit how costs grow with sizes.

    Nothing is subtracted before the logarithms are taken. Fixed part and part for each come from
    least squares on the numbers relative to their own size, so that the smallest point counts
    as much as the largest.

    Args:
        sizes: Above 0, at least two different ones.
        costs: Above 0, one for each size.

    Raises:
        ValueError: There are fewer than two different sizes.

    Example:
        >>> slope = fit_slope([100, 400, 1600], [15.0, 30.0, 90.0])
        >>> round(slope.fixed, 6), round(slope.each, 6), round(slope.last, 2)
        (10.0, 0.05, 0.79)
    """
    size, cost = np.asarray(sizes, float), np.asarray(costs, float)
    different = np.unique(size)
    if len(different) < 2:
        raise ValueError("A slope needs at least two different sizes.")
    overall = float(np.polyfit(np.log(size), np.log(cost), 1)[0])
    before, last = (np.median(cost[size == one]) for one in different[-2:])
    matrix = np.stack([1 / cost, size / cost], axis=1)
    fixed, each = nnls(matrix, np.ones(len(size)))[0]
    return Slope(
        overall=overall,
        last=float(np.log(last / before) / np.log(different[-1] / different[-2])),
        fixed=float(fixed),
        each=float(each),
    )
