"""The sweep of rates on a user's own images; afterwards all weights are as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.models.classifier import parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import taken_back
from kerastl.progress import Advance, track
from kerastl.training.cut import cut_classifier
from kerastl.training.material import choose_material
from kerastl.training.phase import Phase
from kerastl.training.prepared_steps import PreparedSteps
from kerastl.training.rate_finder import (
    HIGHEST_RATE,
    NUM_STEPS,
    RateSweep,
    diverged,
    sweep_of,
    sweep_rates,
)
from kerastl.training.schedules import SWEEP
from kerastl.training.step_precision import FLOAT32


def find_learning_rate(
    classifier: keras.Model,
    images: Images,
    targets: NDArray[np.float32],
    *,
    train_rows: NDArray[np.int64],
    border: Border | None,
    phase: Phase,
    all_borders: Sequence[Border] = (),
    store: Store = NO_STORE,
    num_steps: int = NUM_STEPS,
) -> RateSweep:
    """Take short steps at rising rates, and take them back.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`, its head fitted already.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes).
        train_rows: int64: rows to train on.
        border: Where the trained part begins; None for the whole backbone.
        phase: How it will be trained: optimizer, batches, augmentation, rates by depth.
        all_borders: See `kerastl.training.phases.fine_tune`.
        store: Where what leaves the frozen part is kept for later runs.
        num_steps: How many, if the loss does not diverge before.

    Returns:
        The losses, and the highest rate to take for a schedule such as cosine.
    """
    # One view is enough to see where steps become too long.
    views = phase.views if isinstance(phase.views, str) and phase.views != "auto" else 1
    augment = phase.augment if views != 1 else "none"
    sweep = dataclasses.replace(
        phase,
        epochs=1,
        schedule=SWEEP,
        learning_rate=HIGHEST_RATE,
        epochs_per_block=0.0,
        views=1 if border is not None and phase.mix == "none" and views == 1 else "live",
        augment=augment,
    )
    cut = cut_classifier(
        classifier,
        images,
        train_rows=train_rows,
        val_rows=train_rows[:1],
        border=border,
        phase=sweep,
        store=store,
    )
    material = choose_material(
        cut,
        images,
        targets,
        sweep,
        train_rows=train_rows,
        val_rows=train_rows[:1],
        balanced=False,
        class_weights=None,
    )
    prepared = PreparedSteps(
        material,
        parts_of(classifier),
        sweep,
        targets=targets[train_rows[: sweep.batch_size]],
        images_at_once=None,
        epoch_steps=num_steps,
        depths=variable_depths(parts_of(classifier).backbone, all_borders),
    )
    model = prepared.model(FLOAT32)
    with taken_back(model), track("Trying learning rates", total=num_steps) as advance:
        losses = _Losses(advance)
        model.fit(
            material.batches().repeat(),
            steps_per_epoch=num_steps,
            verbose=0,
            callbacks=[losses],
        )
    cut.release()
    return sweep_of(sweep_rates(num_steps)[: len(losses.found)], losses.found)


class _Losses(keras.callbacks.Callback):
    """The loss of every batch; ends when it diverges."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self.found: list[float] = []
        self._advance = advance

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.reset_metrics()  # else it would be the mean of all batches so far

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._advance(1)
        self.found.append(float((logs or {})["loss"]))
        if diverged(self.found):
            self.model.stop_training = True
