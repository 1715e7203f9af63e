"""Probe, then fine-tuning, side by side: validation decides which is kept.

The test split is read once, at the end, by both.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.augment import AS_IT_IS, symmetric_views
from kerastl.data.imbalance import (
    LOGIT_ADJUST,
    NONE,
    SAMPLING,
    check_imbalance,
    loss_weights,
)
from kerastl.data.stream import Images
from kerastl.deadline import TimeUpError
from kerastl.errors import DataError, DivergedError, FrozenPartError
from kerastl.features.extract import probability_reader
from kerastl.features.precision import Precision
from kerastl.features.probe import Probe
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.models.view_mean import mean_answer, mean_over_views
from kerastl.training.answers import Answers, Candidate, candidate_of
from kerastl.training.checkpoint import CheckpointFile
from kerastl.training.decision import (
    FINE_TUNED,
    GROUP_BALANCED,
    PROBE,
    Gain,
    choose,
    read_test,
)
from kerastl.training.few_images import FewImages
from kerastl.training.frozen_fit import Answer, View
from kerastl.training.frozen_start import fit_and_cut, in_precision
from kerastl.training.group_balance import GroupBalance, balance_groups
from kerastl.training.memory_estimate import announce_memory
from kerastl.training.phase import Phase, PhaseResult
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot

_GIVEN_UP = "Fine-tuning was given up, the probe is what is left."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Both models' answers, and the one that was kept.

    Attributes:
        classifier: Holds the weights of the kept model, and answers as it does.
        kept: "probe", "fine-tuned", or "group-balanced" for one of these with its last layer
            balanced.
        gain: Of fine-tuning over the probe, on validation; None if it was not run.
        answers: By name of the model: "probe", and the others if there are.
        probe: The penalised logistic regression, before any temperature and logit adjustment.
        phase: How fine-tuning went, None if it was not run.
        test_rows: int64: the test rows that the answers are of; not those whose file had gone
            or was damaged when it was read for the test.
        precision: Of the features that the probe was fitted on.
        class_weights: float32 of shape (num_classes,): of the losses that were trained and
            chosen by; None if they were plain.
        balance: What balancing the last layer by subgroup gave, or why it could not be; None if it
            was not asked for.
        few: What was chosen as the probe where images are few; None where they are not.
        answer_views: Names of the views that answers are the mean over; one if they are of the
            image as it is.
        left_out: Why there is no fine-tuned model though one was asked for, in sentences.
    """

    classifier: keras.Model = field(repr=False)
    kept: str
    gain: Gain | None
    answers: dict[str, Answers] = field(repr=False)
    probe: Probe = field(repr=False)
    phase: PhaseResult | None
    test_rows: NDArray[np.int64] = field(repr=False)
    precision: Precision
    class_weights: NDArray[np.float32] | None = None
    left_out: str = ""
    balance: GroupBalance | str | None = None
    few: FewImages | None = None
    answer_views: tuple[str, ...] = (AS_IT_IS,)

    @property
    def base(self) -> str:
        """Which of probe and fine-tuned model is kept, with its own last layer or another."""
        return PROBE if self.gain is None or self.gain.is_lost else FINE_TUNED

    @property
    def diverged(self) -> bool:
        """Whether there is no fine-tuned model because its training went wrong."""
        return self.left_out.startswith(_GIVEN_UP)


