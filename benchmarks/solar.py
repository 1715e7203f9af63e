"""The README's table: `demo:solar` over several seeds, by the command that users type.

    python benchmarks/solar.py --task P1 --seeds 5

Every seed is a run of its own: another split, other shuffling, other augmentation. The
test split of each is read once, after everything was decided on validation. "kept" is what
validation chose of both. Spread is the standard deviation over seeds.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import kerastl
from kerastl.config_file import config_to_yaml

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--task", default="P1", choices=["P1", "P2", "P3", "P4"])
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--first-seed", type=int, default=0)
parser.add_argument("--fine-tune-epochs", type=int, default=None)
parser.add_argument("--unfreeze-blocks", type=int, default=None)
parser.add_argument("--soup", type=int, default=None)
parser.add_argument("--tta", action="store_true")
parser.add_argument("--pooling", default="avg")
parser.add_argument("--precision", default="float32")
parser.add_argument("--imbalance", default="none")
arguments = parser.parse_args()

config = kerastl.FitConfig(
    f"demo:solar:{arguments.task}",
    image_size=300,
    val_fraction=0.1,
    test_fraction=0.25,
    augment="mirrors",
    fine_tune_epochs=arguments.fine_tune_epochs,
    unfreeze_blocks=arguments.unfreeze_blocks,
    soup=arguments.soup,
    tta=arguments.tta,
    pooling=arguments.pooling,
    precision=arguments.precision,
    imbalance=arguments.imbalance,
)
print(config_to_yaml(config, comments=False))

rows = []
with tempfile.TemporaryDirectory() as place:
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        started = time.monotonic()
        result = kerastl.run(
            dataclasses.replace(config, seed=seed, out=str(Path(place) / str(seed)))
        )
        row = {"seed": seed, "kept": result.kept, "seconds": round(time.monotonic() - started)}
        row["gain on validation"] = result.metrics["gain"]
        for name in ("probe", "fine-tuned", "kept"):
            metrics = result.metrics.get(result.kept if name == "kept" else name)
            if metrics is not None:
                for measure in ("accuracy", "auroc", "macro_f1"):
                    row[f"{name} {measure}"] = metrics["test"][measure]["value"]
        rows.append(row)
        print(json.dumps(row), flush=True)

print("\n| | accuracy | AUROC | macro-F1 |\n|---|---|---|---|")
for name in ("probe", "fine-tuned", "kept"):
    cells = []
    for measure, factor in (("accuracy", 100), ("auroc", 1), ("macro_f1", 1)):
        values = [factor * row[f"{name} {measure}"] for row in rows if f"{name} {measure}" in row]
        digits = 1 if factor == 100 else 3
        if values:
            spread = f"{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "?"
            cells.append(f"{np.mean(values):.{digits}f} ± {spread}")
    print(f"| {name} | {' | '.join(cells)} |")
print(f"\nMedian time of a run: {np.median([row['seconds'] for row in rows]):.0f} s.")
