"""The picture of a search: how the best loss fell, and what each learning rate gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from kerastl.evaluation.figures import BLUE, FAINT, GREEN, INK, ORANGE, new_figure, styled

# Losses are shown up to so many times the way from the best to the first one and to the probe.
_SHOWN = 1.6


def trials_figure(
    losses: Sequence[float],
    *,
    complete: Sequence[bool],
    best: int,
    probe: float,
    rates: Sequence[float] | None = None,
) -> Figure:
    """Draw every trial, the best so far, the recipe and the probe; and losses by learning rate.

    What lies above the picture, or has no loss, is marked at its upper edge.

    Args:
        losses: On validation, of each trial; infinite where there is none. The first is the
            recipe's.
        complete: Whether each trial came to its end.
        best: Number of the trial that was kept, from 1.
        probe: Loss of the probe.
        rates: Learning rates; None where they were not searched.

    Example:
        >>> figure = trials_figure([0.5, 0.7, 0.4], complete=[True] * 3, best=3, probe=0.6,
        ...                        rates=[1e-4, 1e-2, 3e-4])
        >>> figure.axes[1].get_xscale()
        'log'
    """
    known, whole = np.asarray(losses, np.float64), np.asarray(complete, bool)
    low, top = _limits(known, best=best, probe=probe)
    numbers = np.arange(1, len(known) + 1)
    with styled():
        figure = new_figure(7.6 if rates is not None else 4.6, 3.2)
        panels = figure.subplots(1, 2 if rates is not None else 1, sharey=True, squeeze=False)[0]
        axes = panels[0]
        _points(axes, numbers, known, whole, best=best, top=top)
        so_far = np.minimum.accumulate(np.where(whole, known, np.inf))
        if np.isfinite(so_far).any():
            seen = np.isfinite(so_far)
            axes.step(numbers[seen], so_far[seen], where="post", color=BLUE, label="best so far")
        axes.axhline(probe, color=FAINT, linewidth=1.2, linestyle="--", label="probe")
        axes.set_title("Validation log-loss (nats)")
        axes.set_xlabel("trial", color=FAINT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if rates is not None:
            _points(panels[1], np.asarray(rates, np.float64), known, whole, best=best, top=top)
            panels[1].axhline(probe, color=FAINT, linewidth=1.2, linestyle="--")
            panels[1].set_xscale("log")
            panels[1].xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
            panels[1].xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-"))
            panels[1].xaxis.set_minor_formatter(NullFormatter())
            panels[1].set_xlabel("learning rate", color=FAINT)
        for panel in panels:
            panel.set_ylim(low, top)
            panel.grid(axis="y")
            panel.spines[["top", "right", "left"]].set_visible(False)
            panel.tick_params(axis="y", length=0)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8.5)
    return figure


def _limits(losses: NDArray[np.float64], *, best: int, probe: float) -> tuple[float, float]:
    """Return the part of the losses that is worth looking at: around best, recipe and probe."""
    chosen = losses[best - 1]
    marks = [probe, *losses[:1][np.isfinite(losses[:1])]]
    reach = max(_SHOWN * (max(marks) - chosen), 0.05 * abs(chosen), 1e-6)
    finite = losses[np.isfinite(losses)]
    low = min(float(finite.min()), probe)
    top = min(max(float(finite.max()), probe), float(chosen) + reach)
    margin = 0.08 * (top - low or reach)
    return low - margin, top + margin


def _points(
    axes: Any,
    places: NDArray[Any],
    losses: NDArray[np.float64],
    complete: NDArray[np.bool_],
    *,
    best: int,
    top: float,
) -> None:
    """Draw the trials of one panel."""
    inside = np.isfinite(losses) & (losses <= top)
    for mask, face, label in (
        (inside & complete, INK, "trial"),
        (inside & ~complete, "none", "cut short"),
    ):
        if mask.any():
            axes.scatter(
                places[mask], losses[mask], s=16, facecolors=face, edgecolors=INK, label=label
            )
    if inside[0]:
        axes.scatter(places[0], losses[0], s=26, marker="D", color=GREEN, label="recipe")
    if (~inside).any():
        edge = np.full(int((~inside).sum()), top)
        axes.scatter(
            places[~inside], edge, s=26, marker="x", color=FAINT, label="worse, or diverged",
            clip_on=False,
        )  # fmt: skip
    axes.scatter(
        places[best - 1], losses[best - 1], s=60, facecolors="none", edgecolors=ORANGE,
        linewidths=1.6, label="kept",
    )  # fmt: skip
