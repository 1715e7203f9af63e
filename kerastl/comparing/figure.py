"""The picture of a comparison: how accurate each network is, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from kerastl.comparing.label_places import Box, nearest_of_box, place_labels
from kerastl.comparing.result import CandidateResult, Comparison
from kerastl.comparing.words import milliseconds_text
from kerastl.evaluation.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    columns,
    new_figure,
    shorten,
    silent_about_glyphs,
    styled,
)

_WIDTH, _HEIGHT = 7.6, 4.2
_LONGEST_NAME = 40
# More than these get numbers at their points, and a key below; more than that, the table alone.
_MOST_NAMES, _MOST_NUMBERS = 10, 40
_NAME_SIZE = 8.5
# Names of points, in points of the figure: farther away one does not see what they belong to.
_FARTHEST_NAME = 42.0
_SHORTEST_LEADER = 8.0
# Points nearer than this lie on each other, so that their numbers stand together.
_ONE_DOT = 5.0
# Inches that one column of the key takes at that size, and what stands before its name.
_COLUMN_INCHES, _BEFORE_NAME_INCHES = 0.078, 0.75
# Of the latency: room at both sides of the points, and how much the axis shows at least.
_MARGIN, _LEAST_SPAN = 0.07, math.log(1.6)
# Ticks by half of what the axis shows, in logarithms: a short one needs more of them.
_STEPS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (1.0, (1, 1.5, 2, 3, 5, 7)),
    (0.45, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
    (0.0, (*(1 + 0.1 * step for step in range(10)), *(2 + 0.5 * step for step in range(16)))),
)
_FRONT: dict[str, Any] = {"color": GREEN, "lw": 1.1, "ls": (0, (4, 3)), "alpha": 0.8}


def tradeoff_figure(comparison: Comparison) -> Figure:
    """Draw accuracy over latency, and a line along the best that can be had at each latency.

    Points have their names where there is room; else numbers, which a key below explains.

    Args:
        comparison: What was found.
    """
    shown = _shown(comparison)
    names = [shorten(one.candidate.name, _LONGEST_NAME) for one in shown]
    if len(shown) <= _MOST_NAMES:
        figure = _drawn(comparison, shown)
        bold = [one is comparison.advised for one in shown]
        places = _places(figure.axes[0], shown, shown, names, bold, farthest=_FARTHEST_NAME)
        if None not in places:
            _write_labels(figure.axes[0], shown, names, bold, places)
            return figure
    figure = _drawn(comparison, shown, key=names[:_MOST_NUMBERS])
    together = _together(figure.axes[0], shown[:_MOST_NUMBERS])
    first = [shown[ranks[0] - 1] for ranks in together]
    numbers = [number_words(ranks) for ranks in together]
    bold = [comparison.advised in [shown[rank - 1] for rank in ranks] for ranks in together]
    places = _places(figure.axes[0], shown, first, numbers, bold)
    _write_labels(figure.axes[0], first, numbers, bold, places)
    return figure


def tradeoff_caption(comparison: Comparison) -> str:
    """Return what the colours, the line and the numbers of that picture mean.

    Args:
        comparison: What was found.
    """
    shown = _shown(comparison)
    sentences = ["Blue: not shown to be less accurate than the most accurate network."]
    if any(one.candidate.name not in comparison.verdict.tied for one in shown):
        sentences.append("Grey: shown to be less accurate.")
    if len(shown) > 1:
        sentences.append("Large dot: the network to take.")
    if _front(comparison):
        sentences.append(
            "Dashed green line: the best accuracy that can be had at each latency. No network is "
            "both faster and more accurate than those on it."
        )
    if len(shown) > _MOST_NUMBERS:
        sentences.append(
            f"Numbers are ranks in the table; only the first {_MOST_NUMBERS} have one."
        )
    return " ".join(sentences)


def number_words(numbers: Sequence[int]) -> str:
    """Return numbers in few words.

    Args:
        numbers: Ascending.

    Example:
        >>> number_words([1, 2, 3, 5, 7, 8])
        '1–3, 5, 7, 8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]}\N{EN DASH}{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))
        for run in runs
    )


