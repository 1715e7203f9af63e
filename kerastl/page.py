"""The report of a run: everything that its page and its model card say."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.advice import advice_of, diagnosis_of
from kerastl.answered import comparisons_with_the_first
from kerastl.answered_pictures import cell_images
from kerastl.config import fit_words
from kerastl.data.imbalance import (
    EQUAL_RATIO,
    LARGE_RATIO,
    LOGIT_ADJUST,
    NONE,
    SAMPLING,
    chosen_by,
    class_ratio,
)
from kerastl.data.stream import Images
from kerastl.data.unserved import unserved_words
from kerastl.data_options import source_words
from kerastl.domains import GREY, KEEP
from kerastl.errors import DataError
from kerastl.evaluation.comparison import PairedComparison, accuracy_difference
from kerastl.evaluation.confusion_table import CellImages
from kerastl.evaluation.report import DataSummary, ModelSummary, Picture, Report
from kerastl.evaluation.thresholds import DEFAULT_THRESHOLD, FEWEST_ROWS, few_rows
from kerastl.evaluation.unknown import known_kind_words
from kerastl.findings import show_findings
from kerastl.label_review import decided_note
from kerastl.record import Record
from kerastl.training.augmentation_advice import augmentation_warning
from kerastl.training.decision import FINE_TUNED, GROUP_BALANCED, PROBE
from kerastl.training.group_balance import GroupBalance


def report_of(
    record: Record,
    metrics: Mapping[str, Any],
    *,
    pictures: Sequence[Picture],
    images: Images,
    environment: Mapping[str, Any],
) -> Report:
    """Return what page and model card of a run say.

    Args:
        record: The run.
        metrics: From `kerastl.record.measure`.
        pictures: From `draw_pictures`.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.
        environment: From `kerastl.record.environment`.
    """
    table, answers = record.table, record.experiment.answers
    difference = None
    if FINE_TUNED in answers:
        probe, tuned = (record.answered("test", name) for name in (PROBE, FINE_TUNED))
        difference = dataclasses.asdict(
            accuracy_difference(
                probe.right, tuned.right, groups=probe.groups, seed=record.config.seed
            )
        )
    diagnosis, groups = diagnosis_of(record), metrics["groups"]
    return Report(
        title=table.name,
        created=datetime.datetime.fromisoformat(environment["finished"]),
        version=__version__,
        command=_command(record),
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
            record.audit.findings,
            table,
            splits=record.splits,
            read=functools.partial(_pixels_of, images),
        ),
        environment=_environment_words(environment),
        diagnosis="" if diagnosis is None else diagnosis.words,
        advice=[(one.words, one.command) for one in advice_of(record, metrics, diagnosis)],
        comparisons=_comparisons(record),
        subgroups=None if groups is None else groups[metrics["kept"]]["test"],
        subgroups_before=groups[record.experiment.base]["test"]["words"]
        if groups is not None and metrics["kept"] == GROUP_BALANCED
        else "",
        points=metrics["operating_points"],
        cell_images=_cell_images(record, images),
        known_kind=_known_kind(metrics["known_kind"]),
        known_kind_command=_known_kind_command(record),
        sets="" if metrics["prediction_sets"] is None else metrics["prediction_sets"]["words"],
        recipe=[(name, str(one.value), one.source) for name, one in record.recipe.settings.items()],
    )


def _comparisons(record: Record) -> list[tuple[str, PairedComparison]]:
    """Return the other models against the kept one, where there are more than two in all."""
    if GROUP_BALANCED not in record.experiment.answers:
        return []
    kept = record.experiment.kept
    names = [kept, *(name for name in record.experiment.answers if name != kept)]
    answered = {name: record.answered("test", name) for name in names}
    return list(comparisons_with_the_first(answered, seed=record.config.seed).items())


def _cell_images(record: Record, images: Images) -> tuple[CellImages, ...]:
    """Return test images of the cells of the confusion matrix."""
    rows = record.rows("test")
    return cell_images(
        record.answered("test", record.experiment.kept), lambda row: images[rows[row]]
    )


def _known_kind(measures: Mapping[str, Any] | None) -> str:
    """Return how pictures of another kind are told, in sentences; "" where nothing was learnt."""
    if measures is None:
        return ""
    return known_kind_words(measures)


def _known_kind_command(record: Record) -> str:
    """Return what to type to measure that on pictures of something else; "" where that is none."""
    if record.known_kind is None or record.table.multi_label or record.own_table:
        return ""
    return (
        f"python -m kerastl.evaluate THIS_FOLDER {source_words(record.config)} --unknown PICTURES"
    )


def _pixels_of(images: Images, row: int) -> NDArray[np.uint8] | None:
    """Return one image, None if its file has gone since: a page can do without a thumbnail."""
    try:
        return images[row]
    except DataError:
        return None


def _command(record: Record) -> str:
    """Return what to type for the same run, in Python where a part of it came from there."""
    own = record.own_parts
    if not own:
        return f"python -m kerastl.fit {fit_words(record.config, resume=None)}"
    given = ", ".join(f"{name}=…" for name in own)
    return f"kerastl.run(kerastl.FitConfig(…), {given})  # Python, your own {' and '.join(own)}"


def _environment_words(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says of the machine; the numbers of the training have their table."""
    shown = {name: value for name, value in environment.items() if name != "recipe"}
    return {**shown, "seconds": _seconds_words(environment["seconds"])}


