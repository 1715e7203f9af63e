"""Images per second of every augmentation policy in tf.data, and what Keras layers would give.

    python benchmarks/augmentation.py

Batches of 32 images of 224 x 224 pixels from memory, no model: `training_batches` with each
policy, beside the layers of Keras (and the RandAugment of keras-cv) that come nearest: there
`training_batches` gives plain batches, and the layers are called inside a tf.function with
training=True, as they run when they are part of the model. "none" is the price of the plain
batches. All is traced before the clock starts. Rounds are interleaved, a round is an epoch;
medians; the ratio is kerastl's speed over the layers'. "Same pictures" says whether two runs
with one seed, called in parallel by tf.data, are equal.
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

SIZE, BATCH, NUM_CLASSES = 224, 32, 10
RANGE = (0, 255)
# Policy and mix.
OURS = [(name, "none") for name in ("none", "light", "mirrors", "dihedral", "medium", "strong")]
OURS += [("none", "mixup"), ("none", "cutmix")]


def layers(name: str) -> list | None:
    """Return the layers that come nearest to a policy, made anew; None where there are none."""
    keras.utils.set_random_seed(0)
    light = [
        keras.layers.RandomFlip("horizontal", seed=1),
        keras.layers.RandomZoom((-0.2, 0.0), seed=2),
    ]
    jitter = [
        keras.layers.RandomRotation(3 / 360, seed=3),
        keras.layers.RandomTranslation(0.02, 0.02, seed=4),
    ]
    both = [keras.layers.RandomFlip("horizontal_and_vertical", seed=5)]
    table = {
        "light": lambda: light,
        "mirrors": lambda: [*both, *jitter],
        "medium": lambda: [*light, keras.layers.RandAugment(RANGE, 2, 0.3, seed=6)],
        "medium, keras-cv": lambda: [
            *light,
            keras_cv.layers.RandAugment(RANGE, augmentations_per_image=2, magnitude=0.3, seed=0),
        ],
        "strong": lambda: [*light, keras.layers.RandAugment(RANGE, 2, 0.9, seed=6)],
        "mixup": lambda: [keras.layers.MixUp(alpha=0.1, seed=7)],
        "cutmix": lambda: [keras.layers.CutMix(factor=1.0, seed=8)],
    }
    return table[name]() if name in table else None


def called(parts: list):
    """Return a function that applies layers to a batch."""

    def apply(pixels, targets):
        pixels = tf.cast(pixels, tf.float32)
        for layer in parts:
            if isinstance(layer, keras.layers.MixUp | keras.layers.CutMix):
                mixed = layer({"images": pixels, "labels": targets}, training=True)
                pixels, targets = mixed["images"], mixed["labels"]
            else:
                pixels = layer(pixels, training=True)
        return pixels, targets

    return apply


def ours(policy: str, mix: str) -> tf.data.Dataset:
    """Return the batches of kerastl."""
    rows = np.arange(len(IMAGES))
    return kerastl.training_batches(
        IMAGES, TARGETS, rows, batch_size=BATCH, augment=policy, mix=mix, seed=0
    )


def epoch(batches: tf.data.Dataset):
    """Return a function that goes through all batches once."""

    def run() -> None:
        for _ in batches:
            pass

    return run


def theirs(parts: list):
    """Return a function that puts all plain batches through layers, in one tf.function."""
    function, batches = tf.function(called(parts)), ours("none", "none")

    def run() -> None:
        for pixels, targets in batches:
            function(pixels, targets)

    return run


def parallel(parts: list) -> tf.data.Dataset:
    """Return batches whose layers are called in parallel by tf.data."""
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(BATCH)
    return dataset.map(called(parts), num_parallel_calls=4)


def same(make) -> str:
    """Return whether two runs with one seed give the same pictures."""
    first, again = ([pixels.numpy()[:, ::50] for pixels, _ in make()] for _ in range(2))
    return "yes" if all(map(np.array_equal, first, again)) else "no"


def photos(number: int) -> np.ndarray:
    """Return pieces of a photo: uint8 of shape (number, 224, 224, 3)."""
    photo = load_sample_images().images[0]
    corners = np.random.default_rng(0).integers(0, photo.shape[0] - SIZE, (number, 2))
    return np.stack([photo[y : y + SIZE, x : x + SIZE] for y, x in corners])


def rates(runs: dict, *, rounds: int) -> dict[str, float]:
    """Return images per second: medians of interleaved rounds, after one that traces."""
    seconds = defaultdict(list)
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: len(IMAGES) / statistics.median(values) for name, values in seconds.items()}


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--images", type=int, default=256)
arguments = parser.parse_args()
if arguments.images % BATCH:
    parser.error(f"--images must be a multiple of {BATCH}")

IMAGES = photos(arguments.images)
TARGETS = np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(arguments.images) % NUM_CLASSES]
pairs = []  # (what, kerastl's policy and mix, key of the layers or None)
for policy, mix in OURS:
    what = policy if mix == "none" else mix
    pairs += [(key, (policy, mix), key) for key in (what, f"{what}, keras-cv") if layers(key)]
    pairs += [] if layers(what) else [(what, (policy, mix), None)]
runs = {}
for _, own, key in pairs:
    runs[str(own)] = epoch(ours(*own))
    if key:
        runs[key] = theirs(layers(key))
rate = rates(runs, rounds=arguments.rounds)
print("| beside | ratio | kerastl, images/s | layers, images/s | same pictures, kerastl | layers |")
print("|---|---|---|---|---|---|")
for what, own, key in pairs:
    speed, repeats = rate[str(own)], same(lambda own=own: ours(*own))
    if key is None:
        print(f"| {what} | | {speed:,.0f} | | {repeats} | |")
        continue
    other = same(lambda key=key: parallel(layers(key)))
    print(
        f"| {what} | **{speed / rate[key]:.1f}x** | {speed:,.0f} | {rate[key]:,.0f} "
        f"| {repeats} | {other} |"
    )
