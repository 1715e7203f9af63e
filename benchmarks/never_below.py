"""Does the default ever end below its probe? Small tasks, several seeds, test split.

    python benchmarks/never_below.py --seeds 5

What a fit keeps, and the probe that it began with, on the test split of each seed: accuracy and
log-loss, means and their paired difference with its standard deviation over seeds. Tasks of few
images, where fine-tuning has the least to gain and validation the least to say; for the solar cells
in full see `solar.py`. Exit code 1 if what is kept is worse than the probe in the mean of accuracy,
by more than two standard errors of three seeds or more.

- digits: 600 of scikit-learn's handwritten digits, 10 classes, enlarged from 8 to 64 pixels.
- drawn: 150 drawn cells in three classes: sound, cracked, with a dead corner.
- colours: 90 squares in three colours, noisy: the probe knows all there is to know.
- solar: 300 solar cells (P1) at 96 pixels.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits

import kerastl

_SIZE = 64


def write_digits(folder: Path, rng: np.random.Generator) -> None:
    """Write 600 digits."""
    digits = load_digits()
    for row in rng.permutation(len(digits.images))[:600]:
        grey = Image.fromarray((digits.images[row] * 255 / 16).astype(np.uint8))
        save(grey.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC), folder, digits.target[row], row)


def write_drawn(folder: Path, rng: np.random.Generator) -> None:
    """Write 50 cells of each kind, as in the second notebook."""
    for kind in ("sound", "crack", "dead corner"):
        for number in range(50):
            save(cell(kind, rng), folder, kind, number)


def cell(kind: str, rng: np.random.Generator) -> Image.Image:
    """Return a picture of a cell."""
    ground = 110 + 40 * rng.random() + rng.normal(0, 9, (_SIZE, _SIZE))
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for bar in (0.3, 0.7):
        pen.line([(0, _SIZE * bar), (_SIZE, _SIZE * bar)], fill=60, width=2)
    if kind == "crack":
        x, y, angle = *rng.uniform(0.2, 0.8, 2) * _SIZE, rng.uniform(0, 2 * np.pi)
        points = [(x, y)]
        for _ in range(6):
            angle += rng.normal(0, 0.5)
            x, y = x + 5 * np.cos(angle), y + 5 * np.sin(angle)
            points.append((x, y))
        pen.line(points, fill=int(rng.uniform(70, 105)), width=1)
    elif kind == "dead corner":
        (x, y), radius = rng.integers(0, 2, 2) * _SIZE, rng.uniform(0.08, 0.22) * _SIZE
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=75)
    return image.filter(ImageFilter.GaussianBlur(0.6))


def write_colours(folder: Path, rng: np.random.Generator) -> None:
    """Write 30 squares of each colour; one in ten is another colour than its label says."""
    colours = np.array([[200, 80, 80], [80, 200, 80], [80, 80, 200]])
    for label in range(3):
        for number in range(30):
            shown = (label + (number % 10 == 0)) % 3
            values = colours[shown] + rng.normal(0, 30, (_SIZE, _SIZE, 3))
            save(Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)), folder, label, number)


def save(image: Image.Image, folder: Path, label: object, name: object) -> None:
    """Write an image under its label."""
    (folder / str(label)).mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(folder / str(label) / f"{name}.png")


WRITERS: dict[str, Callable] = {
    "digits": write_digits,
    "drawn": write_drawn,
    "colours": write_colours,
}


def config_of(task: str, place: Path, seed: int) -> kerastl.FitConfig:
    """Return what to fit; writes the images of the task."""
    if task == "solar":
        table = kerastl.load_table("demo:solar:P1")
        rows = np.random.default_rng(seed).permutation(len(table.ids))[:300]
        lines = [f"{table.ids[row]},{table.class_names[table.labels[row]]}" for row in rows]
        (place / "solar.csv").write_text("\n".join(["path,label", *lines]))
        return kerastl.FitConfig(str(place / "solar.csv"), image_size=96, augment="mirrors")
    WRITERS[task](place / task, np.random.default_rng(seed))
    return kerastl.FitConfig(str(place / task), image_size=_SIZE)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    tasks = [*WRITERS, "solar"]
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks)
    arguments = parser.parse_args()
    below = 0
    print("| task | probe | kept | accuracy over the probe | log-loss | fine-tuned kept |")
    print("|---|---|---|---|---|---|")
    for task in arguments.tasks:
        rows, kept = [], 0
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            with tempfile.TemporaryDirectory() as directory:
                config = config_of(task, Path(directory), seed)
                config = dataclasses.replace(
                    config, seed=seed, out=str(Path(directory) / "run"), test_fraction=0.4
                )
                result = kerastl.run(config)
            kept += result.kept != "probe"
            rows.append(
                [
                    result.metrics[name]["test"][measure]["value"]
                    for name in ("probe", result.kept)
                    for measure in ("accuracy", "log_loss")
                ]
            )
        values = np.array(rows)
        gain = 100 * (values[:, 2] - values[:, 0]), values[:, 3] - values[:, 1]
        freedom = min(1, len(rows) - 1)
        error = gain[0].std(ddof=freedom) / np.sqrt(len(rows))
        below += len(rows) > 2 and gain[0].mean() < -2 * error
        print(
            f"| {task} | {100 * values[:, 0].mean():.1f} %, {values[:, 1].mean():.3f} "
            f"| {100 * values[:, 2].mean():.1f} %, {values[:, 3].mean():.3f} "
            f"| {gain[0].mean():+.1f} ± {gain[0].std(ddof=freedom):.1f} "
            f"| {gain[1].mean():+.3f} ± {gain[1].std(ddof=freedom):.3f} "
            f"| {kept} of {len(rows)} |",
            flush=True,
        )
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
