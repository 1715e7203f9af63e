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
from kerastl.deadline import Deadline
from kerastl.errors import ConfigError
from kerastl.features.border_views import extract_views, view_batches
from kerastl.features.shelf import shelf_of
from kerastl.features.store import Store
from kerastl.models.frozen import TrainingView


@dataclass(frozen=True, eq=False)
class Material:
    """What a phase trains, and on what.

    Attributes:
        model: The trained model.
        batches: Makes the batches of one epoch. Made anew they begin with the same ones, while
            those that were used go on.
        validation: Gives the inputs of the validation images, batch by batch.
        sample: The inputs of the first training images.
    """

    model: keras.Model
    batches: Callable[[], tf.data.Dataset]
    validation: Callable[[], Iterable[Any]]
    sample: Any


def choose_material(
    view: TrainingView,
    frozen: keras.Model | None,
    images: Images,
    targets: NDArray[np.float32],
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    batch_size: int,
    augment: str,
    mix: str,
    seed: int,
    num_views: int,
    store: Store,
    deadline: Deadline,
    balanced: bool,
    class_weights: NDArray[np.float32] | None,
) -> Material:
    """Return the suffix with what left the frozen part once, or the whole with pixels.

    Args:
        view: The classifier, cut at the border.
        frozen: Its frozen part for the kept views of training images, in whatever precision;
            None for the view's.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes).
        train_rows: int64: rows to train on.
        val_rows: int64: rows to validate on.
        batch_size: Images per step.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: See `kerastl.data.mixing`.
        seed: Decides order, draws and views.
        num_views: Views of each training image that are kept; 0 for new pixels in every
            epoch, through the frozen part.
        store: Where what leaves the frozen part is kept for later runs.
        deadline: When training must end.
        balanced: Whether an epoch draws every class equally often.
        class_weights: float32 of shape (num_classes,): of the training loss.

    Raises:
        ConfigError: Views are to be kept of pixels that are mixed.
        TimeUpError: The deadline passed before the frozen part was done.
    """
    if not num_views:
        batches = functools.partial(
            training_batches,
            images,
            targets,
            train_rows,
            batch_size=batch_size,
            augment=augment,
            mix=mix,
            seed=seed,
            balanced=balanced,
            class_weights=class_weights,
        )
        return Material(
            view.model,
            batches,
            validation=lambda: (
                tf.cast(images[val_rows[start : start + batch_size]], tf.float32)
                for start in range(0, len(val_rows), batch_size)
            ),
            sample=images[train_rows[:batch_size]],
        )
    if mix != "none":
        raise ConfigError(f"Kept views cannot be blended: mix={mix!r} needs num_views=0.")
    frozen = frozen or view.frozen
    kept = extract_views(
        frozen,
        shelf_of(frozen, images, store),
        train_rows,
        augment=augment,
        num_views=num_views,
        seed=seed,
        batch_size=batch_size,
        deadline=deadline,
    )
    val_kept = extract_views(
        view.frozen,
        shelf_of(view.frozen, images, store),
        val_rows,
        batch_size=batch_size,
        deadline=deadline,
        description="Running the frozen part (val)",
    )
    batches = functools.partial(
        view_batches,
        kept,
        targets[train_rows],
        batch_size=batch_size,
        seed=seed,
        balanced=balanced,
        class_weights=class_weights,
    )
    return Material(
        view.suffix,
        batches,
        validation=lambda: val_kept.batches(batch_size),
        sample=kept.take(slice(0, batch_size)),
    )