def probe_then_fine_tune(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    *,
    splits: NDArray[np.str_],
    groups: NDArray[np.str_] | None = None,
    subgroups: NDArray[np.str_] | None = None,
    border: Border | None = None,
    all_borders: Sequence[Border] = (),
    phase: Phase | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: CheckpointFile | None = None,
    augment: str = "none",
    tta: bool = False,
    imbalance: str = NONE,
    batch_size: int = 32,
    precision: str = "float32",
    store: Store = NO_STORE,
    seed: int = 0,
) -> Experiment:
    """Fit the head on frozen features, fine-tune from there, keep one by validation, in place.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        splits: Of shape (n,): "train", "val" or "test".
        groups: Of shape (n,): rows of one group stay in one fold of the probe's
            cross-validation.
        subgroups: Text of shape (n,): what the last layer of the kept model is balanced by, see
            `kerastl.training.group_balance`; None to leave it.
        border: Where fine-tuning begins; None for the whole backbone.
        all_borders: Between the blocks of the backbone, see `kerastl.training.phases.fine_tune`.
        phase: How to fine-tune; None for the probe alone.
        callbacks: Told of every epoch of fine-tuning.
        checkpoint: Where it is kept how far fine-tuning has come, and found again.
        augment: Name of a policy, see `kerastl.data.augment`: the probe is fitted on its
            mirror images too.
        tta: Whether both models answer with the mean over these mirror images.
        imbalance: What is done about classes of different sizes, see `kerastl.data.imbalance`.
            For the probe, and a head with a hidden layer, sampling is the same as balanced
            weights: all rows, each with the weight of how often it would be drawn.
        batch_size: Images per step of the frozen part.
        precision: Of the features that the probe is fitted on: "float32", "bfloat16" or "auto",
            see `kerastl.features.precision`. Answers are computed in float32.
        store: Where what the frozen part computes is kept for later runs.
        seed: Of the folds and the head.

    Returns:
        Answers of both on validation and test, and which was kept, see
        `kerastl.training.decision`: by their log-loss on validation, class-weighted if that was
        trained for, and each after the temperature that it has from then on, see
        `kerastl.training.temperature`.

    Raises:
        ConfigError: The remedy for imbalance cannot be had, or the interrupted run was another
            one or kept another number of views, see `kerastl.training.saver.as_interrupted`.
        FrozenPartError: A frozen part is not frozen.
    """
    check_imbalance(imbalance, multi_label=labels.ndim == 2)
    rows = {name: np.flatnonzero(splits == name) for name in ("train", "val", "test")}
    views = symmetric_views(augment, square=images.shape[1] == images.shape[2])
    announce_memory(
        classifier, images, splits, border=border, phase=phase, batch_size=batch_size, store=store
    )
    answering = mean_over_views(classifier, tuple(views)) if tta else classifier
    weights = loss_weights(
        labels[rows["train"]], num_classes=classifier.output_shape[-1], imbalance=imbalance
    )
    val_groups = None if groups is None else groups[rows["val"]]
    shared: dict[str, Any] = {
        "groups": groups,
        "views": views,
        "tta": tta,
        "batch_size": batch_size,
        "store": store,
        "seed": seed,
    }
    candidates, others = _train_both(
        classifier,
        images,
        labels,
        rows,
        answering=answering,
        phase=phase,
        balanced=imbalance == SAMPLING,
        all_borders=all_borders,
        callbacks=callbacks,
        checkpoint=checkpoint,
        precision=precision,
        # Centroids know nothing of how many images a class has, so no remedy for that fits them.
        centroids=imbalance == NONE,
        border=border,
        class_weights=weights,
        **shared,
    )
    kept, gain = choose(candidates, val_groups=val_groups)
    if subgroups is not None:
        kept, others["balance"] = _balanced(
            classifier, images, labels, candidates, kept, rows=rows, subgroups=subgroups, **shared
        )
    answers, test_rows = read_test(
        classifier,
        candidates,
        images,
        rows["test"],
        kept=kept,
        priors_of=labels[rows["train"]] if imbalance == LOGIT_ADJUST else None,
    )
    return Experiment(
        classifier=answering,
        kept=kept,
        gain=gain,
        answers=answers,
        test_rows=test_rows,
        class_weights=weights,
        answer_views=tuple(views) if tta else (AS_IT_IS,),
        **others,
    )


def _balanced(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    candidates: dict[str, Candidate],
    kept: str,
    *,
    store: Store,
    **options: Any,
) -> tuple[str, GroupBalance | str]:
    """Add the kept model with its last layer balanced to the candidates, in place.

    Returns:
        What is kept now, and what balancing gave, or why it could not be.
    """
    frozen = kept == PROBE
    try:
        candidates[GROUP_BALANCED], balance = balance_groups(
            classifier,
            images,
            labels,
            candidates[kept],
            fit_on="train" if frozen else "val",
            store=store if frozen else NO_STORE,
            **options,
        )
    except (DataError, FrozenPartError) as error:  # no reason to lose hours of training
        logger.warning("The last layer is not balanced: %s", error)
        return kept, f"The last layer is not balanced: {error}"
    return (GROUP_BALANCED if balance.helps else kept), balance


