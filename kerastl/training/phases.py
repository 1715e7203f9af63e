"""Compile and train one phase: a classifier and its images in, a better classifier out.

The frozen part is cut off at the border and runs inert (see `kerastl.models.frozen`), once
where what leaves it can be kept (see `kerastl.features.border_views`); before the first
step a check proves on one batch that it is frozen, and that both parts together are the
classifier.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.data.wording import counted
from kerastl.deadline import NEVER, TimeUpError
from kerastl.features.halving import SMALLER_INPUT, with_fewer_images
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.models.classifier import ClassifierParts, parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import prove_frozen
from kerastl.models.xla import xla_of
from kerastl.progress import track
from kerastl.training.checkpoint import Checkpoint, CheckpointFile
from kerastl.training.cut import Cut, cut_classifier
from kerastl.training.final_weights import FinalWeights, choose_weights
from kerastl.training.material import Material, choose_material
from kerastl.training.moving import Moving
from kerastl.training.phase import Phase, PhaseResult, images_to_begin_with
from kerastl.training.prepared_steps import PreparedSteps
from kerastl.training.saver import Saver, best_so_far, check_views, go_on
from kerastl.training.schedules import PLATEAU
from kerastl.training.split_step import words_for_parts
from kerastl.training.step_precision import StepPrecision
from kerastl.training.validation_callback import ValidationCallback

logger = logging.getLogger(__name__)


def fine_tune(
    classifier: keras.Model,
    images: Images,
    targets: NDArray[np.float32],
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    border: Border | None,
    phase: Phase,
    groups: NDArray[Any] | None = None,
    class_weights: NDArray[np.float32] | None = None,
    balanced: bool = False,
    store: Store = NO_STORE,
    cut: Cut | None = None,
    all_borders: Sequence[Border] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: CheckpointFile | None = None,
) -> PhaseResult:
    """Train a classifier above a border, in place, and keep what validation says.

    Of the backbone up to `phase.frozen_above`; and the head. How sure the answers are is left as it
    was trained, which is often too sure: `kerastl.training.temperature.choose_temperature` fits
    what `bake_temperature` takes back.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes): one-hot, or 0/1 for several labels.
        train_rows: int64: rows to train on.
        val_rows: int64: rows that decide which weights are kept.
        border: Where the trained part begins; None for the input.
        phase: How to train.
        groups: Of shape (n,): validation images of one group are alike, which widens the error of
            their losses; None if none are.
        class_weights: float32 of shape (num_classes,): of the validation loss that chooses the
            weights and, unless `balanced`, of the training loss.
        balanced: Whether an epoch draws every class equally often; its training loss is plain.
        store: Where what leaves the frozen part is kept for later runs.
        cut: Made of this very classifier, border, phase and store by
            `kerastl.training.cut.cut_classifier`; made here when not given.
        all_borders: Between the blocks of the backbone, see `kerastl.models.blocks.borders`: what
            a rate per depth and gradual unfreezing count in. One block when not given.
        callbacks: Told of every epoch, validation included.
        checkpoint: Where it is kept how far training has come, and found again.

    Returns:
        History, what was kept, and what the check of the frozen part found.

    Raises:
        ConfigError: What is kept of the frozen part is not what the interrupted run kept.
        FrozenPartError: The frozen part moves or acts at random; nothing was trained.
        DivergedError: The loss is not a number, or beyond all sense after the first epoch.
        DataError: Memory runs out with one image at a time.
        TimeUpError: The deadline passed before the first step; nothing was trained, and there is
            no interrupted run whose best could be taken.
    """
    resumed = None if checkpoint is None else checkpoint.load()
    if resumed is None:
        phase.deadline.check()
    elif resumed.finished or resumed.epochs_done >= phase.epochs:
        # What comes after the last epoch is never cut short.
        phase = dataclasses.replace(phase, deadline=NEVER)
    own = cut is None
    if cut is None:
        cut = cut_classifier(
            classifier,
            images,
            train_rows=train_rows,
            val_rows=val_rows,
            border=border,
            phase=phase,
            store=store,
        )
    try:
        if resumed is not None:
            check_views(resumed, cut.plan)
            phase.deadline.check()
        return _trained(
            cut,
            images,
            parts_of(classifier),
            targets,
            phase,
            train_rows=train_rows,
            val_rows=val_rows,
            val_groups=None if groups is None else groups[val_rows],
            class_weights=class_weights,
            balanced=balanced,
            depths=variable_depths(
                parts_of(classifier).backbone, all_borders, frozen_above=phase.frozen_above
            ),
            callbacks=callbacks,
            checkpoint=checkpoint,
            resumed=resumed,
        )
    except TimeUpError:
        if resumed is None:
            raise
        return best_so_far(resumed, cut, phase)
    finally:
        if own:
            cut.release()


def _trained(
    cut: Cut,
    images: Images,
    parts: ClassifierParts,
    targets: NDArray[np.float32],
    phase: Phase,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    class_weights: NDArray[np.float32] | None,
    balanced: bool,
    **options: Any,
) -> PhaseResult:
    """Train what was cut, in place; return how that went."""
    material = choose_material(
        cut,
        images,
        targets,
        phase,
        train_rows=train_rows,
        val_rows=val_rows,
        balanced=balanced,
        class_weights=None if balanced else class_weights,
    )
    model, keeper, final, precision, count = _train(
        material,
        parts,
        targets,
        phase,
        train_rows=train_rows,
        val_rows=val_rows,
        must_not_move=cut.view.must_not_move,
        class_weights=class_weights,
        **options,
    )
    return PhaseResult(
        history=tuple(keeper.history),
        best_epoch=keeper.kept.best[0].epoch,
        kept_epoch=final.epoch,
        val_probabilities=final.kept.probabilities,
        averaged=final.words,
        num_trainable=int(sum(math.prod(v.shape) for v in model.trainable_variables)),
        num_folded=cut.view.num_folded,
        largest_difference=cut.difference,
        plan=cut.plan,
        xla=xla_of(model),
        step_precision=precision,
        cut_short=_cut_short(keeper, phase),
        images_at_once=count,
        out_of_memory=_out_of_memory(count, phase, model, num_train=len(train_rows)),
    )


def _train(
    material: Material,
    parts: ClassifierParts,
    targets: NDArray[np.float32],
    phase: Phase,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    must_not_move: Sequence[keras.Variable],
    depths: Mapping[int, int],
    resumed: Checkpoint | None,
    **options: Any,
) -> tuple[keras.Model, ValidationCallback, FinalWeights, StepPrecision, int]:
    """Prove and train in place, with fewer images at once and from the start if memory runs out.

    Half of a training with one step and half with another would be equal too, but for its random
    draws; a start from the very first weights is one run, as its history says.
    """
    steps = math.ceil(len(train_rows) / phase.batch_size)
    moving = Moving.of(material.model, must_not_move)
    first = train_rows[: phase.batch_size]
    begin = images_to_begin_with(phase, num_train=len(train_rows))

    def attempt(
        images_at_once: int,
    ) -> tuple[keras.Model, ValidationCallback, FinalWeights, StepPrecision]:
        prepared = PreparedSteps(
            material,
            parts,
            phase,
            targets=targets[first],
            images_at_once=images_at_once if images_at_once < len(first) else None,
            epoch_steps=steps,
            depths=depths,
        )
        precision = prepared.choose() if resumed is None else prepared.take(resumed.policy)
        with prepared.computing(precision.policy) as model:
            prove_frozen(
                model,
                must_not_move=must_not_move,
                inputs=material.sample,
                targets=targets[first],
                weighted=prepared.weighted,
            )
        keeper = _fit(
            prepared,
            precision.policy,
            material,
            targets[val_rows],
            phase,
            steps=steps,
            moving=moving,
            resumed=resumed,
            images_at_once=images_at_once,
            **options,
        )
        final = choose_weights(keeper, phase, moving.first_weights)
        return model, keeper, final, precision

    def restore() -> None:
        nonlocal resumed
        resumed = None
        moving.put_back()
        phase.deadline.check()

    otherwise = words_for_parts(material.model, batch_norm=phase.batch_norm)
    trained, count = with_fewer_images(
        attempt,
        begin if resumed is None else resumed.images_at_once,
        what="fine-tuning",
        then=f"their gradients are added up{otherwise}; it starts again",
        advice=f"{SMALLER_INPUT}, fewer blocks (--unfreeze-blocks, --tune), or fewer --views",
        restore=restore,
    )
    return *trained, count


def _out_of_memory(count: int, phase: Phase, model: keras.Model, *, num_train: int) -> str:
    """Say what was done when memory ran out."""
    begun = images_to_begin_with(phase, num_train=num_train)
    if count == begun:
        return ""
    otherwise = words_for_parts(model, batch_norm=phase.batch_norm)
    return (
        f"Out of memory with {counted(begun)} at once: fine-tuning took {count} at a time and "
        f"added up their gradients; a step is still {counted(phase.batch_size)}{otherwise}."
    )


def _fit(
    prepared: PreparedSteps,
    policy: str,
    material: Material,
    val_targets: NDArray[np.float32],
    phase: Phase,
    *,
    steps: int,
    moving: Moving,
    val_groups: NDArray[Any] | None,
    class_weights: NDArray[np.float32] | None,
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoint: CheckpointFile | None,
    resumed: Checkpoint | None,
    images_at_once: int,
) -> ValidationCallback:
    """Train for the epochs of a phase, keep the best, in place; return what knows it."""
    with track("Fine-tuning", total=phase.epochs * steps) as advance:
        keeper = ValidationCallback(
            material.validation,
            val_targets,
            variables=moving.learned,
            first=moving.first_weights,
            learning_rate=phase.learning_rate,
            patience_epochs=phase.patience_epochs,
            epoch_steps=steps,
            class_weights=class_weights,
            groups=val_groups,
            advance=advance,
            deadline=phase.deadline,
            num_kept=phase.soup,
            checks_per_epoch=phase.checks_per_epoch,
        )
        counting: list[keras.callbacks.Callback] = []
        if phase.schedule == PLATEAU:  # a third after two epochs without a better validation loss
            counting.append(
                keras.callbacks.ReduceLROnPlateau(
                    "val_tempered_loss", mode="min", factor=1 / 3, patience=2
                )
            )
        told = [keeper, *counting, *callbacks]
        if checkpoint is not None:
            saver = Saver(
                checkpoint,
                keeper,
                variables=moving.variables,
                counting=counting,
                counted={} if resumed is None else resumed.callbacks,
                policy=policy,
                images_at_once=images_at_once,
                num_views=material.num_views,
                epochs=phase.epochs,
            )
            told.append(saver)
        # Answers are float32 whatever a step computes in.
        keeper.trace(prepared.model(policy))
        with prepared.computing(policy) as model:
            if resumed is not None:
                go_on(
                    resumed,
                    model,
                    keeper,
                    variables=moving.variables,
                    batches=prepared.batches,
                )
            if resumed is None or not resumed.finished:
                model.fit(
                    prepared.batches,
                    epochs=phase.epochs,
                    initial_epoch=0 if resumed is None else resumed.epochs_done,
                    shuffle=False,
                    verbose=0,
                    callbacks=told,
                )
    return keeper


def _cut_short(keeper: ValidationCallback, phase: Phase) -> str:
    """Say what the deadline did, in the log too."""
    if not keeper.out_of_time:
        return ""
    words = (
        f"{phase.deadline.words}: fine-tuning stopped in epoch {len(keeper.history)} of "
        f"{phase.epochs}."
    )
    logger.warning("%s", words)
    return words
