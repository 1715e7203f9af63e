"""Networks whose answers depend on their input, as trained ones do.

With Keras' initial BatchNorm statistics a deep network answers nearly the same to every image,
so that almost any comparison of two such networks succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def calibrate() -> Callable[[keras.Model, tf.Tensor], np.ndarray]:
    """Give each BatchNorm random gamma and beta and the statistics of these images."""

    def run(network: keras.Model, images: tf.Tensor) -> np.ndarray:
        rng = np.random.default_rng(0)
        layers = network._flatten_layers()
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        for norm in norms:
            if norm.scale:
                norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape))
            if norm.center:
                norm.beta.assign(rng.normal(0.0, 0.3, norm.beta.shape))
        # Momentum 0 takes this batch's statistics alone; dropped values would spoil them.
        switched_off = [(norm, "momentum") for norm in norms]
        switched_off += [(layer, "rate") for layer in layers if hasattr(layer, "rate")]
        settings = [getattr(layer, name) for layer, name in switched_off]
        for layer, name in switched_off:
            setattr(layer, name, 0.0)
        network(images, training=True)
        for (layer, name), value in zip(switched_off, settings, strict=True):
            setattr(layer, name, value)
        answer = network(images, training=False).numpy()
        assert np.isfinite(answer).all()
        # Spread between images, in units of the spread over everything.
        assert np.ptp(answer, axis=0).mean() > 0.05 * answer.std() > 0
        return answer

    return run


@pytest.fixture
def fresh_keras() -> Iterator[None]:
    """Forget the networks of a test, and its dtype policy, after it."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)
    keras.backend.clear_session()
