"""Whether XLA compiles a model's training step, and which layer of the software decided that."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Xla:
    """Whether the training step is compiled, and why.

    Attributes:
        is_on: Whether it is.
        reason: In a few words, for people.
    """

    is_on: bool
    reason: str

    @property
    def words(self) -> str:
        """Both in one."""
        return f"{'on' if self.is_on else 'off'} ({self.reason})"


def xla_of(model: keras.Model) -> Xla:
    """Return what `jit_compile="auto"` came to for a compiled model.

    Keras decides (`Trainer._resolve_auto_jit_compile`, keras 3.15.1): never on a machine with
    CPUs alone, where XLA makes the convolutions of a MobileNetV2 7 to 15 times slower (measured,
    2026-11); else unless a layer cannot be compiled, operations must be deterministic or
    `tf.distribute` is used.

    Args:
        model: After `compile`.

    Example:
        >>> pixels = keras.Input((2,))
        >>> model = keras.Model(pixels, keras.layers.Dense(1)(pixels))
        >>> model.compile(loss="mse", jit_compile=False)
        >>> xla_of(model).is_on
        False
    """
    devices = [d.device_type for d in tf.config.list_logical_devices() if d.device_type != "CPU"]
    if model.jit_compile:
        return Xla(True, f"Keras compiles for {devices[0] if devices else 'CPU'}")
    if not devices:
        return Xla(False, "Keras leaves it off on machines with CPUs alone, where it is slower")
    unable = [
        layer.name
        for layer in model._flatten_layers(include_self=False, recursive=True)
        if not layer.supports_jit
    ]
    if unable:
        return Xla(False, f"the layer {unable[0]!r} cannot be compiled")
    return Xla(False, "Keras turned it off: deterministic operations, or tf.distribute")