def _train_both(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    rows: Mapping[str, NDArray[np.int64]],
    *,
    answering: keras.Model,
    views: Mapping[str, View],
    phase: Phase | None,
    balanced: bool,
    all_borders: Sequence[Border],
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoint: CheckpointFile | None,
    tta: bool,
    batch_size: int,
    precision: str,
    centroids: bool,
    seed: int,
    **shared: Any,
) -> tuple[dict[str, Candidate], dict[str, Any]]:
    """Return the probe and, if there is one, the fine-tuned model; and how they were made."""
    train, val, groups = rows["train"], rows["val"], shared["groups"]
    as_candidate = functools.partial(
        candidate_of,
        classifier,
        labels=labels[val],
        groups=None if groups is None else groups[val],
        class_weights=shared["class_weights"],
        seed=seed,
    )
    fitted, chosen, cut = fit_and_cut(
        classifier,
        images,
        labels,
        train=train,
        val=val,
        phase=phase,
        views=views,
        tta=tta,
        batch_size=batch_size,
        precision=precision,
        centroids=centroids,
        seed=seed,
        **shared,
    )
    several = labels.ndim == 2
    candidates = {PROBE: _probe_candidate(as_candidate, fitted.answer, val, several=several)}
    result, left_out = _fine_tuned(
        classifier,
        images,
        one_hot(labels, num_classes=classifier.output_shape[-1]),
        train_rows=train,
        val_rows=val,
        phase=in_precision(phase, chosen),
        balanced=balanced,
        cut=cut,
        all_borders=all_borders,
        callbacks=callbacks,
        checkpoint=checkpoint,
        **shared,
    )
    if result is not None:
        ask = probability_reader(answering, images, batch_size=batch_size)
        candidates[FINE_TUNED] = _fine_tuned_candidate(as_candidate, result, ask, val, tta=tta)
    return candidates, {
        "probe": fitted.probe,
        "few": fitted.few,
        "phase": result,
        "precision": chosen,
        "left_out": left_out,
    }


def _fine_tuned_candidate(
    as_candidate: Callable[..., Candidate],
    result: PhaseResult,
    ask: Callable[[NDArray[np.int64], str], NDArray[np.float32]],
    val: NDArray[np.int64],
    *,
    tta: bool,
) -> Candidate:
    """Return the fine-tuned model as one of those that may be kept."""
    alone = result.val_probabilities
    return as_candidate(
        lambda rows: ask(rows, "Testing the fine-tuned model"),
        ask(val, "Validating the mean over views") if tta else alone,
        while_training=alone,
    )


def _probe_candidate(
    as_candidate: Callable[..., Candidate],
    answer: Answer,
    val: NDArray[np.int64],
    *,
    several: bool,
) -> Candidate:
    """Return the probe as one of the models that may be kept."""
    of_views = answer(val, "Validating the probe")
    mean = functools.partial(mean_answer, multi_label=several)
    return as_candidate(
        lambda rows: mean(answer(rows, "Testing the probe")),
        mean(of_views),
        while_training=of_views[0],
    )


def _fine_tuned(
    classifier: keras.Model, *arguments: Any, phase: Phase | None, **options: Any
) -> tuple[PhaseResult | None, str]:
    """Fine-tune; or return why not, so that the probe is not lost."""
    if phase is None:
        return None, ""
    try:
        return fine_tune(classifier, *arguments, phase=phase, **options), ""
    except TimeUpError:
        reason = f"{phase.deadline.words}: no time was left to fine-tune."
    except DivergedError as error:
        reason = f"{_GIVEN_UP} {error}"
    finally:
        if options["cut"] is not None:
            options["cut"].release()
    logger.warning("%s", reason)
    return None, reason
