"""Labels for images by the likeness of both to what a network learnt from captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from kerastl.data.image_reader import read_image
from kerastl.data.stream import in_threads
from kerastl.deploy.predictor import Answer, Predictor
from kerastl.errors import UnreadableImageError
from kerastl.zero_shot.labels import Label, require_several
from kerastl.zero_shot.presets import SIGMOID, SOFTMAX
from kerastl.zero_shot.prompts import TEMPLATES, check_templates, prompts_for
from kerastl.zero_shot.two_towers import TwoTowers

# What the scores of an answer say, by their kind.
SCORE_WORDS = {
    SOFTMAX: "Scores are shares of these labels: they sum to 1 even where none of them fits.",
    SIGMOID: "Scores are of each label by itself, 0 to 1: all may be low, or several high.",
}


def label_embeddings(
    towers: TwoTowers, labels: Sequence[Label], *, templates: Sequence[str] = TEMPLATES
) -> NDArray[np.float32]:
    """Return one vector for each label: the mean of those of its prompts, each of length 1.

    The ensemble of Radford et al. 2021, section 3.1.4: over embeddings, not over
    probabilities, so that it costs nothing per image.

    Args:
        towers: The network.
        labels: The labels.
        templates: Sentences with {} where the words of a label go.

    Returns:
        float32 of shape (num_labels, dimensions), each row of length 1.

    Raises:
        ConfigError: A template has no place for the label.
    """
    templates = check_templates(templates)
    prompts = [prompt for label in labels for prompt in prompts_for(label.words, templates)]
    vectors = _of_length_one(towers.embed_texts(prompts))
    return _of_length_one(vectors.reshape(len(labels), len(templates), -1).mean(axis=1))


def zero_shot_predictor(
    towers: TwoTowers,
    labels: Sequence[Label],
    *,
    templates: Sequence[str] = TEMPLATES,
    score_kind: str | None = None,
) -> Predictor:
    """Return what labels encoded images without any training.

    The texts are embedded here, once.

    Args:
        towers: From `kerastl.zero_shot.two_towers.load_towers`.
        labels: From `kerastl.zero_shot.labels`; what answers are chosen from.
        templates: Sentences with {} where the words of a label go.
        score_kind: `SOFTMAX` or `SIGMOID`; what the network was trained for when not given.

    Returns:
        A predictor as of a trained model: `predict` takes encoded images, and an unreadable one
        is answered with its error. Class names are the labels' names.

    Raises:
        ConfigError: A template has no place for the label, or there is one label alone where
            scores are shares.
    """
    kind = score_kind or towers.score_kind
    if kind == SOFTMAX:
        require_several(labels)
    names = tuple(label.name for label in labels)
    classes = label_embeddings(towers, labels, templates=templates)

    def predict(contents: Sequence[bytes]) -> list[Answer]:
        def prepared(row: int) -> NDArray[np.float32] | UnreadableImageError:
            try:
                return towers.prepare(read_image(contents[row]))
            except UnreadableImageError as error:
                return error

        images = list(in_threads(prepared, range(len(contents))))
        readable = [image for image in images if isinstance(image, np.ndarray)]
        if readable:
            logits = towers.logits(towers.embed_images(np.stack(readable)), classes)
            scores = iter(scores_of(logits, kind))
        return [
            _best_first(next(scores), names)
            if isinstance(image, np.ndarray)
            else Answer((), (), image.reason)
            for image in images
        ]

    return Predictor(predict, class_names=names)


def scores_of(logits: NDArray[np.float32], score_kind: str) -> NDArray[np.float32]:
    """Return scores of 0..1.

    Args:
        logits: Float of shape (n, num_labels).
        score_kind: `SOFTMAX`: each row has the sum 1. `SIGMOID`: each score is of one label.

    Example:
        >>> scores_of(np.zeros((1, 4), np.float32), "softmax").tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    return expit(logits) if score_kind == SIGMOID else softmax(logits, axis=1)


def _of_length_one(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _best_first(scores: NDArray[np.float32], names: Sequence[str]) -> Answer:
    order = np.argsort(-scores, kind="stable")
    return Answer(
        classes=tuple(names[index] for index in order),
        scores=tuple(float(scores[index]) for index in order),
    )
