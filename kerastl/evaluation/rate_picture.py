"""The picture of a search for a learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from kerastl.evaluation.figures import BLUE, FAINT, INK, ORANGE, new_figure, styled


def rate_sweep_figure(
    rates: ArrayLike,
    losses: ArrayLike,
    tried: Sequence[tuple[float, float]],
    suggestion: float,
    *,
    epochs: int,
) -> Figure:
    """Draw the loss after steps at rising rates, short trainings below, and the suggested rate.

    Args:
        rates: Of each step.
        losses: Of the same images after it, nats per image.
        tried: (Rate, validation loss) of each short training.
        suggestion: The rate to take.
        epochs: Length of the short trainings.

    Example:
        >>> figure = rate_sweep_figure(
        ...     [1e-4, 1e-3, 1e-2], [1.0, 1.1, 2.1], [(5e-3, 0.9), (5e-4, 0.7)], 5e-4, epochs=2)
        >>> figure.axes[0].get_xscale()
        'log'
    """
    known, curve = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    points = np.asarray(tried, np.float64)
    with styled():
        figure = new_figure(6.4, 3.2)
        axes = figure.subplots()
        axes.plot(known, curve, color=INK, label="after steps at rising rates")
        trained = f"after {epochs} {'epoch' if epochs == 1 else 'epochs'} at one rate"
        axes.plot(points[:, 0], points[:, 1], "o-", color=BLUE, label=trained)
        axes.axvline(suggestion, color=ORANGE, linewidth=1.2)
        axes.set_title(f"suggested: {suggestion:.1e}", loc="right", size=8.5, color=ORANGE)
        axes.set_xscale("log")
        axes.set_title("Validation log-loss (nats)")
        axes.set_xlabel("learning rate", color=FAINT)
        axes.grid(axis="y")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        finite = np.concatenate([curve[np.isfinite(curve)], points[np.isfinite(points[:, 1]), 1]])
        # What diverges at the end would flatten everything else.
        low, top = float(finite.min()), min(float(finite.max()), 2.2 * float(curve[0]))
        axes.set_ylim(low - 0.08 * (top - low), top + 0.08 * (top - low))
        axes.legend(frameon=False, loc="upper left", fontsize=8.5)
    return figure
