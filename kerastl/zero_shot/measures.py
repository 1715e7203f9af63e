"""How often zero-shot answers are right, where the right ones are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerastl.data.pixels import Unreadable
from kerastl.data.sources import ImageTable, subset
from kerastl.data.wording import counted
from kerastl.deploy.predictor import Predictor
from kerastl.errors import ConfigError, DataError, did_you_mean
from kerastl.evaluation.measure_words import percent
from kerastl.evaluation.metrics import (
    ClassificationMetrics,
    classification_metrics,
    most_confused,
)
from kerastl.fresh_answers import fresh_answers
from kerastl.zero_shot.labels import Label

_MOST_MISTAKES = 5


@dataclass(frozen=True)
class ZeroShotMeasures:
    """How good zero-shot answers are.

    Attributes:
        metrics: Of `kerastl.evaluation.metrics`; probabilities are shares of the labels.
        class_names: Of the labels, in the order of the metrics.
        unreadable: Images that were left out.
        notes: What a reader should know, in sentences.
    """

    metrics: ClassificationMetrics
    class_names: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return {
            "class_names": list(self.class_names),
            "unreadable": [[one.id, one.reason] for one in self.unreadable],
            "notes": list(self.notes),
            **self.metrics.to_dict(),
        }


def require_labels_for(table: ImageTable, labels: Sequence[Label]) -> None:
    """Refuse labelled images whose classes are not among the labels.

    Args:
        table: The images.
        labels: What can be answered; more than the images have is no fault.

    Raises:
        DataError: Images can have several labels each.
        ConfigError: A class is missing.
    """
    if table.multi_label:
        raise DataError(
            f"The images of {table.name} can have several labels each; zero-shot answers are "
            "measured on images of one class each."
        )
    names = [label.name for label in labels]
    strange = [name for name in table.class_names if name not in names]
    if strange:
        raise ConfigError(
            f"`labels` must name every class of {table.name}; {strange[0]!r} is missing."
            f"{did_you_mean(strange[0], names)} Leave --labels out for the classes' own names, or "
            f'write "{strange[0]}=ITS WORDS".'
        )


def measure_zero_shot(
    predictor: Predictor, table: ImageTable, *, seed: int = 0
) -> ZeroShotMeasures:
    """Ask about labelled images; of divided ones the test split alone.

    Args:
        predictor: From `kerastl.zero_shot.answers.zero_shot_predictor`, its scores shares.
        table: The images, of one class each, all of them among the predictor's.
        seed: Of the resamples behind the intervals.

    Raises:
        DataError: None of the images can be read.
    """
    notes = []
    if table.splits is not None and np.any(table.splits == "test"):
        chosen = np.flatnonzero(table.splits == "test")
        if len(chosen) < len(table.ids):
            others = len(table.ids) - len(chosen)
            notes.append(f"Only the test split of {table.name}; {others:,} others were not asked.")
        table = subset(table, chosen)
    fresh = fresh_answers({"the network": predictor}, table)
    (answered,) = fresh.answered.values()
    metrics = classification_metrics(
        answered.labels,
        answered.probabilities,
        class_names=answered.class_names,
        groups=answered.groups,
        seed=seed,
    )
    return ZeroShotMeasures(metrics, predictor.class_names, fresh.unreadable, tuple(notes))


def measure_lines(measures: ZeroShotMeasures, *, name: str) -> list[str]:
    """Return measures as a terminal shows them.

    Args:
        measures: What was found.
        name: Of the images.
    """
    metrics, numbers = measures.metrics, measures.metrics.to_dict()
    largest = metrics.confusion.sum(axis=1)
    images, labels = counted(metrics.n), counted(len(measures.class_names), "label")
    lines = [f"{images} of {name}, {labels}.", *measures.notes]
    if measures.unreadable:
        lines.append(f"{counted(len(measures.unreadable))} could not be read and are left out.")
    lines.append(
        f"Zero-shot accuracy {percent(numbers['accuracy'])}, balanced "
        f"{percent(numbers['balanced_accuracy'])}; answering "
        f"{measures.class_names[int(largest.argmax())]!r} to all would be right for "
        f"{100 * largest.max() / metrics.n:.1f} %."
    )
    for mistake in most_confused(metrics.confusion, measures.class_names, limit=_MOST_MISTAKES):
        lines.append(
            f"  {mistake['true']} taken for {mistake['answered']}: {mistake['count']:,} "
            f"({100 * mistake['share']:.0f} % of {mistake['true']})"
        )
    return lines
