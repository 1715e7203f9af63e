"""A process that asks a store for rows; `test_store_processes.py` starts and kills it.

    python store_worker.py DIRECTORY LOG LARGEST_BYTES KEY SECONDS_PER_BLOCK

Each block that it computes is a line of LOG. Then it writes the digest of what it got, and
keeps the rows until its input is closed.
"""

import hashlib
import logging
import os
import sys
import time

import numpy as np

from kerastl.features.store import open_store

COUNT, WIDTH, BLOCK_ROWS = 64, 1024, 4


def truth(rows):
    """What the rows are: each is its number."""
    numbers = np.arange(rows.start, rows.stop, dtype=np.float32)
    return np.repeat(numbers[:, None], WIDTH, axis=1)


def main(directory, log, largest_bytes, key, seconds):
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # to stderr

    def make(rows):
        line = f"{os.getpid()} {rows.start}\n".encode()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)
        time.sleep(float(seconds))
        return truth(rows)

    rows = open_store(directory, largest_bytes=int(largest_bytes)).rows(
        key, count=COUNT, row_shape=(WIDTH,), dtype="float32", make=make, block_rows=BLOCK_ROWS
    )
    print(hashlib.sha256(rows.tobytes()).hexdigest(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
