r"""What a domain, and what it might settle otherwise, changes on solar cells: paired by seed.

    python benchmarks/domains.py --seeds 5 --image-size 160 --recipe probe \
        --only dihedral-gray mirrors dihedral
    python benchmarks/domains.py --seeds 3 --image-size 128 --fine-tune-epochs 6 \
        --only mirrors dihedral affine train
    python benchmarks/domains.py --seeds 5 --image-size 224 --recipe probe --only "300 pixels"

Solar cells (`demo:solar:P1`), EfficientNetLite0 with ImageNet weights. Every seed is another split;
a quarter of the images validates, and what `kerastl.domains` takes is judged by that. The test
split, another quarter, is read once per run and has no part in any choice. Differences are those of
one seed with and without; the spread is the standard deviation over seeds. "fine-tuned" is the
fine-tuned model whether or not it was kept. These images have no colour: `dihedral-gray` and
`dihedral` differ by nothing here.
"""

import argparse
import gc
import json
import tempfile
from pathlib import Path

import numpy as np

import kerastl

BASE = "no domain"
ROWS: dict[str, dict] = {
    BASE: {},
    "dihedral-gray": {"domain": "dihedral-gray"},
    "photo": {"domain": "photo"},
    "mirrors": {"augment": "mirrors"},
    "dihedral": {"augment": "dihedral"},
    "affine": {"batch_norm": "affine"},
    "train": {"batch_norm": "train"},
    "300 pixels": {"image_size": 300},
}
MEASURES = (("accuracy", 100, 1), ("auroc", 1, 3), ("log_loss", 1, 3))


def measured(data: str, **options) -> dict[str, dict[str, float]]:
    """Return the measures of a run by model and split."""
    with tempfile.TemporaryDirectory() as place:
        config = kerastl.FitConfig(data, **options, out=str(Path(place) / "run"))
        metrics = kerastl.run(config).metrics
    gc.collect()
    return {
        f"{model}, {split}": {
            name: factor * metrics[model][split][name]["value"] for name, factor, _ in MEASURES
        }
        for model in ("probe", "fine-tuned")
        if model in metrics
        for split in ("val", "test")
    }


def print_table(found: dict[str, list[dict[str, dict[str, float]]]]) -> None:
    """Print means and spreads over seeds, and the paired difference to no domain."""
    for part in found[BASE][0]:
        print(
            f"\n{part}\n\n| | accuracy % | AUROC | log-loss | paired: accuracy, AUROC, log-loss |"
        )
        print("|---|---|---|---|---|")
        for name, rows in found.items():
            freedom = min(1, len(rows) - 1)
            cells, gains = [], []
            for measure, _, digits in MEASURES:
                values = np.array([row[part][measure] for row in rows])
                before = np.array([row[part][measure] for row in found[BASE][: len(rows)]])
                cells.append(f"{values.mean():.{digits}f} ± {values.std(ddof=freedom):.{digits}f}")
                gain = values - before
                gains.append(f"{gain.mean():+.{digits}f} ± {gain.std(ddof=freedom):.{digits}f}")
            print(f"| {name} | {' | '.join(cells)} | {', '.join(gains)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", default="P1")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--fine-tune-epochs", type=int, default=None)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--out", type=Path, help="JSON lines, one for each run")
    arguments = parser.parse_args()
    options = {
        "image_size": arguments.image_size,
        "recipe": arguments.recipe,
        "fine_tune_epochs": arguments.fine_tune_epochs,
        "val_fraction": 0.25,
        "test_fraction": 0.25,
    }
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for seed in range(arguments.seeds):
        for name in dict.fromkeys((BASE, *arguments.only)):
            changed = {**options, "seed": seed, **ROWS[name]}
            one = measured(f"demo:solar:{arguments.task}", **changed)
            found.setdefault(name, []).append(one)
            line = json.dumps({"row": name, "seed": seed, **one})
            print(line, flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(f"{line}\n")
    print_table(found)


if __name__ == "__main__":
    main()
