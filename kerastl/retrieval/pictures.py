"""What a search looks like: sheets of images with their cosines, and the ROC curve of pairs."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from kerastl.data.duplicates import Duplicates
from kerastl.data.image_reader import read_image
from kerastl.errors import UnreadableImageError
from kerastl.evaluation.figures import BLUE, FAINT, ORANGE, new_figure, styled
from kerastl.evaluation.pictures import contact_sheet_figure
from kerastl.retrieval.answers import Answer
from kerastl.retrieval.index import Index
from kerastl.retrieval.verification import Verification

# Longest side of an image on a sheet, at which a JPEG may be read.
_SIDE = 160
# Pairs on a sheet: eight rows of three.
_MOST_PAIRS = 24
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
            return read_image(content, at_least=(_SIDE, _SIDE))
    return np.asarray(index.thumbnail(image))


def answer_figure(index: Index, answer: Answer, content: bytes) -> Figure:
    """Draw an image and what was found for it.

    Args:
        index: The index.
        answer: Of it.
        content: Of the file that was asked for.
    """
    pictures = [read_image(content, at_least=(_SIDE, _SIDE))]
    titles = [f"asked for\n{os.path.basename(answer.query)}"]
    for rank, hit in enumerate(answer.hits, 1):
        pictures.append(picture_of(index, hit.image))
        label = f" {hit.label}" if hit.label else ""
        titles.append(f"{rank}: {hit.cosine:.3f}{label}\n{os.path.basename(hit.id)}")
    return contact_sheet_figure(pictures, titles)


def copies_figure(index: Index, duplicates: Duplicates) -> Figure | None:
    """Draw pairs of near duplicates side by side, most alike first.

    Args:
        index: The index.
        duplicates: Of its images.

    Returns:
        None where there are none.
    """
    pictures, titles = [], []
    for number, (pair, correlation, mirrored) in enumerate(
        zip(
            duplicates.near[:_MOST_PAIRS].tolist(),
            duplicates.correlations,
            duplicates.mirrored,
            strict=False,
        ),
        1,
    ):
        how = "mirrored" if mirrored else "copy"
        for image, words in zip(pair, (f"{correlation:.4f}", how), strict=True):
            pictures.append(picture_of(index, image))
            titles.append(f"{number}: {words}\n{os.path.basename(index.images.ids[image])}")
    return contact_sheet_figure(pictures, titles) if pictures else None


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
