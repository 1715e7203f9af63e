"""GeM pooling: its numbers, its limits, and that it is made of Keras' own parts."""

import keras
import numpy as np
import pytest

from kerastl.features.network_digest import digest_network
from kerastl.models.generalized_mean import generalized_mean


def test_it_is_the_cubic_mean_of_each_channel():
    maps = np.random.default_rng(0).uniform(0, 6, (3, 5, 4, 7)).astype(np.float32)
    pooled = generalized_mean((5, 4, 7), name="pooling")(maps)
    expected = np.mean(maps.astype(np.float64) ** 3, axis=(1, 2)) ** (1 / 3)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_it_lies_between_mean_and_maximum():
    maps = np.random.default_rng(1).uniform(0, 6, (3, 5, 4, 7)).astype(np.float32)
    pooled = np.asarray(generalized_mean((5, 4, 7), name="pooling")(maps))
    assert np.all(pooled > maps.mean(axis=(1, 2)))
    assert np.all(pooled < maps.max(axis=(1, 2)))


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_what_a_relu_took_is_almost_nothing(value):
    pooled = generalized_mean((2, 2, 1), name="pooling")(np.full((1, 2, 2, 1), value, np.float32))
    assert float(pooled[0, 0]) == pytest.approx(1e-6, rel=0.1)


def test_half_precision_does_not_overflow():
    maps = keras.ops.cast(np.full((1, 2, 2, 1), 300.0), "float16")
    pooled = generalized_mean((2, 2, 1), name="pooling")(maps)
    assert float(pooled[0, 0]) == pytest.approx(300.0, rel=1e-3)


def test_what_it_computes_can_be_named():
    assert len(digest_network(generalized_mean((2, 2, 1), name="pooling"))) == 64
