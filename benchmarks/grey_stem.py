"""What a first convolution with one input channel would save for grey pictures: next to nothing.

    python benchmarks/grey_stem.py

The kernel of the first convolution summed over its input channels answers grey pixels the same, and
multiplies a third as often: of all multiplications of EfficientNetLite0, ResNet50 and MobileNetV2
at 224 pixels that saves at most 1.8, 2.0 and 2.4 %. Each network (random weights, BatchNorm folded)
is timed with three channels and with one, in turn, in one tf.function each; the gain is the median
of the ratios of neighbouring runs. On 2 cores of an AMD EPYC that others used too, 2026-11-23: 0.1
to 1.5 %, and in a second run while more was running -37 to 1.3 %. That is under the 3 % from which
another graph would be worth its code, so `--colour grey` leaves the network as it is, see
`kerastl.models.luminance`.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from kerastl.models.backbones import build_backbone
from kerastl.models.blocks import graph_of, nodes_of, replay
from kerastl.models.fold import fold_batch_norm

SIZE = 224


def with_channels(network: keras.Model, channels: int) -> keras.Model:
    """Return the network for so many channels, three or one, sharing all other layers."""
    pixels = keras.Input((SIZE, SIZE, channels))

    def call(node, *args, **kwargs):
        layer = node.operation
        is_stem = isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[-2] == 3
        if channels == 3 or not is_stem or isinstance(layer, keras.layers.DepthwiseConv2D):
            return layer(*args, **kwargs)
        narrow = keras.layers.Conv2D.from_config(layer.get_config())
        answer = narrow(*args)
        narrow.kernel.assign(keras.ops.sum(layer.kernel, axis=2, keepdims=True))
        if layer.use_bias:
            narrow.bias.assign(layer.bias)
        return answer

    graph = graph_of(network)
    tensors = {id(graph.inputs[0]): pixels}
    replay(nodes_of(network), tensors, call)
    return keras.Model(pixels, tensors[id(graph.outputs[0])])


def traced(network: keras.Model, batch: int) -> tf.types.experimental.ConcreteFunction:
    """Return the network in inference mode as one graph."""
    spec = tf.TensorSpec((batch, *network.input_shape[1:]), tf.float32)
    return tf.function(lambda pixels: network(pixels, training=False)).get_concrete_function(spec)


def seconds_of(function, pixels: tf.Tensor) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    function(pixels)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--networks", nargs="+", default=["EfficientNetLite0", "ResNet50", "MobileNetV2"]
    )
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(
        "| network | batch | three channels, ms | one channel, ms | gain |\n|---|---|---|---|---|"
    )
    for name in arguments.networks:
        backbone = build_backbone(name, image_size=(SIZE, SIZE), weights="none")
        network, _ = fold_batch_norm(backbone)
        for batch in (1, 32):
            grey = np.random.default_rng(0).random((batch, SIZE, SIZE, 1), np.float32)
            pixels = [tf.constant(np.repeat(grey, channels, axis=-1)) for channels in (3, 1)]
            calls = [traced(with_channels(network, channels), batch) for channels in (3, 1)]
            answers = [call(one).numpy() for call, one in zip(calls, pixels, strict=True)]
            np.testing.assert_allclose(*answers, atol=1e-4 * np.abs(answers[0]).max())
            times = [
                [seconds_of(call, one) for call, one in zip(calls, pixels, strict=True)]
                for _ in range(arguments.rounds)
            ]
            gain = 1 - statistics.median(one / three for three, one in times)
            three, one = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {name} | {batch} | {three:.1f} | {one:.1f} | {gain:.1%} |", flush=True)


if __name__ == "__main__":
    main()
