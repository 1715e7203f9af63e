"""Which weights of a fine-tuning to keep: by which loss of validation, and how early.

    python benchmarks/what_to_keep.py --task P2 --seeds 5

Solar cells, EfficientNetLite0 with ImageNet weights, the default recipe without early stop, checked
twice an epoch. One training holds all answers of the probe and of every check to the validation
images (30 % of all; the test split is not touched). These are halved at random, groups whole: one
half chooses as a rule says, the other half tells what the choice is worth. Rules:

- best: the check of the smallest log-loss.
- late: the last check whose log-loss is not above that by more than one standard error of their
  paired difference, over groups where there are any.
- last: the last one.
- late, or probe: the late one; the probe only where its loss is smaller by more than one standard
  error of their paired difference.

All but the last rule with the probe in its place where that has the smaller loss; all once by the
plain log-loss, once by that after a temperature (Guo et al. 2017,
https://arxiv.org/abs/1706.04599), which the choosing half fits for each check and which what is
chosen then has. What kerastl does differs by early stop, mirror images in the probe's fit, the size
of the images, a temperature that must prove itself and is none for fewer than 50 images, and a
standard error that counts a quarter of a loss at most.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.special import log_softmax
from watched import watched_training

import kerastl
from kerastl.plan import read_table
from kerastl.training.kept import standard_error

HALVINGS = 50
TEMPERATURES = np.geomspace(0.5, 4, 40)
SURELY = "late, or probe"
FIRST = ("best", "plain")


def losses_of(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log-loss of each image, float64 (temperatures, candidates, images)."""
    logits = np.log(np.maximum(answers.astype(np.float64), 1e-7))
    rows = np.arange(len(labels))
    return np.stack([-log_softmax(logits / t, axis=2)[:, rows, labels] for t in TEMPERATURES])


def choose(rule: str, losses: np.ndarray, units: np.ndarray) -> int:
    """Return the candidate that a rule takes; the first is the probe."""
    means = losses.mean(axis=1)
    taken = best = 1 + int(np.argmin(means[1:]))
    if rule == "last":
        taken = len(losses) - 1
    if rule in ("late", SURELY):
        within = [
            index
            for index in range(best, len(losses))
            if means[index] - means[best] <= standard_error(losses[index] - losses[best], units)
        ]
        taken = max([best, *within])
    margin = standard_error(losses[taken] - losses[0], units) if rule == SURELY else 0
    return taken if means[taken] - margin < means[0] else 0


def worth(answers, labels, units, seed: int) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Yield for each rule the log-loss and the accuracy of what it takes, over halvings."""
    losses_at = losses_of(answers, labels)
    at_one = int(np.argmin(np.abs(np.log(TEMPERATURES))))
    right = answers.argmax(axis=2) == labels
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    rng, known = np.random.default_rng(seed), np.unique(units)
    for _ in range(HALVINGS):
        chooses = np.isin(units, rng.permutation(known)[: len(known) // 2])
        best = losses_at[:, :, chooses].mean(axis=2).argmin(axis=0)
        of = {
            "plain": losses_at[at_one],
            "after temperature": losses_at[best, np.arange(len(answers))],
        }
        for kind, losses in of.items():
            takes = {rule: choose(rule, losses[:, chooses], units[chooses]) for rule in RULES}
            for rule, index in {"probe": 0, **takes}.items():
                values = losses[index, ~chooses].mean(), 100 * right[index, ~chooses].mean()
                found.setdefault((rule, kind), []).append(values)
    for name, values in found.items():
        yield name, np.mean(values, axis=0)


RULES = ("best", "late", "last", SURELY)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="P2")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--train-images", type=int, help="leave out others of training, at random")
    arguments = parser.parse_args()
    config = kerastl.FitConfig(
        f"demo:solar:{arguments.task}",
        image_size=arguments.image_size,
        augment="mirrors",
        val_fraction=0.3,
        patience_epochs=1_000,
    )
    table = read_table(config)
    images = kerastl.load_pixels(table, image_size=config.image_size).images
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for seed in range(arguments.seeds):
        seen = watched_training(
            dataclasses.replace(config, seed=seed), images, table, num_train=arguments.train_images
        )
        for name, values in worth(seen.answers, seen.labels, seen.units, seed):
            found.setdefault(name, []).append(values)
        print(
            f"seed {seed}: {len(seen.answers) - 1} checks, {len(np.unique(seen.units))} units",
            flush=True,
        )
    print("\n| keeps | by the log-loss | accuracy % | log-loss | accuracy, paired | log-loss |")
    print("|---|---|---|---|---|---|")
    for (rule, kind), values in found.items():
        losses, shares = np.transpose(values)
        gains = np.array(values) - np.array(found[FIRST])
        spread = gains.std(axis=0, ddof=min(1, len(gains) - 1))
        print(
            f"| {rule} | {kind} | {shares.mean():.1f} | {losses.mean():.3f} "
            f"| {gains[:, 1].mean():+.1f} ± {spread[1]:.1f} "
            f"| {gains[:, 0].mean():+.3f} ± {spread[0]:.3f} |"
        )


if __name__ == "__main__":
    main()
