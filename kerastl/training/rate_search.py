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
from kerastl.errors import DataError
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.models.classifier import parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import taken_back
from kerastl.progress import Advance, track
from kerastl.training.cut import Cut, cut_classifier
from kerastl.training.material import Material, choose_material
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.prepared_steps import PreparedSteps
from kerastl.training.rate_finder import (
    EPOCH_PART,
    HIGHEST_RATE,
    NUM_STEPS,
    RateSweep,
    best_rate,
    diverged,
    higher_rate,
    rates_to_try,
    sweep_rates,
)
from kerastl.training.schedules import SWEEP
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
        num_steps: Of the range test, if the loss does not double before.
    """
    start = classifier.get_weights()
    ask: dict[str, Any] = {"train_rows": train_rows, "val_rows": val_rows, "border": border}

    cut = cut_classifier(classifier, images, **ask, phase=phase, store=store)
    before, rates, losses = _range_test(
        cut,
        images,
        targets,
        phase,
        train_rows=train_rows,
        val_rows=val_rows,
        all_borders=all_borders,
        num_steps=num_steps,
    )
    epochs = max(1, round(EPOCH_PART * phase.epochs))

    def loss_after(rate: float) -> float:
        short = dataclasses.replace(
            phase, epochs=epochs, learning_rate=rate, epochs_per_block=0.0, patience_epochs=epochs
        )
        options: dict[str, Any] = {"store": store, "cut": cut, "all_borders": all_borders}
        try:
            result = fine_tune(classifier, images, targets, **ask, phase=short, **options)
            loss = min(float(row["val_loss"]) for row in result.history)
        except DataError as error:  # the loss is no number: too high
            logger.info("Rate %.1e: %s", rate, error)
            loss = float("nan")
        classifier.set_weights(start)
        logger.info("Rate %.1e: validation log-loss %.4f.", rate, loss)
        return loss

    tried = [(rate, loss_after(rate)) for rate in rates_to_try(rates, losses, before=before)]
    while (higher := higher_rate(tried)) is not None:
        tried.insert(0, (higher, loss_after(higher)))
    cut.release()
    return RateSweep(rates, losses, tuple(tried), epochs, best_rate(tried))


def _range_test(
    cut: Cut,
    images: Images,
    targets: NDArray[np.float32],
    phase: Phase,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    all_borders: Sequence[Border],
    num_steps: int,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the loss before the first step, and rates and losses of all."""
    phase = dataclasses.replace(
        phase, epochs=1, schedule=SWEEP, learning_rate=HIGHEST_RATE, epochs_per_block=0.0
    )
    material = choose_material(
        cut,
        images,
        targets,
        phase,
        train_rows=train_rows,
        val_rows=val_rows,
        balanced=False,
        class_weights=None,
    )
    parts = parts_of(cut.classifier)
    prepared = PreparedSteps(
        material,
        parts,
        phase,
        targets=targets[train_rows[: phase.batch_size]],
        images_at_once=None,
        epoch_steps=num_steps,
        depths=variable_depths(parts.backbone, all_borders),
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
