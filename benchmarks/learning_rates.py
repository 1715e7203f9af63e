"""Is the rate that --find-lr suggests near the best one of a sweep of whole trainings?

    python benchmarks/learning_rates.py

Two problems: solar cells in two classes (P1) and in four (P4), 96 pixels, EfficientNetLite0 with
ImageNet weights, half of the images left out so that the sweep takes minutes. Every rate
is a whole fine-tuning from the same probe, judged by its best validation loss; so is
the suggestion. Exit code 1 if the suggestion is more than a factor 3 from the best rate on
either problem.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np

import kerastl
from kerastl.deadline import NEVER
from kerastl.features.store import find_store
from kerastl.plan import read_table
from kerastl.tuning.runs import find_start, run_trial
from kerastl.tuning.trial import loss_of

RATES = [float(f"{rate:.1e}") for rate in np.geomspace(1e-5, 1e-2, 10)]
_MOST = 3.0


def swept(config: kerastl.FitConfig, rates: list[float]) -> dict[float, float]:
    """Return the validation loss of whole trainings by their rate."""
    losses = {}
    with tempfile.TemporaryDirectory() as directory:
        start = find_start(
            config,
            read_table(config),
            directory=Path(directory),
            deadline=NEVER,
            store=find_store("auto", largest_bytes=10 * 2**30),
        )
        print(f"probe: validation log-loss {start.probe.loss:.4f}", flush=True)
        for number, rate in enumerate(rates, start=1):
            trial = run_trial(start, {"learning_rate": rate}, number=number)
            losses[rate] = float("inf") if trial.judged is None else loss_of(trial)
            print(f"{rate:.1e}: {losses[rate]:.4f}  ({trial.seconds:.0f} s)", flush=True)
    return losses


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["P1", "P4"])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    far = 0
    for task in arguments.tasks:
        config = kerastl.FitConfig(
            f"demo:solar:{task}",
            image_size=arguments.image_size,
            augment="mirrors",
            val_fraction=0.25,
            test_fraction=0.5,
            seed=arguments.seed,
        )
        with tempfile.TemporaryDirectory() as place:
            out = str(Path(place) / "rates")
            found = kerastl.find_rates(dataclasses.replace(config, out=out)).sweep.suggestion
        losses = swept(config, [*RATES, found])
        best = min(losses, key=losses.__getitem__)
        factor = max(best / found, found / best)
        far += factor > _MOST
        print(
            f"{task}: suggested {found:.1e} ({losses[found]:.4f}), best {best:.1e} "
            f"({losses[best]:.4f}): a factor of {factor:.1f}\n"
        )
    return int(far > 0)


if __name__ == "__main__":
    sys.exit(main())
