"""Pictures and words at places of their own on one sheet: what contact sheets are made with."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from kerastl.evaluation.figures import (
    FAINT,
    GRID,
    INK,
    ORANGE,
    columns,
    new_figure,
    shorten,
    silent_about_glyphs,
    styled,
)

WIDTH = 9.0
SIDE = 1.38
GAP = 0.12
LINE = 0.155
_MARGIN = 0.08
# Dots of a PNG for an inch: more than these a picture does not show.
_DOTS_PER_INCH = 160
_POINTS_PER_INCH = 72


class Sheet:
    """A sheet that pictures and words are put on, from the top left, in inches.

    Args:
        height: What it takes, in inches.
        width: In inches.
    """

    def __init__(self, height: float, *, width: float = WIDTH) -> None:
        """Begin with an empty sheet."""
        self.height, self.width = height + 2 * _MARGIN, width + 2 * _MARGIN
        self.figure: Figure = new_figure(self.width, self.height)
        self.figure.set_layout_engine("none")  # everything has its place
        ground = Rectangle((0, 0), 1, 1, transform=self.figure.transFigure)
        ground.set(facecolor="none", edgecolor="none")
        self.figure.add_artist(ground)  # files are cut off where a figure ends to be empty

    def write(
        self,
        text: str,
        x: float,
        y: float,
        *,
        width: float,
        size: float = 8.0,
        colour: str = INK,
        bold: bool = False,
        at_right: bool = False,
    ) -> None:
        """Write one line, its middle left out where it is too long.

        Args:
            text: Any text.
            x: Where it begins, or ends if it is at the right.
            y: Its upper edge.
            width: That it may take.
            size: Of the letters, in points.
            colour: Of the letters.
            bold: Whether they are.
            at_right: Whether it ends at x.
        """
        with styled(), silent_about_glyphs():
            written = self.figure.text(
                *self._place(x, y),
                shorten(text, max(8, columns(text))),
                size=size,
                color=colour,
                fontweight="bold" if bold else "normal",
                ha="right" if at_right else "left",
                va="top",
            )
            room = columns(text)
            while written.get_window_extent().width > width * self.figure.dpi and room > 4:
                room -= 1
                written.set_text(shorten(text, room))

    def write_name(
        self, name: str, x: float, y: float, *, width: float, gone: bool = False
    ) -> None:
        """Write the name of a file below its picture, small, for names are long.

        Args:
            name: Of the file.
            x: Where it begins.
            y: Its upper edge.
            width: That it may take.
            gone: Whether the file is gone, so that its thumbnail is shown.
        """
        colour = ORANGE if gone else FAINT
        self.write(f"{name} (gone)" if gone else name, x, y, width=width, size=7.4, colour=colour)

    def show(
        self,
        pixels: NDArray[np.uint8],
        x: float,
        y: float,
        *,
        side: float = SIDE,
        frame: str = "",
        at_top: bool = False,
    ) -> None:
        """Put a picture into a square, as large as it fits, at its lower edge.

        Args:
            pixels: uint8 of shape (height, width, 3) or (height, width).
            x: Left edge of the square.
            y: Its upper edge.
            side: Of the square.
            frame: Colour of a broad frame; none for a hair line.
            at_top: Whether to put it at the upper edge, at the left.
        """
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        scale = side / max(picture.size)
        width, height = picture.width * scale, picture.height * scale
        dots = (max(1, round(width * _DOTS_PER_INCH)), max(1, round(height * _DOTS_PER_INCH)))
        left, top = (x, y) if at_top else (x + (side - width) / 2, y + side - height)
        corner = self._place(left, top + height)
        with styled():
            axes = self.figure.add_axes((*corner, width / self.width, height / self.height))
            axes.imshow(
                np.asarray(picture.resize(dots, Image.Resampling.LANCZOS)),
                cmap="gray",
                vmin=0,
                vmax=255,
                aspect="auto",
                interpolation="none",
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=frame or GRID, linewidth=3.0 if frame else 0.6)

    def frame(self, x: float, y: float, width: float, height: float, *, colour: str = GRID) -> None:
        """Draw a box around what belongs together.

        Args:
            x: Left edge.
            y: Upper edge.
            width: Of the box.
            height: Of the box.
            colour: Of its line.
        """
        box = Rectangle(
            self._place(x, y + height),
            width / self.width,
            height / self.height,
            transform=self.figure.transFigure,
            facecolor="none",
            edgecolor=colour,
            linewidth=0.8 if colour == GRID else 1.8,
        )
        self.figure.add_artist(box)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        """Return a place as parts of the figure, from the lower left."""
        return (x + _MARGIN) / self.width, 1 - (y + _MARGIN) / self.height
