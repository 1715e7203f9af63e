"""Whether XLA runs is told with the one that decided it."""

import keras
import pytest
import tensorflow as tf

from kerastl.models.xla import xla_of


def model(**options):
    inputs = keras.Input((2,))
    built = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
    built.compile(loss="mse", **options)
    return built


def test_on_a_machine_without_accelerator_keras_leaves_it_off():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    found = xla_of(model())
    assert not found.is_on
    assert "CPUs alone" in found.reason


def test_where_it_is_asked_for_it_is_on():
    found = xla_of(model(jit_compile=True))
    assert found.is_on
    assert found.words.startswith("on (")


def test_a_layer_that_cannot_be_compiled_is_named(monkeypatch):
    gpu = type("Device", (), {"device_type": "GPU"})
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [gpu])
    built = model(jit_compile=False)
    assert "deterministic" in xla_of(built).reason
    built.get_layer("dense").supports_jit = False
    assert xla_of(built).reason == "the layer 'dense' cannot be compiled"
