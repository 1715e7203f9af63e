"""The report of a run: its pictures, and the one page that holds them."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.augmentation_figure import augmentation_figure
from kerastl.config import FitConfig
from kerastl.config_file import config_to_mapping
from kerastl.data.imbalance import (
    LARGE_RATIO,
    LOGIT_ADJUST,
    NONE,
    SAMPLING,
    WEIGHTINGS,
    chosen_by,
)
from kerastl.data.stream import Images
from kerastl.evaluation.comparison import accuracy_difference
from kerastl.evaluation.figures import figure_data_uri, save_figure
from kerastl.evaluation.pictures import (
    confusion_matrix_figure,
    contact_sheet_figure,
    learning_curves_figure,
    probe_path_figure,
)
from kerastl.evaluation.report import DataSummary, ModelSummary, Picture, Report, render_report
from kerastl.evaluation.thresholds import DEFAULT_THRESHOLD, FEWEST_ROWS, as_thresholds, few_rows
from kerastl.findings import show_findings
from kerastl.record import Record, label_text, probable_text
from kerastl.training.experiment import FINE_TUNED, PROBE

# Images on the sheet of mistakes: what one page can show.
_MOST_MISTAKES = 18
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
    pictures = []
    if not record.table.multi_label:
        figure = confusion_matrix_figure(np.array(kept["confusion"]), record.table.class_names)
        save_figure(figure, folder / "confusion_matrix")
        pictures.append(
            Picture(
                "Which class is taken for which",
                figure_data_uri(figure),
                alt=f"Confusion matrix of the {metrics['kept']} model on the test split.",
                caption="Test split. Rows: the true class; columns: the answer.",
            )
        )
    if experiment.phase is not None:
        figure = learning_curves_figure(experiment.phase.history, probe=_probe_reference(record))
        save_figure(figure, folder / "learning_curves")
        pictures.append(
            Picture(
                "Fine-tuning",
                figure_data_uri(figure),
                alt="Loss and accuracy of training and validation over the epochs.",
                caption="Training numbers are measured on augmented images, before each step. "
                "The dashed line is the probe, where fine-tuning starts."
                f"{_curve_note(record)}",
            )
        )
    path = experiment.probe.path
    figure = probe_path_figure(
        [penalty for penalty, _ in path],
        [loss for _, loss in path],
        None,
        experiment.probe.penalty,
    )
    pictures.append(
        Picture(
            "The probe's penalty",
            figure_data_uri(figure),
            alt="Cross-validated log-loss over the penalty.",
            caption="Chosen by cross-validation on the training split alone"
            f"{', by the class-weighted loss' if experiment.class_weights is not None else ''}.",
        )
    )
    return (*pictures, *_augmentation(record, images), *_mistakes(record, images))


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


def _probe_reference(record: Record) -> dict[str, float]:
    """Return loss and accuracy of the probe on validation, measured as the epochs were."""
    answers = record.experiment.answers[PROBE]
    reference = {"val_loss": answers.validation_loss}
    # The answers are those after logit adjustment, the epochs were measured before it.
    if record.config.imbalance != LOGIT_ADJUST:
        labels = record.table.labels[record.rows("val")]
        reference["val_accuracy"] = float(right_answers(labels, answers.validation).mean())
    return reference


def _mistakes(record: Record, images: Images) -> list[Picture]:
    """Return the sheet of test images that the kept model is most wrong about."""
    table, rows = record.table, record.rows("test")
    probabilities = record.experiment.answers[record.experiment.kept].test
    right = right_answers(table.labels[rows], probabilities, thresholds=record.kept_thresholds)
    losses = _row_losses(table.labels[rows], probabilities)
    worst = [int(i) for i in np.argsort(-losses, kind="stable") if not right[i]][:_MOST_MISTAKES]
    if not worst:
        return []
    is_, not_ = ("has", "said") if table.multi_label else ("is", "not")
    titles = [
        f"{is_} {label_text(table, int(rows[i])) or 'none'}\n"
        f"{not_} {probable_text(record, probabilities[i]) or 'none'}"
        for i in worst
    ]
    figure = contact_sheet_figure([images[rows[i]] for i in worst], titles)
    count = int((~right).sum())
    return [
        Picture(
            f"{len(worst)} of {count} mistakes, the surest first" if count > 1 else "The mistake",
            figure_data_uri(figure, "png"),
            alt="Test images that the kept model answers wrongly.",
            caption="Wrong labels and images of another kind show here first.",
        )
    ]


def right_answers(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    thresholds: Sequence[float] | None = None,
) -> NDArray[np.bool_]:
    """Return for each image whether the answer is right; of several labels, all of them.

    Args:
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: float32 of shape (n, num_classes).
        thresholds: For several labels, from which probability on each counts; else 0.5.

    Example:
        >>> right_answers(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]], np.float32))
        array([ True, False])
    """
    if labels.ndim == 2:
        limits = as_thresholds(
            DEFAULT_THRESHOLD if thresholds is None else thresholds, labels.shape[1]
        )
        return np.all((probabilities >= limits) == (labels == 1), axis=1)
    return probabilities.argmax(axis=1) == labels


def _row_losses(labels: NDArray[Any], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each image in nats."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    if labels.ndim == 2:
        return -np.where(labels == 1, np.log(clipped), np.log(1 - clipped)).sum(axis=1)
    return -np.log(clipped[np.arange(len(labels)), labels])


def make_report(
    record: Record,
    metrics: Mapping[str, Any],
    *,
    pictures: Sequence[Picture],
    images: Images,
    environment: Mapping[str, Any],
) -> str:
    """Return the page of a run as HTML that needs no other file.

    Args:
        record: The run.
        metrics: From `kerastl.record.measure`.
        pictures: From `draw_pictures`.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.
        environment: From `kerastl.record.environment`.
    """
    table, answers = record.table, record.experiment.answers
    rows = record.rows("test")
    difference = None
    if FINE_TUNED in answers:
        right = [
            right_answers(table.labels[rows], answers[n].test, thresholds=record.thresholds.get(n))
            for n in (PROBE, FINE_TUNED)
        ]
        groups = None if table.groups is None else table.groups[rows]
        difference = dataclasses.asdict(
            accuracy_difference(right[0], right[1], groups=groups, seed=record.config.seed)
        )
    return render_report(
        Report(
            title=table.name,
            created=datetime.datetime.fromisoformat(environment["finished"]),
            version=__version__,
            command="kerastl.run(kerastl.FitConfig(…), backbone=…)  # Python, your own backbone"
            if record.network.weights == "own"
            else command_of(record.config),
            data=_data_summary(record),
            model=_model_summary(record),
            kept=metrics["kept"],
            kept_because=metrics["kept_because"],
            validation={name: metrics[name]["val"] for name in answers},
            test={name: metrics[name]["test"] for name in answers},
            difference=difference,
            class_ratio=_large_ratio(metrics),
            pictures=pictures,
            notes=_notes(record),
            findings=show_findings(
                record.audit.findings, table, splits=record.splits, read=lambda row: images[row]
            ),
            environment=environment,
        )
    )


def _large_ratio(metrics: Mapping[str, Any]) -> float | None:
    """Return how uneven the classes are, where that is worth a word."""
    facts = metrics["imbalance"]
    large = facts is not None and facts["class_ratio"] > LARGE_RATIO
    return facts["class_ratio"] if large else None


def _notes(record: Record) -> list[str]:
    """Return what thresholds, or the remedy for uneven classes, do to the numbers of the page."""
    if record.table.multi_label:
        return _threshold_notes(record)
    remedy, loss = record.config.imbalance, chosen_by(record.config.imbalance)
    if remedy == NONE:
        return []
    return [
        f"Classes of different sizes: {_REMEDIES[remedy]}. The model and its epoch were chosen "
        f"by the {loss}; the log-loss on this page is the plain one of the finished model. "
        "Probabilities lean towards the rare classes, so that this log-loss and the accuracy can "
        "be worse than without a remedy: read balanced accuracy and macro F1."
    ]


def _threshold_notes(record: Record) -> list[str]:
    """Return which labels have no threshold of their own."""
    labels = record.table.labels[record.rows("val")]
    few = few_rows(labels)
    if not few:
        return []
    named = ", ".join(repr(record.table.class_names[index]) for index in few[:5])
    more = f" and {len(few) - 5} more" if len(few) > 5 else ""
    return [
        f"The threshold stays at {DEFAULT_THRESHOLD:g} for {named}{more}: fewer than {FEWEST_ROWS} "
        f"of the {len(labels)} validation images are with the label, or without it."
    ]


_REMEDIES = {
    "balanced": "every class weighed the same in training (balanced)",
    "sqrt": "rare classes weighed more in training (sqrt)",
    "effective": "rare classes weighed more in training (effective number of samples)",
    SAMPLING: "every class was drawn equally often in training (sampling)",
    LOGIT_ADJUST: "the answers were shifted as if all were equally frequent (logit-adjust)",
}


def command_of(config: FitConfig) -> str:
    """Return what to type for the same run: every option that is not at its default.

    Args:
        config: The options.

    Example:
        >>> command_of(FitConfig("my photos", seed=3, export=True))
        "python -m kerastl.fit 'my photos' --seed 3 --export"
    """
    defaults = config_to_mapping(FitConfig(config.data))
    words = ["python", "-m", "kerastl.fit", shlex.quote(config.data)]
    for name, value in config_to_mapping(config).items():
        if value != defaults[name]:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [shlex.quote(str(value))]
    return " ".join(words)


def _data_summary(record: Record) -> DataSummary:
    """Return what the page says of the images."""
    table, config = record.table, record.config
    counts, unlabelled = {}, {}
    for split in ("train", "val", "test"):
        labels = table.labels[record.rows(split)]
        if table.multi_label:
            counts[split] = [int(count) for count in labels.sum(axis=0)]
            unlabelled[split] = int(np.sum(~labels.any(axis=1)))
        else:
            counts[split] = np.bincount(labels, minlength=len(table.class_names)).tolist()
    if table.splits is not None and np.any(table.splits != ""):
        how = "Splits as the data gives them; what it lacks was cut by the seed"
    else:
        how = "Cut at random by the seed, every class in proportion"
    if config.fold is not None:
        how += f"; the test split is fold {config.fold}"
    if table.groups is not None:
        how += f", no group torn apart ({len(np.unique(table.groups)):,} groups)"
    return DataSummary(
        name=table.name,
        num_images=len(table.ids),
        class_names=table.class_names,
        counts=counts,
        unlabelled=unlabelled,
        unreadable=[(fault.id, fault.reason) for fault in record.unreadable],
        how_split=f"{how}. Seed {config.seed}.",
    )


def _model_summary(record: Record) -> ModelSummary:
    """Return what the page says of the network."""
    network, experiment, recipe = record.network, record.experiment, record.phase
    phase = experiment.phase
    settings = {"Penalty of the probe": f"{experiment.probe.penalty:.3g}"}
    if phase is not None and recipe is not None:
        settings |= {
            "Learning rate": f"{recipe.learning_rate:g}",
            "Augmentation": recipe.augment + ("" if recipe.mix == "none" else f" and {recipe.mix}"),
            "Frozen part": f"proven still on one batch; {phase.num_folded} BatchNorm layers folded",
        }
    return ModelSummary(
        backbone=network.name,
        weights=network.weights,
        image_size=network.image_size,
        num_parameters=experiment.classifier.count_params(),
        num_trained=None if phase is None else phase.num_trainable,
        unfrozen_blocks=network.unfreeze_blocks if phase is not None else 0,
        num_blocks=network.num_blocks,
        epochs=0 if phase is None else len(phase.history),
        best_epoch=None if phase is None else phase.best_epoch,
        settings=settings,
    )
