"""What models answer to images now, from encoded bytes, as they would be served."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages
from kerastl.data.pixels import Unreadable, encoded_image
from kerastl.data.sources import ImageTable
from kerastl.deploy.predictor import Predictor, open_predictor
from kerastl.errors import ConfigError, DataError, did_you_mean
from kerastl.progress import track

logger = logging.getLogger(__name__)

_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class FreshAnswers:
    """What models answer to the images that can be read.

    Attributes:
        answered: By model.
        rows: int64: rows of the table that were answered, ascending.
        unreadable: The rows that were not.
    """

    answered: dict[str, AnsweredImages] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    unreadable: tuple[Unreadable, ...]


def fresh_answers(models: Mapping[str, Path | Predictor], table: ImageTable) -> FreshAnswers:
    """Ask models, one after the other, about the same images.

    Args:
        models: By name: a run folder, a SavedModel, or what answers already.
        table: The images. Classes that it lacks are no fault, others than the model's are.

    Raises:
        ConfigError: A path is no model.
        DataError: The images have a class that a model does not know, or none can be read.
    """
    found: dict[str, tuple[AnsweredImages, dict[int, str]]] = {}
    for name, path in models.items():
        predictor = path if isinstance(path, Predictor) else open_predictor(path)
        labelled = _in_terms_of(predictor, table, model=name)
        found[name] = _answers(predictor, labelled, name=name)
    reasons = {row: why for _, faults in found.values() for row, why in faults.items()}
    left = np.array([row for row in range(len(table.ids)) if row not in reasons], np.int64)
    if not len(left):
        first = next(iter(reasons.values()), "")
        raise DataError(f"None of the {len(table.ids)} images can be read. The first: {first}")
    return FreshAnswers(
        {name: answered.chosen(left) for name, (answered, _) in found.items()},
        left,
        tuple(Unreadable(row, table.ids[row], reasons[row]) for row in sorted(reasons)),
    )


def answers_to_files(path: Path, files: Sequence[Path], *, name: str) -> AnsweredImages:
    """Return what a model answers to pictures that need not be of its classes.

    Args:
        path: A run folder or a SavedModel, of one class per image.
        files: The pictures; what cannot be read is left out and named in the log.
        name: Of the model.

    Returns:
        The answers, classes in the model's own order; the labels of these pictures say nothing.

    Raises:
        ConfigError: It is no model, or an image can have several of its labels.
        DataError: None of the pictures can be read.
    """
    predictor = open_predictor(path)
    if predictor.multi_label:
        raise ConfigError(
            f"{name} can give an image no label at all, which is its own way to say that it is "
            "something else. Leave --unknown out."
        )
    ids = tuple(map(str, files))
    table = ImageTable("unknown", ids, np.zeros(len(ids), np.int64), predictor.class_names)
    answered, faults = _answers(predictor, table, name=name)
    for row, why in faults.items():
        logger.warning("%s is left out: %s", ids[row], why)
    left = [row for row in range(len(ids)) if row not in faults]
    if not left:
        raise DataError(f"None of the {len(ids)} pictures of something else can be read.")
    return answered.chosen(np.array(left))


def _answers(
    predictor: Predictor, table: ImageTable, *, name: str
) -> tuple[AnsweredImages, dict[int, str]]:
    """Return the answers to all images, and why some have none, by row."""
    place = {label: index for index, label in enumerate(predictor.class_names)}
    probabilities = np.zeros((len(table.ids), len(place)), np.float32)
    novelty = np.full(len(table.ids), np.nan, np.float32)
    called, promised = np.zeros(len(table.ids), bool), False
    faults: dict[int, str] = {}
    with track(f"Asking {name}", total=len(table.ids)) as advance:
        for start in range(0, len(table.ids), _BATCH_SIZE):
            rows = range(start, min(start + _BATCH_SIZE, len(table.ids)))
            contents = [encoded_image(table, row) for row in rows]
            for row, answer in zip(rows, predictor.predict(contents), strict=True):
                if answer.error is not None:
                    faults[row] = answer.error
                    continue
                order = [place[label] for label in answer.classes]
                probabilities[row, order] = answer.scores
                if answer.unknown_score is not None:
                    novelty[row] = answer.unknown_score
                if answer.is_unknown is not None:
                    called[row], promised = answer.is_unknown, True
            advance(len(rows))
    limits = predictor.thresholds
    tells = not np.isnan(novelty).all()
    return (
        AnsweredImages(
            ids=table.ids,
            labels=table.labels,
            class_names=predictor.class_names,
            probabilities=probabilities,
            groups=table.groups,
            thresholds=tuple(limits[label] for label in place) if limits else None,
            novelty=novelty if tells else None,
            called_unknown=called if promised else None,
        ),
        faults,
    )


def _in_terms_of(predictor: Predictor, table: ImageTable, *, model: str) -> ImageTable:
    """Return the table with the classes of a model, in its order."""
    known = predictor.class_names
    if predictor.multi_label != table.multi_label:
        kind = "several labels" if predictor.multi_label else "one class"
        raise DataError(
            f"{model} gives an image {kind}, and these images have "
            f"{'several labels' if table.multi_label else 'one class'} each. "
            + ("Name what stands between labels: --label-separator." if predictor.multi_label else
               "Leave --label-separator out.")
        )  # fmt: skip
    strange = [name for name in table.class_names if name not in known]
    if strange:
        raise DataError(
            f"The images have the class {strange[0]!r}, which {model} does not know; it knows "
            f"{', '.join(map(repr, known[:10]))}.{did_you_mean(strange[0], known)} Rename the "
            "folder or the label, or leave these images out."
        )
    order = [known.index(name) for name in table.class_names]
    if table.multi_label:
        several = np.zeros((len(table.ids), len(known)), np.int8)
        several[:, order] = table.labels
        return replace(table, labels=several, class_names=known)
    return replace(table, labels=np.array(order, np.int64)[table.labels], class_names=known)
