"""What to try next, each as a command: from the curves, the probe and the weakest class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerastl.config import FitConfig, fit_words
from kerastl.data.augment import symmetric_views
from kerastl.data.imbalance import SAMPLING
from kerastl.evaluation.diagnosis import (
    CUT_SHORT,
    FITS,
    NO_GAIN,
    OVERFITS,
    UNDERFITS,
    UNSTABLE,
    Diagnosis,
    diagnose,
)
from kerastl.record import Record
from kerastl.training.decision import FINE_TUNED, PROBE

_MOST = 3
# Recall of a class below the mean over classes from which it is worth a word.
_WEAK = 0.1
# How often chance may make groups differ as much, for a difference to be worth a word.
_SURE = 0.05
# One step stronger.
_STRONGER = {"none": "light", "light": "medium", "medium": "strong", "mirrors": "dihedral"}


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        words: What and why, one sentence.
        command: What to type; empty where nothing can be typed.
    """

    words: str
    command: str = ""


def diagnosis_of(record: Record) -> Diagnosis | None:
    """Return what the curves of a run say; None where nothing was fine-tuned.

    Args:
        record: The run.
    """
    phase = record.experiment.phase
    if phase is None:
        return None
    answers, gain = record.experiment.answers, record.experiment.gain
    return diagnose(
        phase.history,
        probe_loss=answers[PROBE].validation_loss,
        kept_loss=answers[FINE_TUNED].validation_loss,
        kept_epoch=phase.kept_epoch,
        margin=0.0 if gain is None else gain.margin,
        epochs=record.recipe.value("fine_tune_epochs"),
        cut_short=bool(phase.cut_short),
        comparable=_is_comparable(record),
        num_images=len(record.rows("val")),
    )


def _is_comparable(record: Record) -> bool:
    """Tell whether training and validation losses are of one kind."""
    config = record.config
    plain = config.mix == "none" and not config.l1 and not config.l2
    return plain and config.imbalance != SAMPLING and not record.recipe.value("label_smoothing")


def advice_of(
    record: Record, metrics: Mapping[str, Any], diagnosis: Diagnosis | None
) -> tuple[Advice, ...]:
    """Return the two or three next things to try.

    Args:
        record: The run.
        metrics: From `kerastl.record.measure`.
        diagnosis: From `diagnosis_of`.
    """
    config = record.config
    if diagnosis is not None:
        found = _FOR[diagnosis.verdict](record)
    elif record.experiment.diverged:
        found = _against_divergence(record)
    elif config.recipe != "probe":
        options = {"fine_tune_epochs": None, "unfreeze_blocks": None, "max_minutes": None}
        found = [_try(config, "Fine-tuning", **options)]
    else:
        found = []
    for one in (_weakest(record, metrics), _worst_group(record, metrics)):
        if one is not None:
            found.insert(min(len(found), _MOST - 1), one)
    if diagnosis is not None and len(found) < _MOST and not config.image_size:
        height, width = record.network.image_size
        size = (round(1.3 * height), round(1.3 * width))
        found.append(_try(config, "Larger images, where details decide", image_size=size))
    if record.own_parts:  # from Python: no command line makes such a run
        found = [Advice(one.words) for one in found]
    return tuple(found[:_MOST])


