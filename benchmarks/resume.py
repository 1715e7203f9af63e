"""Killed with SIGKILL at random moments, does --resume end as an undisturbed run does?

    python benchmarks/resume.py --kills 20

A small network of random weights is fine-tuned for 12 epochs, with Dropout, augmentation, checks
within epochs and an average of the best of them, on 96 pictures of colours that can hardly be
told apart. The moments are spread over the whole life of the run, from the start of Python to the
report: one at random in each of as many equal parts, by the processor time that the run has used,
for which other work on the machine matters less. Every fourth run is killed a second time, after it
was resumed. Then the same command with --resume ends it. Compared with an undisturbed run: the
history, all measures, and the answers to every test image. Two undisturbed runs are compared
with each other too: what differs there is no fault of resuming. Exit code 1 if a number differs by
more than 1e-3 of it and 1e-5. Linux only.
"""

import argparse
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

COLOURS = {"a": (120, 128, 128), "b": (128, 120, 128), "c": (128, 128, 120)}
JOB = """
import contextlib, logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stderr)
logging.getLogger("kerastl").setLevel(logging.INFO)
import keras
import kerastl
from kerastl.progress import listen

@contextlib.contextmanager
def tell(description, total):
    print("BEGINS", description, file=sys.stderr, flush=True)
    yield lambda steps: None
    print("ENDS", description, file=sys.stderr, flush=True)

keras.utils.set_random_seed(5)
inputs = keras.Input((24, 24, 3))
x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(inputs)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.Conv2D(16, 3, activation="relu")(x)
backbone = keras.Model(inputs, keras.layers.Conv2D(16, 3)(x), name="mine")
config = kerastl.FitConfig(
    sys.argv[1], out=sys.argv[2], resume=sys.argv[3] == "resume", image_size=(24, 24),
    fine_tune_epochs=int(sys.argv[4]), patience_epochs=int(sys.argv[4]), batch_size=8,
    dropout=0.2, learning_rate=1e-3, augment="light", soup=3, layer_decay=0.8,
    checks_per_epoch=2,
)
with listen(tell):
    kerastl.run(config, backbone=backbone, preprocessing="tf")
"""


@dataclass(frozen=True)
class Job:
    """A run in a place of its own.

    Attributes:
        data: The pictures.
        place: Where its run folder and its cache are.
        epochs: Of fine-tuning.
    """

    data: Path
    place: Path
    epochs: int

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.place / "run"

    def start(self, log: Path, *, resume: bool) -> subprocess.Popen:
        """Start it; what it says goes into a file."""
        self.place.mkdir(exist_ok=True)
        how = "resume" if resume else "anew"
        words = [sys.executable, "-c", JOB, str(self.data), str(self.out), how, str(self.epochs)]
        environment = {**os.environ, "KERASTL_CACHE": str(self.place / "cache")}
        with log.open("wb") as file:
            return subprocess.Popen(words, env=environment, stdout=file, stderr=file)

    def finish(self, log: Path, *, resume: bool) -> float:
        """Run it to its end; return the seconds of processors that it took."""
        before = children_seconds()
        if self.start(log, resume=resume).wait() != 0:
            raise SystemExit(f"The job failed:\n{log.read_text()}")
        return children_seconds() - before

    def kill_after(self, seconds: float, log: Path, *, resume: bool) -> str:
        """Kill it when it has used so many seconds of processors; return what it was doing."""
        process = self.start(log, resume=resume)
        while process.poll() is None:
            if seconds_used(process.pid) >= seconds:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return doing(log)
            time.sleep(0.002)
        if process.returncode != 0:
            raise SystemExit(f"The job failed:\n{log.read_text()}")
        return "ended before"


def children_seconds() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_used(pid: int) -> float:
    """Return the processor time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def paint(folder: Path, *, per_class: int) -> None:
    """Write pictures of three colours, with noise that hides them nearly."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(rng.normal(colour, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def doing(log: Path) -> str:
    """Return what a run was doing when it was killed."""
    events = [
        line.split(" ", 1)
        for line in log.read_text(errors="replace").splitlines()
        if line.startswith(("BEGINS ", "ENDS "))
    ]
    if not events:
        return "start-up"
    if ["ENDS", "Fine-tuning"] in events:
        return "test and report"
    event, what = events[-1]
    return f"{'in' if event == 'BEGINS' else 'after'} {what[0].lower()}{what[1:]}"


def resumed_from(log: Path) -> str:
    """Return after which epoch a resumed run went on."""
    words = "Fine-tuning goes on after epoch "
    found = [line for line in log.read_text().splitlines() if line.startswith(words)]
    return found[0].removeprefix(words).rstrip(".") if found else "anew"


def ending(out: Path) -> dict[str, float]:
    """Return every number that a run ends with, by name."""
    numbers: dict[str, float] = {}
    for name in ("history.csv", "test_predictions.csv"):
        table = pd.read_csv(out / name).select_dtypes("number")
        numbers |= {
            f"{name}: {column}[{row}]": float(value)
            for column in table
            for row, value in enumerate(table[column])
        }

    def walk(value: object, path: str) -> Iterator[tuple[str, float]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from walk(inner, f"{path}[{number}]")
        elif isinstance(value, int | float):
            yield path, float(value)

    return numbers | dict(walk(json.loads((out / "metrics.json").read_text()), "metrics"))


def difference(one: dict[str, float], other: dict[str, float]) -> tuple[float, bool]:
    """Return the largest difference, and whether all are within the tolerance."""
    if one.keys() != other.keys():
        return math.inf, False
    a, b = (np.array([found[name] for name in one]) for found in (one, other))
    return float(np.nanmax(np.abs(a - b))), bool(
        np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
    )


def main() -> None:
    """Kill, resume, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, all_right, exact = random.Random(arguments.seed), True, 0
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        paint(place / "photos", per_class=32)

        def job(name: str) -> Job:
            return Job(place / "photos", place / name, arguments.epochs)

        log = place / "log.txt"
        first = job("first")
        first.finish(log, resume=False)  # compiles what is compiled once per machine
        expected = ending(first.out)
        again = job("again")
        started = time.perf_counter()
        seconds = again.finish(log, resume=False)
        found, _ = difference(expected, ending(again.out))
        print(
            f"An undisturbed run takes {time.perf_counter() - started:.1f} s, {seconds:.1f} s of "
            f"processors, and ends with {len(expected):,} numbers; "
            f"the largest difference of two such runs is {found:.2g}.\n\n"
            "| kill | at | while | killed again | goes on after epoch | largest difference |\n"
            "|---|---|---|---|---|---|",
            flush=True,
        )
        for number in range(arguments.kills):
            one = job(f"killed {number}")
            part = (number + rng.random()) / arguments.kills
            words = one.kill_after(part * seconds, log, resume=False)
            second = "no"
            if number % 4 == 3 and not one.out.exists():
                later = rng.random()
                second = f"{later:.0%}, {one.kill_after(later * seconds, log, resume=True)}"
            went_on = "was complete"
            if not one.out.exists():
                one.finish(log, resume=True)
                went_on = resumed_from(log)
            found, is_right = difference(expected, ending(one.out))
            all_right, exact = all_right and is_right, exact + (found == 0)
            verdict = "0" if found == 0 else f"{found:.2g}{'' if is_right else ' WRONG'}"
            print(
                f"| {number + 1} | {part:.0%} | {words} | {second} | {went_on} | {verdict} |",
                flush=True,
            )
    print(f"\n{exact} of {arguments.kills} ended with every number equal bit for bit.")
    if not all_right:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
