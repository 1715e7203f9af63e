"""Images and what one model answers to them: how good that is, and image by image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.table import label_words
from kerastl.evaluation.calibration import calibration_metrics
from kerastl.evaluation.comparison import PairedComparison, compare_answers, holm
from kerastl.evaluation.metrics import classification_metrics, multi_label_metrics
from kerastl.evaluation.subgroups import Subgroups, subgroup_metrics
from kerastl.evaluation.thresholds import DEFAULT_THRESHOLD, as_thresholds
from kerastl.features.probe import image_losses


@dataclass(frozen=True, eq=False)
class AnsweredImages:
    """Images and what one model answers to them.

    Attributes:
        ids: What to call each of the n images.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes) where an image can have
            several labels.
        class_names: In the order of the probabilities.
        probabilities: float32 of shape (n, num_classes).
        groups: Of shape (n,): images of one group are not independent; None for none.
        thresholds: With several labels from which probability on each counts; else None.
        novelty: float32 of shape (n,): how far each is from what the model was trained on; None
            where the model does not tell.
        called_unknown: bool of shape (n,): where that is more than its threshold; None without.
    """

    ids: tuple[str, ...]
    labels: NDArray[Any] = field(repr=False)
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32] = field(repr=False)
    groups: NDArray[Any] | None = field(default=None, repr=False)
    thresholds: tuple[float, ...] | None = None
    novelty: NDArray[np.float32] | None = field(default=None, repr=False)
    called_unknown: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels, or none."""
        return self.labels.ndim == 2

    @functools.cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right, of shape (n,); of several labels, all of them."""
        if not self.multi_label:
            return self.probabilities.argmax(axis=1) == self.labels
        return np.all(self.answered == self.truth, axis=1)

    @functools.cached_property
    def truth(self) -> NDArray[np.bool_]:
        """Which classes each image has, of shape (n, num_classes)."""
        if self.multi_label:
            return np.asarray(self.labels == 1)
        return np.eye(len(self.class_names), dtype=bool)[self.labels]

    @functools.cached_property
    def answered(self) -> NDArray[np.bool_]:
        """Which are answered: the best class, or all that reach their thresholds."""
        if not self.multi_label:
            best = self.probabilities.argmax(axis=1)
            return np.eye(len(self.class_names), dtype=bool)[best]
        limits = DEFAULT_THRESHOLD if self.thresholds is None else self.thresholds
        return self.probabilities >= as_thresholds(limits, len(self.class_names))

    @property
    def confidence(self) -> NDArray[np.float32]:
        """How sure each answer is, of shape (n,); of several labels, that all of them are right."""
        if not self.multi_label:
            return self.probabilities.max(axis=1)
        return np.where(self.answered, self.probabilities, 1 - self.probabilities).prod(axis=1)

    def chosen(self, rows: NDArray[np.integer[Any]]) -> AnsweredImages:
        """Return some of the images.

        Args:
            rows: Which, in the wanted order.
        """
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            groups=None if self.groups is None else self.groups[rows],
            novelty=None if self.novelty is None else self.novelty[rows],
            called_unknown=None if self.called_unknown is None else self.called_unknown[rows],
        )

    def reordered(self, class_names: tuple[str, ...]) -> AnsweredImages:
        """Return the same answers with the classes in another order.

        Args:
            class_names: The same names.
        """
        order = np.array([self.class_names.index(name) for name in class_names])
        labels = self.labels
        return dataclasses.replace(
            self,
            labels=labels[:, order] if labels.ndim == 2 else np.argsort(order)[labels],
            class_names=class_names,
            probabilities=self.probabilities[:, order],
            thresholds=self.thresholds and tuple(self.thresholds[index] for index in order),
        )

    def label(self, row: int) -> str:
        """Return the true label of one image, several joined by "|".

        Args:
            row: Which one.
        """
        return label_words(self.labels[row], self.class_names)

    def answer(self, row: int) -> str:
        """Return what is answered: the best class, or all that reach their thresholds.

        Args:
            row: Which image.
        """
        return label_words(self.answered[row], self.class_names)


def measures_of(answered: AnsweredImages, *, seed: int) -> dict[str, Any]:
    """Return the measures, each with its interval, as metrics.json holds them.

    Args:
        answered: The images.
        seed: Of the resamples.

    Raises:
        DataError: There is no image, or one class alone.
    """
    options: dict[str, Any] = {
        "class_names": answered.class_names,
        "groups": answered.groups,
        "seed": seed,
    }
    labels, probabilities = answered.labels, answered.probabilities
    if answered.multi_label:
        limits = DEFAULT_THRESHOLD if answered.thresholds is None else answered.thresholds
        metrics = multi_label_metrics(labels, probabilities, threshold=limits, **options).to_dict()
    else:
        metrics = classification_metrics(labels, probabilities, **options).to_dict()
    calibration = calibration_metrics(labels, probabilities, groups=answered.groups, seed=seed)
    return {**metrics, "calibration": calibration.to_dict()}


def comparisons_with_the_first(
    answered: Mapping[str, AnsweredImages], *, seed: int
) -> dict[str, PairedComparison]:
    """Return each model but the first against the first, p-values corrected for their number.

    Args:
        answered: By model; the same images in the same order.
        seed: Of the resamples.
    """
    (_, first), *others = answered.items()
    losses = image_losses(first.labels, first.probabilities)
    found = {
        name: compare_answers(
            first.right,
            other.right,
            losses=losses,
            other_losses=image_losses(other.labels, other.probabilities),
            groups=first.groups,
            seed=seed,
        )
        for name, other in others
    }
    known = [one.p_value for one in found.values() if one.p_value is not None]
    if len(known) < len(found):
        return found
    corrected = zip(found.items(), holm(known), strict=True)
    return {name: dataclasses.replace(one, p_value=value) for (name, one), value in corrected}


def subgroups_of_answers(
    answered: AnsweredImages, values: NDArray[Any], *, column: str, seed: int
) -> Subgroups:
    """Return how good the answers are subgroup by subgroup.

    Args:
        answered: The images.
        values: Of shape (n,): the subgroup of each.
        column: What they are called together.
        seed: Of the resamples.
    """
    return subgroup_metrics(
        values,
        truth=answered.truth,
        answered=answered.answered,
        right=answered.right,
        confidence=answered.confidence,
        class_names=answered.class_names,
        column=column,
        units=answered.groups,
        seed=seed,
    )


def answer_rows(answered: AnsweredImages) -> list[dict[str, Any]]:
    """Return one row for each image: its path, label, answer and probabilities.

    Args:
        answered: The images.
    """
    return [
        {
            "path": id_,
            "label": answered.label(row),
            "predicted": answered.answer(row),
            **{
                f"p({name})": float(f"{value:.6g}")
                for name, value in zip(answered.class_names, values, strict=True)
            },
        }
        for row, (id_, values) in enumerate(zip(answered.ids, answered.probabilities, strict=True))
    ]
