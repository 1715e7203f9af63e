"""Memory and time to the first batch on a folder of very many files.

    python benchmarks/many_files.py --files 200000

The files are links to a few photographs, so that the disk does not matter. A fresh process
lists them, checks and splits them, and streams batches that are decoded when they are
asked for. Peak memory is that of the whole process, TensorFlow included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--files", type=int, default=200_000)
parser.add_argument("--batches", type=int, default=200)
parser.add_argument("--folder", help=argparse.SUPPRESS)
arguments = parser.parse_args()


def write_links(folder: Path, *, count: int) -> None:
    """Make 100 class folders of links to 20 photographs."""
    from PIL import Image

    rng = np.random.default_rng(0)
    originals = []
    for number in range(20):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        path = folder.parent / f"{number}.jpg"
        small.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        originals.append(path)
    for number in range(count):
        place = folder / f"class {number % 100}"
        if number < 100:
            place.mkdir(parents=True)
        os.link(originals[number % 20], place / f"{number}.jpg")


def stream(folder: Path) -> None:
    """Measure, in a process of its own."""
    started = time.perf_counter()
    import kerastl

    imported = time.perf_counter()
    table = kerastl.load_table(folder)
    listed = time.perf_counter()
    splits = kerastl.split_rows(table.labels, val_fraction=0.1, test_fraction=0.1, seed=0)
    images = kerastl.ImageStream(table, image_size=(224, 224))
    targets = np.eye(100, dtype=np.float32)[table.labels]
    rows = np.flatnonzero(splits == "train")
    batches = iter(
        kerastl.training_batches(images, targets, rows, batch_size=32, augment="light", seed=0)
    )
    next(batches)
    first = time.perf_counter()
    peak_at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(arguments.batches):
        next(batches)
    print(
        json.dumps(
            {
                "files": len(table.ids),
                "import_seconds": round(imported - started, 1),
                "list_seconds": round(listed - imported, 1),
                "seconds_to_first_batch": round(first - started, 1),
                "images_per_second": round(32 * arguments.batches / (time.perf_counter() - first)),
                "peak_mib_at_first_batch": peak_at_first // 1024,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if arguments.folder:
    stream(Path(arguments.folder))
else:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "photos"
        write_links(place, count=arguments.files)
        subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--folder", str(place)], check=True
        )
