"""All that a finished run knows: its numbers, its rows, where it ran."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.answered import AnsweredImages, measures_of, subgroups_of_answers
from kerastl.config import FitConfig
from kerastl.data.audit import Audit
from kerastl.data.imbalance import chosen_by, class_ratio
from kerastl.data.pixels import Unreadable
from kerastl.data.sources import ImageTable
from kerastl.data.table import label_text
from kerastl.evaluation.intervals import share
from kerastl.evaluation.operating_points import operating_points
from kerastl.evaluation.prediction_sets import choose_set_rule, set_metrics
from kerastl.evaluation.thresholds import choose_thresholds
from kerastl.evaluation.unknown import FALSE_ALARMS
from kerastl.features.novelty import likely_false_alarms
from kerastl.models.network import Network
from kerastl.run_folder import DIGEST_LENGTH, PIXELS, SUBGROUP
from kerastl.training.decision import FINE_TUNED, PROBE
from kerastl.training.experiment import Experiment
from kerastl.training.few_images import CENTROIDS, REGRESSION
from kerastl.training.group_balance import GroupBalance
from kerastl.training.novelty_fit import KnownKind
from kerastl.training.phase import Phase
from kerastl.training.recipes import Recipe


@dataclass(frozen=True)
class Record:
    """All that a finished run knows.

    Attributes:
        config: The options.
        table: Images that could be read, and their labels.
        splits: Of shape (n,): "train", "val" or "test" for each; "" for a test image that could
            not be read any more after the training.
        unreadable: Images that were left out.
        audit: What looks wrong about the images.
        network: The backbone and where it was cut.
        experiment: Both models' answers.
        recipe: Every number of the training.
        phase: How fine-tuning was to go; None for the probe alone.
        unserved: Images of kinds that an exported model cannot decode, by kind.
        own_table: Whether the images came from Python, not from `config.data`.
        digests: Of the pixels that the run saw, see `kerastl.data.scan.ImageFacts`.
        known_kind: What tells pictures of another kind; None where nothing was learnt.
    """

    config: FitConfig
    table: ImageTable
    splits: NDArray[np.str_]
    unreadable: tuple[Unreadable, ...]
    audit: Audit = field(repr=False)
    network: Network = field(repr=False)
    experiment: Experiment
    recipe: Recipe
    phase: Phase | None
    unserved: Mapping[str, int] = field(default_factory=dict)
    own_table: bool = False
    digests: NDArray[np.str_] | None = field(default=None, repr=False)
    known_kind: KnownKind | None = None

    @property
    def own_parts(self) -> tuple[str, ...]:
        """What came from Python and is in no configuration: "table", "backbone" or both."""
        own = {"table": self.own_table, "backbone": self.network.weights == "own"}
        return tuple(name for name, is_own in own.items() if is_own)

    @property
    def num_images(self) -> int:
        """Images that took part."""
        return int(np.sum(self.splits != ""))

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split."""
        return np.flatnonzero(self.splits == split)

    def answered(self, split: str, model: str) -> AnsweredImages:
        """Return the images of one split with the answers of one model.

        Args:
            split: "val" or "test".
            model: One of those in `experiment.answers`.
        """
        rows, table, answers = self.rows(split), self.table, self.experiment.answers[model]
        return AnsweredImages(
            ids=tuple(table.ids[row] for row in rows),
            labels=table.labels[rows],
            class_names=table.class_names,
            probabilities=answers.validation if split == "val" else answers.test,
            groups=None if table.groups is None else table.groups[rows],
            thresholds=self.thresholds.get(model),
        )

    @functools.cached_property
    def thresholds(self) -> dict[str, tuple[float, ...]]:
        """By model: from which probability on each label counts; none with one class per image."""
        if not self.table.multi_label:
            return {}
        labels = self.table.labels[self.rows("val")]
        return {
            name: choose_thresholds(labels, answers.validation)
            for name, answers in self.experiment.answers.items()
        }

    @property
    def kept_thresholds(self) -> tuple[float, ...] | None:
        """Those of the kept model; None with one class per image."""
        return self.thresholds.get(self.experiment.kept)


