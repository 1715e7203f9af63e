"""What measuring validation within an epoch costs, and what it gives.

    python benchmarks/checks.py --seeds 3

Solar cells (P1), EfficientNetLite0 with ImageNet weights, the default recipe without early stop. A
check changes no step of a training, so that one training with 10 checks per epoch holds those
with fewer. Cost: the time of one check over that of an epoch's steps. Gain: the validation images
(a quarter of all; the test split is not touched) are halved at random 20 times; one half fits the
temperatures and chooses the best check, its log-loss on the other half is what counts, less that
with one check per epoch.
"""

import argparse
import dataclasses

import numpy as np
from watched import watched_training

import kerastl
from kerastl.features.probe import image_losses
from kerastl.plan import read_table
from kerastl.training.temperature import fit_temperature, tempered_probabilities

MOST, OFTEN = 10, (1, 2, 5, 10)
HALVINGS = 20


def gains(answers: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each of `OFTEN` the log-loss of what is chosen, on images that did not choose."""
    found = []
    for _ in range(HALVINGS):
        order = rng.permutation(len(labels))
        chooses, judges = np.array_split(order, 2)
        row = []
        for often in OFTEN:
            checks = answers[MOST // often - 1 :: MOST // often]
            tempered = [_tempered(one, labels, chooses) for one in checks]
            losses = [image_losses(labels[chooses], one[chooses]).mean() for one in tempered]
            best = tempered[int(np.argmin(losses))]
            row.append(image_losses(labels[judges], best[judges]).mean())
        found.append(row)
    return np.mean(found, axis=0)


def _tempered(answers: np.ndarray, labels: np.ndarray, chooses: np.ndarray) -> np.ndarray:
    """Return answers after the temperature that fits some images best."""
    found = fit_temperature(labels[chooses], answers[chooses])
    return tempered_probabilities(answers, found, multi_label=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--augment", default="mirrors")
    arguments = parser.parse_args()
    config = kerastl.FitConfig(
        "demo:solar:P1",
        image_size=arguments.image_size,
        augment=arguments.augment,
        fine_tune_epochs=arguments.epochs,
        patience_epochs=arguments.epochs,
        checks_per_epoch=MOST,
        val_fraction=0.25,
    )
    table = read_table(config)
    images = kerastl.load_pixels(table, image_size=config.image_size).images
    losses, costs = [], []
    for seed in range(arguments.seeds):
        seen = watched_training(dataclasses.replace(config, seed=seed), images, table)
        costs.append(seen.check_share)
        losses.append(gains(seen.answers[1:], seen.labels, np.random.default_rng(seed)))
        print(
            f"seed {seed}: a check {costs[-1]:.1%} of an epoch, {losses[-1].round(4)}", flush=True
        )
    differences = np.array(losses) - np.array(losses)[:, :1]
    print("\n| checks per epoch | time of an epoch's steps added | log-loss, less that with one |")
    print("|---|---|---|")
    for place, often in enumerate(OFTEN):
        found = differences[:, place]
        spread = f"{found.std(ddof=1):.4f}" if len(found) > 1 else "?"
        added = (often - 1) * np.median(costs)
        print(f"| {often} | {added:.1%} | {found.mean():+.4f} ± {spread} |")


if __name__ == "__main__":
    main()
