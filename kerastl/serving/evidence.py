"""Where a served model finds the evidence for its answer: by covering places and asking again."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kerastl.data.preparation import prepare_pixels
from kerastl.evaluation.explanation_pictures import evidence_over
from kerastl.interpretation.attribution import covered_pictures
from kerastl.serving.servable import Servable
from kerastl.serving.tensor_json import RequestError

# Squares along each side: 64 questions.
_PLACES = 8
_BATCH_SIZE = 32
_SMALLEST_PROBABILITY = 1e-7


def evidence_picture(servable: Servable, content: bytes, class_name: str | None = None) -> bytes:
    """Return an image with the evidence for a class in orange and against it in blue, as PNG.

    Each of 8 by 8 squares is covered in turn with the mean colour of the image, and the change of
    the log-odds is drawn (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901). The served
    model itself is asked, by its signature `pixels`, so that any export can be.

    Args:
        servable: The model.
        content: An image file.
        class_name: Evidence for this one; for the best class if None.

    Raises:
        RequestError: There is no such class.
        UnreadableImageError: It is no image that can be read.
    """
    height, width = map(int, servable.notes["image_size"])
    image = prepare_pixels(
        content, image_size=(height, width), resize_mode=str(servable.notes["resize_mode"])
    )
    if class_name is not None and class_name not in servable.class_names:
        raise RequestError(f"there is no class {class_name!r}")
    pictures = np.rint(covered_pictures(image, _PLACES)).astype(np.uint8)
    probabilities = _probabilities(servable, pictures)
    place = probabilities[-1].argmax()
    if class_name is not None:
        place = servable.class_names.index(class_name)
    sure = np.clip(probabilities[:, place].astype(np.float64), _SMALLEST_PROBABILITY, None)
    odds = np.log(sure) - np.log(np.clip(1 - sure, _SMALLEST_PROBABILITY, None))
    squares = (odds[-1] - odds[:-1]).reshape(_PLACES, _PLACES).astype(np.float32)
    size, smooth = (width, height), Image.Resampling.BICUBIC
    evidence = np.asarray(Image.fromarray(squares).resize(size, smooth))
    file = io.BytesIO()
    Image.fromarray(evidence_over(image, evidence)).save(file, "PNG")
    return file.getvalue()


def _probabilities(servable: Servable, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities of all pictures, in the order of the model's classes."""
    place = {name.encode(): index for index, name in enumerate(servable.class_names)}
    found = []
    for start in range(0, len(pictures), _BATCH_SIZE):
        answer = servable.run("pixels", pictures[start : start + _BATCH_SIZE])
        order = np.array([[place[label] for label in row] for row in answer["classes"]])
        by_class = np.empty_like(answer["scores"])
        np.put_along_axis(by_class, order, answer["scores"], axis=1)
        found.append(by_class)
    return np.concatenate(found)