def measure(record: Record) -> dict[str, Any]:
    """Return the metrics of both models on validation and test, as metrics.json holds them.

    Args:
        record: The run.
    """
    experiment = record.experiment
    measured: dict[str, Any] = {
        "kept": experiment.kept,
        "kept_because": why_kept(
            experiment,
            chosen_by=chosen_by(record.config.imbalance),
            class_names=record.table.class_names,
        ),
        "gain": None if experiment.gain is None else dataclasses.asdict(experiment.gain),
        "imbalance": imbalance_of(record),
        "few_images": few_images_of(experiment),
    }
    for name, answers in experiment.answers.items():
        measured[name] = {"temperature": answers.temperature.to_dict()}
        for split in ("val", "test"):
            answered = record.answered(split, name)
            measured[name][split] = measures_of(answered, seed=record.config.seed)
    measured["prediction_sets"] = sets_of_kept(record)
    val, test = (record.answered(split, experiment.kept) for split in ("val", "test"))
    points = operating_points(
        (val.truth, val.probabilities),
        (test.truth, test.probabilities),
        class_names=record.table.class_names,
    )
    measured["operating_points"] = [one.to_dict() for one in points]
    measured["known_kind"] = known_kind_measures(record)
    measured["groups"] = measure_subgroups(record)
    balance = experiment.balance
    measured["balance"] = (
        dataclasses.asdict(balance) if isinstance(balance, GroupBalance) else balance
    )
    return measured


def few_images_of(experiment: Experiment) -> dict[str, Any] | None:
    """Return what was chosen as the probe where images are few, as metrics.json holds it.

    Args:
        experiment: Both models.
    """
    if (few := experiment.few) is None:
        return None
    return {
        "chosen": CENTROIDS if few.are_chosen else REGRESSION,
        "num_images": few.num_images,
        "largest_class": few.largest_class,
        "leave_one_out_log_loss": dict(
            zip(("nearest centroids", "logistic regression"), few.log_losses, strict=True)
        ),
        "leave_one_out_accuracy": dataclasses.asdict(few.accuracy),
        "words": few.words,
    }


def measure_subgroups(record: Record) -> dict[str, Any] | None:
    """Return how good each model is subgroup by subgroup on validation and test.

    Args:
        record: The run.

    Returns:
        By model and split, plain values of `kerastl.evaluation.subgroups.Subgroups`; None where
        there are no subgroups.
    """
    values = record.table.subgroups
    if values is None:
        return None
    return {
        name: {
            split: subgroups_of_answers(
                record.answered(split, name),
                values[record.rows(split)],
                column=record.config.group_by or SUBGROUP,
                seed=record.config.seed,
            ).to_dict()
            for split in ("val", "test")
        }
        for name in record.experiment.answers
    }


def known_kind_measures(record: Record) -> dict[str, Any] | None:
    """Return what tells pictures of another kind, and how many test images it calls so.

    Args:
        record: The run.

    Returns:
        Plain values; the threshold is None where validation images were too few for one. None
        where nothing was learnt.
    """
    if (known_kind := record.known_kind) is None:
        return None
    novelty, groups = known_kind.novelty, record.table.groups
    promised = math.isfinite(novelty.threshold)
    called = share(
        known_kind.test_scores > novelty.threshold,
        groups=None if groups is None else groups[known_kind.rows["test"]],
        seed=record.config.seed,
    )
    return {
        "num_known": len(novelty.known),
        "num_neighbours": novelty.num_neighbours,
        "false_alarms": FALSE_ALARMS,
        "threshold": novelty.threshold if promised else None,
        "num_validation": novelty.num_validation,
        "likely_false_alarms": likely_false_alarms(novelty.num_validation),
        "num_test": len(known_kind.test_scores),
        "grouped": groups is not None,
        "test_called_unknown": dataclasses.asdict(called) if called and promised else None,
    }


def sets_of_kept(record: Record) -> dict[str, Any] | None:
    """Return what sets of classes with a promised coverage are worth, of the kept model.

    Args:
        record: The run.

    Returns:
        Plain values of `kerastl.evaluation.prediction_sets.SetMetrics`; None where an image can
        have several labels, or validation images are too few to promise anything.
    """
    if record.table.multi_label:
        return None
    val, test = (record.answered(split, record.experiment.kept) for split in ("val", "test"))
    rule = choose_set_rule(val.labels, val.probabilities)
    if rule is None:
        return None
    return set_metrics(
        rule, test.labels, test.probabilities, groups=test.groups, seed=record.config.seed
    ).to_dict()


