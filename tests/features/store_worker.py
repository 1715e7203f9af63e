"""A process that asks a store for rows; `test_store_processes.py` starts and kills it.

    python store_worker.py DIRECTORY LOG LARGEST_BYTES KEY SECONDS_PER_BATCH FIRST

Each batch that it begins to compute is a line of LOG. Then it writes the digest of what it got,
and keeps the rows until its input is closed.
"""

import hashlib
import logging
import os
import sys
import time

import numpy as np

from kerastl.features.store import open_store

COUNT, WIDTH, BATCH_ROWS = 64, 1024, 4
NAMES = [hashlib.sha256(bytes([number])).digest() for number in range(2 * COUNT)]


def truth(numbers):
    """What the rows are: each is its number."""
    return np.repeat(np.asarray(numbers, np.float32)[:, None], WIDTH, axis=1)


def main(directory, log, largest_bytes, key, *numbers):
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # to stderr
    seconds, first = float(numbers[0]), int(numbers[1])

    def make(places, _following):
        line = f"{os.getpid()} {' '.join(str(first + place) for place in places)}\n".encode()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)
        time.sleep(seconds)
        return truth(first + places)

    rows = open_store(directory, largest_bytes=int(largest_bytes)).rows(
        key,
        NAMES[first : first + COUNT],
        row_shape=(WIDTH,),
        dtype="float32",
        make=make,
        batch_rows=BATCH_ROWS,
    )
    print(hashlib.sha256(rows[:].tobytes()).hexdigest(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
