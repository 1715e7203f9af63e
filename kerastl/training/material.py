"""What a phase trains, and on what: pixels through the frozen part, or what left it once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.batches import training_batches
from kerastl.data.stream import Images
from kerastl.features.border_views import view_batches
from kerastl.training.cut import Cut
from kerastl.training.phase import Phase


@dataclass(frozen=True, eq=False)
class Material:
    """What a phase trains, and on what.

    Attributes:
        model: The trained model.
        batches: Makes the batches of one epoch. Made anew they begin with the same ones, while
            those that were used go on.
        validation: Gives the inputs of the validation images, batch by batch.
        sample: The inputs of the first training images.
        num_views: Views of each image that are kept; 0 for new pixels in every epoch.
    """

    model: keras.Model
    batches: Callable[[], tf.data.Dataset]
    validation: Callable[[], Iterable[Any]]
    sample: Any
    num_views: int = 0


def choose_material(
    cut: Cut,
    images: Images,
    targets: NDArray[np.float32],
    phase: Phase,
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    balanced: bool,
    class_weights: NDArray[np.float32] | None,
) -> Material:
    """Return the suffix with what left the frozen part once, or the whole with pixels.

    Args:
        cut: The classifier, cut at the border.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes).
        phase: How to train.
        train_rows: int64: rows to train on.
        val_rows: int64: rows to validate on.
        balanced: Whether an epoch draws every class equally often.
        class_weights: float32 of shape (num_classes,): of the training loss.

    Raises:
        TimeUpError: The deadline passed before the frozen part was done.
    """
    batch_size = phase.batch_size
    if cut.train is None or cut.val is None:
        batches = functools.partial(
            training_batches,
            images,
            targets,
            train_rows,
            batch_size=batch_size,
            augment=phase.augment,
            mix=phase.mix,
            seed=phase.seed,
            balanced=balanced,
            class_weights=class_weights,
        )
        return Material(
            cut.view.model,
            batches,
            validation=lambda: (
                tf.cast(images[val_rows[start : start + batch_size]], tf.float32)
                for start in range(0, len(val_rows), batch_size)
            ),
            sample=images[train_rows[:batch_size]],
        )
    kept = cut.train.views(train_rows, num_views=cut.plan.num_views, deadline=phase.deadline)
    val_kept = cut.val.views(
        val_rows, deadline=phase.deadline, description="Running the frozen part (val)"
    )
    batches = functools.partial(
        view_batches,
        kept,
        targets[train_rows],
        batch_size=batch_size,
        seed=phase.seed,
        balanced=balanced,
        class_weights=class_weights,
    )
    return Material(
        cut.view.suffix,
        batches,
        validation=lambda: val_kept.batches(batch_size),
        sample=kept.take(slice(0, batch_size)),
        num_views=cut.plan.num_views,
    )