def imbalance_of(record: Record) -> dict[str, Any] | None:
    """Return how uneven the classes are, what was done about it, and what that does to losses.

    Args:
        record: The run.

    Returns:
        Plain values; None where an image can have several labels.
    """
    if record.table.multi_label:
        return None
    weights = record.experiment.class_weights
    return {
        "class_ratio": class_ratio(record.table.labels),
        "remedy": record.config.imbalance,
        "chosen_by": chosen_by(record.config.imbalance),
        "validation_losses": {
            name: answers.validation_loss for name, answers in record.experiment.answers.items()
        },
        "class_weights": None
        if weights is None
        else dict(zip(record.table.class_names, weights.tolist(), strict=True)),
    }


def why_kept(
    experiment: Experiment, *, chosen_by: str = "log-loss", class_names: Sequence[str] = ()
) -> str:
    """Return the reason for the choice in a sentence, and in another what balancing did.

    Args:
        experiment: The models' answers.
        chosen_by: Which loss they were compared by.
        class_names: One for each class.
    """
    reason, balance = _why_base(experiment, chosen_by=chosen_by), experiment.balance
    if balance is None or isinstance(balance, str):
        return f"{reason} {balance or ''}".strip()
    kept = "" if balance.helps else " So it is not kept."
    return f"{reason} {balance.words(class_names)}{kept}"


def _why_base(experiment: Experiment, *, chosen_by: str) -> str:
    """Return why the probe or the fine-tuned model was chosen."""
    gain, base = experiment.gain, experiment.base
    if gain is None:
        return experiment.left_out or "Only the probe was fitted."
    losses = {name: answers.validation_loss for name, answers in experiment.answers.items()}
    other = PROBE if base == FINE_TUNED else FINE_TUNED
    has = f"has the smaller {chosen_by} on validation"
    if base == PROBE:
        has = f"has surely the smaller {chosen_by} on validation"
    elif gain.value <= 0:
        has = f"stays: its {chosen_by} on validation is not surely above that of the probe"
    return (
        f"The {base} model {has}: {losses[base]:.3f} against "
        f"{losses[other]:.3f} of the {other} model (difference {gain.words})."
    )


def environment(record: Record, *, seconds: float) -> dict[str, Any]:
    """Return what ran where: versions, hardware, precision, every number, and how long.

    Args:
        record: The run.
        seconds: How long the run has taken.
    """
    features, phase = record.experiment.precision, record.experiment.phase
    packages = ("tensorflow", "keras", "numpy", "scikit-learn", "pillow")
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "kerastl": __version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_count": os.cpu_count(),
        "gpus": [tf.config.experimental.get_device_details(g).get("device_name") for g in gpus],
        "precision": keras.config.dtype_policy().name,
        "precision_of_training_features": f"{features.dtype} ({features.reason})",
        "precision_of_training_steps": (
            "not trained" if phase is None else phase.step_precision.words
        ),
        # Of the training step; a frozen part runs once, and compiling it would not pay.
        "xla": "not trained" if phase is None else phase.xla.words,
        "answers_are_the_mean_over": list(record.experiment.answer_views),
        "recipe": {name: setting.value for name, setting in record.recipe.settings.items()},
        "trained_blocks": "none" if phase is None else record.network.tuned_words,
        "images_at_once": "not trained" if phase is None else phase.images_at_once,
        **({"out_of_memory": phase.out_of_memory} if phase and phase.out_of_memory else {}),
        "seconds": round(seconds, 1),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def labels_of(record: Record) -> dict[str, Any]:
    """Return what must be known to use the model: labels and how images are brought to size.

    Args:
        record: The run.
    """
    return {
        "class_names": list(record.table.class_names),
        "image_size": list(record.network.image_size),
        "resize_mode": record.config.resize_mode,
        "multi_label": record.table.multi_label,
        "thresholds": record.kept_thresholds,
    }


def split_rows_of(record: Record) -> list[dict[str, Any]]:
    """Return one row for each image: path, label, split, group if any, and digest of its pixels.

    Args:
        record: The run.
    """
    table = record.table
    rows = [
        {"path": id_, "label": label_text(table, row), "split": str(record.splits[row])}
        for row, id_ in enumerate(table.ids)
    ]
    if table.groups is not None:
        for row, group in zip(rows, table.groups, strict=True):
            row["group"] = str(group)
    if table.subgroups is not None:
        for row, subgroup in zip(rows, table.subgroups, strict=True):
            row[SUBGROUP] = str(subgroup)
    if record.digests is not None:
        for row, digest in zip(rows, record.digests, strict=True):
            row[PIXELS] = str(digest)[:DIGEST_LENGTH]
    return rows
