"""Pictures of what a network looks at: evidence over images, feature maps, filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from kerastl.errors import DataError
from kerastl.evaluation.figures import BLUE, FAINT, ORANGE, new_figure, shorten, styled

# Of grey, so that colour means evidence alone.
_LUMA = np.array([0.299, 0.587, 0.114])
_THUMBNAIL_PIXELS = 224


def evidence_over(
    image: NDArray[np.uint8], evidence: NDArray[np.floating[Any]]
) -> NDArray[np.uint8]:
    """Return an image in grey, with evidence for a class in orange and against it in blue.

    Args:
        image: uint8 of shape (height, width, 3).
        evidence: Float of shape (height, width): above 0 what speaks for the class. The strongest
            of it is drawn in full colour, whatever it is.

    Returns:
        uint8 of shape (height, width, 3).

    Example:
        >>> grey = np.full((2, 2, 3), 100, np.uint8)
        >>> evidence_over(grey, np.array([[0, 0], [0, 1.0]]))[0, 0].tolist()
        [100, 100, 100]
    """
    grey = np.repeat((image @ _LUMA)[..., None], 3, axis=2)
    strongest = float(np.abs(evidence).max())
    share = (
        np.asarray(evidence, np.float64) / strongest if strongest > 0 else np.zeros(grey.shape[:2])
    )
    colour = np.where(share[..., None] >= 0, to_rgb(ORANGE), to_rgb(BLUE)) * 255
    weight = 0.75 * np.abs(share)[..., None]
    return np.clip(grey * (1 - weight) + colour * weight + 0.5, 0, 255).astype(np.uint8)


def evidence_figure(
    image: NDArray[np.uint8], evidence: Mapping[str, NDArray[np.floating[Any]]]
) -> Figure:
    """Draw an image, and beside it where the evidence is by each method.

    Args:
        image: uint8 of shape (height, width, 3).
        evidence: By title: float of shape (height, width).

    Example:
        >>> grey = np.zeros((4, 4, 3), np.uint8)
        >>> len(evidence_figure(grey, {"Grad-CAM": np.ones((4, 4))}).axes)
        2
    """
    panels = {"The image": image}
    panels |= {title: evidence_over(image, one) for title, one in evidence.items()}
    with styled():
        figure = new_figure(2.35 * len(panels), 2.6)
        for axes, (title, picture) in zip(
            np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
        ):
            _show(axes, _small(picture))
            axes.set_title(title, size=9)
    return figure


def feature_maps_figure(
    maps: Mapping[str, NDArray[np.floating[Any]]], *, num_channels: int = 8
) -> Figure:
    """Draw the strongest feature maps of one image, a row for each layer.

    Args:
        maps: By title: float of shape (height, width, channels), of one image.
        num_channels: Maps of each layer: those whose mean size is largest, strongest first.

    Raises:
        DataError: There is no layer.

    Example:
        >>> figure = feature_maps_figure({"stem": np.random.default_rng(0).random((8, 8, 16))})
        >>> len(figure.axes)
        8
    """
    if not maps:
        raise DataError("There are no feature maps to draw: give at least one layer.")
    with styled():
        figure = new_figure(1.08 * num_channels, 1.5 * len(maps))
        rows = figure.subfigures(len(maps), 1, squeeze=False)[:, 0]
        for row, (title, one) in zip(rows, maps.items(), strict=True):
            row.suptitle(title, size=9, x=0.01, horizontalalignment="left")
            order = strongest_channels(one)[:num_channels]
            for place, channel in enumerate(order, start=1):
                axes = row.add_subplot(1, num_channels, place)
                low, high = np.percentile(one[..., channel], [1, 99])
                shown = np.clip((one[..., channel] - low) / (high - low + 1e-12), 0, 1)
                _show(axes, (255 * shown).astype(np.uint8))
                axes.set_xlabel(f"{channel}", size=7, color=FAINT, labelpad=2)
    return figure


def preferred_figure(
    pictures: Mapping[str, tuple[Sequence[int], NDArray[np.uint8]]], *, num_columns: int = 8
) -> Figure:
    """Draw the pictures that channels answer to most, a row for each layer.

    Args:
        pictures: By title: numbers of the channels, and uint8 of shape (number of these, height,
            width, 3).
        num_columns: Pictures of each layer at most.

    Raises:
        DataError: There is no layer.

    Example:
        >>> figure = preferred_figure({"stem": ([4, 7], np.zeros((2, 8, 8, 3), np.uint8))})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['4', '7']
    """
    if not pictures:
        raise DataError("There are no pictures to draw: give at least one layer.")
    with styled():
        figure = new_figure(1.08 * num_columns, 1.5 * len(pictures))
        rows = figure.subfigures(len(pictures), 1, squeeze=False)[:, 0]
        for row, (title, (channels, shown)) in zip(rows, pictures.items(), strict=True):
            row.suptitle(title, size=9, x=0.01, horizontalalignment="left")
            several = zip(channels, shown, strict=True)
            for place, (channel, picture) in enumerate(several, start=1):
                axes = row.add_subplot(1, num_columns, place)
                _show(axes, picture)
                axes.set_xlabel(f"{channel}", size=7, color=FAINT, labelpad=2)
    return figure


def strongest_channels(maps: NDArray[np.floating[Any]]) -> list[int]:
    """Return the channels of feature maps by falling mean size.

    Args:
        maps: Float of shape (height, width, channels).

    Example:
        >>> strongest_channels(np.array([[[0.0, -3.0, 2.0]]]))
        [1, 2, 0]
    """
    size = np.abs(maps).mean(axis=(0, 1))
    return [int(one) for one in np.argsort(-size, kind="stable")]


def filters_figure(filters: NDArray[np.floating[Any]], *, num_columns: int = 16) -> Figure:
    """Draw filters as pictures: mid-grey is no weight.

    Args:
        filters: Float of shape (num_filters, height, width, 3), red, green and blue.
        num_columns: Filters in a row.

    Example:
        >>> len(filters_figure(np.zeros((20, 3, 3, 3))).axes)
        20
    """
    num_columns = min(num_columns, len(filters))
    num_rows = -(-len(filters) // num_columns)
    with styled():
        figure = new_figure(0.54 * num_columns, 0.56 * num_rows)
        for index, one in enumerate(filters):
            largest = float(np.abs(one).max()) or 1.0
            axes = figure.add_subplot(num_rows, num_columns, index + 1)
            _show(axes, (127.5 + 127.5 * one / largest).astype(np.uint8))
    return figure


def _show(axes: Any, picture: NDArray[np.uint8]) -> None:
    """Draw a picture without a frame."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of a size for a page."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(image)


def layer_title(
    name: str, shape: Sequence[int], *, receptive_field: int | None, image_pixels: int
) -> str:
    """Return what stands above the maps of a layer.

    Args:
        name: Of the layer.
        shape: (height, width, channels) of its maps.
        receptive_field: Pixels of the image that one of them can depend on, None for all.
        image_pixels: The longer side of the image.

    Example:
        >>> layer_title("conv1", (112, 112, 64), receptive_field=7, image_pixels=224)
        'conv1: 112 x 112 x 64, each sees 7 x 7 pixels'
    """
    height, width, channels = shape
    sees = "the whole image"
    if receptive_field is not None and receptive_field < image_pixels:
        sees = f"{receptive_field} x {receptive_field} pixels"
    return f"{shorten(name, 40)}: {height} x {width} x {channels}, each sees {sees}"
