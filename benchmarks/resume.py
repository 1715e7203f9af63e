"""Killed with SIGKILL at random moments, does --resume end as an undisturbed run does?

    python benchmarks/resume.py --kills 20

The job is that of tests/test_resume.py, with checks within epochs: a small network of random
weights, 40 epochs, Dropout, augmentation, an average of the best checks, pictures of colours that
can hardly be told apart. Its life has six stages: start-up (imports), images, probe, frozen part,
fine-tuning, test and report. The kills go through them in turn, fine-tuning twice as often as the
others, each at a random part of its stage: of the steps of fine-tuning, and elsewhere of the
processor time that the stage took in an undisturbed run, for which other work on the machine
matters less than for the clock. Every fourth run is killed a second time, after it
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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

# By what a run reports, the stage that begins with it; fine-tuning's end begins the last one.
STAGES = {
    "Checking images": "images",
    "Reading images": "images",
    "Fitting the probe": "probe",
    "Fine-tuning": "fine-tuning",
}
START, FROZEN, REPORT = "start-up", "frozen part", "test and report"
TUNING = "fine-tuning"
TURNS = (START, TUNING, "images", "probe", TUNING, FROZEN, REPORT)
COLOURS = {"a": (120, 128, 128), "b": (128, 120, 128), "c": (128, 128, 120)}
JOB = """
import contextlib, logging, sys, time
logging.basicConfig(format="%(message)s", stream=sys.stderr)
logging.getLogger("kerastl").setLevel(logging.INFO)
import keras
import kerastl
from kerastl.progress import listen

@contextlib.contextmanager
def tell(description, total):
    print(f"EVENT {time.process_time()} begins {description}", file=sys.stderr, flush=True)
    done = 0
    def advance(steps):
        nonlocal done
        done += steps
        if description == "Fine-tuning":
            print("STEP", done / total, file=sys.stderr, flush=True)
    yield advance
    print(f"EVENT {time.process_time()} ends {description}", file=sys.stderr, flush=True)

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
    checks_per_epoch=2, feature_cache=sys.argv[2] + " features",
)
with listen(tell):
    kerastl.run(config, backbone=backbone, preprocessing="tf")
"""


@dataclass(frozen=True)
class Job:
    """A run in a place of its own.

    Attributes:
        data: The pictures.
        place: Where its run folder is, and what the frozen part computed.
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
        words = [str(self.data), str(self.out), how, str(self.epochs)]
        # What is compiled once per machine; what the frozen part computes is each run's own.
        environment = {**os.environ, "KERASTL_CACHE": str(self.data.parent / "cache")}
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-c", JOB, *words], env=environment, stdout=file, stderr=file
            )

    def finish(self, log: Path, *, resume: bool) -> float:
        """Run it to its end; return the seconds."""
        started = time.perf_counter()
        if self.start(log, resume=resume).wait() != 0:
            raise SystemExit(f"The job failed:\n{log.read_text()}")
        return time.perf_counter() - started

    def kill_in(
        self, stage: str, part: float, lengths: Mapping[str, float], log: Path, *, resume: bool
    ) -> str:
        """Kill it when so much of a stage is done; return in which stage it really was."""
        process = self.start(log, resume=resume)
        while process.poll() is None:
            if part_done(log, stage, seconds_used(process.pid), lengths) >= part:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return stages(log)[-1][0]
            time.sleep(0.005)
        if process.returncode != 0:
            raise SystemExit(f"The job failed:\n{log.read_text()}")
        return "ended before"


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


def stages(log: Path) -> list[tuple[str, float]]:
    """Return the stages that a run has begun, and at how many seconds of processors."""
    found = [(START, 0.0)]
    for line in log.read_text(errors="replace").splitlines():
        words = line.split(" ", 3)
        if words[0] != "EVENT" or len(words) < 4:
            continue
        _, seconds, event, what = words
        name = STAGES.get(what, FROZEN) if event == "begins" else ""
        if found[-1][0] == REPORT:
            name = ""  # the frozen part runs over test images
        if event == "ends" and what == "Fine-tuning":
            name = REPORT
        if name and name != found[-1][0]:
            found.append((name, float(seconds)))
    return found


def part_done(log: Path, stage: str, seconds: float, lengths: Mapping[str, float]) -> float:
    """Return how much of a stage is done; 0 before it begins."""
    begun = dict(reversed(stages(log)))  # where a stage comes twice, its first time
    if stage not in begun:
        return 0.0
    if stage == TUNING and REPORT not in begun:
        steps = [line for line in log.read_text().splitlines() if line.startswith("STEP ")]
        return float(steps[-1].split()[1]) if steps else 0.0
    return (seconds - begun[stage]) / lengths[stage]


def lengths_of(log: Path) -> dict[str, float]:
    """Return how long each stage took, in seconds of processors."""
    begun = stages(log)
    last = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("EVENT")]
    # After its last event a run writes its folder for longer than it tested.
    ends = [seconds for _, seconds in begun[1:]] + [float(last[-1]) + 1]
    return dict(reversed([(name, b - a) for (name, a), b in zip(begun, ends, strict=True)]))


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


def killed(
    job: Job,
    stage: str,
    lengths: Mapping[str, float],
    log: Path,
    rng: random.Random,
    *,
    resume: bool,
) -> str:
    """Kill a run at a random moment of a stage; return when that was, in words."""
    part = rng.random()
    was = job.kill_in(stage, part, lengths, log, resume=resume)
    return f"{part:.0%} of {stage}" + ("" if was == stage else f" ({was})")


def main() -> None:
    """Kill, resume, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, all_right, exact = random.Random(arguments.seed), True, 0
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        paint(place / "photos", per_class=24)

        def job(name: str) -> Job:
            return Job(place / "photos", place / name, arguments.epochs)

        log = place / "log.txt"
        first = job("first")
        first.finish(log, resume=False)  # compiles what is compiled once per machine
        expected = ending(first.out)
        again = job("again")
        seconds = again.finish(log, resume=False)
        lengths = lengths_of(log)
        found, _ = difference(expected, ending(again.out))
        print(
            f"An undisturbed run takes {seconds:.1f} s and ends with {len(expected):,} numbers; "
            f"the largest difference of two such runs is {found:.2g}.\n\n"
            "| kill | at | killed again | goes on after epoch | largest difference |\n"
            "|---|---|---|---|---|",
            flush=True,
        )
        for number in range(arguments.kills):
            one = job(f"killed {number}")
            words = killed(one, TURNS[number % len(TURNS)], lengths, log, rng, resume=False)
            second = "no"
            if number % 4 == 3 and not one.out.exists():
                second = killed(one, rng.choice(TURNS), lengths, log, rng, resume=True)
            went_on = "was complete"
            if not one.out.exists():
                one.finish(log, resume=True)
                went_on = resumed_from(log)
            found, is_right = difference(expected, ending(one.out))
            all_right, exact = all_right and is_right, exact + (found == 0)
            verdict = "0" if found == 0 else f"{found:.2g}{'' if is_right else ' WRONG'}"
            print(
                f"| {number + 1} | {words} | {second} | {went_on} | {verdict} |",
                flush=True,
            )
    print(f"\n{exact} of {arguments.kills} ended with every number equal bit for bit.")
    if not all_right:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
