"""How a phase compiles its model: optimizer, falling rate, loss, accuracy."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kerastl.training.recipes import warmup_steps


def compile_for_training(
    model: keras.Model,
    *,
    learning_rate: float,
    weight_decay: float,
    clip_norm: float,
    total_steps: int,
    policy: str = "float32",
) -> None:
    """Compile in place, with a new optimizer: an old one's state belongs to other variables.

    Args:
        model: From anything to class probabilities; a sigmoid at its end means several labels.
        learning_rate: Highest rate, reached after the warm-up; it falls along a cosine to 0.
        weight_decay: Of AdamW, on kernels only.
        clip_norm: Largest global norm of the gradients.
        total_steps: Steps of the whole phase.
        policy: What the layers will compute in. With "mixed_float16" the loss is scaled, so that
            small gradients are not lost (Micikevicius et al. 2018, section 3.2).

    Example:
        >>> features = keras.Input((4,))
        >>> model = keras.Model(features, keras.layers.Dense(2, activation="softmax")(features))
        >>> compile_for_training(
        ...     model, learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, total_steps=100
        ... )
        >>> model.loss.name
        'categorical_crossentropy'
    """
    warmup = warmup_steps(total_steps=total_steps)
    rate = keras.optimizers.schedules.CosineDecay(
        # Not 0: a first step that moves nothing could prove nothing (`prove_frozen`).
        initial_learning_rate=learning_rate / warmup,
        warmup_target=learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, total_steps - warmup),
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay, global_clipnorm=clip_norm)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if model.layers[-1].activation is keras.activations.sigmoid:  # several labels per image
        loss: Any = keras.losses.BinaryCrossentropy()
        # Of an image all labels, as the metrics of a run count it.
        accuracy: Any = keras.metrics.MeanMetricWrapper(_all_labels_right, name="accuracy")
    else:
        loss = keras.losses.CategoricalCrossentropy()
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    if policy == "mixed_float16":
        # Not the usual 2**15: the first step must not overflow, it is the proof that training moves
        # what it should (`prove_frozen`); the scale doubles while all goes well.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy], auto_scale_loss=False)


def _all_labels_right(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return 1 for each image whose labels are all right, else 0."""
    same = tf.equal(probabilities >= 0.5, targets >= 0.5)
    return tf.cast(tf.reduce_all(same, axis=-1), tf.float32)
