"""The same bits from the same seed, and what has to be given up for it."""

from __future__ import annotations

import tensorflow as tf

from kerastl.config import FitConfig
from kerastl.errors import ConfigError


def become_deterministic(config: FitConfig) -> None:
    """Let TensorFlow do in order what it leaves to chance, for the rest of the process.

    Sums of many threads come out in the order in which these end, and differ in their last bits;
    steps of training make that grow. What is decided by a clock differs too and is refused.

    Args:
        config: All options.

    Raises:
        ConfigError: An option lets a clock decide.
    """
    for name, wanted in (("max_minutes", None), ("precision", "float32")):
        received = getattr(config, name)
        if received != wanted:
            raise ConfigError(
                f"`{name}` must be {wanted} where `deterministic` is on, because what a clock "
                f"decides is not the same twice; received {name}={received!r}. Leave out one of "
                "the two."
            )
    tf.config.experimental.enable_op_determinism()
