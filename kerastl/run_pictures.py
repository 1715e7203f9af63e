"""The pictures of a run: curves, confusion, what training saw, and what the model got wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.answered_pictures import (
    confusion_pictures,
    mistake_pictures,
    ranking_pictures,
    reliability_picture,
)
from kerastl.augmentation_figure import augmentation_figure
from kerastl.data.imbalance import (
    LOGIT_ADJUST,
    SAMPLING,
    WEIGHTINGS,
)
from kerastl.data.stream import Images
from kerastl.data.table import label_text
from kerastl.embedding_map import embedding_pictures
from kerastl.errors import DataError
from kerastl.evaluation.figures import figure_data_uri, file_data_uri, save_figure
from kerastl.evaluation.pictures import (
    learning_curves_figure,
    probe_path_figure,
)
from kerastl.evaluation.report import Picture
from kerastl.features.probe import log_loss_nats
from kerastl.record import Record
from kerastl.training.decision import PROBE

logger = logging.getLogger(__name__)

# Training images on the sheet of augmentation.
_MOST_AUGMENTED = 4


def draw_pictures(
    folder: Path, record: Record, metrics: Mapping[str, Any], *, images: Images
) -> tuple[Picture, ...]:
    """Draw what the report shows; curves and confusion matrix are files of their own too.

    Args:
        folder: The run folder.
        record: The run.
        metrics: From `kerastl.record.measure`.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.

    Returns:
        The pictures in the order of the page.
    """
    experiment, kept = record.experiment, metrics[metrics["kept"]]["test"]
    pictures = confusion_pictures(folder, kept, model=metrics["kept"])
    pictures.append(reliability_picture(folder, kept, model=metrics["kept"]))
    pictures += ranking_pictures(folder, record.answered("test", metrics["kept"]))
    if experiment.phase is not None:
        figure = learning_curves_figure(
            experiment.phase.history,
            probe=_probe_reference(record),
            kept_epoch=experiment.phase.kept_epoch,
        )
        _, svg = save_figure(figure, folder / "learning_curves")
        pictures.append(
            Picture(
                "Fine-tuning",
                file_data_uri(svg),
                alt="Loss and accuracy of training and validation over the epochs.",
                caption="Training numbers are measured on augmented images, before each step. "
                "The dashed line is the probe, where fine-tuning starts. The learning rate is that "
                "of each epoch's middle step. All before any temperature."
                f"{_dots_note(experiment.phase.history)}{_curve_note(record)}",
            )
        )
    if experiment.few is None or not experiment.few.are_chosen:
        pictures.append(_penalty_picture(record))
    pictures += embedding_pictures(folder, record)
    for draw in (_augmentation, _mistakes):
        try:
            pictures += draw(record, images)
        except DataError as error:  # a file that is read anew has gone: no reason to lose the run
            logger.warning("A picture of the report is left out: %s", error)
    return tuple(pictures)


def _penalty_picture(record: Record) -> Picture:
    """Return how the penalty of logistic regression was chosen."""
    experiment = record.experiment
    path = experiment.probe.path
    figure = probe_path_figure(
        [penalty for penalty, _ in path],
        [loss for _, loss in path],
        None,
        experiment.probe.penalty,
    )
    return Picture(
        "The probe's penalty",
        figure_data_uri(figure),
        alt="Cross-validated log-loss over the penalty.",
        caption="Chosen by cross-validation on the training split alone"
        f"{', by the class-weighted loss' if experiment.class_weights is not None else ''}.",
    )


def _augmentation(record: Record, images: Images) -> list[Picture]:
    """Return the sheet of what fine-tuning saw of some training images, classes in turn."""
    phase, table = record.phase, record.table
    if phase is None or (phase.augment == "none" and phase.mix == "none"):
        return []
    rows = record.rows("train")
    first = table.labels[rows].argmax(axis=1) if table.multi_label else table.labels[rows]
    shown = np.unique(first, return_index=True)[1][:_MOST_AUGMENTED]
    more = [row for row in range(len(rows)) if row not in shown]
    shown = rows[[*shown, *more[: _MOST_AUGMENTED - len(shown)]]]
    figure = augmentation_figure(
        np.stack([images[int(row)] for row in shown]),
        [label_text(table, int(row)) for row in shown],
        augment=phase.augment,
        mix=phase.mix,
        seed=phase.seed,
    )
    mixed = "" if phase.mix == "none" else f", then {phase.mix} between these images"
    return [
        Picture(
            f"What training saw: augmentation {phase.augment}{mixed}",
            figure_data_uri(figure, "png"),
            alt="Training images, each with five augmented variants beside it.",
            caption="Left: the image as it is. A person should still see the class in the others.",
        )
    ]


_WEIGHTED = " Losses are class-weighted, accuracies are not."
_CURVE_NOTES = {
    **dict.fromkeys(WEIGHTINGS, _WEIGHTED),
    SAMPLING: " Training numbers are those of balanced draws; the validation loss is "
    "class-weighted to fit them, the validation accuracy is not.",
    LOGIT_ADJUST: " All before the logit adjustment, which comes after every choice.",
}


def _curve_note(record: Record) -> str:
    """Return how the numbers of the curves differ from those of the page."""
    if record.table.multi_label:
        note = " Accuracy: all labels right, with thresholds of 0.5."
        share = "labels with a share of at least a half"
    else:
        note = _CURVE_NOTES.get(record.config.imbalance, "")
        share = "the label with the larger share"
    if record.config.mix != "none":
        note += (
            " Training images and their labels were mixed: training loss and accuracy, which "
            f"counts {share} as right, look worse than those of validation."
        )
    return note


def _dots_note(history: Sequence[Mapping[str, Any]]) -> str:
    """Return what the dots of the curves are; "" where there are none."""
    if not any(row["checks"] for row in history):
        return ""
    return " Small dots: validation between the ends of epochs."


def _probe_reference(record: Record) -> dict[str, float]:
    """Return loss and accuracy of the probe on validation, measured as the epochs were."""
    answered = record.answered("val", PROBE)
    answered = dataclasses.replace(
        answered, probabilities=record.experiment.answers[PROBE].while_training, thresholds=None
    )
    weights = record.experiment.class_weights
    loss = log_loss_nats(answered.labels, answered.probabilities, class_weights=weights)
    return {"val_loss": loss, "val_accuracy": float(answered.right.mean())}


def _mistakes(record: Record, images: Images) -> list[Picture]:
    """Return the sheet of test images that the kept model is most wrong about."""
    rows = record.rows("test")
    answered = record.answered("test", record.experiment.kept)
    return mistake_pictures(answered, lambda row: images[rows[row]])
