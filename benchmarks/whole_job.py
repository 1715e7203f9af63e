"""The whole job, kerastl against the official Keras recipe, on the same images.

    python benchmarks/whole_job.py --backbones ResNet50 MobileNetV2

600 JPEGs of 500 x 375 in two classes (windows of two photographs that scikit-learn brings), a head
and the last stage of the network. "Keras" is the guide "Transfer learning & fine-tuning" of
keras.io written out plainly: `image_dataset_from_directory`, a frozen base called with
`training=False`, dropout, a Dense layer, 10 epochs of Adam, then the last stage unfrozen and 5 more
at 1e-5, `evaluate` at the end. "kerastl" is `kerastl.run`: the same split sizes, image size and 5
epochs of the same layers, and all that a run does beside (check of the data, report, pictures,
confidence intervals, the model file). Its head takes no epochs; so the guide's 10 have no
counterpart, which is part of what is measured.

Both run in full, in one process, in turns; the order changes from round to round. Ratios are of
medians. Weights are random, which has no influence on the speed. Nothing is reused from one run
to the next (`feature_cache="none"`), but for "kept by an earlier run", which is the second run
of the same job with another learning rate.

`--ablation` adds runs with one thing taken away or added: without folding, without kept views,
with `--precision bfloat16` (features and views of training images, steps where that is faster).
`--jobs` picks some by a part of their names.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

import kerastl
from kerastl.models.network import build_network

# The last layer that the last stage stands on: what is above has one resolution.
LAST_STAGE = {
    "ResNet50": "conv4_block6_out",
    "VGG16": "block4_pool",
    "InceptionV3": "mixed7",
    "MobileNetV2": "block_12_add",
    "EfficientNetLite0": "block5c_add",
}
TEST, VAL = 0.2, 0.15


def write_photos(folder: Path, *, count: int) -> None:
    """Write JPEG files of two classes: windows of two photographs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = Image.fromarray(load_sample_images().images[number % 2])
        left = int(rng.integers(0, photo.width - 500 + 1))
        top = int(rng.integers(0, photo.height - 375 + 1))
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + 500, top + 375)).save(place / f"{number}.jpg", quality=90)


def run_keras(folder: Path, name: str, *, head_epochs: int, epochs: int) -> None:
    """Follow the guide."""
    network = build_network(name, weights="none")
    size, base = network.image_size, network.backbone

    def part(subset: str, fraction: float) -> tf.data.Dataset:
        with contextlib.redirect_stdout(io.StringIO()):  # it counts files, verbose or not
            dataset = keras.utils.image_dataset_from_directory(
                folder,
                image_size=size,
                batch_size=32,
                seed=0,
                subset=subset,
                validation_split=fraction,
                verbose=False,
            )
        return dataset.prefetch(tf.data.AUTOTUNE)

    held_out = part("validation", TEST + VAL)
    num_test = round(len(held_out) * TEST / (TEST + VAL))
    train, test, val = (
        part("training", TEST + VAL),
        held_out.take(num_test),
        held_out.skip(num_test),
    )
    base.trainable = False
    inputs = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))

    def train_for(rate: float, count: int) -> None:
        model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy()],
        )
        model.fit(train, epochs=count, validation_data=val, verbose=0)

    train_for(1e-3, head_epochs)
    base.trainable = True
    names = [layer.name for layer in base.layers]
    for layer in base.layers[: names.index(LAST_STAGE[name]) + 1]:
        layer.trainable = False
    train_for(1e-5, epochs)
    model.evaluate(test, verbose=0)


def blocks_above(name: str) -> int:
    """Return how many blocks the last stage has for kerastl."""
    network = build_network(name, weights="none")
    for count in range(1, network.num_blocks):
        found = build_network(name, weights="none", unfreeze_blocks=count).border
        if found is not None and found.name == LAST_STAGE[name]:
            return count
    raise SystemExit(f"{name} has no border at {LAST_STAGE[name]}")


def run_kerastl(folder: Path, name: str, out: Path, *, epochs: int, **options: object) -> None:
    """Run the whole job; patience as long as the run, so that all epochs are."""
    defaults = {
        "backbone": name,
        "weights": "none",
        "val_fraction": VAL,
        "test_fraction": TEST,
        "unfreeze_blocks": blocks_above(name),
        "fine_tune_epochs": epochs,
        "patience_epochs": epochs,
        "augment": "none",
        "out": str(out),
        "overwrite": True,
        "feature_cache": "none",
    }
    kerastl.run(kerastl.FitConfig(str(folder), **{**defaults, **options}))


@contextlib.contextmanager
def without_folding() -> Iterator[None]:
    """Let the frozen part run with its BatchNorm layers as they are."""

    def unfolded(model: keras.Model, *, dtype: str | None = None) -> tuple[keras.Model, int]:
        del dtype
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        copy.trainable = False
        return copy, 0

    with (
        mock.patch("kerastl.features.extract.fold_batch_norm", unfolded),
        mock.patch("kerastl.models.frozen.fold_batch_norm", unfolded),
    ):
        yield


def jobs_of(folder: Path, name: str, place: Path, arguments: argparse.Namespace) -> dict:
    """Return the contestants by name."""
    ours = {"folder": folder, "name": name, "out": place / "run", "epochs": arguments.epochs}
    cache = {"feature_cache": str(place / "cache")}
    many = {"augment": "light", "views": arguments.head_epochs}

    def unfolded() -> None:
        with without_folding():
            run_kerastl(**ours)

    jobs: dict[str, Callable[[], None]] = {
        "Keras guide": lambda: run_keras(
            folder, name, head_epochs=arguments.head_epochs, epochs=arguments.epochs
        ),
        "kerastl, one view": lambda: run_kerastl(**ours),
        f"kerastl, {arguments.head_epochs} views": lambda: run_kerastl(**ours, **many),
        "kerastl, kept by an earlier run": lambda: run_kerastl(**ours, **cache, learning_rate=3e-5),
    }
    if arguments.ablation:
        jobs["without folding"] = unfolded
        jobs["without kept views"] = lambda: run_kerastl(**ours, views="live")
        jobs["bfloat16 where it may"] = lambda: run_kerastl(**ours, precision="bfloat16")
    return jobs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["ResNet50", "MobileNetV2"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--head-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--jobs", nargs="+", default=[""])
    arguments = parser.parse_args()
    print("| backbone | job | Keras' time over it | seconds (all rounds) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        folder = place / "photos"
        write_photos(folder, count=arguments.images)
        for name in arguments.backbones:
            jobs = {
                job: run
                for job, run in jobs_of(folder, name, place, arguments).items()
                if job == "Keras guide" or any(part in job for part in arguments.jobs)
            }
            # Once before: imports, and what "kept by an earlier run" finds.
            with contextlib.redirect_stderr(io.StringIO()):
                run_kerastl(
                    folder, name, place / "run", epochs=1, feature_cache=str(place / "cache")
                )
            seconds: dict[str, list[float]] = defaultdict(list)
            for turn in range(arguments.rounds):
                for step in range(len(jobs)):
                    job = list(jobs)[(step + turn) % len(jobs)]
                    started = time.perf_counter()
                    jobs[job]()
                    seconds[job].append(time.perf_counter() - started)
                    keras.backend.clear_session()
            slowest = statistics.median(seconds["Keras guide"])
            for job, found in seconds.items():
                ratio = slowest / statistics.median(found)
                listed = ", ".join(f"{one:.1f}" for one in found)
                print(f"| {name} | {job} | **{ratio:.1f}x** | {listed} |", flush=True)


if __name__ == "__main__":
    main()
