"""Compile and train one phase: a classifier and its images in, a better classifier out.

The frozen part is cut off at the border and runs inert (see `kerastl.models.frozen`);
before the first step a check proves on one batch that it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.batches import training_batches
from kerastl.data.stream import Images
from kerastl.errors import ConfigError, DataError
from kerastl.features.probe import Probe, log_loss_nats
from kerastl.models.blocks import Border
from kerastl.models.classifier import parts_of
from kerastl.models.frozen import prove_frozen, prove_inert, training_view
from kerastl.progress import Advance, track
from kerastl.training.recipes import warmup_steps


@dataclass(frozen=True)
class Phase:
    """What one phase of training does.

    Attributes:
        epochs: Longest length; the rate falls along a cosine to 0 at its end.
        learning_rate: Highest rate, reached after the warm-up.
        weight_decay: Of AdamW, on kernels only.
        batch_size: Images per step.
        patience_epochs: Ends after so many epochs without a better validation loss.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", see `kerastl.data.mixing`.
        clip_norm: Largest global norm of the gradients.
        seed: Decides order and augmentation.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 1e-3
    batch_size: int = 32
    patience_epochs: int = 5
    augment: str = "light"
    mix: str = "none"
    clip_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class PhaseResult:
    """How a phase went; the classifier holds the weights of its best epoch.

    Attributes:
        history: One row per epoch: phase, epoch (from 1), loss, accuracy, val_loss,
            val_accuracy, learning_rate, val_loss_kind ("plain" or "class-weighted"). Losses in
            nats per image; the rate is that of the epoch's middle step, half of its steps
            before and after.
        best_epoch: The epoch with the smallest validation loss, from 1.
        num_trainable: Numbers that the phase trained.
        num_folded: BatchNorm layers of the frozen part that were folded.
        largest_difference: Of the frozen part's outputs to the classifier's own layers,
            in standard deviations, on the batch of the check.
    """

    history: tuple[dict[str, Any], ...] = field(repr=False)
    best_epoch: int
    num_trainable: int
    num_folded: int
    largest_difference: float


def assign_probe(classifier: keras.Model, probe: Probe) -> None:
    """Make the probe the last Dense layer of the classifier, in place.

    Args:
        classifier: With no hidden layer in its head.
        probe: Fitted on the classifier's features.

    Raises:
        ConfigError: The head has a hidden layer, so that the probe does not fit.
    """
    output = parts_of(classifier).output
    if tuple(output.kernel.shape) != probe.kernel.shape:
        raise ConfigError(
            f"The probe has shape {probe.kernel.shape} but the last Dense layer takes "
            f"{tuple(output.kernel.shape)}: a head with `hidden_units` cannot hold the probe. "
            "Build it with hidden_units=0."
        )
    output.kernel.assign(probe.kernel)
    output.bias.assign(probe.bias)


def fit_head(
    classifier: keras.Model,
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    val_features: NDArray[np.float32],
    val_targets: NDArray[np.float32],
    *,
    epochs: int = 100,
    patience_epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    class_weights: NDArray[np.float32] | None = None,
) -> keras.Model:
    """Train a head with a hidden layer on frozen features, in place; keep its best epoch.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        features: float32 of shape (n, num_features), of the training rows.
        targets: float32 of shape (n, num_classes).
        val_features: float32 of shape (num_val, num_features).
        val_targets: float32 of shape (num_val, num_classes).
        epochs: Longest length.
        patience_epochs: Ends after so many epochs without a better validation loss.
        learning_rate: Of Adam.
        batch_size: Rows per step.
        seed: Of the shuffling.
        class_weights: float32 of shape (num_classes,): of the loss, on training and validation.

    Returns:
        The head as a model from features to probabilities; it shares the classifier's
        variables.
    """
    inputs = keras.Input((features.shape[1],), name="features")
    x = inputs
    for layer in parts_of(classifier).head:
        layer.trainable = True
        x = layer(x)
    head = keras.Model(inputs, x, name="head")
    multi_label = parts_of(classifier).output.activation is keras.activations.sigmoid
    head.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy" if multi_label else "categorical_crossentropy",
    )
    training: tuple[NDArray[np.float32], ...] = (features, targets)
    validation: tuple[NDArray[np.float32], ...] = (val_features, val_targets)
    if class_weights is not None:
        training = (*training, targets @ class_weights)
        validation = (*validation, val_targets @ class_weights)
    batches = (
        tf.data.Dataset.from_tensor_slices(training)
        .shuffle(len(features), seed=seed)
        .batch(batch_size)
    )
    stop = keras.callbacks.EarlyStopping(patience=patience_epochs, restore_best_weights=True)
    head.fit(
        batches,
        epochs=epochs,
        validation_data=validation,
        shuffle=False,  # the data set shuffles itself
        callbacks=[stop],
        verbose=0,
    )
    return head


