"""Where every training begins: the head fitted on the frozen part, and the classifier cut."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.features.precision import Precision, choose_precision
from kerastl.features.store import Store
from kerastl.models.blocks import Border
from kerastl.training.cut import Cut, cut_classifier
from kerastl.training.frozen_fit import FrozenFit, View, fit_frozen
from kerastl.training.phase import Phase

logger = logging.getLogger(__name__)


def fit_and_cut(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    *,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    border: Border | None,
    phase: Phase | None,
    views: Mapping[str, View],
    precision: str,
    store: Store,
    seed: int,
    **options: Any,
) -> tuple[FrozenFit, Precision, Cut | None]:
    """Choose the precision, cut the classifier if there is time to fine-tune, fit the head.

    Args:
        classifier: See `kerastl.training.experiment.probe_then_fine_tune`, like all others but
            those named here.
        images: See there.
        labels: See there.
        train: int64: rows to fit on.
        val: int64: rows that tell a head with a hidden layer when to stop.
        border: See there.
        phase: See there.
        views: What of each image it is fitted on, see `kerastl.data.augment.symmetric_views`.
        precision: See there.
        store: See there.
        seed: See there.
        **options: The other arguments of `kerastl.training.frozen_fit.fit_frozen`.

    Returns:
        The fitted head, what features were computed in, and the classifier cut where fine-tuning
        begins, which is to be released.
    """
    chosen, features = choose_precision(
        classifier,
        images,
        rows=train,
        labels=labels,
        precision=precision,
        num_images=len(train) * len(views),
        seed=seed,
    )
    if precision != "float32":
        logger.info("Features in %s: %s.", chosen.dtype, chosen.reason)
    cut = None
    if (phase := in_precision(phase, chosen)) is not None and not phase.deadline.passed:
        cut = cut_classifier(
            classifier,
            images,
            train_rows=train,
            val_rows=val,
            border=border,
            phase=phase,
            store=store,
        )
    fitted = fit_frozen(
        classifier,
        images,
        labels,
        train=train,
        val=val,
        views=views,
        features=features,
        dtype=chosen.dtype,
        cut=cut,
        store=store,
        seed=seed,
        **options,
    )
    return fitted, chosen, cut


def in_precision(phase: Phase | None, precision: Precision) -> Phase | None:
    """Return how to fine-tune with kept views of training images in the precision of features.

    Args:
        phase: How to fine-tune, if at all.
        precision: From `fit_and_cut`.
    """
    return phase and dataclasses.replace(phase, view_dtype=precision.dtype)
