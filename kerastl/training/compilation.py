"""How a phase compiles its model: optimizer, rates, loss, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerastl.training.optimizers import VariableRule, build_optimizer
from kerastl.training.phase import Phase
from kerastl.training.schedules import PLATEAU, RateTable, schedule_factors
from kerastl.training.variable_rules import variable_rules


def compile_for_training(
    model: keras.Model,
    phase: Phase,
    *,
    epoch_steps: int,
    depths: Mapping[int, int] | None = None,
    policy: str = "float32",
) -> None:
    """Compile in place, with a new optimizer: an old one's state belongs to other variables.

    Args:
        model: From anything to class probabilities; a sigmoid at its end means several labels.
        phase: How to train.
        epoch_steps: Steps of an epoch.
        depths: From the `id` of a variable of the backbone to its block from the top, see
            `kerastl.models.depth`; all of it counts as one block when not given.
        policy: What the layers will compute in. With "mixed_float16" the loss is scaled, so that
            small gradients are not lost (Micikevicius et al. 2018, section 3.2).

    Example:
        >>> features = keras.Input((4,))
        >>> model = keras.Model(features, keras.layers.Dense(2, activation="softmax")(features))
        >>> compile_for_training(model, Phase(epochs=2, learning_rate=1e-3), epoch_steps=50)
        >>> model.loss.name
        'categorical_crossentropy'
    """
    optimizer = build_optimizer(
        phase.optimizer,
        learning_rate=_rates(phase, epoch_steps=epoch_steps),
        rules=_rules(model, phase, depths or {}, epoch_steps=epoch_steps),
        clip_norm=phase.clip_norm,
        ema_momentum=phase.ema_momentum,
    )
    smoothing = phase.label_smoothing
    if model.layers[-1].activation is keras.activations.sigmoid:  # several labels per image
        loss: Any = keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        # Of an image all labels, as the metrics of a run count it.
        accuracy: Any = keras.metrics.MeanMetricWrapper(_all_labels_right, name="accuracy")
    else:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    if policy == "mixed_float16":
        # Not the usual 2**15: the first step must not overflow, it is the proof that training moves
        # what it should (`prove_frozen`); the scale doubles while all goes well.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy], auto_scale_loss=False)


def _rates(phase: Phase, *, epoch_steps: int) -> Any:
    """Return the schedule, or the one rate that a callback lowers."""
    if phase.schedule == PLATEAU:
        return phase.learning_rate
    factors = schedule_factors(
        phase.schedule, total_steps=phase.epochs * epoch_steps, epoch_steps=epoch_steps
    )
    return RateTable(phase.learning_rate * factors)


def _rules(
    model: keras.Model, phase: Phase, depths: Mapping[int, int], *, epoch_steps: int
) -> dict[str, VariableRule]:
    """Return the rule of every variable that is trained."""
    return variable_rules(
        model,
        depths,
        weight_decay=phase.weight_decay,
        layer_decay=phase.layer_decay,
        l2_sp=phase.l2_sp,
        steps_per_block=round(phase.epochs_per_block * epoch_steps),
    )


def _all_labels_right(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return 1 for each image whose labels are all right, else 0."""
    same = tf.equal(probabilities >= 0.5, targets >= 0.5)
    return tf.cast(tf.reduce_all(same, axis=-1), tf.float32)
