"""A rule for each variable: hand-computed updates, mixed precision, save and load."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.errors import ConfigError
from kerastl.models.blocks import borders
from kerastl.models.depth import variable_depths
from kerastl.training.optimizers import OPTIMIZERS, VariableRule, build_optimizer
from kerastl.training.variable_rules import variable_rules

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = np.eye(2, dtype="float32")[np.random.default_rng(1).integers(2, size=32)]


def two_layers(policy="float32"):
    keras.utils.set_random_seed(1)
    features = keras.Input((4,))
    x = keras.layers.Dense(5, name="low", dtype=policy)(features)
    outputs = keras.layers.Dense(2, activation="softmax", name="high", dtype="float32")(x)
    return keras.Model(features, outputs)


def gradients(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(Y, model(X, training=True)))
    return [np.array(one) for one in tape.gradient(loss, model.trainable_variables)]


RULES = {
    "low/kernel": VariableRule(rate=0.1, decay=0.5, towards_start=True),
    "low/bias": VariableRule(rate=0.1),
    "high/kernel": VariableRule(decay=0.2),
    "high/bias": VariableRule(start_step=2),
}


def by_hand(steps, rate):
    """SGD without momentum, in NumPy but for the gradients."""
    model = two_layers()
    start = model.get_weights()
    for step in range(steps):
        slopes = gradients(model)
        weights = []
        for variable, slope, first in zip(model.variables, slopes, start, strict=True):
            rule, value = RULES[variable.path], np.array(variable)
            own = rate * rule.rate * (step >= rule.start_step)
            towards = first if rule.towards_start else 0
            weights.append(value - own * rule.decay * (value - towards) - own * slope)
        model.set_weights(weights)
    return model.get_weights()


def compiled(model, name="sgd", rate=0.3, rules=RULES, **options):
    optimizer = build_optimizer(name, learning_rate=rate, rules=rules, **options)
    if name == "sgd":
        optimizer.momentum = 0.0
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", jit_compile=False)
    return model


def fit(model, steps):
    model.fit(X, Y, batch_size=32, epochs=steps, shuffle=False, verbose=0)
    return model.get_weights()


def test_updates_are_those_computed_by_hand():
    found = fit(compiled(two_layers()), 4)
    for one, expected in zip(found, by_hand(4, 0.3), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_rules_hold_under_mixed_precision(policy):
    model = two_layers(policy)
    optimizer = build_optimizer("sgd", learning_rate=0.3, rules=RULES)
    optimizer.momentum = 0.0
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", auto_scale_loss=False)
    found = fit(model, 3)
    start = two_layers().get_weights()
    for one, expected, first in zip(found, by_hand(3, 0.3), start, strict=True):
        moved = np.abs(expected - first).max()
        np.testing.assert_allclose(one, expected, atol=0.05 * moved + 1e-6)


def test_layer_wise_rates_are_a_factor_of_the_movement():
    """One step of SGD: what moves a tenth as fast has moved a tenth as far."""
    plain, slow = (
        fit(compiled(two_layers(), rules={"low/kernel": VariableRule(rate=rate)}), 1)
        for rate in (1.0, 0.1)
    )
    start = two_layers().get_weights()
    np.testing.assert_allclose(slow[0] - start[0], 0.1 * (plain[0] - start[0]), atol=1e-6)
    np.testing.assert_allclose(slow[2], plain[2], atol=1e-6)


def test_saved_in_the_middle_it_goes_on_as_if_nothing_had_been(tmp_path):
    """With momentum, rates, a start to be drawn to and a step to begin at."""

    def model():
        made = compiled(two_layers(), "adamw", rate=0.05)
        return made

    whole = fit(model(), 5)
    half = model()
    fit(half, 1)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert loaded.optimizer._rules == RULES
    for one, expected in zip(fit(loaded, 4), whole, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


def test_adamw_is_that_of_keras():
    own = two_layers()
    adamw = keras.optimizers.AdamW(1e-2, weight_decay=0.1, global_clipnorm=0.01)
    adamw.exclude_from_weight_decay(var_names=["bias"])
    own.compile(optimizer=adamw, loss="categorical_crossentropy")
    rules = variable_rules(two_layers(), {}, weight_decay=0.1)
    ours = compiled(two_layers(), "adamw", rate=1e-2, rules=rules, clip_norm=0.01)
    for one, expected in zip(fit(ours, 5), fit(own, 5), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_late_block_begins_like_one_of_its_own_and_does_not_count_before(name, jit_compile):
    """Neither in the norm that is clipped, nor in moments, nor in Adam's correction of these."""
    start, clip = 400, 1.0
    rng = np.random.default_rng(0)
    slopes = rng.normal((2, -1), 0.1, (start + 12, 2, 2)) * [[1], [30]]
    slopes = slopes.astype("float32")
    late_and_early = [keras.Variable(np.zeros(2, "float32"), name=n) for n in ("early", "late")]
    rules = {"late": VariableRule(start_step=start)}
    both = build_optimizer(name, learning_rate=1e-2, rules=rules, clip_norm=clip)
    both.build(late_and_early)

    @tf.function(jit_compile=jit_compile)
    def step(early, late):
        both.apply([early, late], late_and_early)

    expected = [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
    apart = [build_optimizer(name, learning_rate=1e-2, rules={}) for _ in range(2)]
    for optimizer, variable in zip(apart, expected, strict=True):
        optimizer.build([variable])
    for index, slope in enumerate(slopes):
        step(*map(tf.constant, slope))
        trained = slope[:1] if index < start else slope
        clipped = trained * min(1.0, clip / np.linalg.norm(trained))
        for optimizer, variable, one in zip(apart, expected, clipped, strict=False):
            optimizer.apply([tf.constant(one)], [variable])
        if index == start - 1:
            np.testing.assert_array_equal(late_and_early[1].numpy(), 0)
    for one, other in zip(late_and_early, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-3)
        assert np.abs(other.numpy()).min() > 0


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_head_steps_as_if_the_late_block_were_not_there(policy):
    moved = []
    late = {f"low/{name}": VariableRule(start_step=9) for name in ("kernel", "bias")}
    for rules in ({}, late):
        model = two_layers(policy)
        if not rules:
            model.get_layer("low").trainable = False
        optimizer = build_optimizer("sgd", learning_rate=1.0, rules=rules, clip_norm=0.01)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
        model.compile(optimizer=optimizer, loss="categorical_crossentropy", auto_scale_loss=False)
        moved.append(fit(model, 2))
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name):
    model = compiled(two_layers(), name, rate=1e-3, rules={})
    model.fit(X, Y, epochs=30, verbose=0)
    assert model.evaluate(X, Y, verbose=0) < two_layers_loss()


