"""Images of an index to look at, and the ROC curve of pairs."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from kerastl.data.image_reader import read_image
from kerastl.errors import UnreadableImageError
from kerastl.evaluation.figures import BLUE, FAINT, ORANGE, new_figure, styled
from kerastl.retrieval.index import Index
from kerastl.retrieval.verification import Verification

# Longest side of an image on a sheet, at which a JPEG may be read.
LONGEST_SIDE = 288
_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")


def picture_of(index: Index, image: int) -> NDArray[np.uint8]:
    """Return an image of an index to look at.

    Args:
        index: The index.
        image: Its number.

    Returns:
        uint8 of shape (height, width, 3); or its grey thumbnail, of shape (32, 32), where the file
        is gone or is another one now.
    """
    content = index.content(image)
    if content is not None:
        with suppress(UnreadableImageError):
            return read_image(content, at_least=(LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(index.thumbnail(image))


def folder_and_name(path: str) -> tuple[str, str]:
    """Return the folder that an image is in, which often is its class, and its own name.

    Args:
        path: An absolute path, or a name of something that is no file.

    Example:
        >>> folder_and_name("/photos/cat/3.png"), folder_and_name("arrays[3]")
        (('cat/', '3.png'), ('', 'arrays[3]'))
    """
    folder, name = os.path.split(path)
    return (f"{os.path.basename(folder)}/" if folder else ""), name


def verification_figure(verification: Verification) -> Figure:
    """Draw the ROC curve of pairs, and where the threshold stands on it.

    Args:
        verification: What was measured.

    Example:
        >>> from kerastl.evaluation.intervals import Estimate
        >>> half = Estimate(0.5, 0.4, 0.6)
        >>> found = Verification(0.1, 0.7, half, half, half, 9, (9, 9), "images", ((0, 0), (1, 1)))
        >>> verification_figure(found).axes[0].get_title("left")
        'Same or different: area 0.500'
    """
    curve = np.array(verification.curve)
    with styled():
        figure = new_figure(4.2, 4.0)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.plot(curve[:, 0], curve[:, 1], color=BLUE)
        rates = verification.false_accepts, verification.true_accepts
        axes.plot(rates[0].value, rates[1].value, "o", color=ORANGE)
        axes.set_title(f"Same or different: area {verification.area.value:.3f}")
        axes.set_xlabel(
            "accepted, of pairs of different labels\n"
            f"(point: cosine above {verification.threshold:.3f})",
            color=FAINT,
        )
        axes.set_ylabel("accepted, of pairs of one label", color=FAINT)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.grid(axis="y")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return figure
