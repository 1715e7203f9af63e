"""A step in parts is the step: same weights, same losses, whatever the parts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.training.compilation import compile_for_training
from kerastl.training.phase import Phase
from kerastl.training.split_step import SplitStep, model_for_steps

COUNT, BATCH = 18, 7  # the last batch has 4 images


@pytest.fixture(autouse=True)
def double_precision():
    """So that nothing but rounding can hide in a tolerance."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def make_model(*, activation, two_tensors, dropout=0.0):
    keras.utils.set_random_seed(1)
    inputs = [keras.Input((6, 6, 3))]
    x = keras.layers.Conv2D(5, 3, activation="relu")(inputs[0])
    x = keras.layers.BatchNormalization(trainable=False)(x)
    if two_tensors:
        inputs.append(keras.Input((4, 4, 2)))
        x = keras.layers.Concatenate()([x, inputs[1]])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout, seed=3)(x) if dropout else x
    penalty = keras.regularizers.L1L2(0.05, 0.1)
    x = keras.layers.Dense(3, activation=activation, kernel_regularizer=penalty)(x)
    return keras.Model(inputs if two_tensors else inputs[0], x)


def trained(size, *, activation="softmax", two_tensors=False, weighted=False, jit=False, **options):
    model = make_model(activation=activation, two_tensors=two_tensors, **options)
    start = model.get_weights()
    stepping = model_for_steps(model, images_at_once=size)
    compile_for_training(
        stepping,
        Phase(epochs=2, learning_rate=1e-2, weight_decay=0.1, clip_norm=0.01),
        epoch_steps=3,
    )
    stepping.jit_compile = jit
    rng = np.random.default_rng(3)
    pixels, others = rng.normal(size=(COUNT, 6, 6, 3)), rng.normal(size=(COUNT, 4, 4, 2))
    labels = rng.integers(3, size=COUNT)
    targets = np.eye(3)[labels] if activation == "softmax" else rng.integers(2, size=(COUNT, 3))
    data = ((pixels, others) if two_tensors else pixels, targets.astype(float))
    data = (*data, np.array([0.1, 1, 4])[labels]) if weighted else data
    batches = tf.data.Dataset.from_tensor_slices(data).batch(BATCH)
    history = stepping.fit(batches, epochs=2, shuffle=False, verbose=0).history
    moved = max(np.abs(a - b).max() for a, b in zip(start, model.get_weights(), strict=True))
    assert moved > 0.01
    state = [np.array(v.numpy()) for v in stepping.optimizer.variables]
    return model.get_weights(), history, state


def assert_same(one, other, *, tolerance=1e-9):
    for a, b in zip((*one[0], *one[2]), (*other[0], *other[2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-3 * tolerance)
    assert one[1].keys() == other[1].keys() == {"loss", "accuracy"}
    for key, values in one[1].items():
        np.testing.assert_allclose(values, other[1][key], rtol=tolerance)


@pytest.mark.parametrize(
    ("activation", "two_tensors", "weighted", "sizes"),
    [("softmax", True, True, (1, 2, 3)), ("sigmoid", False, False, (3,))],
)
def test_parts_of_any_size_make_the_same_step(activation, two_tensors, weighted, sizes):
    """Clipping, weight decay, penalties, a smaller last batch and unequal parts included."""
    options = {"activation": activation, "two_tensors": two_tensors, "weighted": weighted}
    plain = trained(None, **options)
    for size in sizes:
        assert_same(trained(size, **options), plain)


def test_it_compiles():
    """Sizes are known to XLA, which asks for that. Its rounding is its own."""
    assert_same(trained(3, weighted=True, jit=True), trained(3, weighted=True), tolerance=1e-6)


def test_dropout_draws_for_each_part():
    plain, split = trained(None, dropout=0.5), trained(3, dropout=0.5)
    assert not np.allclose(plain[0][0], split[0][0])


def test_what_has_no_gradient_is_left_alone():
    """As in a plain step: weight decay would move it."""

    class Idle(keras.layers.Layer):
        def build(self, _shape):
            self.idle = self.add_weight(shape=(2,), initializer="ones")

        def call(self, inputs):
            return inputs

    for size in (None, 2):
        features = keras.Input((4,))
        outputs = keras.layers.Dense(2, activation="softmax")(Idle(name="idle")(features))
        model = model_for_steps(keras.Model(features, outputs), images_at_once=size)
        assert isinstance(model, SplitStep) == (size is not None)
        compile_for_training(
            model, Phase(epochs=1, learning_rate=0.1, weight_decay=0.5), epoch_steps=2
        )
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            model.fit(np.ones((4, 4)), np.eye(2)[[0, 1, 0, 1]], verbose=0)
        np.testing.assert_array_equal(model.get_layer("idle").idle.numpy(), 1.0)
