"""The pictures that a channel of a network answers to most: activation maximisation.

Gradient ascent from faint noise, as Olah, Mordvintsev and Schubert have it (Feature Visualization,
Distill 2017, https://doi.org/10.23915/distill.00007): the picture is held as its spatial
frequencies, equally scaled, and in colours that natural pictures have independently of each other;
in every step it is shifted a little. Without these the gradient ends in what looks like noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import ConfigError
from kerastl.interpretation.layer_maps import find_layer
from kerastl.models.blocks import graph_of, nodes_of
from kerastl.models.classifier import parts_of

_LEARNING_RATE = 0.05
_FIRST_DEVIATION = 0.01
_BELOW_ZERO = 0.1
_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU)
# Part of the side by which a picture is shifted at most.
_JITTER = 1 / 16
# How red, green and blue go together in ImageNet, as Olah et al. measured it.
_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


@dataclass(frozen=True, eq=False)
class PreferredPictures:
    """What channels of a layer answer to most.

    Attributes:
        pictures: uint8 of shape (n, height, width, 3), RGB: one for each channel.
        before: float32 of shape (n,): mean of the channel's map for the noise it began with, before
            any activation function, what is below 0 counted a tenth.
        after: The same for the picture. Where that is not more, nothing was found.
    """

    pictures: NDArray[np.uint8] = field(repr=False)
    before: NDArray[np.float32]
    after: NDArray[np.float32]


def preferred_pictures(
    classifier: keras.Model,
    layer: str,
    channels: Sequence[int],
    *,
    steps: int = 128,
    seed: int = 0,
    tell: Callable[[int], object] | None = None,
) -> PreferredPictures:
    """Return pictures that channels of a layer answer to most.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        layer: Name of a layer with feature maps, see `kerastl.interpretation.layer_maps`.
        channels: Numbers of its channels, from 0.
        steps: Of gradient ascent; 0 for the noise it begins with.
        seed: Of the noise and of the shifts.
        tell: Called with the number of steps done since the last time.

    Raises:
        ConfigError: There is no such layer or channel.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((16, 16, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="stem")(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(16, 16),
        ...                               preprocessing="tf")
        >>> found = preferred_pictures(classifier, "stem", [0, 3], steps=20)
        >>> found.pictures.shape, bool((found.after > found.before).all())
        ((2, 16, 16, 3), True)
    """
    parts = parts_of(classifier)
    place = find_layer(parts.backbone, layer)
    beyond = [one for one in channels if not 0 <= one < place.shape[2]]
    if beyond:
        raise ConfigError(
            f"Channels of {layer!r} are from 0 to {place.shape[2] - 1}; received {beyond[0]}."
        )
    entering, finish = _before_activation(nodes_of(parts.backbone)[place.position])
    network = keras.Model(graph_of(parts.backbone).inputs, entering)
    height, width = classifier.input_shape[1:3]
    chosen = tf.one_hot(list(channels), place.shape[2])
    draw = _painter(height, width)
    random = tf.random.Generator.from_seed(seed)
    spectrum = tf.Variable(
        random.normal((len(chosen), 3, height, width // 2 + 1, 2), stddev=_FIRST_DEVIATION)
    )
    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build([spectrum])

    def answers(pictures: tf.Tensor) -> tf.Tensor:
        crossing = network(parts.preprocessing(255.0 * pictures), training=False)
        found = tf.cast(finish(keras.tree.flatten(crossing)[0]), tf.float32)
        # A silent channel has a gradient too; and the mean of a filter for edges is not nothing.
        found = tf.nn.leaky_relu(found, alpha=_BELOW_ZERO)
        return tf.reduce_sum(tf.reduce_mean(found, axis=(1, 2)) * chosen, axis=1)

    @tf.function
    def climb() -> None:
        most = tf.cast(tf.constant([height, width], tf.float32) * _JITTER, tf.int32)
        shift = tf.cast(random.uniform((2,), -1.0, 1.0) * tf.cast(most, tf.float32), tf.int32)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(answers(tf.roll(draw(spectrum), shift, axis=(1, 2))))
        optimizer.apply([tape.gradient(loss, spectrum)], [spectrum])

    # Traced here once: TensorFlow warns of retracing when layers follow each other.
    step = climb.get_concrete_function()
    before = answers(draw(spectrum)).numpy()
    for _ in range(steps):
        step()
        if tell is not None:
            tell(1)
    pictures = draw(spectrum)
    shown = np.clip(np.rint(255 * pictures.numpy()), 0, 255).astype(np.uint8)
    return PreferredPictures(shown, before, answers(pictures).numpy())


def _before_activation(node: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return what enters the last step before an activation function, and that step.

    Behind a ReLU a channel that is silent has no gradient to climb.
    """
    operation = node.operation
    if isinstance(operation, _ACTIVATIONS):
        return node.input_tensors[0], lambda maps: maps
    if isinstance(operation, keras.layers.Conv2D) and operation.groups == 1:

        def convolve(entering: Any) -> Any:
            maps = operation.convolution_op(entering, operation.kernel)
            return maps if operation.bias is None else maps + operation.bias

        return node.input_tensors[0], convolve
    return node.output_tensors[0], lambda maps: maps


def _painter(height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the function from spatial frequencies to pictures, float32 (n, height, width, 3)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width))
    colors = (_COLORS / np.linalg.norm(_COLORS, axis=0).max()).T

    def draw(spectrum: tf.Tensor) -> tf.Tensor:
        scaled = tf.complex(spectrum[..., 0], spectrum[..., 1]) * tf.constant(scale, tf.complex64)
        planes = tf.signal.irfft2d(scaled, [height, width]) / 4.0
        mixed = tf.tensordot(tf.transpose(planes, (0, 2, 3, 1)), tf.constant(colors, tf.float32), 1)
        return tf.sigmoid(mixed)

    return draw
