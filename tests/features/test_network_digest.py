"""Networks that compute the same have one digest, all others another."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from kerastl.features.network_digest import digest_network

BUILD = """
import keras, numpy as np
from kerastl.features.network_digest import digest_network

def build(*, swap=False, activation="relu", kernel=1.0, padding="same", dtype=None, twice=False):
    inner_pixels = keras.Input((6, 6, 3))
    one = keras.layers.Conv2D(2, 3, padding=padding, dtype=dtype)(inner_pixels)
    two = keras.layers.Activation(activation)(one)
    order = [two, one] if swap else [one, two]
    inner = keras.Model(inner_pixels, order)
    pixels = keras.Input((6, 6, 3))
    joined = keras.layers.Concatenate()(inner(pixels, training=False))
    if twice:
        joined = keras.layers.Concatenate()(inner(joined[..., :3]))
    model = keras.Model(pixels, joined)
    for variable in model.variables:
        variable.assign(np.full(variable.shape, kernel))
    return model
"""
space: dict = {}
exec(BUILD, space)
build = space["build"]


def test_names_of_layers_do_not_count():
    first = digest_network(build())
    for _ in range(3):
        keras.layers.Conv2D(1, 1)  # Keras numbers go on
    assert digest_network(build()) == first
    keras.backend.clear_session()
    assert digest_network(build()) == first


def test_another_process_finds_the_same():
    code = f"{BUILD}\nkeras.layers.ReLU()\nprint(digest_network(build()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_network(build())


@pytest.mark.parametrize(
    "changes",
    [
        {"swap": True},
        {"activation": "tanh"},
        {"kernel": 1.0000001},
        {"padding": "valid"},
        {"dtype": "bfloat16"},
        {"twice": True},
    ],
)
def test_everything_else_counts(changes):
    assert digest_network(build(**changes)) != digest_network(build())


def test_a_layer_that_is_called_like_its_activation():
    def named(name, activation):
        pixels = keras.Input((4,))
        return keras.Model(pixels, keras.layers.Activation(activation, name=name)(pixels))

    assert digest_network(named("relu", "relu")) == digest_network(named("tanh", "relu"))
    assert digest_network(named("relu", "relu")) != digest_network(named("relu", "tanh"))


def test_models_in_a_row():
    def row(units):
        layers = [keras.layers.Dense(units, kernel_initializer="ones"), keras.layers.ReLU()]
        model = keras.Sequential([keras.Input((4,)), *layers])
        return keras.Model(model.inputs, model.outputs)

    assert digest_network(row(2)) == digest_network(row(2))
    assert digest_network(row(2)) != digest_network(row(3))


def test_a_layer_that_cannot_be_described():
    class Secret(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.table = np.zeros(3)

        def call(self, inputs):
            return inputs

        def get_config(self):
            raise NotImplementedError("not here")

    pixels = keras.Input((4,))
    with pytest.raises(TypeError, match="cannot be described"):
        digest_network(keras.Model(pixels, Secret()(pixels)))


@keras.saving.register_keras_serializable("tests")
class OwnLayer(keras.layers.Layer):
    """What it does can change while its description stays."""

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tests")
def own_curve(x):
    return x


@pytest.mark.parametrize(
    "make",
    [
        OwnLayer,
        lambda: keras.layers.Activation(own_curve),
        lambda: keras.layers.Dense(2, activation=own_curve),
        lambda: keras.layers.Lambda(lambda x: 2 * x),
        lambda: keras.layers.TimeDistributed(OwnLayer()),
    ],
    ids=["layer", "activation", "dense", "lambda", "wrapped"],
)
def test_a_network_with_code_of_the_user_has_no_digest(make):
    pixels = keras.Input((4, 3))
    with pytest.raises(TypeError, match="your own code"):
        digest_network(keras.Model(pixels, make()(pixels)))


def test_random_states_do_not_count():
    def dropping():
        pixels = keras.Input((4,))
        return keras.Model(pixels, keras.layers.Dropout(0.5)(pixels))

    assert digest_network(dropping()) == digest_network(dropping())
