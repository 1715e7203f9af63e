"""Does `kerastl.compare` rank backbones as fine-tuning them does?

    python benchmarks/compare.py --sizes 128 224 300 --seeds 5

On demo:solar:P1, EfficientNetLite0 at several image sizes (its weights need no download). First
whole runs, fine-tuned, several seeds, sizes in turns; every seed is another split, and the test
split of each is read once. Then `kerastl.compare`, which sees no test image, twice.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import kerastl
from kerastl.comparing.measurement import compare_backbones
from kerastl.comparing.options import CompareOptions
from kerastl.comparing.words import answer_sentences, candidate_cells

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--task", default="P1", choices=["P1", "P2", "P3", "P4"])
parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224, 300])
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--fine-tune-epochs", type=int, default=4)
arguments = parser.parse_args()

config = kerastl.FitConfig(
    f"demo:solar:{arguments.task}",
    val_fraction=0.1,
    test_fraction=0.25,
    augment="mirrors",
    fine_tune_epochs=arguments.fine_tune_epochs,
)
rows = []
with tempfile.TemporaryDirectory() as place:
    for seed in range(arguments.seeds):
        for size in arguments.sizes:
            started = time.monotonic()
            result = kerastl.run(
                dataclasses.replace(
                    config,
                    seed=seed,
                    image_size=(size, size),
                    out=str(Path(place) / f"{seed}-{size}"),
                )
            )
            row = {"seed": seed, "size": size, "seconds": round(time.monotonic() - started)}
            for name in ("probe", "fine-tuned"):
                for measure in ("accuracy", "auroc"):
                    row[f"{name} {measure}"] = result.metrics[name]["test"][measure]["value"]
            rows.append(row)
            print(json.dumps(row), flush=True)

print("\n| image size | fine-tuned accuracy | AUROC | probe accuracy | seconds |")
print("|---|---|---|---|---|")
for size in arguments.sizes:
    chosen = [row for row in rows if row["size"] == size]
    cells = []
    for name, factor, digits in (
        ("fine-tuned accuracy", 100, 1),
        ("fine-tuned auroc", 1, 3),
        ("probe accuracy", 100, 1),
    ):
        values = [factor * row[name] for row in chosen]
        cells.append(f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}")
    seconds = np.median([row["seconds"] for row in chosen])
    print(f"| {size} | {' | '.join(cells)} | {seconds:.0f} |")

with tempfile.TemporaryDirectory() as cache:
    options = CompareOptions(
        config.data,
        backbones=",".join(f"EfficientNetLite0@{size}" for size in arguments.sizes),
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        feature_cache=cache,
    )
    for call in ("first", "second"):
        found = compare_backbones(options)
        print(f"\nkerastl.compare, {call} call: {found.seconds:.0f} s")
for one in found.ranked_results:
    print(" | ".join(candidate_cells(one)))
print(" ".join(answer_sentences(found)))
