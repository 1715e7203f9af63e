"""Layers that compute in half precision for a while; their weights stay float32.

Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740; for bfloat16 Kalamkar et al. 2019,
arXiv:1905.12322): products are rounded, sums and weights are not. Keras decides it when a layer is
built; here the same layers, with the same variables, compute in it while a graph is traced, so
that the model that is kept, validated and exported is float32 and no copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras


@contextmanager
def computing_in(layers: Iterable[keras.Layer], policy: str) -> Iterator[None]:
    """Let layers compute by another policy inside the block; graphs traced there keep it.

    Args:
        layers: Those with float32 weights. Others are left alone: a user has chosen for them.
        policy: Such as "mixed_bfloat16" or "mixed_float16".

    Example:
        >>> import tensorflow as tf
        >>> layer = keras.layers.Dense(2)
        >>> with computing_in([layer], "mixed_bfloat16"):
        ...     layer(tf.ones((1, 3))).dtype
        tf.bfloat16
        >>> layer(tf.ones((1, 3))).dtype, layer.kernel.dtype
        (tf.float32, 'float32')
    """
    changed = [layer for layer in layers if layer.dtype_policy.name == "float32"]
    before = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = keras.DTypePolicy(policy)
    try:
        yield
    finally:
        for layer, own in zip(changed, before, strict=True):
            layer.dtype_policy = own
