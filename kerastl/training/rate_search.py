"""The search for a learning rate on a user's own images; it leaves all weights as they were."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.data.wording import counted
from kerastl.deadline import Deadline, TimeUpError
from kerastl.errors import DataError, DivergedError
from kerastl.features.halving import with_fewer_images
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.models.classifier import parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import taken_back
from kerastl.progress import Advance, track
from kerastl.training.cut import Cut, cut_classifier
from kerastl.training.material import Material, choose_material
from kerastl.training.phase import Phase, images_to_begin_with
from kerastl.training.phases import fine_tune
from kerastl.training.prepared_steps import PreparedSteps
from kerastl.training.rate_finder import (
    HIGHEST_RATE,
    NUM_STEPS,
    RateSweep,
    diverged,
    next_rate,
    rates_to_try,
    short_epochs,
    suggested_rate,
    sweep_rates,
)
from kerastl.training.schedules import SWEEP
from kerastl.training.split_step import words_for_parts
from kerastl.training.step_precision import FLOAT32

logger = logging.getLogger(__name__)

# Validation images whose loss is looked at after every step of the range test.
_WATCHED = 128


def find_learning_rate(
    classifier: keras.Model,
    images: Images,
    targets: NDArray[np.float32],
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    border: Border | None,
    phase: Phase,
    all_borders: Sequence[Border] = (),
    store: Store = NO_STORE,
    class_weights: NDArray[np.float32] | None = None,
    balanced: bool = False,
    num_steps: int = NUM_STEPS,
) -> RateSweep:
    """Find where steps become too long, then train shortly at some rates below; take all back.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`, its head fitted already.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes).
        train_rows: int64: rows to train on.
        val_rows: int64: rows that decide.
        border: Where the trained part begins; None for the whole backbone.
        phase: How it will be trained: optimizer, schedule, batches, views, rates by depth.
        all_borders: See `kerastl.training.phases.fine_tune`.
        store: Where what leaves the frozen part is kept for later runs.
        class_weights: See `kerastl.training.phases.fine_tune`.
        balanced: See there.
        num_steps: Of the range test, if the loss does not double before.

    Raises:
        DataError: Training fails at every rate, or the time was up before one was tried.
    """
    start = classifier.get_weights()
    ask: dict[str, Any] = {"train_rows": train_rows, "val_rows": val_rows, "border": border}
    cut = cut_classifier(classifier, images, **ask, phase=phase, store=store)
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
    otherwise = words_for_parts(material.model, batch_norm=phase.batch_norm)
    (before, rates, losses), _ = with_fewer_images(
        lambda count: _range_test(
            cut,
            material,
            targets,
            phase,
            train_rows=train_rows,
            val_rows=val_rows,
            all_borders=all_borders,
            num_steps=num_steps,
            images_at_once=count,
        ),
        images_to_begin_with(phase, num_train=len(train_rows)),
        what="the search for a learning rate",
        then=f"their gradients are added up{otherwise}; it starts again",
        restore=lambda: classifier.set_weights(start),
    )
    epochs = short_epochs(phase.epochs, num_train=len(train_rows), batch_size=phase.batch_size)
    why = ""

    def loss_after(rate: float) -> float:
        nonlocal why
        short = _short(phase, epochs=epochs, learning_rate=rate)
        options: dict[str, Any] = {"store": store, "cut": cut, "all_borders": all_borders}
        options |= {"class_weights": class_weights, "balanced": balanced}
        try:
            result = fine_tune(classifier, images, targets, **ask, phase=short, **options)
            if result.cut_short:
                raise TimeUpError(result.cut_short)
            loss = min(float(row["val_tempered_loss"]) for row in result.history)
        except DivergedError as error:  # too high
            why, loss = error.what, float("nan")
            logger.info("Rate %.1e: %s", rate, why)
        classifier.set_weights(start)
        logger.info("Rate %.1e: validation log-loss %.4f.", rate, loss)
        return loss

    try:
        tried = _try_all(
            loss_after, rates_to_try(rates, losses, before=before), deadline=phase.deadline
        )
    finally:
        classifier.set_weights(start)
        cut.release()
    _refuse_nothing(tried, why)
    return RateSweep(rates, losses, tuple(tried), epochs, suggested_rate(tried))


def _try_all(
    loss_after: Callable[[float], float], first: Sequence[float], *, deadline: Deadline
) -> list[tuple[float, float]]:
    """Return rates, from the highest, and their losses: the first ones, and what these ask for."""
    tried: list[tuple[float, float]] = []
    try:
        for rate in first:
            tried.append((rate, loss_after(rate)))
        while (another := next_rate(tried)) is not None:
            tried.append((another, loss_after(another)))
            tried.sort(reverse=True)
    except TimeUpError:
        _say_what_was_tried(tried, deadline)
    return tried


def _say_what_was_tried(tried: Sequence[tuple[float, float]], deadline: Deadline) -> None:
    """Say that the search ends early; refuse to suggest anything where no rate was tried."""
    if not tried:
        raise DataError(
            f"{deadline.words} was over before one short training had come to its end. Give more "
            "minutes."
        )
    logger.warning(
        "%s: the search ended after %s; others might be better.",
        deadline.words,
        counted(len(tried), "rate"),
    )


def _refuse_nothing(tried: Sequence[tuple[float, float]], why: str) -> None:
    """Refuse to suggest a rate where none trains."""
    if not any(np.isfinite(loss) for _, loss in tried):
        raise DataError(
            f"Training fails at every rate that was tried, from {tried[-1][0]:.1e} to "
            f"{tried[0][0]:.1e}. The last one: {why} Look at the images and their values, at "
            "what the backbone expects of them, and at --batch-norm, if it is not frozen."
        )


def _short(phase: Phase, *, epochs: int, learning_rate: float) -> Phase:
    """Return the phase that tries a rate: all blocks at once, to its end."""
    return dataclasses.replace(
        phase,
        epochs=epochs,
        learning_rate=learning_rate,
        epochs_per_block=0.0,
        patience_epochs=epochs,
        checks_per_epoch=1,
        soup=1,
        interpolate=False,
    )


def _range_test(
    cut: Cut,
    material: Material,
    targets: NDArray[np.float32],
    phase: Phase,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    all_borders: Sequence[Border],
    num_steps: int,
    images_at_once: int,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the loss before the first step, and rates and losses of all."""
    phase = dataclasses.replace(
        phase, epochs=1, schedule=SWEEP, learning_rate=HIGHEST_RATE, epochs_per_block=0.0
    )
    parts = parts_of(cut.classifier)
    prepared = PreparedSteps(
        material,
        parts,
        phase,
        targets=targets[train_rows[: phase.batch_size]],
        images_at_once=images_at_once
        if images_at_once < min(phase.batch_size, len(train_rows))
        else None,
        epoch_steps=num_steps,
        depths=variable_depths(parts.backbone, all_borders, frozen_above=phase.frozen_above),
    )
    model = prepared.model(FLOAT32)
    measure = _watch(model, material, targets[val_rows])
    with taken_back(model), track("Trying learning rates", total=num_steps) as advance:
        watched = _Watched(measure, advance)
        model.fit(
            material.batches().repeat(),
            shuffle=False,
            steps_per_epoch=num_steps,
            verbose=0,
            callbacks=[watched],
        )
    return watched.before, sweep_rates(num_steps)[: len(watched.found)], np.array(watched.found)


def _watch(
    model: keras.Model, material: Material, targets: NDArray[np.float32]
) -> Callable[[], float]:
    """Return what measures the loss of the same validation images."""
    batches: list[Any] = []
    count = 0
    for batch in material.validation():
        batches.append([tf.cast(one, tf.float32) for one in keras.tree.flatten(batch)])
        count += len(batches[-1][0])
        if count >= min(_WATCHED, len(targets)):
            break

    @tf.function(reduce_retracing=True)
    def answer(*tensors: Any) -> Any:
        return model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

    def measure() -> float:
        answers = tf.concat([answer(*batch) for batch in batches], axis=0)
        return float(tf.reduce_mean(model.loss(targets[:count], answers)))

    return measure


class _Watched(keras.callbacks.Callback):
    """The loss of the same images after every step; ends when it has doubled."""

    def __init__(self, measure: Callable[[], float], advance: Advance) -> None:
        super().__init__()
        self.found: list[float] = []
        self.before = measure()
        self._measure, self._advance = measure, advance

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._advance(1)
        self.found.append(self._measure())
        if diverged(self.found, before=self.before):
            self.model.stop_training = True