def fine_tune(
    classifier: keras.Model,
    images: Images,
    targets: NDArray[np.float32],
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    border: Border | None,
    phase: Phase,
    class_weights: NDArray[np.float32] | None = None,
    balanced: bool = False,
) -> PhaseResult:
    """Train a classifier above a border, in place, and keep its best epoch by validation.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        targets: float32 of shape (n, num_classes): one-hot, or 0/1 for several labels.
        train_rows: int64: rows to train on.
        val_rows: int64: rows that decide which epoch is kept.
        border: Where the trained part begins; None for the whole backbone.
        phase: How to train.
        class_weights: float32 of shape (num_classes,): of the validation loss that chooses the
            epoch and, unless `balanced`, of the training loss.
        balanced: Whether an epoch draws every class equally often; its training loss is plain.

    Returns:
        History, best epoch and what the check of the frozen part found.

    Raises:
        FrozenPartError: The frozen part moves or acts at random; nothing was trained.
        DataError: The loss is not a number.
    """
    view = training_view(classifier, border=border)
    steps = math.ceil(len(train_rows) / phase.batch_size)
    multi_label = parts_of(classifier).output.activation is keras.activations.sigmoid
    _compile(view.model, phase, total_steps=steps * phase.epochs, multi_label=multi_label)
    sample = train_rows[: phase.batch_size]
    difference = prove_inert(view.frozen, reference=view.reference, pixels=images[sample])
    prove_frozen(
        view.model,
        must_not_move=view.must_not_move,
        pixels=images[sample],
        targets=targets[sample],
    )
    batches = training_batches(
        images,
        targets,
        train_rows,
        batch_size=phase.batch_size,
        augment=phase.augment,
        mix=phase.mix,
        seed=phase.seed,
        balanced=balanced,
        class_weights=None if balanced else class_weights,
    )
    with track("Fine-tuning", total=phase.epochs * steps) as advance:
        keeper = _BestEpoch(
            images,
            targets,
            val_rows,
            phase=phase,
            epoch_steps=steps,
            class_weights=class_weights,
            advance=advance,
        )
        view.model.fit(batches, epochs=phase.epochs, shuffle=False, verbose=0, callbacks=[keeper])
    keeper.restore(view.model)
    return PhaseResult(
        history=tuple(keeper.history),
        best_epoch=keeper.best_epoch,
        num_trainable=int(sum(math.prod(v.shape) for v in view.model.trainable_variables)),
        num_folded=view.num_folded,
        largest_difference=difference,
    )


def _compile(model: keras.Model, phase: Phase, *, total_steps: int, multi_label: bool) -> None:
    """Compile with a new optimizer: state of an earlier phase belongs to other variables."""
    warmup = warmup_steps(total_steps=total_steps)
    rate = keras.optimizers.schedules.CosineDecay(
        # Not 0: a first step that moves nothing could prove nothing (`prove_frozen`).
        initial_learning_rate=phase.learning_rate / warmup,
        warmup_target=phase.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, total_steps - warmup),
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=phase.weight_decay, global_clipnorm=phase.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if multi_label:
        loss: Any = keras.losses.BinaryCrossentropy()
        # Of an image all labels, as the metrics of a run count it.
        accuracy: Any = keras.metrics.MeanMetricWrapper(_all_labels_right, name="accuracy")
    else:
        loss = keras.losses.CategoricalCrossentropy()
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])


