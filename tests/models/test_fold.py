"""Folding changes no answer, and touches nothing but its copy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.applications.convnext import StochasticDepth

from kerastl.errors import ConfigError
from kerastl.models.backbones import build_backbone, find_backbone, preprocess
from kerastl.models.blocks import borders, split
from kerastl.models.fold import fold_batch_norm


def random_images(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), "float32")


def count_norms(network):
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network._flatten_layers())


def chain(*parts, shape=(9, 9, 4)):
    inputs = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def assert_folds(model, expected_folds, calibrate, images=None):
    """The copy answers like the model in inference mode, however it is called."""
    images = random_images(8, *model.input_shape[1:]) if images is None else images
    answer = calibrate(model, images)
    folded, num_folded = fold_batch_norm(model)
    assert num_folded == expected_folds
    assert count_norms(folded) == count_norms(model) - num_folded
    for training in (False, True):
        received = folded(images, training=training).numpy()
        assert np.abs(received - answer).max() <= 1e-4 * answer.std()
    return folded


BIASED = {"bias_initializer": "normal"}
KINDS = {
    "convolution": lambda: layers.Conv2D(5, 3, **BIASED),
    "without_bias": lambda: layers.Conv2D(5, 3, use_bias=False, strides=2, padding="same"),
    "groups": lambda: layers.Conv2D(6, 3, groups=2, dilation_rate=2, **BIASED),
    "depthwise": lambda: layers.DepthwiseConv2D(3, **BIASED),
    "multiplier": lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
    "separable": lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, **BIASED),
    "dense": lambda: layers.Dense(7, **BIASED),
    "dense_without_bias": lambda: layers.Dense(7, use_bias=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}, {"axis": 3}], ids=str
)
def test_every_kind_of_layer_and_norm(kind, options, calibrate):
    model = chain(KINDS[kind](), layers.BatchNormalization(**options), layers.ReLU())
    assert_folds(model, 1, calibrate)


def test_norms_that_cannot_be_folded_stay(calibrate):
    inputs = keras.Input((9, 9, 4))
    x = layers.BatchNormalization(name="first")(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.BatchNormalization(name="behind_activation")(x)
    read_twice = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.Add()([layers.BatchNormalization(name="of_two_readers")(read_twice), read_twice])
    x = layers.BatchNormalization(axis=1, name="of_rows")(layers.Conv2D(4, 1)(x))
    model = keras.Model(inputs, x)
    folded = assert_folds(model, 0, calibrate)
    assert folded.get_layer("of_two_readers").moving_mean.numpy().any()


def test_an_output_of_the_model_is_a_reader_too():
    inputs = keras.Input((9, 9, 4))
    maps = layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, [maps, layers.BatchNormalization()(maps)])
    assert fold_batch_norm(model)[1] == 0


def test_shared_layers_are_not_folded(calibrate):
    inputs = keras.Input((9, 9, 4))
    convolution = layers.Conv2D(4, 3, padding="same")
    norm = layers.BatchNormalization()
    x = layers.BatchNormalization()(convolution(inputs))
    x = layers.BatchNormalization()(convolution(x))
    x = norm(layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, norm(layers.Conv2D(4, 3)(x)))
    folded = assert_folds(model, 0, calibrate)
    assert len(folded.weights) == len(model.weights)


def test_a_subclass_is_not_folded_for_it_may_compute_something_else(calibrate):
    @keras.saving.register_keras_serializable("kerastl_tests")
    class Doubled(layers.Conv2D):
        def call(self, inputs):
            return super().call(inputs) ** 2

    assert_folds(chain(Doubled(4, 3), layers.BatchNormalization()), 0, calibrate)


def test_squeeze_and_excitation_keeps_its_weights(calibrate):
    inputs = keras.Input((9, 9, 4))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(inputs))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(6, 1, activation="sigmoid", kernel_initializer="normal")(gate)
    x = layers.BatchNormalization()(layers.Conv2D(4, 1)(x * gate))
    assert_folds(keras.Model(inputs, x), 2, calibrate)


def test_parts_of_a_split_are_folded_by_their_own_calls(calibrate):
    inputs = keras.Input((9, 9, 4))
    x = layers.BatchNormalization(name="bn_a")(layers.Conv2D(6, 3, name="conv_a")(inputs))
    x = layers.BatchNormalization(name="bn_b")(layers.Conv2D(6, 1, name="conv_b")(x))
    x = layers.BatchNormalization(name="bn_c")(layers.Conv2D(6, 1, name="conv_c")(x))
    model = keras.Model(inputs, x)
    images = random_images(8, 9, 9, 4)
    answer = calibrate(model, images)
    for cut, expected in (("bn_a", (1, 2)), ("conv_b", (1, 1))):
        (border,) = borders(model, cut)
        prefix, suffix = split(model, border)
        (low, num_low), (high, num_high) = fold_batch_norm(prefix), fold_batch_norm(suffix)
        # A cut between a convolution and its BatchNorm leaves that one unfolded, not undone.
        assert (num_low, num_high) == expected
        assert np.abs(high(low(images)).numpy() - answer).max() <= 1e-4 * answer.std()


def test_networks_inside_networks_are_folded(calibrate):
    inner = chain(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    stack = keras.Sequential(
        [keras.Input((7, 7, 4)), layers.Conv2D(4, 3), layers.BatchNormalization()]
    )
    inputs = keras.Input((9, 9, 4))
    model = keras.Model(inputs, stack(inner(inputs, training=False)))
    assert_folds(model, 2, calibrate)


def test_normalisation_of_pixels_is_copied_with_its_state(calibrate):
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3.0, 2.0, (16, 9, 9, 4)))
    assert_folds(chain(norm, layers.Conv2D(4, 3), layers.BatchNormalization()), 1, calibrate)


def test_nothing_acts_at_random(calibrate):
    model = chain(
        layers.Conv2D(4, 3),
        layers.Dropout(0.5),
        layers.SpatialDropout2D(0.5),
        layers.GaussianNoise(1.0),
        StochasticDepth(0.5),
    )
    images = random_images(8, 9, 9, 4)
    twice = [model(images, training=True).numpy() for _ in range(2)]
    assert np.abs(twice[0] - twice[1]).max() > 0
    folded = assert_folds(model, 0, calibrate, images)
    assert [type(layer).__name__ for layer in folded.layers] == ["InputLayer", "Conv2D"]
    assert folded.trainable_variables == []


def test_training_around_it_does_not_move_it(calibrate):
    model = chain(layers.BatchNormalization(), layers.Conv2D(4, 3), layers.Dropout(0.5))
    calibrate(model, random_images(8, 9, 9, 4))
    folded, _ = fold_batch_norm(model)
    before = [value.copy() for value in folded.get_weights()]
    inputs = keras.Input((9, 9, 4))
    outer = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(folded(inputs))))
    outer.compile("sgd", "mse")
    outer.fit(random_images(8, 9, 9, 4) + 5.0, np.ones(8), epochs=2, verbose=0)
    for value, expected in zip(folded.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_the_model_is_left_alone_and_the_copy_is_its_own(calibrate):
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Conv2D(2, 3))
    images = random_images(8, 9, 9, 4)
    answer = calibrate(model, images)
    names, weights = [layer.name for layer in model.layers], model.get_weights()
    folded, _ = fold_batch_norm(model)
    assert [layer.name for layer in model.layers] == names
    assert model.trainable
    assert len(model.trainable_variables) == 6
    for value, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, expected)
    for variable in model.weights:
        variable.assign(variable * 0.0)
    assert np.abs(folded(images).numpy() - answer).max() <= 1e-4 * answer.std()


def test_the_copy_can_be_saved(calibrate, tmp_path):
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    images = random_images(8, 9, 9, 4)
    folded = assert_folds(model, 1, calibrate, images)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(loaded(images).numpy(), folded(images).numpy())


def test_half_precision_is_for_the_network_and_not_for_its_pixels(fresh_keras):
    backbone = build_backbone("EfficientNetV2B0", image_size=(32, 32), weights="none")
    folded, _ = fold_batch_norm(backbone, dtype="bfloat16")
    images = np.full((1, 32, 32, 3), 100.3, "float32")
    assert folded(images).dtype == tf.bfloat16
    scaling = [layer for layer in folded.layers if "float32" in layer.dtype_policy.name]
    assert [type(layer).__name__ for layer in scaling] == [
        "InputLayer",
        "Rescaling",
        "Normalization",
    ]


def test_a_layer_that_cannot_be_copied_is_named():
    class Opaque(layers.Layer):
        def __init__(self, function):
            super().__init__(name="opaque")
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    model = chain(Opaque(lambda tensor: tensor * 2.0))
    with pytest.raises(ConfigError, match=r"'opaque' \(Opaque\).*Define one that returns"):
        fold_batch_norm(model)


def test_real_weights_fold_exactly_in_float32(fresh_keras):
    backbone = build_backbone("EfficientNetLite0", image_size=(96, 96), weights="imagenet")
    rng = np.random.default_rng(0)
    # Smooth pictures, not noise: 6x6 random colours, enlarged.
    pixels = tf.image.resize(rng.uniform(0, 255, (4, 6, 6, 3)), (96, 96), method="bicubic")
    images = preprocess(
        tf.cast(pixels, "float32"), find_backbone("EfficientNetLite0").preprocessing
    )
    answer = backbone(images, training=False).numpy()
    assert np.ptp(answer, axis=0).mean() > 0.1 * answer.std() > 0
    folded, num_folded = fold_batch_norm(backbone)
    assert num_folded == count_norms(backbone) == 49
    assert np.abs(folded(images).numpy() - answer).max() <= 1e-4 * answer.std()