def _together(axes: Axes, shown: Sequence[CandidateResult]) -> list[list[int]]:
    """Return the ranks, those together whose points lie on each other."""
    found: list[tuple[NDArray[np.float64], list[int]]] = []
    for rank, place in enumerate(_in_points(axes, [_at(one) for one in shown]), 1):
        for where, ranks in found:
            if math.dist(where, place) < _ONE_DOT:
                ranks.append(rank)
                break
        else:
            found.append((place, [rank]))
    return [ranks for _, ranks in found]


def _shown(comparison: Comparison) -> list[CandidateResult]:
    return [one for one in comparison.ranked_results if one.speed and one.accuracy]


def _front(comparison: Comparison) -> list[CandidateResult]:
    """Return the networks that the line joins, fastest first; none where it would be a point."""
    efficient = comparison.verdict.efficient
    front = sorted((one for one in _shown(comparison) if one.candidate.name in efficient), key=_at)
    return front if len({_at(one) for one in front}) > 1 else []


def _drawn(
    comparison: Comparison, shown: Sequence[CandidateResult], *, key: Sequence[str] = ()
) -> Figure:
    """Draw all but the labels, and lay it out."""
    verdict, front = comparison.verdict, _front(comparison)
    widest = max(map(columns, key), default=0) * _COLUMN_INCHES + _BEFORE_NAME_INCHES
    across = max(1, int(_WIDTH / widest))
    with styled():
        figure = new_figure(_WIDTH, _HEIGHT + 0.18 * -(-len(key) // across))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        if front:
            axes.step(*zip(*map(_at, front), strict=True), where="post", zorder=1, **_FRONT)
        colours = [BLUE if one.candidate.name in verdict.tied else FAINT for one in shown]
        for one, colour in zip(shown, colours, strict=True):
            _draw_network(axes, one, colour=colour, large=one is comparison.advised)
        _set_axes(axes, shown)
        _explain(figure, colours, with_front=bool(front))
        figure.legend(
            [_dot(colour) for colour in colours[: len(key)]],
            [f"{rank}  {name}" for rank, name in enumerate(key, 1)],
            loc="outside lower left",
            ncols=across,
            fontsize=_NAME_SIZE,
            handletextpad=0.2,
            columnspacing=1.2,
        ).set_visible(bool(key))
        with silent_about_glyphs():
            figure.draw_without_rendering()
    return figure


def _draw_network(axes: Axes, one: CandidateResult, *, colour: str, large: bool) -> None:
    """Draw one network: its accuracy with the interval."""
    x, y = _at(one)
    accuracy = one.accuracy
    assert accuracy is not None
    axes.plot([x, x], [100 * accuracy.low, 100 * accuracy.high], color=colour, lw=1.1, alpha=0.45)
    axes.plot([x], [y], "o", color=colour, markersize=8 if large else 5.5, zorder=3)


def _set_axes(axes: Axes, shown: Sequence[CandidateResult]) -> None:
    """Name the axes, and show what there is, with a little room around it."""
    axes.set_title("Accuracy of the probe (%), with its 95 % interval")
    axes.set_xlabel("milliseconds for one image (logarithmic)", color=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y")
    logarithms = [math.log(_at(one)[0]) for one in shown] or [0.0]
    low, high = min(logarithms), max(logarithms)
    half = max((high - low) * (1 + 2 * _MARGIN), _LEAST_SPAN) / 2
    middle = (low + high) / 2
    axes.set_xlim(math.exp(middle - half), math.exp(middle + half))
    steps = next(steps for least, steps in _STEPS if half >= least)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds_text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _explain(figure: Figure, colours: Sequence[str], *, with_front: bool) -> None:
    """Say above the picture what its colours and its line are: it is a file of its own too."""
    entries: list[tuple[Line2D, str]] = []
    if FAINT in colours:
        entries.append((_dot(BLUE), "as good as the best, for all these images show"))
        entries.append((_dot(FAINT), "shown to be worse"))
    if with_front:
        entries.append((Line2D([], [], **_FRONT), "best at each latency"))
    if entries:
        handles, texts = zip(*entries, strict=True)
        figure.legend(
            handles,
            texts,
            loc="outside upper left",
            ncols=len(entries),
            fontsize=_NAME_SIZE,
            columnspacing=1.4,
            handletextpad=0.4,
        )


def _dot(colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=5.5, linestyle="none")


def _places(
    axes: Axes,
    shown: Sequence[CandidateResult],
    labelled: Sequence[CandidateResult],
    labels: Sequence[str],
    bold: Sequence[bool],
    **options: float,
) -> list[Box | None]:
    """Find places for labels; all points are in the way, also those without one."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    per_pixel = 72 / figure.dpi
    accuracies = [one.accuracy for one in shown if one.accuracy is not None]
    points = _in_points(axes, [_at(one) for one in shown])
    lows, highs = (
        _in_points(axes, [(_at(one)[0], 100 * end) for one, end in zip(shown, ends, strict=True)])
        for ends in ([one.low for one in accuracies], [one.high for one in accuracies])
    )
    bars = [
        (low[0] - 1, low[1], high[0] + 1, high[1]) for low, high in zip(lows, highs, strict=True)
    ]
    sizes = []
    for label, heavy in zip(labels, bold, strict=True):
        with styled(), silent_about_glyphs():
            text = figure.text(0, 0, label, size=_NAME_SIZE, fontweight=_weight(heavy))
            extent = text.get_window_extent()
            text.remove()
        sizes.append((extent.width * per_pixel, extent.height * per_pixel))
    left, bottom, right, top = (
        float(side) * per_pixel for side in axes.get_window_extent().extents
    )
    within = (left, bottom, right, top)
    anchors = _in_points(axes, [_at(one) for one in labelled])
    return place_labels(anchors, sizes, within=within, points=points, bars=bars, **options)


def _in_points(axes: Axes, places: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Return places of the axes in points of the figure, float of shape (n, 2)."""
    assert isinstance(axes.figure, Figure)
    pixels = axes.transData.transform(np.array(places, np.float64).reshape(-1, 2))
    return np.asarray(pixels * 72 / axes.figure.dpi, np.float64)


def _write_labels(
    axes: Axes,
    shown: Sequence[CandidateResult],
    labels: Sequence[str],
    bold: Sequence[bool],
    places: Sequence[Box | None],
) -> None:
    """Write labels, with a line to the point of each that is not beside it."""
    points = _in_points(axes, [_at(one) for one in shown])
    for one, label, heavy, box, (x, y) in zip(shown, labels, bold, places, points, strict=True):
        if box is None:
            continue
        end = nearest_of_box(box, x, y)
        away = math.dist(end, (x, y)) > _SHORTEST_LEADER
        line = {
            "arrowstyle": "-",
            "color": FAINT,
            "lw": 0.6,
            "shrinkA": 0,
            "shrinkB": 2,
            "relpos": (
                (end[0] - box[0]) / (box[2] - box[0]),
                (end[1] - box[1]) / (box[3] - box[1]),
            ),
        }
        with styled():
            axes.annotate(
                label,
                _at(one),
                (box[0] - x, box[1] - y),
                textcoords="offset points",
                va="bottom",
                size=_NAME_SIZE,
                color=INK,
                fontweight=_weight(heavy),
                arrowprops=line if away else None,
                zorder=4,
            ).set_in_layout(False)


def _weight(bold: bool) -> str:
    return "bold" if bold else "normal"


def _at(one: CandidateResult) -> tuple[float, float]:
    """Return where a network is: milliseconds, and accuracy in percent."""
    assert one.speed is not None
    assert one.accuracy is not None
    return one.speed.latency_ms, 100 * one.accuracy.value
