"""What "frozen" means, and the proof that a frozen part is.

A part is frozen when no training step changes a variable of it (BatchNorm statistics
are variables too) and nothing in it acts at random. On keras 3.3 to 3.15 the usual
recipe `base(x, training=False)` gives neither: `fit` calls the outer model with
`training=True`, which overrides the flag of every call inside a functional graph
(keras #20285, fixed after 3.15.1 by keras PR #23364). So kerastl never trains through
the frozen part: the network is cut at the border, the frozen part becomes an inert
inference graph of its own, and a check proves it on one real batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import ConfigError, FrozenPartError
from kerastl.models.batch_norm import (
    AFFINE_NORM,
    FROZEN_NORM,
    ONLY_NORM,
    TRAINED_NORM,
    norms_in,
    with_still_norms,
)
from kerastl.models.blocks import Border, split
from kerastl.models.classifier import ClassifierParts, parts_of
from kerastl.models.fold import fold_batch_norm
from kerastl.models.pieces import cut_in_pieces
from kerastl.models.unfreezing import layers_within, statistics_of, unfreeze

# Largest difference between the folded frozen part and the model's own, in units of the
# standard deviation of what leaves the border. Folding is exact but for rounding.
FOLD_TOLERANCE = 1e-3
# The same for a frozen part in bfloat16, as root mean square: single values are far off by
# nature. 0.05 to 0.09 for EfficientNetLite0 with ImageNet weights, at most 0.43 for five networks
# with random ones (2026-11); independent features of the same spread are 1.4 apart.
BFLOAT16_TOLERANCE = 0.5

# Images of a batch that proves something in inference mode: determinism and agreement show in a
# few, each of which has thousands of numbers.
PROOF_IMAGES = 4

FROZEN, FROZEN_ABOVE = "frozen", "frozen_above"


class Inert(keras.layers.Layer):
    """Run a network in inference mode whatever the mode of the model around it.

    A layer's `call` is not part of the functional graph, so the `training=False` inside
    it is not overridden (see the head of this file). The network is no sublayer of a
    trainable model either: it is made non-trainable for good.

    Args:
        network: Model from one tensor to one tensor or a list of tensors.
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        network.trainable = False
        self.network = network

    def call(self, inputs: Any) -> Any:
        """Return what the network answers in inference mode."""
        return self.network(inputs, training=False)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return shapes and dtypes without running the network."""
        return self.network.compute_output_spec(inputs, training=False)


@dataclass(frozen=True)
class TrainingView:
    """A classifier as fine-tuning sees it: an inert frozen part and a trainable suffix.

    Attributes:
        model: From pixels to probabilities; its trainable variables are those of the classifier
            that are trained, so training it trains the classifier.
        suffix: The same from what leaves the frozen part (one tensor, or a list where several
            cross the border) to probabilities, with the same variables.
        frozen: The part below the border as a folded inference model of its own.
        reference: The same part with the classifier's own layers, unfolded.
        must_not_move: Every variable that no step may change: whatever lies below or above the
            trained part, and what is frozen of every BatchNorm in it. (The random state of a
            Dropout in it may.)
        num_folded: How many BatchNorm layers were folded.
    """

    model: keras.Model
    suffix: keras.Model
    frozen: keras.Model
    reference: keras.Model
    must_not_move: tuple[keras.Variable, ...]
    num_folded: int


def training_view(
    classifier: keras.Model,
    *,
    border: Border | None,
    frozen_above: Border | None = None,
    batch_norm: str = FROZEN_NORM,
) -> TrainingView:
    """Cut a classifier where its trained part begins and ends, for training that and the head.

    Sets `trainable` of the classifier's layers in place: everything below and above is frozen, and
    of every BatchNorm between what the policy says; the rest is trainable. What is frozen above
    runs in inference mode, and gradients go through it. A layer that both use is frozen.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        border: Where the trained part begins, see `kerastl.models.blocks`; None for the input.
        frozen_above: Where it ends; None for the output of the backbone.
        batch_norm: One of `kerastl.models.batch_norm.BATCH_NORM_POLICIES`.

    Returns:
        The model to compile and fit, and its frozen part.
    """
    parts = parts_of(classifier)
    pieces = cut_in_pieces(parts.backbone, border=border, frozen_above=frozen_above)
    pixels = keras.Input(classifier.input_shape[1:], name="pixels", dtype="float32")
    prepared = parts.preprocessing(pixels)
    if pieces.below is None:
        num_folded = 0
        frozen = reference = keras.Model(pixels, prepared, name="below_border")
    else:
        reference = keras.Model(pixels, pieces.below(prepared, training=False), name="below_border")
        frozen, num_folded = _folded_below(parts, pieces.below, pixels)
    if batch_norm == ONLY_NORM and not norms_in(pieces.trained):
        raise ConfigError(
            "`batch_norm` cannot be 'only': no BatchNorm is among the layers that are trained. "
            "Leave it out, or take another backbone or more blocks."
        )
    unfreeze(parts.backbone, pieces.trained, batch_norm=batch_norm)
    still = batch_norm in (AFFINE_NORM, ONLY_NORM)
    trained = with_still_norms(pieces.trained) if still else pieces.trained
    above = None if pieces.above is None else Inert(pieces.above, name=FROZEN_ABOVE)
    for layer in parts.head:
        layer.trainable = True

    def finish(crossing: Any) -> Any:
        x = trained(crossing)
        x = parts.pooling(x if above is None else above(x))
        for layer in parts.head:
            x = layer(x)
        return x

    entries = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype), frozen.output
    )
    model = keras.Model(pixels, finish(Inert(frozen, name=FROZEN)(pixels)), name="training_view")
    may_move = {id(v) for v in model.trainable_variables}
    for part in (pieces.trained, *parts.head):
        may_move |= {id(v) for v in part.variables if v.path.endswith("seed_generator_state")}
    if batch_norm == TRAINED_NORM:
        layers = layers_within(pieces.trained)
        may_move |= {id(v) for layer in layers for v in statistics_of(layer)}
    return TrainingView(
        model,
        suffix=keras.Model(entries, finish(entries), name="training_view_suffix"),
        frozen=frozen,
        reference=reference,
        must_not_move=tuple(
            v for v in (*classifier.variables, *frozen.variables) if id(v) not in may_move
        ),
        num_folded=num_folded,
    )


def frozen_part_in(classifier: keras.Model, *, border: Border, dtype: str) -> keras.Model:
    """Return the part below a border, folded, computing in another precision.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        border: Where the trained part begins.
        dtype: Such as "bfloat16"; preprocessing stays as it is.

    Returns:
        From pixels to what crosses the border, in that precision. Its weights are copies.
    """
    parts = parts_of(classifier)
    pixels = keras.Input(classifier.input_shape[1:], name="pixels", dtype="float32")
    return _folded_below(parts, split(parts.backbone, border)[0], pixels, dtype=dtype)[0]


def _folded_below(
    parts: ClassifierParts, prefix: keras.Model, pixels: Any, *, dtype: str | None = None
) -> tuple[keras.Model, int]:
    """Return preprocessing and folded prefix as one model, and how many layers were folded."""
    folded, num_folded = fold_batch_norm(prefix, dtype=dtype)
    below = folded(parts.preprocessing(pixels), training=False)
    return keras.Model(pixels, below, name="below_border_folded"), num_folded


def prove_inert(
    part: keras.Model,
    *,
    reference: keras.Model,
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    dtype: str = "float32",
) -> float:
    """Prove on one batch that a frozen part is deterministic, and is the part it stands for.

    Deterministic means bit for bit in every precision. How near it must be to the part it
    stands for depends on the precision: `FOLD_TOLERANCE` or `BFLOAT16_TOLERANCE`. The latter
    tells another network or wrong scaling; whether the answers stay the same is asked by
    `kerastl.features.precision.choose_precision`.

    Args:
        part: From pixels to what leaves the frozen part; called in *training* mode.
        reference: The classifier's own layers for it; called in inference mode.
        pixels: (batch, height, width, 3), 0..255.
        dtype: What `part` computes in, "float32" or "bfloat16".

    Returns:
        The largest difference between the two, in bfloat16 the root mean square of all, in
        units of the standard deviation.

    Raises:
        FrozenPartError: Two calls differ, a variable moved, or the difference is larger
            than the tolerance.
    """
    rounds = dtype == "bfloat16"
    tolerance = BFLOAT16_TOLERANCE if rounds else FOLD_TOLERANCE
    batch = tf.cast(pixels, tf.float32)
    before = [np.array(variable.numpy()) for variable in part.variables]
    first, second = (keras.tree.flatten(part(batch, training=True)) for _ in range(2))
    expected = keras.tree.flatten(reference(batch, training=False))
    largest = 0.0
    for tensors in zip(first, second, expected, strict=True):
        one, two, wanted = (np.asarray(tensor, np.float32) for tensor in tensors)
        if not np.array_equal(one, two, equal_nan=True):
            raise FrozenPartError(
                "The frozen part acts at random during training: two passes over the same batch "
                f"differ by up to {np.abs(one - two).max():.3g}. A Dropout or stochastic depth "
                "layer in it is active. Please report this with your versions of keras and kerastl."
            )
        difference = np.sqrt(np.mean((one - wanted) ** 2)) if rounds else np.abs(one - wanted).max()
        # Unlike max(), it keeps what is no number.
        largest = float(np.maximum(largest, difference / (wanted.std() + 1e-12)))
    _check_still(part.variables, before)
    if not largest <= tolerance:
        raise FrozenPartError(
            "The frozen part answers differently in training and in inference: largest difference "
            f"{largest:.3g} standard deviations, expected at most {tolerance:g}. "
            "Please report this with your backbone and your versions of keras and kerastl."
        )
    return largest


def prove_rejoined(
    suffix: keras.Model, *, reference: keras.Model, inputs: Any, pixels: NDArray[np.uint8]
) -> float:
    """Prove on one batch that a suffix on kept tensors answers like the whole network.

    Args:
        suffix: From border tensors to probabilities.
        reference: From pixels to probabilities.
        inputs: What left the frozen part for these pixels.
        pixels: (batch, height, width, 3), 0..255.

    Returns:
        The largest difference of a probability.

    Raises:
        FrozenPartError: It is more than `FOLD_TOLERANCE`.
    """
    answers = np.asarray(suffix(inputs, training=False), np.float32)
    expected = np.asarray(reference(tf.cast(pixels, tf.float32), training=False), np.float32)
    largest = float(np.abs(answers - expected).max())
    if not largest <= FOLD_TOLERANCE:
        raise FrozenPartError(
            "The trained part answers differently on kept tensors than the whole network: a "
            f"probability differs by {largest:.3g}, expected at most {FOLD_TOLERANCE:g}. Type "
            "--views live to train without them, and please report this with your backbone and "
            "your versions of keras and kerastl."
        )
    return largest


def prove_frozen(
    model: keras.Model,
    *,
    must_not_move: Sequence[keras.Variable],
    inputs: Any,
    targets: NDArray[np.float32],
    weighted: bool = False,
) -> None:
    """Run one real training step, compare every frozen variable bit for bit, take the step back.

    Args:
        model: The compiled model that is about to be trained.
        must_not_move: Everything that belongs to the frozen part, statistics included.
        inputs: One batch of what the model takes: pixels 0..255, or border tensors.
        targets: float32 of shape (batch, num_classes).
        weighted: Whether the batches that are about to be trained on have a third part, the
            weights of images. The step is then the very graph that trains, and is traced once.

    Raises:
        FrozenPartError: A frozen variable moved, or no trainable variable did.
    """
    before = [np.array(variable.numpy()) for variable in must_not_move]
    start = [np.array(variable.numpy()) for variable in model.trainable_variables]
    with taken_back(model):
        model.fit(one_batch(inputs, targets, weighted=weighted), shuffle=False, verbose=0)
        _check_still(must_not_move, before)
        moved = [
            not np.array_equal(old, np.array(variable.numpy()))
            for old, variable in zip(start, model.trainable_variables, strict=True)
        ]
        if not any(moved):
            raise FrozenPartError(
                "One training step moved no variable at all, though "
                f"{len(moved)} are trainable. Is the learning rate 0, or the loss not a number?"
            )


@contextmanager
def taken_back(model: keras.Model) -> Iterator[None]:
    """Take back what the block trains: put weights, states and optimizer back as they were.

    Args:
        model: Compiled.
    """
    model.optimizer.build(model.trainable_variables)
    # The random states of Dropout above the border are among the variables of the model.
    restored = [*model.trainable_variables, *model.non_trainable_variables]
    restored += model.optimizer.variables
    saved = [np.array(variable.numpy()) for variable in restored]
    try:
        yield
    finally:
        for variable, value in zip(restored, saved, strict=True):
            variable.assign(value)


def one_batch(inputs: Any, targets: NDArray[np.float32], *, weighted: bool) -> tf.data.Dataset:
    """Return a data set of one batch, of the same specification as the batches of training.

    Args:
        inputs: What the model takes.
        targets: float32 of shape (batch, num_classes).
        weighted: Whether each image has a weight; they are 1.
    """
    parts = keras.tree.map_structure(lambda part: tf.cast(part, tf.float32), inputs)
    batch: tuple[Any, ...] = (tuple(parts) if isinstance(parts, list) else parts, targets)
    if weighted:
        batch = (*batch, np.ones(len(targets), np.float32))
    # Slices and then a batch: so its size is unknown, as theirs is.
    return tf.data.Dataset.from_tensor_slices(batch).batch(len(targets))


def _check_still(variables: Sequence[keras.Variable], before: list[NDArray[Any]]) -> None:
    """Raise unless every variable is what it was, bit for bit."""
    moved = [
        variable.path
        for variable, old in zip(variables, before, strict=True)
        if not np.array_equal(old, np.array(variable.numpy()), equal_nan=True)
    ]
    if moved:
        raise FrozenPartError(
            f"{len(moved)} of {len(variables)} frozen variables moved in one training step, the "
            f"first is {moved[0]!r}; expected none to move. BatchNorm statistics or unfrozen "
            "layers act below the border. Please report this with your versions of keras and "
            "kerastl."
        )
