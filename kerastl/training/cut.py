"""A classifier cut where fine-tuning begins, and the frozen part's way over its images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.errors import FrozenPartError
from kerastl.features.border_views import bytes_per_view
from kerastl.features.extract import folded_features_above
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.halving import prove_in_memory, with_fewer_images
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store
from kerastl.features.stored_features import Shortcut
from kerastl.models.blocks import Border
from kerastl.models.frozen import (
    PROOF_IMAGES,
    TrainingView,
    frozen_part_in,
    prove_rejoined,
    training_view,
)
from kerastl.training.phase import Phase
from kerastl.training.view_plan import AUTO, ViewPlan, plan_views, room_for_views

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Cut:
    """A classifier cut at a border, and the frozen part's way over its images.

    Made by `cut_classifier`.

    Attributes:
        classifier: As given.
        border: Where the trained part begins; None where nothing below it is frozen.
        view: Both parts.
        difference: Of the frozen part's outputs to the classifier's own layers, in standard
            deviations, on the batch of the check.
        plan: How the frozen part is run.
        train: Over training images, in whatever precision; None where nothing is kept.
        val: Over validation images, in float32; None where nothing is kept.
    """

    classifier: keras.Model
    border: Border | None
    view: TrainingView
    difference: float
    plan: ViewPlan
    train: FrozenPass | None
    val: FrozenPass | None

    def shortcut(self, *kept_rows: NDArray[np.int64], dtype: str) -> Shortcut | None:
        """Return the way to features past what fine-tuning keeps of some images.

        Args:
            kept_rows: int64: the training images, those of validation, or both.
            dtype: What the features are to be computed in, "float32" or "bfloat16".

        Returns:
            None where nothing is kept in this precision.
        """
        for once in (self.train, self.val):
            if once is not None and self.border is not None and once.computes_in == dtype:
                above = folded_features_above(self.classifier, border=self.border, dtype=dtype)
                return Shortcut(once, above, kept_rows)
        return None

    def release(self) -> None:
        """Let go of what left the frozen part."""
        for once in (self.train, self.val):
            if once is not None:
                once.release()


def cut_classifier(
    classifier: keras.Model,
    images: Images,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    border: Border | None,
    phase: Phase,
    store: Store = NO_STORE,
) -> Cut:
    """Cut a classifier at a border, prove both parts, and plan how the frozen one is run.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`. What may be trained of
            it is set in place, see `kerastl.models.frozen.training_view`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        train_rows: int64: rows to train on.
        val_rows: int64: rows to validate on.
        border: Where the trained part begins; None for the input.
        phase: How it will be trained.
        store: Where what leaves the frozen part is kept for later runs.

    Raises:
        FrozenPartError: The frozen part moves or acts at random, or both parts together are not
            the classifier and views of a number were asked for.
        DataError: Memory runs out with one image at a time.
    """
    view = training_view(
        classifier, border=border, frozen_above=phase.frozen_above, batch_norm=phase.batch_norm
    )
    sample = images[train_rows[: min(phase.batch_size, PROOF_IMAGES)]]
    difference = prove_in_memory(view.frozen, reference=view.reference, pixels=sample)
    plan = plan_views(
        phase.views,
        augment=phase.augment,
        mix=phase.mix,
        epochs=phase.epochs,
        num_train=len(train_rows),
        num_val=len(val_rows),
        view_bytes=0 if border is None else bytes_per_view(view.frozen),
        **room_for_views(images, store.room_bytes, phase.memory_bytes),
    )
    plan = _proven(plan, view, classifier, sample, asked=phase.views)
    logger.info("%s", plan.words)
    train = val = None
    if plan.num_views:
        options: dict[str, Any] = {"augment": phase.augment, "seed": phase.seed}
        options["batch_size"] = phase.batch_size
        frozen = _frozen_for_views(classifier, view, border, phase, sample)
        train = val = FrozenPass(frozen, images, store, **options)
        if frozen is not view.frozen:
            val = FrozenPass(view.frozen, images, store, **options)
    return Cut(classifier, border, view, difference, plan, train, val)


def _frozen_for_views(
    classifier: keras.Model,
    view: TrainingView,
    border: Border | None,
    phase: Phase,
    sample: NDArray[np.uint8],
) -> keras.Model:
    """Return the frozen part for kept views of training images, proven to be the same network."""
    if border is None or phase.view_dtype == view.frozen.compute_dtype:
        return view.frozen
    rounded = frozen_part_in(classifier, border=border, dtype=phase.view_dtype)
    try:
        prove_in_memory(rounded, reference=view.reference, pixels=sample, dtype=phase.view_dtype)
    except FrozenPartError:
        # Features may bear the rounding where the tensors at the border do not.
        logger.warning(
            "Kept views are float32: in %s, what leaves the frozen part is too far off.",
            phase.view_dtype,
        )
        return view.frozen
    return rounded


def _proven(
    plan: ViewPlan,
    view: TrainingView,
    classifier: keras.Model,
    sample: NDArray[np.uint8],
    *,
    asked: int | str,
) -> ViewPlan:
    """Return the plan if both parts together are the classifier; "auto" gives way if not."""
    if not plan.num_views:
        return plan

    def prove(count: int) -> float:
        pixels = sample[:count]
        inputs = view.frozen(tf.cast(pixels, tf.float32), training=False)
        return prove_rejoined(view.suffix, reference=classifier, inputs=inputs, pixels=pixels)

    try:
        with_fewer_images(
            prove, len(sample), what="the check of the trained part", then="which prove the same"
        )
    except FrozenPartError as error:
        if asked != AUTO:
            raise
        return ViewPlan(0, 0, f"The frozen part runs in every epoch: {error}")
    return plan
