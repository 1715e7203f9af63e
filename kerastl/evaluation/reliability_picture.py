"""The reliability diagram: how often answers are right that are so sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kerastl.errors import DataError
from kerastl.evaluation.figures import BLUE, FAINT, GREEN, GRID, new_figure, styled

_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")


def reliability_figure(bins: Sequence[Mapping[str, Any]], *, several: bool = False) -> Figure:
    """Draw accuracy over confidence, and how many answers have which confidence.

    Points on the diagonal mean what they say; below it the model is surer than it is right.

    Args:
        bins: From `kerastl.evaluation.calibration.Calibration.to_dict`.
        several: Whether an image can have several labels: what is drawn then is how often a label
            is there that is so probable.

    Raises:
        DataError: No bin holds an answer.

    Example:
        >>> import numpy as np
        >>> from kerastl.evaluation.calibration import calibration_metrics
        >>> answers = np.array([[0.9, 0.1], [0.3, 0.7], [0.55, 0.45]])
        >>> measured = calibration_metrics(np.array([0, 1, 1]), answers)
        >>> figure = reliability_figure(measured.to_dict()["bins"])
        >>> figure.axes[0].get_xlabel()
        'confidence'
    """
    known = [one for one in bins if one["n"]]
    if not known:
        raise DataError("There is no answer in any bin. Give at least one image.")
    places = [one["mean_confidence"] for one in known]
    right = [one["accuracy"]["value"] for one in known]
    errors = [
        [one["accuracy"]["value"] - one["accuracy"]["low"] for one in known],
        [one["accuracy"]["high"] - one["accuracy"]["value"] for one in known],
    ]
    start = known[0]["low"] if not several else 0.0
    with styled():
        figure = new_figure(7.6, 3.1)
        panels = figure.subplots(1, 2, width_ratios=[1, 1])
        axes = panels[0]
        line = {"color": GREEN, "linestyle": (0, (5, 2))}
        axes.plot([start, 1], [start, 1], label="as sure as right", **line)
        axes.errorbar(
            places, right, errors, color=BLUE, marker="o", linestyle="none", elinewidth=1.1,
            label="measured",
        )  # fmt: skip
        axes.set_title("How often it is there" if several else "How often it is right")
        axes.yaxis.set_major_formatter(_PERCENT)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8.5)
        edges = [one["low"] for one in known], [one["high"] - one["low"] for one in known]
        counts = panels[1]
        counts.bar(
            edges[0], [one["n"] for one in known], edges[1], align="edge", color=BLUE,
            edgecolor=GRID, linewidth=0.7,
        )  # fmt: skip
        counts.set_title("Answers")
        counts.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for one in panels:
            one.set_xlim(start - 0.01, 1.01)
            one.set_xlabel("probability" if several else "confidence", color=FAINT)
            one.xaxis.set_major_formatter(_PERCENT)
            one.grid(axis="y")
            one.spines[["top", "right", "left"]].set_visible(False)
            one.tick_params(axis="y", length=0)
    return figure
