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
        norms = [
            layer
            for layer in network._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            if norm.scale:
                norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape))
            if norm.center:
                norm.beta.assign(rng.normal(0.0, 0.3, norm.beta.shape))
            norm.momentum = 0.0
        network(images, training=True)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
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
