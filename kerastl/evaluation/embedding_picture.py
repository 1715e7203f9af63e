"""Images as points: what the network finds alike, and where its answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kerastl.evaluation.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    new_figure,
    shorten,
    styled,
)

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
# Ground of a region: as its class, hardly.
_GROUND_OPACITY = 0.13
_MOST_IN_A_ROW = 5


@dataclass(frozen=True, eq=False)
class Points:
    """Images on a plane.

    Attributes:
        title: Of the panel.
        places: Float of shape (n, 2).
        axis_names: Below and beside the panel.
        regions: int64 of shape (rows, columns): the class that would be answered at each place of
            the panel, from its lower left corner; None where nothing can be said.
        limits: Least and largest x, least and largest y of the regions.
    """

    title: str
    places: NDArray[np.floating[Any]] = field(repr=False)
    axis_names: tuple[str, str]
    regions: NDArray[np.int64] | None = field(default=None, repr=False)
    limits: tuple[float, float, float, float] | None = None


def embedding_figure(
    panels: Sequence[Points],
    labels: NDArray[np.int64],
    *,
    trained_on: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    class_names: Sequence[str],
) -> Figure:
    """Draw images as points in the colour of their class, those answered wrongly with a ring.

    Of more than six classes the five with most rings have a colour, then the largest.

    Args:
        panels: The same n images on one plane or several.
        labels: int64 of shape (n,).
        trained_on: bool of shape (n,): drawn small.
        wrong: bool of shape (n,): with a ring.
        class_names: One for each class.

    Example:
        >>> random = np.random.default_rng(0)
        >>> panel = Points("Features", random.normal(size=(9, 2)), ("first", "second"))
        >>> figure = embedding_figure(
        ...     [panel], np.arange(9) % 3, trained_on=np.arange(9) < 4, wrong=np.arange(9) == 8,
        ...     class_names=["a", "b", "c"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['a', 'b', 'c', 'trained on', 'answered wrongly']
    """
    colors = _colors_of_classes(labels, wrong, num_classes=len(class_names))
    with styled():
        figure = new_figure(4.0 * len(panels), 4.2)
        for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
            _draw(axes, panel, labels, trained_on=trained_on, wrong=wrong, colors=colors)
        handles = _legend(colors, class_names, any_wrong=bool(wrong.any()))
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=len(handles) if len(handles) <= _MOST_IN_A_ROW else _MOST_IN_A_ROW - 1,
            fontsize=8.5,
        )
    return figure


def _colors_of_classes(
    labels: NDArray[np.int64], wrong: NDArray[np.bool_], *, num_classes: int
) -> list[str]:
    """Return a colour for each class; the faint one for those that have none of their own."""
    if num_classes <= len(_COLORS):
        return list(_COLORS[:num_classes])
    errors = np.bincount(labels[wrong], minlength=num_classes)
    sizes = np.bincount(labels, minlength=num_classes)
    shown = np.lexsort((-sizes, -errors))[: len(_COLORS) - 1]
    colors = [FAINT] * num_classes
    for index, color in zip(sorted(shown), _COLORS, strict=False):
        colors[index] = color
    return colors


def _draw(
    axes: Axes,
    panel: Points,
    labels: NDArray[np.int64],
    *,
    trained_on: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    colors: Sequence[str],
) -> None:
    """Draw one panel."""
    if panel.regions is not None:
        axes.imshow(
            panel.regions,
            cmap=ListedColormap(list(colors)),
            vmin=-0.5,
            vmax=len(colors) - 0.5,
            origin="lower",
            extent=panel.limits,
            aspect="auto",
            interpolation="nearest",
            alpha=_GROUND_OPACITY,
        )
    own = np.array(colors, object)[labels]
    x, y = panel.places.T
    axes.scatter(
        x[trained_on], y[trained_on], s=5, c=own[trained_on].tolist(), alpha=0.45, linewidths=0
    ).set_rasterized(True)
    new = ~trained_on
    axes.scatter(x[new], y[new], s=15, c=own[new].tolist(), alpha=0.85, linewidths=0)
    axes.scatter(x[wrong], y[wrong], s=44, facecolors="none", edgecolors=INK, linewidths=0.9)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.axis_names[0], color=FAINT)
    axes.set_ylabel(panel.axis_names[1], color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_linewidth(0.6)


def _legend(colors: Sequence[str], class_names: Sequence[str], *, any_wrong: bool) -> list[Line2D]:
    """Return what stands above the panels."""

    def dot(color: str, label: str, size: float = 5, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="", marker="o", markersize=size, color=color, label=label,
                      **{"markeredgewidth": 0, **look})  # fmt: skip

    shown = [
        dot(color, shorten(str(name), 22))
        for color, name in zip(colors, class_names, strict=True)
        if color != FAINT
    ]
    if FAINT in colors:
        shown.append(dot(FAINT, f"{list(colors).count(FAINT)} other classes"))
    shown.append(dot(FAINT, "trained on", 2.5))
    if any_wrong:
        ring = {"markerfacecolor": "none", "markeredgewidth": 0.9}
        shown.append(dot(INK, "answered wrongly", 6.5, **ring))
    return shown
