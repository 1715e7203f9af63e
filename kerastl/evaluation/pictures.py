"""What is drawn for a report: confusions, curves, the probe's path, sheets of images."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from kerastl.errors import DataError
from kerastl.evaluation.checks import Check, best_check, check_at, checks_of
from kerastl.evaluation.figures import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    INK,
    ORANGE,
    columns,
    new_figure,
    shorten,
    styled,
)

# Up to here the cells of a confusion matrix have room for numbers.
_MOST_CELLS_WITH_TEXT = 30
_ON_BLUE = "#fffffe"
# Inches that one column of text takes at 9 points.
_COLUMN_INCHES = 0.085
# Validation between the ends of epochs: points without a line.
_BETWEEN: dict[str, Any] = {"color": ORANGE, "marker": ".", "linestyle": "none"}
_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")


def confusion_matrix_figure(
    confusion: NDArray[np.integer[Any]], class_names: Sequence[str], *, normalise: bool = True
) -> Figure:
    """Draw which classes are taken for which.

    Args:
        confusion: Integers of shape (num_classes, num_classes): rows true, columns answered.
        class_names: One for each class.
        normalise: Colour by the share of the row, so that rare classes show, and write
            that share below the count; else colour by count alone.

    Returns:
        The figure; with more than 30 classes its cells hold no numbers.

    Raises:
        DataError: The matrix is not square or does not fit the names.

    Example:
        >>> figure = confusion_matrix_figure(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
        >>> figure.axes[0].get_ylabel()
        'true class'
    """
    confusion, size = np.asarray(confusion), len(class_names)
    if confusion.shape != (size, size) or size == 0:
        raise DataError(
            f"`confusion` must have the shape ({size}, {size}), for {size} class names; received "
            f"{confusion.shape}. Take both from the same metrics."
        )
    rows = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / (rows if normalise else max(int(confusion.max()), 1))
    with_text = size <= _MOST_CELLS_WITH_TEXT
    labels = [shorten(str(name), 30 if size <= 12 else 22) for name in class_names]
    cell = max(0.5, 1.5 - 0.18 * size) if with_text else max(0.11, 10 / size)
    text_size = 9.0 if with_text else max(4.0, min(7.5, cell * 45))
    widest = max(columns(label) for label in labels) * _COLUMN_INCHES * text_size / 9
    with styled():
        side = size * cell + widest + 0.6
        figure = new_figure(side, side)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap=_blues(), vmin=0, vmax=1, interpolation="none")
        axes.set_yticks(range(size), labels, size=text_size)
        if widest < cell:
            axes.set_xticks(range(size), labels, size=text_size)
        elif size <= 12:
            axes.set_xticks(range(size), labels, size=text_size)
            for label in axes.get_xticklabels():
                label.set(rotation=40, ha="right", rotation_mode="anchor")
        else:
            axes.set_xticks(range(size), labels, size=text_size, rotation=90)
        axes.set_xlabel("answered", color=FAINT)
        axes.set_ylabel("true class", color=FAINT)
        axes.spines[:].set_color(GRID)
        if with_text:
            _write_cells(axes, confusion, shares if normalise else None, shares)
            axes.set_xticks(np.arange(1, size) - 0.5, minor=True)
            axes.set_yticks(np.arange(1, size) - 0.5, minor=True)
            axes.grid(which="minor")
        axes.tick_params(which="both", length=0)
    return figure


def learning_curves_figure(
    history: Sequence[Mapping[str, Any]],
    *,
    probe: Mapping[str, float] | None = None,
    kept_epoch: float | None = None,
) -> Figure:
    """Draw loss and accuracy of training and validation over the epochs.

    Args:
        history: Rows with "phase", "epoch" (of the phase, may be a fraction), "loss",
            "val_loss", "accuracy", "val_accuracy"; what is missing is left out. With
            "learning_rate" in any row, the rate is drawn too. What was measured between the
            ends of epochs ("checks", see `kerastl.evaluation.checks`) is drawn as points.
        probe: "val_loss" and "val_accuracy" of the probe, for reference lines.
        kept_epoch: Of the last phase: when the weights were that it gave.

    Returns:
        The figure; what was taken is marked, or the smallest validation loss where that is not
        said.

    Raises:
        DataError: There is no row.

    Example:
        >>> rows = [{"phase": "fine-tune", "epoch": e, "loss": 1 / e, "val_loss": 1.2 / e,
        ...          "accuracy": 0.8, "val_accuracy": 0.7} for e in (1, 2, 3)]
        >>> len(learning_curves_figure(rows, probe={"val_loss": 0.5}).axes)
        2
    """
    if not history:
        raise DataError(
            "There is no epoch to draw: `history` is empty. Draw learning curves of a run that "
            "trained by epochs; the probe alone has none."
        )
    epochs, borders = _running_epochs(history)
    rates = _column(history, "learning_rate")
    with_rates = bool(np.isfinite(rates).any())
    checks = _running_checks(history, epochs)
    between = [check for check in checks if not check.at_end]
    word, marked = "best", best_check(checks)
    if kept_epoch is not None:
        before = epochs[-1] - float(history[-1].get("epoch", len(history)))
        word, marked = "taken", check_at(checks, before + kept_epoch)
    with styled():
        figure = new_figure(8.8 if with_rates else 7.0, 2.9)
        panels = figure.subplots(1, 2 + with_rates, width_ratios=[5, 5, 3][: 2 + with_rates])
        for axes, name, title in zip(
            panels, ("loss", "accuracy"), ("Log-loss (nats)", "Accuracy"), strict=False
        ):
            training, validation = _column(history, name), _column(history, f"val_{name}")
            _plain(axes, title, xlabel="epoch")
            axes.plot(epochs, training, color=BLUE, marker="o", label="training")
            axes.plot(epochs, validation, color=ORANGE, marker="s", label="validation")
            if probe is not None and probe.get(f"val_{name}") is not None:
                value = float(probe[f"val_{name}"])
                axes.axhline(value, color=GREEN, linestyle=(0, (5, 2)), label="probe, validation")
            places = [check.epoch for check in between]
            axes.plot(places, [getattr(check, name) for check in between], **_BETWEEN)
            if marked is not None and np.isfinite(value := getattr(marked, name)):
                shown = f"{value:.3f}" if name == "loss" else f"{value:.1%}"
                _ring(axes, marked.epoch, value, f"{word}, epoch {marked.epoch:g}: {shown}")
        panels[1].yaxis.set_major_formatter(_PERCENT)
        if with_rates:
            _plain(panels[2], "Learning rate", xlabel="epoch")
            panels[2].plot(epochs, rates, color=FAINT, marker=".")
            # Around a single rate matplotlib's own limits are a sliver of unreadable ticks.
            panels[2].set_ylim(0, 1.1 * max(float(np.nanmax(rates)), 1e-12))
            panels[2].yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.2g}"))
        for axes in panels:
            _draw_phases(axes, history, borders)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
            if np.ptp(epochs) == 0:
                axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    return figure


def probe_path_figure(
    penalties: Sequence[float],
    cv_log_loss: Sequence[float],
    cv_accuracy: Sequence[float] | None,
    chosen: float,
) -> Figure:
    """Draw how the probe's cross-validated loss depends on its penalty.

    Args:
        penalties: L2 penalties that were tried, above 0.
        cv_log_loss: Log-loss of the held-out folds for each, in nats.
        cv_accuracy: Their accuracy for each; None to leave it out.
        chosen: The penalty that was taken, one of `penalties`.

    Raises:
        DataError: Nothing was tried, the lengths differ, or `chosen` was not tried.

    Example:
        >>> figure = probe_path_figure([0.1, 1.0, 10.0], [0.5, 0.4, 0.6], None, 1.0)
        >>> figure.axes[0].get_xscale()
        'log'
    """
    values = [np.asarray(cv_log_loss, float)]
    if cv_accuracy is not None:
        values.append(np.asarray(cv_accuracy, float))
    tried = np.asarray(penalties, float)
    if len(tried) == 0 or any(len(value) != len(tried) for value in values):
        raise DataError(
            "`penalties`, `cv_log_loss` and `cv_accuracy` must have one entry for each penalty; "
            f"received {len(tried)} penalties and {[len(value) for value in values]} values."
        )
    nearest = int(np.argmin(np.abs(np.log(tried) - np.log(chosen))))
    if not np.isclose(tried[nearest], chosen):
        raise DataError(
            f"`chosen` must be one of the penalties that were tried; received {chosen!r}, and "
            f"the nearest is {tried[nearest]:g}. Give the probe's own path."
        )
    order = np.argsort(tried)
    titles = ("Log-loss of held-out folds (nats)", "Accuracy of held-out folds")
    with styled():
        figure = new_figure(4.3 * len(values), 2.8)
        panels = figure.subplots(1, len(values), squeeze=False)[0]
        for axes, value, title in zip(panels, values, titles, strict=False):
            _plain(axes, title, xlabel="L2 penalty on standardised features")
            axes.set_xscale("log")
            # The formatter of logarithms writes mathematics; these are plain numbers.
            axes.xaxis.set_major_formatter(FuncFormatter(lambda penalty, _: f"{penalty:g}"))
            axes.plot(tried[order], value[order], color=BLUE, marker="o")
            best = float(value[nearest])
            shown = f"{best:.3f}" if axes is panels[0] else f"{best:.1%}"
            _ring(axes, float(tried[nearest]), best, f"chosen {chosen:.3g}: {shown}")
        if cv_accuracy is not None:
            panels[1].yaxis.set_major_formatter(_PERCENT)
    return figure


def contact_sheet_figure(
    images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    *,
    num_columns: int = 6,
    thumbnail_pixels: int = 160,
) -> Figure:
    """Draw images in rows, each with its title below.

    Args:
        images: uint8, each of shape (height, width, 3) or (height, width), of any size.
        titles: One for each image; a line break starts a second line.
        num_columns: Images in a row.
        thumbnail_pixels: Longest side that images are reduced to, to keep a page small.

    Raises:
        DataError: There is no image, or not one title for each.

    Example:
        >>> grey = np.zeros((4, 4), np.uint8)
        >>> len(contact_sheet_figure([grey, grey], ["cat", "dog"]).axes)
        2
    """
    if len(images) == 0 or len(images) != len(titles):
        raise DataError(
            f"Give at least one image and one title for each; received {len(images)} images "
            f"and {len(titles)} titles."
        )
    num_columns = min(num_columns, len(images))
    num_rows = -(-len(images) // num_columns)
    with styled():
        lines = [_title_lines(str(title)) for title in titles]
        height = 1.42 + 0.16 * max(len(each) for each in lines)
        figure = new_figure(1.46 * num_columns, height * num_rows)
        for index, (image, title) in enumerate(zip(images, lines, strict=True)):
            axes = figure.add_subplot(num_rows, num_columns, index + 1)
            small = Image.fromarray(np.ascontiguousarray(image))
            small.thumbnail((thumbnail_pixels, thumbnail_pixels), Image.Resampling.LANCZOS)
            axes.imshow(np.asarray(small), cmap="gray", vmin=0, vmax=255, interpolation="none")
            axes.set(xticks=[], yticks=[], anchor="S")
            axes.spines[:].set_visible(False)
            axes.set_xlabel("\n".join(title), size=8, linespacing=1.25)
    return figure


def _title_lines(title: str) -> list[str]:
    """Return a title in lines that fit below a thumbnail."""
    lines = []
    for line in title.splitlines() or [""]:
        characters = 21 if columns(line) == len(line) else 11
        lines += textwrap.wrap(shorten(line, 40), width=characters)[:2] or [""]
    return lines


def _write_cells(
    axes: Axes,
    confusion: NDArray[np.integer[Any]],
    shares: NDArray[np.float64] | None,
    shown: NDArray[np.float64],
) -> None:
    """Write count and share into the cells of the matrix; nothing into empty ones."""
    size = len(confusion)
    text_size = 11 if size <= 4 else 9 if size <= 10 else 7
    for row, column in zip(*np.nonzero(confusion), strict=True):
        count = f"{confusion[row, column]:,}"
        text = count if shares is None else f"{count}\n{shares[row, column]:.0%}"
        colour = _ON_BLUE if shown[row, column] > 0.72 else INK
        axes.text(
            column, row, text, color=colour, ha="center", va="center", size=text_size
        ).set_linespacing(1.3)


def _blues() -> ListedColormap:
    """Return one blue from nothing to full, so that the page shows through empty cells.

    It rises steeply at first: rare mistakes are what one looks for.
    """
    ramp = np.ones((256, 4))
    ramp[:, :3] = to_rgb(BLUE)
    ramp[:, 3] = np.linspace(0, 1, 256) ** 0.6
    return ListedColormap(ramp, name="blues")


def _plain(axes: Axes, title: str, *, xlabel: str) -> None:
    """Set a panel up: title, faint grid, no box."""
    axes.set_title(title)
    axes.set_xlabel(xlabel, color=FAINT)
    axes.grid(axis="y")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.04, y=0.16)


def _ring(axes: Axes, x: float, y: float, note: str) -> None:
    """Mark a point with a ring, and say above the panel what it is."""
    axes.plot([x], [y], "o", markersize=11, fillstyle="none", color=INK, markeredgewidth=1.2)
    axes.set_title(note, loc="right", size=8.5, color=FAINT)


def _column(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Return one column, not a number where it is missing."""
    values = [row.get(name) for row in history]
    return np.array([np.nan if value is None or value == "" else float(value) for value in values])


def _running_epochs(history: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.float64], list[int]]:
    """Return epochs counted through all phases, and the rows that begin a phase."""
    epochs: list[float] = []
    borders, before = [0], 0.0
    for index, row in enumerate(history):
        if index and row.get("phase") != history[index - 1].get("phase"):
            borders.append(index)
            before = epochs[-1]
        epochs.append(before + float(row.get("epoch", index + 1)))
    return np.array(epochs), borders


def _running_checks(
    history: Sequence[Mapping[str, Any]], epochs: NDArray[np.float64]
) -> list[Check]:
    """Return what was measured on validation, its epochs counted through all phases."""
    checks = checks_of(history)
    shifts = epochs - [check.epoch for check in checks if check.at_end]
    return [replace(check, epoch=check.epoch + float(shifts[check.row])) for check in checks]


def _draw_phases(axes: Axes, history: Sequence[Mapping[str, Any]], borders: list[int]) -> None:
    """Draw a line where each further phase begins, and name the phases if there are several."""
    epochs, _ = _running_epochs(history)
    if len(borders) == 1:
        return
    for index in borders:
        left = epochs[index - 1] if index else epochs[0]
        if index:
            axes.axvline(left, color=FAINT, linewidth=0.8, linestyle=":")
        name = shorten(str(history[index].get("phase", "")), 18)
        axes.annotate(
            name,
            (left, 1),
            (3, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            size=8,
            color=FAINT,
        )