def two_layers_loss():
    model = two_layers()
    return float(np.mean(keras.losses.categorical_crossentropy(Y, model(X))))


def test_a_wrong_name_is_one_clear_line():
    with pytest.raises(ConfigError, match="Did you mean 'rmsprop'"):
        build_optimizer("rmsporp", learning_rate=1.0, rules={})


def test_rules_follow_depth_and_kind():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="low", strides=2)(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(4, 3, name="middle")(x)
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 1, name="top")(x))
    cuts = borders(backbone, "norm|middle")
    depths = variable_depths(backbone, cuts)
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    rules = variable_rules(
        model, depths, weight_decay=0.3, layer_decay=0.5, l2_sp=0.1, steps_per_block=10
    )
    assert rules["head/kernel"] == VariableRule(rate=1, decay=0.3)
    assert rules["head/bias"] == VariableRule(rate=1)
    assert rules["top/kernel"] == VariableRule(0.5, 0.1, towards_start=True, start_step=10)
    assert rules["middle/bias"] == VariableRule(0.25, 0.0, towards_start=True, start_step=20)
    assert rules["norm/gamma"] == VariableRule(0.125, 0.0, towards_start=True, start_step=30)
    assert rules["low/kernel"].rate == 0.125


def test_only_kernels_decay():
    """The scale of ConvNeXt's branches is a variable without a name; a step pulled it to 0."""

    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, inputs):
            return inputs * self.scale

    inputs = keras.Input((8, 8, 4))
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(inputs)
    x = keras.layers.SeparableConv2D(4, 3, name="separable")(Scale(name="layer_scale")(x))
    x = keras.layers.GroupNormalization(2, name="norm")(keras.layers.Reshape((16, 4))(x))
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(keras.layers.Flatten()(x)))
    depths = {id(v): 1 for v in model.variables if not v.path.startswith("head")}
    for options in ({"weight_decay": 0.1}, {"weight_decay": 0.1, "l2_sp": 0.1}):
        rules = variable_rules(model, depths, **options)
        assert len(rules) == len(model.trainable_variables)
        decaying = {key for key, rule in rules.items() if rule.decay}
        assert decaying == {key for key in rules if key.endswith("kernel")}
        assert len(decaying) == 3 + 4 + 1


def test_layers_of_one_name_have_rules_of_their_own():
    """A backbone with a layer that is called like the head."""
    low = keras.layers.Dense(5, name="same")
    inner_inputs = keras.Input((4,))
    backbone = keras.Model(inner_inputs, low(inner_inputs), name="net")
    features = keras.Input((4,))
    outputs = keras.layers.Dense(2, activation="softmax", name="same")(backbone(features))
    model = keras.Model(features, outputs)
    depths = {id(variable): 1 for variable in low.variables}
    rules = variable_rules(model, depths, weight_decay=0.1, layer_decay=0.0)
    assert len(rules) == 4
    start = model.get_weights()
    for old, new in zip(start, fit(compiled(model, rules=rules), 1), strict=True):
        assert np.array_equal(old, new) == (old.shape[-1] == 5)
