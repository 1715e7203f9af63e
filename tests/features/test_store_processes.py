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

from .store_worker import BLOCK_ROWS, COUNT, WIDTH, truth

WORKER = Path(__file__).with_name("store_worker.py")
WANTED = hashlib.sha256(truth(slice(0, COUNT)).tobytes()).hexdigest()
STARTS = list(range(0, COUNT, BLOCK_ROWS))
PATIENCE_SECONDS = 60


class Workers:
    """Starts worker processes on one store and reads which blocks they computed."""

    def __init__(self, folder):
        self.directory, self.log = folder / "cache", folder / "log"
        self._running = []

    def start(self, *, seconds=0.0, key="key", largest_bytes=2**22):
        arguments = [self.directory, self.log, largest_bytes, key, seconds]
        process = subprocess.Popen(
            [sys.executable, WORKER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def made(self):
        """(process, first row) of each block, in the order of time."""
        if not self.log.exists():
            return []
        return [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]

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


def test_a_killed_run_loses_the_block_in_work_and_no_more(workers):
    first = workers.start(seconds=0.05)
    workers.wait_for(lambda: len(workers.made()) >= 5)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    begun = [start for _, start in workers.made()]
    assert begun == STARTS[: len(begun)]
    assert len(begun) < len(STARTS)
    second = workers.start()
    answer, log = finish(second)
    assert answer == WANTED
    again = [start for process, start in workers.made() if process == second.pid]
    # The block in work may have been done but for the time between writing and being killed.
    assert again in (STARTS[len(begun) - 1 :], STARTS[len(begun) :])
    assert "an earlier run was stopped" in log
    assert "damaged" not in log
    third = workers.start()
    assert finish(third)[0] == WANTED
    assert third.pid not in {process for process, _ in workers.made()}


def test_killed_at_any_moment_again_and_again(workers):
    rng = random.Random(0)
    num_kills = 0
    while len({start for _, start in workers.made()}) < len(STARTS) and num_kills < 12:
        process = workers.start(seconds=0.004)
        before = len(workers.made())
        workers.wait_for(lambda before=before: len(workers.made()) > before)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.wait()
        num_kills += 1
    assert num_kills >= 2
    answer, log = finish(workers.start())
    assert answer == WANTED
    assert "damaged" not in log
    # Each kill cost at most one block.
    assert len(workers.made()) <= len(STARTS) + num_kills


def test_three_at_once_compute_each_block_once(workers):
    together = [workers.start(seconds=0.02) for _ in range(3)]
    logs = []
    for process in together:
        answer, log = finish(process)
        assert answer == WANTED
        logs.append(log)
    assert sorted(start for _, start in workers.made()) == STARTS
    assert len({process for process, _ in workers.made()}) == 1
    assert sum("kept by an earlier run" in log or "meanwhile" in log for log in logs) == 2


def test_who_waits_goes_on_where_a_killed_process_was(workers):
    first = workers.start(seconds=0.1)
    workers.wait_for(lambda: len(workers.made()) >= 3)
    second = workers.start()
    for line in second.stderr:  # it says so, so it waits now
        if "waiting" in line:
            break
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert finish(second)[0] == WANTED
    made = workers.made()
    assert {process for process, _ in made} == {first.pid, second.pid}
    assert len(made) <= len(STARTS) + 1


def test_what_another_process_uses_is_not_dropped(workers, caplog):
    nbytes = COUNT * WIDTH * 4
    reader = workers.start(largest_bytes=int(1.5 * nbytes))
    assert reader.stdout.readline().strip() == WANTED
    store = open_store(workers.directory, largest_bytes=int(1.5 * nbytes))

    def ask(key):
        made = []

        def make(rows):
            made.append(rows.start)
            return truth(rows)

        store.rows(key, count=COUNT, row_shape=(WIDTH,), dtype="f4", make=make, block_rows=4)
        return made

    assert ask("other") == STARTS
    assert "in use" in caplog.text
    assert ask("key") == []
    reader.kill()  # the lock goes with the process
    reader.wait()
    assert ask("other") == STARTS
    assert ask("other") == []
    assert ask("key") == STARTS


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