def _seconds_words(seconds: float) -> str:
    """Return how long the run took, and what that counts: the page cannot time its own end."""
    return f"{seconds:g}, from the first image to this page; an export comes after it"


def _large_ratio(metrics: Mapping[str, Any]) -> float | None:
    """Return how uneven the classes are, where that is worth a word."""
    facts = metrics["imbalance"]
    large = facts is not None and facts["class_ratio"] > LARGE_RATIO
    return facts["class_ratio"] if large else None


def _notes(record: Record) -> list[str]:
    """Return what a reader must know of the numbers of this run, in sentences."""
    of_labels = _threshold_notes if record.table.multi_label else _remedy_notes
    too_strong = ""
    if record.phase is not None:
        too_strong = augmentation_warning(record.phase.augment, num_train=len(record.rows("train")))
    others = (
        too_strong,
        decided_note(record),
        unserved_words(record.unserved),
        _balance_note(record),
    )
    return [*of_labels(record), *(note for note in others if note)]


def _balance_note(record: Record) -> str:
    """Return what validation numbers of a model are whose last layer was fitted on validation."""
    balance = record.experiment.balance
    if not isinstance(balance, GroupBalance) or balance.fitted_on != "validation":
        return ""
    return (
        f"The last layer of the {GROUP_BALANCED} model was fitted on the validation images: its "
        "validation numbers are of layers that had not seen the image each is asked about, and its "
        "test numbers alone are of the layer that is kept."
    )


def _remedy_notes(record: Record) -> list[str]:
    """Return what the remedy for uneven classes does to the numbers, if there is one."""
    remedy, loss = record.config.imbalance, chosen_by(record.config.imbalance)
    if remedy == NONE:
        return []
    chosen = (
        f"The model and its epoch were chosen by the {loss}; the log-loss on this page is the "
        "plain one of the finished model."
    )
    ratio = class_ratio(record.table.labels)
    if ratio <= EQUAL_RATIO:
        return [
            f"The classes are of about the same size ({ratio:.1f} to 1): --imbalance {remedy} "
            f"changes little here and can be left out. {chosen}"
        ]
    return [
        f"Classes of different sizes: {_REMEDIES[remedy]}. {chosen} "
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
        num_images=record.num_images,
        class_names=table.class_names,
        counts=counts,
        unlabelled=unlabelled,
        unreadable=[(fault.id, fault.reason) for fault in record.unreadable],
        how_split=f"{how}. Seed {config.seed}.",
    )


# What the page says of colour: only what is not usual.
_COLOUR_SETTINGS: Mapping[str, Mapping[str, str]] = {
    KEEP: {},
    GREY: {"Colour": "taken out by the first step of the model; luminance stays"},
}


def _model_summary(record: Record) -> ModelSummary:
    """Return what the page says of the network."""
    network, experiment = record.network, record.experiment
    phase = experiment.phase
    centroids = experiment.few is not None and experiment.few.are_chosen
    settings = {
        **({} if centroids else {"Penalty of the probe": f"{experiment.probe.penalty:.3g}"}),
        "Temperature": experiment.answers[experiment.kept].temperature.words,
        **_COLOUR_SETTINGS[record.config.colour],
    }
    if experiment.few is not None:
        settings["Few images"] = experiment.few.words
    if record.config.precision != "float32":
        chosen = experiment.precision
        settings["Features of training images"] = f"{chosen.dtype}: {chosen.reason}"
    if isinstance(experiment.balance, GroupBalance):
        found = experiment.balance
        settings["Penalty of the balanced last layer"] = (
            f"{found.penalty:.3g}, fitted on {found.num_images:,} {found.fitted_on} images"
        )
    if len(experiment.answer_views) > 1:
        settings["Answers"] = f"mean over {len(experiment.answer_views)} mirror images of each"
    settings |= _fine_tuning_settings(record)
    return ModelSummary(
        backbone=network.name,
        weights=network.weights,
        image_size=network.image_size,
        num_parameters=experiment.classifier.count_params(),
        num_trained=None if phase is None else phase.num_trainable,
        tuned="" if phase is None else network.tuned_words,
        epochs=0 if phase is None else phase.history[-1]["epoch"],
        kept_epoch=None if phase is None else phase.kept_epoch,
        settings=settings,
    )


def _fine_tuning_settings(record: Record) -> dict[str, str]:
    """Return what the page says of the fine-tuning, or why there is none."""
    experiment, recipe = record.experiment, record.phase
    phase = experiment.phase
    if phase is None or recipe is None:
        return {"Fine-tuning": experiment.left_out} if experiment.left_out else {}
    settings = {}
    if record.config.precision != "float32":
        settings["Training steps"] = phase.step_precision.words
    settings |= {
        "Recipe": record.recipe.name,
        "Learning rate": f"{recipe.learning_rate:g} ({recipe.schedule}, {recipe.optimizer})",
        "Augmentation": recipe.augment + ("" if recipe.mix == "none" else f" and {recipe.mix}"),
        "Frozen part": f"proven still on one batch; {phase.num_folded} BatchNorm layers folded",
        "Views": phase.plan.words,
        "Averaged": phase.averaged,
        "Memory": phase.out_of_memory,
        "Cut short": phase.cut_short,
    }
    return {name: words for name, words in settings.items() if words}
