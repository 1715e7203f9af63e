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

Each with the probe in its place where that has the smaller loss, once by the plain log-loss, once
by that after a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599), which the choosing
half fits for each check and which what is chosen then has. The first is what kerastl does, but
for early stop, mirror images in the probe's fit, and the size of the images.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.special import log_softmax

import kerastl
from kerastl.features.probe import probe_probabilities
from kerastl.features.store import find_store
from kerastl.plan import build, find_network, find_phase, find_settings, read_table, split_table
from kerastl.training.best_epoch import BestEpoch
from kerastl.training.targets import one_hot

HALVINGS = 50
TEMPERATURES = np.geomspace(0.5, 4, 40)
NOW = ("best", "plain")


def trained(config: kerastl.FitConfig, images, table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the answers of the probe and of every check to validation, labels and groups."""
    splits = split_table(table, config)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    units = np.arange(len(table.labels)) if table.groups is None else table.groups
    network = find_network(config, backbone=None, preprocessing="")
    classifier = build(network, table, config)
    folds = kerastl.fold_rows(table.labels[train], groups=units[train], num_folds=5, seed=0)
    features = kerastl.extract_features(classifier, images[train])
    probe = kerastl.fit_probe(features, table.labels[train], folds=folds)
    kerastl.assign_probe(classifier, probe)
    of_probe = probe_probabilities(probe, kerastl.extract_features(classifier, images[val]))
    recipe, network = find_settings(config, network, num_train=len(train))
    answers, forward = [of_probe], BestEpoch._forward_all

    def seen(keeper):
        answers.append(forward(keeper))
        return answers[-1]

    BestEpoch._forward_all = seen
    try:
        kerastl.fine_tune(
            classifier,
            images,
            one_hot(table.labels, num_classes=len(table.class_names)),
            train_rows=train,
            val_rows=val,
            border=network.border,
            phase=find_phase(config, network, recipe),
            store=find_store("auto", largest_bytes=2**34),
        )
    finally:
        BestEpoch._forward_all = forward
    return np.stack(answers), table.labels[val], units[val]


def losses_of(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log-loss of each image, float64 (temperatures, candidates, images)."""
    logits = np.log(np.maximum(answers.astype(np.float64), 1e-7))
    rows = np.arange(len(labels))
    return np.stack([-log_softmax(logits / t, axis=2)[:, rows, labels] for t in TEMPERATURES])


def standard_error(difference: np.ndarray, units: np.ndarray) -> float:
    """Return that of a mean over images, where those of a unit are alike."""
    _, member = np.unique(units, return_inverse=True)
    sums = np.bincount(member, weights=difference - difference.mean())
    freedom = len(sums) / max(len(sums) - 1, 1)
    return float(np.sqrt(np.sum(np.square(sums)) * freedom)) / len(difference)


def choose(rule: str, losses: np.ndarray, units: np.ndarray) -> int:
    """Return the candidate that a rule takes; the first is the probe."""
    means = losses.mean(axis=1)
    taken = best = 1 + int(np.argmin(means[1:]))
    if rule == "last":
        taken = len(losses) - 1
    if rule == "late":
        within = [
            index
            for index in range(best, len(losses))
            if means[index] - means[best] <= standard_error(losses[index] - losses[best], units)
        ]
        taken = max([best, *within])
    return taken if means[taken] < means[0] else 0


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


RULES = ("best", "late", "last")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="P2")
    parser.add_argument("--image-size", type=int, default=96)
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
        answers, labels, units = trained(dataclasses.replace(config, seed=seed), images, table)
        for name, values in worth(answers, labels, units, seed):
            found.setdefault(name, []).append(values)
        print(f"seed {seed}: {len(answers) - 1} checks, {len(np.unique(units))} units", flush=True)
    print("\n| keeps | by the log-loss | accuracy % | log-loss | accuracy, paired | log-loss |")
    print("|---|---|---|---|---|---|")
    for (rule, kind), values in found.items():
        losses, shares = np.transpose(values)
        gains = np.array(values) - np.array(found[NOW])
        spread = gains.std(axis=0, ddof=min(1, len(gains) - 1))
        print(
            f"| {rule} | {kind} | {shares.mean():.1f} | {losses.mean():.3f} "
            f"| {gains[:, 1].mean():+.1f} ± {spread[1]:.1f} "
            f"| {gains[:, 0].mean():+.3f} ± {spread[0]:.3f} |"
        )


if __name__ == "__main__":
    main()
