"""The picture of a comparison: how accurate each network is, and how long it takes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from kerastl.comparing.result import CandidateResult, Comparison
from kerastl.comparing.words import milliseconds_text
from kerastl.evaluation.figures import BLUE, FAINT, GREEN, INK, new_figure, shorten, styled

_LONGEST_NAME = 34
# Names beside more points than this would lie on each other: the others are in the table.
_MOST_NAMES = 14


def tradeoff_figure(comparison: Comparison) -> Figure:
    """Draw accuracy over latency: networks that none is as accurate and as fast as are joined.

    Args:
        comparison: What was found.
    """
    verdict = comparison.verdict
    shown = [one for one in comparison.ranked_results if one.speed and one.accuracy]
    front = sorted((one for one in shown if one.candidate.name in verdict.efficient), key=_latency)
    with styled():
        figure = new_figure(7.6, 4.2)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.step(
            [_latency(one) for one in front],
            [_percent(one) for one in front],
            where="post",
            color=GREEN,
            lw=1.1,
            ls=(0, (4, 3)),
            alpha=0.8,
            zorder=1,
        )
        for one in shown:
            _draw_network(axes, one, comparison)
        _set_axes(axes, shown)
    return figure


def _draw_network(axes: Axes, one: CandidateResult, comparison: Comparison) -> None:
    """Draw one network: its accuracy with the interval, its name where there is room."""
    verdict, name = comparison.verdict, one.candidate.name
    accuracy, x, y = one.accuracy, _latency(one), _percent(one)
    assert accuracy is not None
    tied = name in verdict.tied
    colour = BLUE if tied else FAINT
    axes.plot([x, x], [100 * accuracy.low, 100 * accuracy.high], color=colour, lw=1.1, alpha=0.55)
    axes.plot([x], [y], "o", color=colour, markersize=8 if name == verdict.ranked[0] else 5.5)
    named = name in (*verdict.ranked[:_MOST_NAMES], *verdict.efficient)
    if named:
        axes.annotate(
            shorten(name, _LONGEST_NAME),
            (x, y),
            (6, 4),  # above the line that joins it with others
            textcoords="offset points",
            va="bottom",
            size=8.5,
            color=INK,
            fontweight="bold" if name == verdict.ranked[0] else "normal",
        )


def _set_axes(axes: Axes, shown: list[CandidateResult]) -> None:
    """Name the axes, and leave room for the names of the points."""
    axes.set_title("Accuracy of the probe (%), with its 95 % interval")
    axes.set_xlabel("milliseconds for one image (logarithmic)", color=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y")
    slowest, fastest = max(map(_latency, shown)), min(map(_latency, shown))
    # Names stand at the right of their points.
    axes.set_xlim(fastest / 1.3, max(slowest * 2.2, fastest * 3))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds_text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _latency(one: CandidateResult) -> float:
    return float("inf") if one.speed is None else one.speed.latency_ms


def _percent(one: CandidateResult) -> float:
    return float("nan") if one.accuracy is None else 100 * one.accuracy.value
