"""Pictures of a benchmark: the speed of each stage, where the time goes, and growth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from kerastl.benchmarking.growth import Growth
from kerastl.benchmarking.job_estimate import JobEstimate
from kerastl.benchmarking.slope import Slope
from kerastl.benchmarking.timing import Timing
from kerastl.benchmarking.words import number_text, seconds_text
from kerastl.evaluation.figures import BLUE, FAINT, GREEN, GRID, INK, ORANGE, new_figure, styled

_ROW_INCHES = 0.34


def stages_figure(timings: Sequence[Timing]) -> Figure:
    """Draw images per second of each stage, and how much of the machine's limit that is.

    Args:
        timings: What was measured; what has no images (an export) is left out.
    """
    shown = [one for one in timings if one.images > 1]
    rows = range(len(shown))
    with styled():
        figure = new_figure(8.8, 0.9 + _ROW_INCHES * len(shown))
        speeds, fractions = figure.subplots(1, 2, sharey=True, width_ratios=[5, 3])
        _bare(speeds, "Images per second")
        speeds.set_xscale("log")
        speeds.set_yticks(rows, [one.title for one in shown])
        for row, one in zip(rows, shown, strict=True):
            speeds.plot(
                [one.images / value for value in one.seconds],
                [row] * len(one.seconds),
                "o",
                color=BLUE,
                alpha=0.5,
                markersize=5,
                markeredgewidth=0,
            )
            speeds.plot([one.images_per_second], [row], "|", color=BLUE, markersize=13, mew=2.2)
            _beside(speeds, one.best_images_per_second, row, number_text(one.images_per_second))
        best = [one.best_images_per_second for one in shown]
        worst = [one.images / max(one.seconds) for one in shown]
        # Room for the numbers at the right, and a decade at least.
        speeds.set_xlim(min(worst) / 1.6, max(max(best) * 3.2, 20 * min(worst)))
        speeds.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        speeds.xaxis.set_minor_locator(NullLocator())
        speeds.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        speeds.set_ylim(len(shown) - 0.4, -0.6)
        _bare(fractions, "Part of the machine's limit")
        for row, one in zip(rows, shown, strict=True):
            if one.limit_fraction is not None:
                percent = 100 * one.limit_fraction
                fractions.barh([row], [percent], height=0.5, color=GREEN)
                _beside(fractions, percent, row, f"{percent:.0f}%")
        highest = max([100 * (one.limit_fraction or 0) for one in shown])
        fractions.set_xlim(0, max(112, 1.15 * highest))
        fractions.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        fractions.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    return figure


def job_figure(job: JobEstimate) -> Figure:
    """Draw where the time of a fit goes.

    Args:
        job: The estimate.
    """
    rows = range(len(job.parts))
    with styled():
        figure = new_figure(7.0, 0.8 + _ROW_INCHES * len(rows))
        axes = figure.add_subplot()
        _bare(axes, f"Seconds of a fit of {job.images:,} images")
        axes.set_yticks(rows, [part.title for part in job.parts])
        axes.barh(rows, [part.seconds for part in job.parts], height=0.55, color=BLUE)
        for row, part in zip(rows, job.parts, strict=True):
            share = f"{100 * part.seconds / job.seconds:.0f}%"
            _beside(axes, part.seconds, row, f"{seconds_text(part.seconds)}, {share}")
        axes.set_xlim(0, 1.42 * max(part.seconds for part in job.parts))
        axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure


def growth_figure(growth: Growth) -> Figure:
    """Draw time and memory of whole jobs on logarithmic axes, where a slope is an exponent.

    Args:
        growth: What was measured.
    """
    seconds = [job.seconds for job in growth.jobs]
    gibibytes = [[peak / 2**30 for peak in job.peak_bytes] for job in growth.jobs]
    with styled():
        figure = new_figure(8.2, 3.1)
        left, right = figure.subplots(1, 2)
        _grown(left, growth, seconds, growth.seconds, scale=1.0, title="Time (seconds)")
        _grown(right, growth, gibibytes, growth.bytes, scale=2**30, title="Peak memory (GiB)")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    return figure


def _grown(
    axes: Axes,
    growth: Growth,
    values: Sequence[Sequence[float]],
    slope: Slope,
    *,
    scale: float,
    title: str,
) -> None:
    """Draw the runs, the fixed part plus a part for each, and what proportional would be."""
    axes.set_title(title)
    axes.set_title(f"slope {slope.overall:.2f}, end {slope.last:.2f}", loc="right", size=8.5)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(_AXES[growth.what], color=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y")
    sizes = np.array(growth.sizes)
    line = np.geomspace(sizes[0], sizes[-1], 60)
    fitted = np.array([slope.at(size) for size in line]) / scale
    axes.plot(line, fitted, color=BLUE, label="fixed part + part for each")
    top = max(values[-1])
    axes.plot(
        line, top * line / sizes[-1], color=FAINT, ls=(0, (5, 3)), lw=1.1, label="proportional"
    )
    for number, (size, runs) in enumerate(zip(sizes, values, strict=True)):
        label = "whole job" if number == 0 else None
        axes.plot([size] * len(runs), runs, "o", color=ORANGE, markersize=6, label=label)
    # The proportional line may fall far below all that was measured.
    everything = [value for runs in values for value in runs]
    low, high = min(everything), max(everything)
    axes.set_ylim(low / max(1.5, (high / low) ** 0.35), high * max(1.35, (high / low) ** 0.12))
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _size_text(growth, value)))
    # Within less than a decade the numbers 1, 2 and 5 may not come up twice.
    narrow = high / low < 4
    axes.yaxis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


_AXES = {"images": "images", "classes": "classes", "size": "image size (pixels)"}


def _size_text(growth: Growth, value: float) -> str:
    """Return what stands below a job."""
    if growth.what != "size":
        return f"{value:,.0f}"
    nearest = min(growth.jobs, key=lambda job: abs(job.pixels / 10_000 - value))
    height, width = nearest.image_size
    return f"{height} \N{MULTIPLICATION SIGN} {width}"


def _bare(axes: Axes, title: str) -> None:
    """Set a panel of horizontal rows up."""
    axes.set_title(title)
    axes.grid(axis="x")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(axis="both", length=0)
    axes.axhline(-0.6, color=GRID, linewidth=0.7)


def _beside(axes: Axes, x: float, row: int, text: str) -> None:
    """Write a number to the right of what it belongs to."""
    axes.annotate(
        text, (x, row), (7, 0), textcoords="offset points", va="center", size=8.5, color=INK
    )
