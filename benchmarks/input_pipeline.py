"""Images per second of the input pipeline, without a model, against what people use today.

    python benchmarks/input_pipeline.py

Three pipelines read the same JPEG files (photographs that scikit-learn brings, cut to
500 x 375; and 12-megapixel ones), resize to 224 x 224 and yield shuffled batches of 32:
kerastl (`load_pixels`, then `training_batches`), `keras.utils.image_dataset_from_directory`
and a plain tf.data pipeline of tf.io operations as in the TensorFlow tutorials, both as
they come and with `.cache()`. The rounds are interleaved, every round in another order (who
comes after a pipeline that gave back much memory pays for it); numbers are medians over
rounds and the ratio is kerastl's speed over the other's. One round before is not counted:
compiling and importing.

kerastl antialiases, the other two do not (their default): it does more work per image.
"antialiased" is the plain pipeline with `antialias=True`, which gives the same pictures.
"""

import argparse
import gc
import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

import kerastl

SIZE = (224, 224)
BATCH = 32


def write_photos(folder: Path, *, count: int, width: int, height: int) -> None:
    """Write JPEG files of two classes: windows of two photographs, each a little different."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    for number in range(count):
        photo = Image.fromarray(photos[number % 2])
        scale = max(width / photo.width, height / photo.height, 1) * rng.uniform(1, 1.2)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
        left = int(rng.integers(0, photo.width - width + 1))
        top = int(rng.integers(0, photo.height - height + 1))
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        window = photo.crop((left, top, left + width, top + height))
        buffer = io.BytesIO()
        window.save(buffer, "JPEG", quality=90)
        (place / f"{number}.jpg").write_bytes(buffer.getvalue())


def kerastl_epochs(folder: Path, augment: str) -> Callable[[], Iterable]:
    """Return what starts an epoch; the first one decodes."""
    kept: list = []

    def epoch() -> Iterable:
        if not kept:
            table = kerastl.load_table(folder)
            pixels = kerastl.load_pixels(table, image_size=SIZE)
            targets = np.eye(2, dtype=np.float32)[table.labels]
            kept.append(
                kerastl.training_batches(
                    pixels.images, targets, pixels.rows, batch_size=BATCH, augment=augment, seed=0
                )
            )
        return kept[0]

    return epoch


def keras_epochs(folder: Path, *, cache: bool) -> Callable[[], Iterable]:
    """Return what starts an epoch of `image_dataset_from_directory`."""
    kept: list = []

    def epoch() -> Iterable:
        if not kept:
            dataset = keras.utils.image_dataset_from_directory(
                folder, image_size=SIZE, batch_size=BATCH, label_mode="categorical", verbose=False
            )
            kept.append((dataset.cache() if cache else dataset).prefetch(tf.data.AUTOTUNE))
        return kept[0]

    return epoch


def plain_epochs(folder: Path, *, cache: bool, antialias: bool = False) -> Callable[[], Iterable]:
    """Return what starts an epoch of the tutorials' tf.io pipeline."""
    kept: list = []

    def read(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        label = tf.strings.split(path, "/")[-2] == ["0", "1"]
        return tf.image.resize(image, SIZE, antialias=antialias), tf.cast(label, tf.float32)

    def epoch() -> Iterable:
        if not kept:
            paths = tf.data.Dataset.list_files(str(folder / "*" / "*.jpg"), shuffle=False)
            dataset = paths.map(read, num_parallel_calls=tf.data.AUTOTUNE)
            dataset = dataset.cache() if cache else dataset
            kept.append(dataset.shuffle(1000).batch(BATCH).prefetch(tf.data.AUTOTUNE))
        return kept[0]

    return epoch


def touch_memory(mebibytes: int = 512) -> None:
    """Write to memory and give it back, so that all pipelines find it ready.

    A virtual machine gets memory from its host when it first writes to it, and loses it again
    when it lies free: up to 5 ms a MB, which would be measured as the pipeline's.
    """
    np.ones(mebibytes << 20, np.uint8)


def measure(pipelines: dict[str, Callable], *, count: int, rounds: int, epochs: int) -> dict:
    """Return seconds of the first and of a later epoch, per pipeline and round."""
    seconds: dict = defaultdict(lambda: ([], []))
    names = list(pipelines)
    for turn in range(-1, rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            epoch = pipelines[name]()
            gc.collect()
            touch_memory()
            for number in range(epochs):
                started = time.perf_counter()
                seen = sum(len(batch[0]) for batch in epoch())
                elapsed = time.perf_counter() - started
                if seen != count:
                    raise SystemExit(f"{name} yielded {seen} of {count} images")
                if turn >= 0:
                    seconds[name][number > 0].append(elapsed)
    return seconds


def print_table(seconds: dict, *, count: int, epochs: int) -> None:
    """Print ratios first, then images per second (median, best)."""

    def whole_job(name: str) -> float:
        first, later = map(statistics.median, seconds[name])
        return first + (epochs - 1) * later

    ours = seconds["kerastl"]
    print("| | first epoch | later epochs | 10 epochs |")
    print("|---|---|---|---|")
    for name, (first, later) in seconds.items():
        cells = []
        for mine, theirs in ((ours[0], first), (ours[1], later)):
            ratio = statistics.median(theirs) / statistics.median(mine)
            rate, best = count / statistics.median(theirs), count / min(theirs)
            cells.append(f"**{ratio:.2f}x** {rate:,.0f}/s (best {best:,.0f})")
        cells.append(f"**{whole_job(name) / whole_job('kerastl'):.1f}x** {whole_job(name):.1f} s")
        print(f"| {name} | {' | '.join(cells)} |")
    print()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--large-images", type=int, default=40)
arguments = parser.parse_args()

with tempfile.TemporaryDirectory() as place:
    for title, count, width, height in (
        (f"{arguments.images} JPEGs of 500 x 375", arguments.images, 500, 375),
        (f"{arguments.large_images} JPEGs of 4000 x 3000", arguments.large_images, 4000, 3000),
    ):
        folder = Path(place) / f"{width}"
        write_photos(folder, count=count, width=width, height=height)
        makers = {
            "kerastl": lambda folder=folder: kerastl_epochs(folder, "none"),
            "image_dataset_from_directory": lambda folder=folder: keras_epochs(folder, cache=False),
            "plain tf.io": lambda folder=folder: plain_epochs(folder, cache=False),
            "plain tf.io, antialiased": lambda folder=folder: plain_epochs(
                folder, cache=False, antialias=True
            ),
            "image_dataset_from_directory + cache": lambda folder=folder: keras_epochs(
                folder, cache=True
            ),
            "plain tf.io + cache": lambda folder=folder: plain_epochs(folder, cache=True),
        }
        print(f"{title}, {arguments.rounds} interleaved rounds of 3 epochs\n")
        table = measure(makers, count=count, rounds=arguments.rounds, epochs=3)
        print_table(table, count=count, epochs=10)
