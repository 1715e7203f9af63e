"""ROC and precision-recall curves: what other thresholds would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.figures import BLUE, FAINT, GREEN, ORANGE, new_figure, shorten, styled

_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")
# More curves than these cannot be told apart.
_MOST_CURVES = 6
_COLORS, _LINES = (BLUE, ORANGE, GREEN), ("-", (0, (4, 1.5)))
_LOOKS: list[dict[str, Any]] = [
    {"color": color, "linestyle": line} for line in _LINES for color in _COLORS
]


def ranking_figure(
    truth: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    answered: NDArray[np.bool_],
    *,
    class_names: Sequence[str],
) -> Figure:
    """Draw the ROC and the precision-recall curve of classes, and where the model stands on them.

    Of two classes that exclude each other the second is drawn; of many those that are ranked
    worst.

    Args:
        truth: bool of shape (n, num_classes): which classes an image has.
        scores: Float of the same shape: probabilities.
        answered: bool of the same shape: which classes the model answers.
        class_names: One for each class.

    Raises:
        DataError: No class has images with and without it.

    Example:
        >>> truth = np.eye(2, dtype=bool)[[0, 1, 1, 0]]
        >>> scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> answered = np.eye(2, dtype=bool)[scores.argmax(axis=1)]
        >>> figure = ranking_figure(truth, scores, answered, class_names=["cat", "dog"])
        >>> [axes.get_title("left") for axes in figure.axes]
        ['ROC', 'Precision and recall']
    """
    from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve  # slow to import

    shares = truth.mean(axis=0)
    known = [index for index in range(truth.shape[1]) if 0 < shares[index] < 1]
    if truth.shape[1] == 2 and np.all(truth.sum(axis=1) == 1):
        known = [index for index in known if index == 1]
    if not known:
        raise DataError(
            "There is no curve to draw: every class is in all images or in none. Give images with "
            "and without a class."
        )
    areas = {index: float(roc_auc_score(truth[:, index], scores[:, index])) for index in known}
    drawn = sorted(known, key=lambda index: areas[index])[:_MOST_CURVES]
    with styled():
        figure = new_figure(7.6, 3.5)
        roc, precision = figure.subplots(1, 2)
        roc.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        for index, look in zip(drawn, _LOOKS, strict=False):
            own, score = truth[:, index], scores[:, index]
            name = shorten(str(class_names[index]), 22)
            label = f"{name} ({areas[index]:.3f})"
            false_alarms, hits, _ = roc_curve(own, score)
            roc.plot(false_alarms, hits, label=label, **look)
            precisions, recalls, _ = precision_recall_curve(own, score, drop_intermediate=True)
            precision.plot(recalls, precisions, **look)
            said = answered[:, index]
            recall = said[own].mean()
            roc.plot(said[~own].mean(), recall, "o", color=look["color"])
            if said.any():
                precision.plot(recall, own[said].mean(), "o", color=look["color"])
        roc.set_title("ROC")
        roc.set_xlabel("false alarms, of images without the class", color=FAINT)
        precision.set_title("Precision and recall")
        precision.set_xlabel("recall: found, of images with the class", color=FAINT)
        for axes in (roc, precision):
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(_PERCENT)
            axes.yaxis.set_major_formatter(_PERCENT)
            axes.grid(axis="y")
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        handles, names = roc.get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside upper left", ncols=min(3, len(names)), fontsize=8.5
        )
    return figure
