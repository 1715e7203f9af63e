"""Images per second of the frozen part: as Keras runs it, folded, and folded in bfloat16.

    python benchmarks/frozen_forward.py
    python benchmarks/frozen_forward.py --backbones EfficientNetLite0 ResNet50 --rounds 9

One process measures everything, interleaved: each round runs one batch through each model, in
another order each time, after a matrix product and a convolution whose speed is the machine's
limit. Ratios are medians over rounds of ratios within a round, so that a machine whose speed
moves between rounds moves them little; images per second are medians over rounds (best).
"Part of limit" is the median of the model's operations per second over the faster of the product
and the convolution in the same round. The weights are random: they have no influence on the speed.

Keras' mixed_bfloat16 is a fourth contestant with `--mixed`; OpenVINO, in bfloat16 and asked for
float32, with `--openvino` where that package is installed (`pip install openvino`).

2026-11, 2 cores of an AMD EPYC with Zen 5 (avx512_bf16, no AMX), TensorFlow 2.21, `--mixed
--rounds 5`, ratios over Keras float32: folded float32, folded bfloat16, Keras mixed_bfloat16, then
images per second in folded bfloat16 and their part of the limit:

    ResNet50           1.24  2.39  1.28   91   84 %
    MobileNetV2        1.67  2.92  0.78  390   29 %
    EfficientNetB0     1.43  1.81  1.03  164   16 %
    EfficientNetLite0  1.55  2.87  0.76  346   53 %
    InceptionV3        1.10  1.95  1.41  113   77 %
    VGG16              1.09  2.00  2.01   14  103 %

(VGG16 while other programs ran; it has no BatchNorm to fold.) The limits were 374 GFLOP/s in
float32 and 787 in bfloat16, both by the convolution.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerastl.benchmarking.limits import CONVOLUTION, MATMUL, machine_limits, seconds_of
from kerastl.features.extract import folded_feature_model
from kerastl.models.backbones import build_backbone, find_backbone
from kerastl.models.classifier import build_classifier, feature_model, parts_of
from kerastl.models.operations import operations_per_image

BACKBONES = (
    "ResNet50",
    "MobileNetV2",
    "EfficientNetB0",
    "EfficientNetLite0",
    "InceptionV3",
    "VGG16",
)
KINDS = (MATMUL, CONVOLUTION)
PRECISIONS = ("float32", "bfloat16")


def compiled(model: keras.Model, pixels: tf.Tensor) -> Callable[[], np.ndarray]:
    """Return the model in inference mode over some images, as a graph, as extraction runs it."""

    @tf.function
    def forward(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    return lambda: forward(pixels).numpy()


def in_openvino(model: keras.Model, pixels: tf.Tensor) -> dict[str, Callable[[], np.ndarray]]:
    """Return the model over some images as OpenVINO runs it, in both precisions."""
    import openvino

    with tempfile.TemporaryDirectory() as place:
        model.export(place, verbose=False)
        converted = openvino.convert_model(place)
    converted.reshape(list(pixels.shape))
    found = {}
    for label, hint in (("bfloat16", "bf16"), ("float32", "f32")):
        options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        ready = openvino.Core().compile_model(converted, "CPU", options)
        found[f"OpenVINO {label}"] = lambda ready=ready: ready([pixels.numpy().astype("float32")])[
            0
        ]
    return found


def measure(
    name: str, *, batch: int, rounds: int, mixed: bool, openvino: bool
) -> list[dict[str, float]]:
    """Return what each contestant and each limit took, one dictionary per round."""
    image_size = (224, 224)

    def classifier(policy: str) -> keras.Model:
        keras.config.set_dtype_policy(policy)
        built = build_classifier(
            build_backbone(name, image_size=image_size, weights="none"),
            num_classes=2,
            image_size=image_size,
            preprocessing=find_backbone(name).preprocessing,
        )
        keras.config.set_dtype_policy("float32")
        return built

    plain = classifier("float32")
    models = {
        "Keras float32": feature_model(plain),
        "folded float32": folded_feature_model(plain),
        "folded bfloat16": folded_feature_model(plain, dtype="bfloat16"),
    }
    if mixed:
        models["Keras mixed_bfloat16"] = feature_model(classifier("mixed_bfloat16"))
    pixels = tf.constant(
        np.random.default_rng(0).integers(0, 256, (batch, *image_size, 3), np.uint8)
    )
    jobs = {label: compiled(model, pixels) for label, model in models.items()}
    if openvino:
        jobs |= in_openvino(feature_model(plain), pixels)
    operations = operations_per_image(parts_of(plain).backbone)
    found = []
    machine = {f"{one.kind} {one.precision}": one for one in machine_limits(PRECISIONS)}
    for turn in range(-1, rounds):
        speeds = {
            label: limit.operations / seconds_of(limit.run, at_least_seconds=0.1)
            for label, limit in machine.items()
        }
        labels = list(jobs)
        for place in range(len(labels)):
            label = labels[(turn + place) % len(labels)]
            elapsed = seconds_of(jobs[label], at_least_seconds=0.3)
            speeds[label] = batch / elapsed
        speeds["operations"] = operations
        if turn >= 0:
            found.append(speeds)
    return found


def median_of(found: list[dict[str, float]], value: Callable[[dict[str, float]], float]) -> float:
    """Return the median over rounds."""
    return statistics.median(value(speeds) for speeds in found)


def print_rows(name: str, found: list[dict[str, float]]) -> None:
    """Print one line per contestant: ratio, speeds, part of the limit."""
    plain = "Keras float32"
    for label in (key for key in found[0] if key.startswith(("Keras", "folded", "Open"))):
        precision = "bfloat16" if "bfloat16" in label else "float32"
        ratio = median_of(found, lambda s, label=label: s[label] / s[plain])
        limit = median_of(
            found,
            lambda s, label=label, precision=precision: (
                s[label] * s["operations"] / max(s[f"{kind} {precision}"] for kind in KINDS)
            ),
        )
        middle = median_of(found, lambda s, label=label: s[label])
        best = max(speeds[label] for speeds in found)
        print(
            f"| {name} | {label} | {ratio:.2f} | {middle:.1f} ({best:.1f}) | {100 * limit:.0f} % |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--openvino", action="store_true")
    arguments = parser.parse_args()
    everything: list[dict[str, float]] = []
    print(
        "| backbone | | over Keras float32 | img/s (best) | part of limit |\n|---|---|---|---|---|"
    )
    for name in arguments.backbones:
        found = measure(
            name,
            batch=arguments.batch,
            rounds=arguments.rounds,
            mixed=arguments.mixed,
            openvino=arguments.openvino,
        )
        print_rows(name, found)
        everything += found
        keras.backend.clear_session()
        gc.collect()
    print("\nLimits, GFLOP/s (best):")
    for label in (key for key in everything[0] if key.startswith(KINDS)):
        middle = median_of(everything, lambda s, label=label: s[label]) / 1e9
        print(f"{label} {middle:.0f} ({max(s[label] for s in everything) / 1e9:.0f})")


if __name__ == "__main__":
    main()
