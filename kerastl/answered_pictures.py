"""Pictures of what one model answers: confusion, reliability, and the images that it gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages
from kerastl.errors import DataError
from kerastl.evaluation.confusion_table import MOST_CLASSES, CellImages
from kerastl.evaluation.figures import figure_data_uri, file_data_uri, save_figure
from kerastl.evaluation.findings import Thumbnail, thumbnail_data_uri
from kerastl.evaluation.pictures import confusion_matrix_figure, contact_sheet_figure
from kerastl.evaluation.ranking_picture import ranking_figure
from kerastl.evaluation.reliability_picture import reliability_figure
from kerastl.evaluation.report import Picture
from kerastl.features.probe import image_losses

# Images on the sheet of mistakes: what one page can show.
_MOST_MISTAKES = 18
# Images behind the cells of a confusion matrix: of one cell, and of all cells together.
_MOST_OF_A_CELL = 6
_MOST_OF_ALL_CELLS = 96


def confusion_pictures(folder: Path, metrics: Mapping[str, Any], *, model: str) -> list[Picture]:
    """Return the confusion matrix if it is too large for a table; it is a file in any case.

    Args:
        folder: Where the file goes.
        metrics: From `kerastl.answered.measures_of`.
        model: What it is called.
    """
    if "confusion" not in metrics:
        return []
    names = [row["name"] for row in metrics["per_class"]]
    figure = confusion_matrix_figure(np.array(metrics["confusion"]), names)
    _, svg = save_figure(figure, folder / "confusion_matrix")
    if len(names) <= MOST_CLASSES:
        return []  # the page has it as a table
    return [
        Picture(
            "Which class is taken for which",
            file_data_uri(svg),
            alt=f"Confusion matrix of the {model} model on the test images.",
            caption="Test images. Rows: the true class; columns: the answer.",
        )
    ]


def reliability_picture(folder: Path, metrics: Mapping[str, Any], *, model: str) -> Picture:
    """Return the reliability diagram, which is a file of its own too.

    Args:
        folder: Where the file goes.
        metrics: From `kerastl.answered.measures_of`.
        model: What it is called.
    """
    calibration = metrics["calibration"]
    figure = reliability_figure(calibration["bins"], several="thresholds" in metrics)
    _, svg = save_figure(figure, folder / "reliability")
    return Picture(
        "As sure as it is right?",
        file_data_uri(svg),
        alt=f"Reliability diagram of the {model} model on the test images.",
        caption=f"Test images, with 95 % intervals. {calibration['words']} Points below the line: "
        "surer than right.",
    )


def ranking_pictures(folder: Path, answered: AnsweredImages) -> list[Picture]:
    """Return ROC and precision-recall curves, a file of its own too; none where none is known.

    Args:
        folder: Where the file goes.
        answered: The images.
    """
    classes = {"class_names": answered.class_names}
    try:
        figure = ranking_figure(
            answered.truth, answered.probabilities, answered.answered, **classes
        )
    except DataError:  # every class is in all images or in none
        return []
    _, svg = save_figure(figure, folder / "ranking")
    return [
        Picture(
            "What other thresholds would give",
            file_data_uri(svg),
            alt="ROC and precision-recall curves on the test images.",
            caption="Test images, the classes that are ranked worst if there are many; in brackets "
            "the area under the ROC curve. Dots: the answers as they are.",
        )
    ]


def mistake_pictures(
    answered: AnsweredImages, image_of: Callable[[int], NDArray[np.uint8]]
) -> list[Picture]:
    """Return the sheet of the images that a model is most wrong about; none where all is right.

    Args:
        answered: The images.
        image_of: From a row of these to its uint8 pixels of shape (height, width, 3).

    Raises:
        DataError: An image cannot be read any more.
    """
    losses = image_losses(answered.labels, answered.probabilities)
    order = np.argsort(-losses, kind="stable")
    worst = [int(row) for row in order if not answered.right[row]][:_MOST_MISTAKES]
    if not worst:
        return []
    is_, not_ = ("has", "said") if answered.multi_label else ("is", "not")
    titles = [
        f"{is_} {answered.label(row) or 'none'}\n{not_} {answered.answer(row) or 'none'}"
        for row in worst
    ]
    figure = contact_sheet_figure([image_of(row) for row in worst], titles)
    count = int((~answered.right).sum())
    return [
        Picture(
            f"{len(worst)} of {count} mistakes, the surest first" if count > 1 else "The mistake",
            figure_data_uri(figure, "png"),
            alt="Test images that the model answers wrongly.",
            caption="Wrong labels and images of another kind show here first.",
        )
    ]


def cell_images(
    answered: AnsweredImages, image_of: Callable[[int], NDArray[np.uint8]]
) -> tuple[CellImages, ...]:
    """Return images of the cells of the confusion matrix, frequent mistakes first.

    Of wrong answers the surest are shown, of right ones the least sure: where a look pays.

    Args:
        answered: The images.
        image_of: From a row of these to its uint8 pixels of shape (height, width, 3).

    Returns:
        At most 96 images; none where an image can have several labels.
    """
    if answered.multi_label:
        return ()
    said = answered.probabilities.argmax(axis=1)
    cells, counts = np.unique(np.stack([answered.labels, said], 1), axis=0, return_counts=True)
    order = sorted(
        range(len(cells)), key=lambda index: (cells[index, 0] == cells[index, 1], -counts[index])
    )
    shown: list[CellImages] = []
    left = _MOST_OF_ALL_CELLS
    for index in order:
        true, answer = map(int, cells[index])
        rows = np.flatnonzero((answered.labels == true) & (said == answer))
        sure = answered.confidence[rows]
        rows = rows[np.argsort(sure if true == answer else -sure, kind="stable")]
        rows = rows[: min(_MOST_OF_A_CELL, left)]
        if not len(rows):
            break
        left -= len(rows)
        pictures = [_cell_image(answered, int(row), image_of) for row in rows]
        shown.append(CellImages(true, answer, int(counts[index]), pictures))
    return tuple(shown)


def _cell_image(
    answered: AnsweredImages, row: int, image_of: Callable[[int], NDArray[np.uint8]]
) -> Thumbnail:
    """Return one image small, and how sure its answer is; a page can do without a picture."""
    try:
        source = thumbnail_data_uri(image_of(row))
    except DataError:
        source = ""
    return Thumbnail(source, answered.ids[row], f"{100 * answered.confidence[row]:.1f} % sure")
