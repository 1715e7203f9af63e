"""The head on frozen features: the probe as its last layer, or a hidden layer trained by itself."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.batches import prepared_ahead
from kerastl.errors import ConfigError
from kerastl.features.centroids import Centroids
from kerastl.features.probe import Probe
from kerastl.models.classifier import parts_of


def assign_probe(classifier: keras.Model, probe: Probe | Centroids) -> None:
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
    batches = prepared_ahead(
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
