"""What --deterministic costs: the same fit with and without it.

    python benchmarks/deterministic.py --rounds 3

A fit of 200 generated pictures in two classes: EfficientNetLite0 with ImageNet weights, 96 pixels,
4 epochs. Every fit is a process of its own; with and without take turns, and which comes first
changes from round to round. Seconds are those of `kerastl.run`, check, report and pictures
included, imports not; neither reuses what an earlier run computed. Processor time depends less on
other work on the machine. Last, whether the rounds ended with the same history, bit for bit.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

WITHOUT, WITH = "without", "with"


def paint(folder: Path, *, count: int) -> None:
    """Write pictures of two textures, in noise."""
    rng = np.random.default_rng(0)
    across = np.sin(np.arange(128) / 2)[None, :, None]
    for number in range(count):
        wave = across if number % 2 else across.transpose(1, 0, 2)
        pixels = 128 + 12 * wave + rng.normal(0, 60, (128, 128, 3))
        place = folder / ("b" if number % 2 else "a")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{number}.png")


def fit(data: str, out: str, *, deterministic: bool, epochs: int) -> None:
    """Fit once, in a process of its own, and print how long it took."""
    import kerastl

    config = kerastl.FitConfig(
        data,
        out=out,
        image_size=96,
        fine_tune_epochs=epochs,
        patience_epochs=epochs,
        feature_cache="none",
        deterministic=deterministic,
    )
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = kerastl.run(config)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    history = (result.path / "history.csv").read_bytes()
    answer = {
        "seconds": seconds,
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "history": hashlib.sha256(history).hexdigest(),
    }
    print(json.dumps(answer))


def measured(data: Path, out: Path, *, how: str, epochs: int) -> dict:
    """Fit in a new process and return what it says."""
    words = [sys.executable, __file__, "--fit", str(data), str(out), how, "--epochs", str(epochs)]
    environment = {**os.environ, "KERASTL_CACHE": str(out.parent / "cache")}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"The fit failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        data, out, how = arguments.fit
        fit(data, out, deterministic=how == WITH, epochs=arguments.epochs)
        return
    found: dict[str, list[dict]] = {WITHOUT: [], WITH: []}
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        paint(place / "photos", count=arguments.images)
        # Once before: what is compiled once per machine.
        measured(place / "photos", place / "warm-up", how=WITHOUT, epochs=1)
        for turn in range(arguments.rounds):
            for how in (WITHOUT, WITH) if turn % 2 == 0 else (WITH, WITHOUT):
                out = place / f"{how} {turn}"
                one = measured(place / "photos", out, how=how, epochs=arguments.epochs)
                found[how].append(one)
                print(f"round {turn + 1}, {how}: {one['seconds']:.1f} s", flush=True)
    print("\n| | time, with over without | rounds | seconds without | seconds with |")
    print("|---|---|---|---|---|")
    for what, title in (("seconds", "clock"), ("processor", "processors")):
        columns = {how: [row[what] for row in rows] for how, rows in found.items()}
        ratios = [b / a for a, b in zip(columns[WITHOUT], columns[WITH], strict=True)]
        print(
            f"| {title} | **{statistics.median(ratios):.2f}x** "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} "
            f"| {', '.join(f'{one:.1f}' for one in columns[WITHOUT])} "
            f"| {', '.join(f'{one:.1f}' for one in columns[WITH])} |"
        )
    for how, rows in found.items():
        kinds = len({row["history"] for row in rows})
        print(f"{how}: {kinds} different histor{'y' if kinds == 1 else 'ies'} in {len(rows)} runs")


if __name__ == "__main__":
    main()
