"""Images per second of every augmentation policy in tf.data, and what Keras layers would give.

    python benchmarks/augmentation.py

Batches of 32 images of 224 x 224 pixels from memory, no model: `training_batches` with each
policy, beside the layers of Keras (and the RandAugment of keras-cv) that come nearest,
called inside a tf.function with training=True, as they run when they are part of the model.
Rounds are interleaved; medians; the ratio is kerastl's speed over the layer's. "Same
pictures" says whether two runs with one seed, called in parallel by tf.data, are equal.
"""

import argparse
import statistics
import time
from collections import defaultdict

import keras
import keras_cv
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_sample_images

import kerastl

SIZE, BATCH = 224, 32
RANGE = (0, 255)


def layers() -> dict:
    """Return the layers beside each policy, made anew."""
    keras.utils.set_random_seed(0)
    flip = [keras.layers.RandomFlip("horizontal", seed=1)]
    light = [*flip, keras.layers.RandomZoom((-0.2, 0.0), seed=2)]
    small = [
        keras.layers.RandomRotation(3 / 360, seed=3),
        keras.layers.RandomTranslation(0.02, 0.02, seed=4),
    ]
    both = [keras.layers.RandomFlip("horizontal_and_vertical", seed=5)]
    return {
        "light": light,
        "mirrors": [*both, *small],
        "medium": [*light, keras.layers.RandAugment(RANGE, 2, 0.3, seed=6)],
        "strong": [*light, keras.layers.RandAugment(RANGE, 2, 0.9, seed=6)],
        "medium, keras-cv": [
            *light,
            keras_cv.layers.RandAugment(RANGE, augmentations_per_image=2, magnitude=0.3, seed=0),
        ],
    }


def called(parts: list):
    """Return a function that applies layers to a batch."""

    def apply(pixels):
        for layer in parts:
            pixels = layer(pixels, training=True)
        return pixels

    return apply


def ours(images, policy: str, mix: str = "none"):
    """Return one epoch of batches."""
    rows = np.arange(len(images))
    targets = np.eye(len(images), 10, dtype=np.float32)
    batches = kerastl.training_batches(
        images, targets, rows, batch_size=BATCH, augment=policy, mix=mix, seed=0
    )
    return [pixels.numpy()[:, ::50] for pixels, _ in batches]


def theirs(images, parts: list):
    """Return one epoch through layers inside one tf.function."""
    function = tf.function(called(parts), reduce_retracing=True)
    return [
        function(tf.constant(images[start : start + BATCH].astype("float32"))).numpy()[:, ::50]
        for start in range(0, len(images), BATCH)
    ]


def parallel(images, parts: list):
    """Return one epoch of layers that tf.data calls in parallel."""
    dataset = tf.data.Dataset.from_tensor_slices(images.astype("float32")).batch(BATCH)
    mapped = dataset.map(called(parts), num_parallel_calls=4)
    return [batch.numpy()[:, ::50] for batch in mapped]


def same(run) -> str:
    """Whether two runs with one seed give the same pictures."""
    pairs = zip(run(), run(), strict=True)
    return "yes" if all(np.array_equal(a, b) for a, b in pairs) else "no"


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--images", type=int, default=320)
arguments = parser.parse_args()

photo = load_sample_images().images[0]
rng = np.random.default_rng(0)
corners = rng.integers(0, photo.shape[0] - SIZE, (arguments.images, 2))
images = np.stack([photo[y : y + SIZE, x : x + SIZE] for y, x in corners])

runs = {
    f"kerastl {policy}": lambda policy=policy: ours(images, policy)
    for policy in ("none", "light", "mirrors", "dihedral", "medium", "strong")
}
runs |= {f"kerastl light + {m}": lambda m=m: ours(images, "light", m) for m in ("mixup", "cutmix")}
runs |= {f"layers {name}": lambda p=parts: theirs(images, p) for name, parts in layers().items()}
seconds = defaultdict(list)
for number in range(arguments.rounds + 1):
    for name, run in runs.items():
        started = time.perf_counter()
        run()
        if number:  # the first round traces
            seconds[name].append(time.perf_counter() - started)

rate = {name: arguments.images / statistics.median(values) for name, values in seconds.items()}
print("| policy | kerastl, images/s | Keras layers, images/s | ratio | same pictures, parallel |")
print("|---|---|---|---|---|")
for name in runs:
    if not name.startswith("kerastl"):
        continue
    policy = name.removeprefix("kerastl ")
    mix = policy.partition(" + ")[2] or "none"
    repeat = same(lambda p=policy, m=mix: ours(images, p.partition(" + ")[0], m))
    for other in [n for n in runs if n in (f"layers {policy}", f"layers {policy}, keras-cv")]:
        key = other.removeprefix("layers ")
        theirs_same = same(lambda k=key: parallel(images[:128], layers()[k]))
        note = f"yes, {'keras-cv' if 'cv' in key else 'Keras'}: {theirs_same}"
        ratio = rate[name] / rate[other]
        print(f"| {key} | {rate[name]:,.0f} | {rate[other]:,.0f} | **{ratio:.1f}x** | {note} |")
    if f"layers {policy}" not in runs:
        print(f"| {policy} | {rate[name]:,.0f} | | | {repeat} |")
