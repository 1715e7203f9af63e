"""Speed of the store of features: digests, writing, checking, reading.

    python benchmarks/store.py --gib 1 --directory /tmp

Rows are float32 of 14 × 14 × 96 (75 KB), a border tensor of EfficientNet-Lite0. Writing is
of rows that are in memory already, into the page cache; "opened" is a whole run's second
start: every row is checked.
"""

import argparse
import hashlib
import os
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from kerastl.features.digests import digest_images
from kerastl.features.store import open_store

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--gib", type=float, default=1.0)
parser.add_argument("--directory", default=None)
parser.add_argument("--repeats", type=int, default=3)
arguments = parser.parse_args()

ROW_SHAPE = (14, 14, 96)
count = int(arguments.gib * 2**30) // (int(np.prod(ROW_SHAPE)) * 4)
rows = np.random.default_rng(0).random((count, *ROW_SHAPE), np.float32)
content = rows.reshape(-1).view(np.uint8)


def report(name, work, *, before=lambda: None):
    """Print the speed of the fastest and the slowest of some runs."""
    speeds = []
    for _ in range(arguments.repeats):
        before()
        start = time.perf_counter()
        work()
        speeds.append(content.nbytes / (time.perf_counter() - start) / 1e9)
    print(f"{name:42} {min(speeds):6.2f} to {max(speeds):6.2f} GB/s")


print(f"{content.nbytes / 1e9:.2f} GB, {os.cpu_count()} processors")
report("SHA-256, one thread", lambda: hashlib.sha256(content).digest())
report("BLAKE2b, one thread", lambda: hashlib.blake2b(content).digest())
report("CRC-32, one thread", lambda: zlib.crc32(content))
images = content[: len(content) // 150_528 * 150_528].reshape(-1, 224, 224, 3)
report("digest_images, 224 x 224", lambda: digest_images(images))
shuffled = np.random.default_rng(0).permutation(len(images))
report("digest_images, 224 x 224, rows in any order", lambda: digest_images(images, shuffled))

with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
    store = open_store(Path(folder) / "cache", largest_bytes=2 * content.nbytes)
    key = "0"
    names = [hashlib.sha256(str(number).encode()).digest() for number in range(count)]

    def ask():
        """Ask for the rows under the current key."""
        return store.rows(
            key, names, row_shape=ROW_SHAPE, dtype="float32", make=lambda places, _: rows[places]
        )

    def next_key():
        """Make the next call a miss; the entry before is dropped to make room."""
        global key  # noqa: PLW0603
        key = str(int(key) + 1)

    report("written (a miss)", ask, before=next_key)

    def forget():
        """Drop the file from the page cache, so that the disk is read."""
        for path in Path(folder).rglob("rows.bin"):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    report("opened and checked (a hit)", ask)
    report("the same, read from the disk", ask, before=forget)
    mapped = ask()
    batch = np.random.default_rng(0).permutation(count)
    report(
        "read in batches of 64 in any order",
        lambda: [mapped[batch[start : start + 64]] for start in range(0, count, 64)],
    )
    report(
        "the same from an array in memory",
        lambda: [rows[batch[start : start + 64]] for start in range(0, count, 64)],
    )
