"""Several processes, some of them killed, and one store: every answer is whole."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerastl.features.store import open_store

from .store_worker import BATCH_ROWS, COUNT, NAMES, WIDTH, truth

WORKER = Path(__file__).with_name("store_worker.py")
ROWS = list(range(COUNT))
PATIENCE_SECONDS = 60


def digest_of(numbers):
    return hashlib.sha256(truth(numbers).tobytes()).hexdigest()


WANTED = digest_of(ROWS)


class Workers:
    """Starts worker processes on one store and reads which rows they computed."""

    def __init__(self, folder):
        self.directory, self.log = folder / "cache", folder / "log"
        self._running = []

    def start(self, *, seconds=0.0, key="key", largest_bytes=2**22, first=0):
        arguments = [self.directory, self.log, largest_bytes, key, seconds, first]
        process = subprocess.Popen(
            [sys.executable, WORKER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def batches(self):
        """(process, rows) of each batch that was begun, in the order of time."""
        if not self.log.exists():
            return []
        lines = [list(map(int, line.split())) for line in self.log.read_text().splitlines()]
        return [(process, rows) for process, *rows in lines]

    def made(self, by=None):
        """Rows that were begun, by one process or by all."""
        return [row for process, rows in self.batches() for row in rows if by in (None, process)]

    def wait_for(self, condition):
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.002)

    def close(self):
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def workers(tmp_path):
    found = Workers(tmp_path)
    yield found
    found.close()


def finish(process):
    """Return the digest that a worker got, and what it logged."""
    output, errors = process.communicate("", timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    return output.strip(), errors


def test_a_killed_run_loses_the_batch_in_work_and_no_more(workers):
    first = workers.start(seconds=0.05)
    workers.wait_for(lambda: len(workers.batches()) >= 5)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    begun = workers.made()
    assert begun == ROWS[: len(begun)]
    assert len(begun) < COUNT
    second = workers.start()
    answer, log = finish(second)
    assert answer == WANTED
    # The batch in work may have been done but for the time between writing and being killed.
    assert workers.made(by=second.pid) in (ROWS[len(begun) - BATCH_ROWS :], ROWS[len(begun) :])
    assert "of 64 rows are kept by earlier runs" in log
    assert "damaged" not in log
    third = workers.start()
    assert finish(third)[0] == WANTED
    assert workers.made(by=third.pid) == []


def test_killed_at_any_moment_again_and_again(workers):
    rng = random.Random(0)
    num_kills = 0
    while len(set(workers.made())) < COUNT and num_kills < 12:
        process = workers.start(seconds=0.004)
        before = len(workers.batches())
        workers.wait_for(lambda before=before: len(workers.batches()) > before)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.wait()
        num_kills += 1
    assert num_kills >= 2
    answer, log = finish(workers.start())
    assert answer == WANTED
    assert "damaged" not in log
    # Each kill cost at most one batch.
    assert len(workers.made()) <= COUNT + num_kills * BATCH_ROWS


def test_several_at_once_share_the_work(workers):
    together = [workers.start(seconds=0.1) for _ in range(2)]
    for process in together:
        assert finish(process)[0] == WANTED
    made = workers.made()
    assert set(made) == set(ROWS)
    # Begun by both at the same moment, or where the first one was before the second looked.
    assert len(made) <= 1.5 * COUNT
    shares = [len(workers.made(by=process.pid)) for process in together]
    assert sum(shares) == len(made)
    third = workers.start()
    assert finish(third)[0] == WANTED
    assert workers.made(by=third.pid) == []


def test_who_shares_with_a_killed_process_finishes_alone(workers):
    first = workers.start(seconds=0.1)
    workers.wait_for(lambda: len(workers.batches()) >= 3)
    second = workers.start(seconds=0.02)
    workers.wait_for(lambda: workers.made(by=second.pid))
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert finish(second)[0] == WANTED
    assert len(workers.made()) <= 1.5 * COUNT


def test_several_with_other_images_do_not_wait_for_each_other(workers):
    """Half of the images are the same."""
    together = [workers.start(seconds=0.02, first=first) for first in (0, COUNT // 2)]
    for process, first in zip(together, (0, COUNT // 2), strict=True):
        assert finish(process)[0] == digest_of(range(first, first + COUNT))
    last = workers.start(first=COUNT // 4)
    assert finish(last)[0] == digest_of(range(COUNT // 4, COUNT // 4 + COUNT))
    assert workers.made(by=last.pid) == []


def test_what_another_process_uses_is_not_dropped(workers, caplog):
    nbytes = COUNT * WIDTH * 4
    reader = workers.start(largest_bytes=int(1.5 * nbytes))
    assert reader.stdout.readline().strip() == WANTED
    store = open_store(workers.directory, largest_bytes=int(1.5 * nbytes))

    def ask(key):
        made = []

        def make(places, _following):
            made.extend(places)
            return truth(places)

        store.rows(key, NAMES[:COUNT], row_shape=(WIDTH,), dtype="f4", make=make, batch_rows=4)
        return made

    assert ask("other") == ROWS
    assert "in use" in caplog.text
    assert ask("key") == []
    reader.kill()  # the lock goes with the process
    reader.wait()
    assert ask("other") == ROWS
    assert ask("other") == []
    assert ask("key") == ROWS


def test_processes_that_drop_each_others_entries(workers):
    """Room for one array, four processes with two keys: some are not kept, none is wrong."""
    room_for_one = int(1.5 * COUNT * WIDTH * 4)
    for _ in range(3):
        together = [
            workers.start(key=key, largest_bytes=room_for_one, seconds=0.001) for key in "abab"
        ]
        assert {finish(process)[0] for process in together} == {WANTED}
    files = [path for path in (workers.directory / "rows").rglob("*") if path.is_file()]
    assert sum(path.stat().st_blocks * 512 for path in files) <= room_for_one