def _against_overfitting(record: Record) -> list[Advice]:
    config, blocks = record.config, record.network.unfreeze_blocks
    found = []
    if config.augment in _STRONGER:
        stronger = _STRONGER[config.augment]
        found.append(_try(config, "More varied training images", augment=stronger))
    if blocks > 1:
        fewer = _blocks(record, max(1, blocks // 2))
        found.append(_try(config, "Fewer blocks to learn by heart with", **fewer))
    return [*found, *_averages(record)]


def _against_underfitting(record: Record) -> list[Advice]:
    config, network = record.config, record.network
    epochs = 2 * record.recipe.value("fine_tune_epochs")
    found = [_try(config, "Twice as many epochs", fine_tune_epochs=epochs)]
    blocks = network.unfreeze_blocks
    if blocks < network.num_blocks:
        more = min(network.num_blocks, blocks + max(1, blocks // 2))
        found.append(_try(config, "More blocks", **_blocks(record, more)))
    return found


def _blocks(record: Record, count: int) -> dict[str, Any]:
    """Return the option that trains so many blocks, in the part of the network that it was."""
    tuned = record.network.tuned
    if record.config.tune is None or tuned is None:
        return {"unfreeze_blocks": count}
    return {"tune": tuned.resized(count).option}


def _against_no_gain(record: Record) -> list[Advice]:
    config = record.config
    words = fit_words(config, out=None, overwrite=None, fold=None, resume=None)
    third = _short(record.recipe.value("learning_rate") / 3)
    return [
        Advice("Another learning rate: search for it", f"python -m kerastl.fit {words} --find-lr"),
        _try(config, "A third of the learning rate", learning_rate=third),
        *_averages(record),
    ]


def _against_divergence(record: Record) -> list[Advice]:
    config = record.config
    words = fit_words(config, out=None, overwrite=None, fold=None, resume=None)
    tenth = _short(record.recipe.value("learning_rate") / 10)
    return [
        _try(config, "A tenth of the learning rate", learning_rate=tenth),
        Advice("Or search for a rate", f"python -m kerastl.fit {words} --find-lr"),
    ]


def _with_more_time(record: Record) -> list[Advice]:
    return [_try(record.config, "The time that it needs", max_minutes=None)]


def _averages(record: Record) -> list[Advice]:
    config, recipe, found = record.config, record.recipe, []
    if recipe.value("soup") == 1:
        found.append(_try(config, "Averages of the best checks", soup=3))
    if not recipe.value("interpolate"):
        found.append(_try(config, "Weights between probe and fine-tuned", interpolate=True))
    return found


def _beyond_a_fit(record: Record) -> list[Advice]:
    """Return what is left where the curves leave nothing to wish for."""
    config, found = record.config, []
    height, width = record.network.image_size
    if not config.tta and len(symmetric_views(config.augment, square=height == width)) > 1:
        found.append(_try(config, "Answers as the mean over mirror images", tta=True))
    words = fit_words(
        config, out=None, overwrite=None, fold=None, resume=None, export=None, max_minutes=None
    )
    search = f"python -m kerastl.tune {words} --max-minutes 60"
    found.append(Advice("A search for better numbers, an hour long", search))
    return [*found, *_averages(record)]


_FOR: dict[str, Callable[[Record], list[Advice]]] = {
    OVERFITS: _against_overfitting,
    UNDERFITS: _against_underfitting,
    NO_GAIN: _against_no_gain,
    FITS: _beyond_a_fit,
    CUT_SHORT: _with_more_time,
    UNSTABLE: _against_no_gain,
}


def _try(config: FitConfig, words: str, **changes: Any) -> Advice:
    """Return an option to try, with the whole command."""
    words_to_type = fit_words(
        config, **{"out": None, "overwrite": None, "fold": None, "resume": None, **changes}
    )
    return Advice(words, f"python -m kerastl.fit {words_to_type}")


def _short(rate: float) -> float:
    """Return a rate with two digits."""
    return float(f"{rate:.1e}")


def _weakest(record: Record, metrics: Mapping[str, Any]) -> Advice | None:
    """Return the class that is found least, if that is much less than the others.

    By validation: who would act on the test split could not be tested by it any more.
    """
    per_class: Sequence[Mapping[str, Any]] = metrics[metrics["kept"]]["val"].get("per_class", ())
    recalls = [row["recall"]["value"] for row in per_class if row.get("recall")]
    if len(recalls) < 2 or len(recalls) != len(per_class):
        return None
    place = min(range(len(recalls)), key=recalls.__getitem__)
    mean = sum(recalls) / len(recalls)
    if recalls[place] > mean - _WEAK:
        return None
    name = record.table.class_names[place]
    return Advice(
        f"More images of {name}: on validation {recalls[place]:.0%} of them are found, {mean:.0%} "
        "of a class on average."
    )


def _worst_group(record: Record, metrics: Mapping[str, Any]) -> Advice | None:
    """Return to balance groups that are further apart than chance makes them; by validation."""
    config, groups = record.config, metrics["groups"]
    if groups is None or config.balance_groups or config.imbalance != "none":
        return None
    found = groups[metrics["kept"]]["val"]
    p_values = [found["accuracy_p_value"], found["odds_p_value"]]
    known = [one for one in p_values if one is not None]
    # Two looks at the same images (Bonferroni).
    if not known or min(known) >= _SURE / len(known) or record.table.multi_label:
        return None
    return _try(
        config,
        f"Not as good for all by {found['column']}, by more than chance (on validation): a last "
        "layer to which every class of every group counts the same",
        balance_groups=True,
    )
