"""A training step in parts: less memory, the same step.

The images of a step go through the network some at a time; their gradients are added up, and
the optimizer takes one step with the sum. Keras' own `gradient_accumulation_steps` (3.15.1) does
not fit: it takes the mean over as many *batches*, equally for a last smaller one, counts across
the end of an epoch, and would make steps, progress and history those of small batches. Here
the data, their order, the callbacks and the schedule do not know that a step has parts.

A step of 64 images through all of MobileNetV2 at 224 pixels took 2.5 GiB on a CPU, 16 at a time
1.0, 4 at a time 0.6 (2026-11).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kerastl.models.batch_norm import TRAINED_NORM, norms_in


class SplitStep(keras.Model):
    """A functional model whose training step goes through its images some at a time.

    The step is the plain one but for rounding, and for what layers do at random (Dropout draws
    for each part) or over the images of a batch: a BatchNorm that learns its statistics normalises
    each part by its own, see `words_for_parts`. Exactly: with parts of n_1 + n_2 + ... = n images,
    Keras' loss of a part is sum(weighted losses) / n_i + penalties, so that the sum over the parts
    of n_i / n times the loss is the loss of all n, last smaller parts and class weights included.
    Gradients are clipped, and the rate and the weight decay applied, once, on the sum.

    Args:
        inputs: As of a functional `keras.Model`.
        outputs: Likewise.
        images_at_once: Images of a part, from 1; the last part may be smaller.
        name: Of the model.
    """

    def __init__(self, *, inputs: Any, outputs: Any, images_at_once: int, name: str) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.images_at_once = images_at_once

    def train_step(self, data: Any) -> dict[str, Any]:
        """Take one step of the optimizer with the gradients of all parts; return the metrics.

        Args:
            data: (inputs, targets), or (inputs, targets, weights of images).
        """
        variables = self.trainable_variables
        total = tf.shape(keras.tree.flatten(data)[0])[0]
        # Known when a part has been traced: what is in no part has none, as in a plain step,
        # and the optimizer leaves it alone.
        has_gradient = [False] * len(variables)

        def add_part(start: Any, size: Any, sums: list[tf.Tensor]) -> list[tf.Tensor]:
            gradients = self._gradients(_part(data, start, size), size / total)
            for index, gradient in enumerate(gradients):
                has_gradient[index] = gradient is not None
            return [
                one if gradient is None else one + tf.convert_to_tensor(gradient)
                for one, gradient in zip(sums, gradients, strict=True)
            ]

        size = tf.minimum(self.images_at_once, total)
        sums = [tf.zeros(v.shape, v.dtype) for v in variables]
        full = total // size
        # Sizes that are known when the graph is compiled, as XLA needs them: so the rest comes
        # after the loop. One part after the other: side by side they would need the memory of all.
        _, sums = tf.while_loop(
            lambda number, _: number < full,
            lambda number, sums: (number + 1, add_part(number * size, size, sums)),
            [tf.constant(0), sums],
            parallel_iterations=1,
        )
        rest = total - full * size
        sums = tf.cond(rest > 0, lambda: add_part(full * size, rest, sums), lambda: sums)
        gradients = [one if has else None for one, has in zip(sums, has_gradient, strict=True)]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self.get_metrics_result()

    def _gradients(self, part: Any, share: Any) -> list[Any]:
        """Return what one part adds to the gradients; its loss and metrics are counted."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(part)
        with tf.GradientTape() as tape:
            answers = self(x, training=True)
            loss = self.compute_loss(x, y, answers, weights, training=True)
            shared = self.optimizer.scale_loss(loss * tf.cast(share, loss.dtype))
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=tf.shape(y)[0])
        self.compute_metrics(x, y, answers, sample_weight=weights)
        return tape.gradient(shared, self.trainable_variables)


def words_for_parts(model: keras.Model, *, batch_norm: str) -> str:
    """Return what a step in parts does otherwise than a whole one, after a clause; "" for nothing.

    Args:
        model: What is trained.
        batch_norm: What of it learns, one of `kerastl.models.batch_norm.BATCH_NORM_POLICIES`.

    Example:
        >>> features = keras.Input((4,))
        >>> model = keras.Model(features, keras.layers.BatchNormalization()(features))
        >>> words_for_parts(model, batch_norm="train")
        ", but BatchNorm's statistics are those of a part"
        >>> words_for_parts(model, batch_norm="affine")
        ''
    """
    learning = batch_norm == TRAINED_NORM and any(norm.trainable for norm in norms_in(model))
    return ", but BatchNorm's statistics are those of a part" if learning else ""


def _part(data: Any, start: Any, size: Any) -> Any:
    """Return some images of a batch, with their targets and weights."""

    def cut(one: tf.Tensor) -> tf.Tensor:
        # Where augmentation has lost the height and the width, they are known at run time.
        shape = tf.shape(one)
        part = tf.slice(one, [start, *[0] * (one.shape.rank - 1)], [size, *tf.unstack(shape)[1:]])
        part.set_shape([None, *one.shape[1:]])
        return part

    return keras.tree.map_structure(cut, data)


def model_for_steps(model: keras.Model, *, images_at_once: int | None) -> keras.Model:
    """Return a functional model to compile and train: the same layers and variables.

    A new one every time, so that nothing is left in the given one of a training that failed.

    Args:
        model: From one tensor or a list of tensors to one.
        images_at_once: See `SplitStep`; None for Keras' own step with all images at once.

    Example:
        >>> features = keras.Input((4,))
        >>> model = keras.Model(features, keras.layers.Dense(2, activation="softmax")(features))
        >>> model_for_steps(model, images_at_once=8).images_at_once
        8
    """
    inputs = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    if images_at_once is None:
        return keras.Model(inputs, model.outputs[0], name=model.name)
    return SplitStep(
        inputs=inputs, outputs=model.outputs[0], images_at_once=images_at_once, name=model.name
    )