def _all_labels_right(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return 1 for each image whose labels are all right, else 0."""
    same = tf.equal(probabilities >= 0.5, targets >= 0.5)
    return tf.cast(tf.reduce_all(same, axis=-1), tf.float32)


class _BestEpoch(keras.callbacks.Callback):
    """After each epoch: measure on validation, keep the best weights, end with patience."""

    def __init__(
        self,
        images: Images,
        targets: NDArray[np.float32],
        rows: NDArray[np.int64],
        *,
        phase: Phase,
        epoch_steps: int,
        class_weights: NDArray[np.float32] | None,
        advance: Advance,
    ) -> None:
        super().__init__()
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self._images = images
        self._targets = targets[rows]
        self._rows = rows
        self._phase = phase
        self._middle_step = (epoch_steps - 1) // 2
        self._middle_rate = phase.learning_rate
        self._class_weights = class_weights
        self._advance = advance
        self._best_loss = math.inf
        self._best_weights: list[NDArray[Any]] = []
        self._step = 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the rate that the middle step of the epoch is taken with.

        After an epoch the optimizer gives the rate of the next step: 0 at the end of a phase.
        """
        if batch == self._middle_step:
            self._middle_rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop at once when the loss is no number: every later step would be wasted."""
        self._advance(1)
        self._step += 1
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DataError(
                f"The loss became {loss} in step {self._step} of fine-tuning, at a learning rate "
                f"of {float(self.model.optimizer.learning_rate):.3g}; expected a finite number. "
                f"Try --learning-rate {self._phase.learning_rate / 10:g}."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one row of history."""
        logs = logs or {}
        loss, accuracy = self._validate()
        self.history.append(
            {
                "phase": "fine-tune",
                "epoch": epoch + 1,
                "loss": float(logs["loss"]),
                "accuracy": float(logs["accuracy"]),
                "val_loss": loss,
                "val_accuracy": accuracy,
                "learning_rate": self._middle_rate,
                # Keras weights training losses only: said here, so that nobody compares apples
                # with pears.
                "val_loss_kind": "plain" if self._class_weights is None else "class-weighted",
            }
        )
        if loss < self._best_loss:
            self._best_loss, self.best_epoch = loss, epoch + 1
            self._best_weights = [np.array(v.numpy()) for v in self.model.trainable_variables]
        elif epoch + 1 - self.best_epoch >= self._phase.patience_epochs:
            self.model.stop_training = True

    def restore(self, model: keras.Model) -> None:
        """Put the weights of the best epoch back, in place."""
        for variable, value in zip(model.trainable_variables, self._best_weights, strict=True):
            variable.assign(value)

    def _validate(self) -> tuple[float, float]:
        """Return the log-loss in nats, without penalties on weights, and the accuracy."""
        probabilities = self._forward_all()
        if self.model.loss.name == "binary_crossentropy":
            right = np.all((probabilities >= 0.5) == (self._targets >= 0.5), axis=1)
            return log_loss_nats(self._targets, probabilities), float(right.mean())
        labels = self._targets.argmax(axis=1)
        loss = log_loss_nats(labels, probabilities, class_weights=self._class_weights)
        return loss, float(np.mean(probabilities.argmax(axis=1) == labels))

    def _forward_all(self) -> NDArray[np.float32]:
        """Return the probabilities of the validation images."""
        size = self._phase.batch_size
        return np.concatenate(
            [
                np.asarray(
                    self.model.predict_on_batch(
                        tf.cast(self._images[self._rows[i : i + size]], tf.float32)
                    )
                )
                for i in range(0, len(self._rows), size)
            ]
        )
