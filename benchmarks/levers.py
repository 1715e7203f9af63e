"""What each lever of fine-tuning adds, one at a time, on validation.

    python benchmarks/levers.py --seeds 2

Solar cells (P1), EfficientNetLite0 with ImageNet weights. Each seed is another split; a quarter of
the images validates, the test split is not touched. All levers of a seed begin at the same probe
and, where they keep views, see the same ones. Differences are paired by seed; the spread is
the standard deviation over seeds. `--levers` picks some.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import kerastl
from kerastl.features.probe import log_loss_nats, probe_probabilities
from kerastl.features.store import find_store
from kerastl.plan import build, find_network, find_phase, find_settings, read_table, split_table
from kerastl.training.targets import one_hot

BASE = "recipe"
LEVERS: dict[str, dict] = {
    BASE: {},
    "layer_decay 0.9": {"layer_decay": 0.9},
    "layer_decay 0.8": {"layer_decay": 0.8},
    "batch_norm affine": {"batch_norm": "affine"},
    "soup 3": {"soup": 3},
    "interpolate": {"interpolate": True},
    "16 epochs": {"fine_tune_epochs": 16},
    "16 epochs, 4e-4": {"fine_tune_epochs": 16, "learning_rate": 4e-4},
    "4e-4": {"learning_rate": 4e-4},
    "1e-4": {"learning_rate": 1e-4},
    "5e-5": {"learning_rate": 5e-5},
    "16 epochs, 1e-4": {"fine_tune_epochs": 16, "learning_rate": 1e-4},
    "8 views": {"views": 8},
    "16 epochs, 8 views, 4e-4": {"fine_tune_epochs": 16, "views": 8, "learning_rate": 4e-4},
    "12 blocks": {"unfreeze_blocks": 12},
    "5 blocks": {"unfreeze_blocks": 5},
    "first blocks": {"tune": "first"},
    "middle blocks": {"tune": "middle"},
    "last blocks": {"tune": "last"},
    "ema 0.98": {"ema_momentum": 0.98},
    "l2_sp 0.1": {"l2_sp": 0.1},
    "weight_decay 0.05": {"weight_decay": 0.05},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "one-cycle": {"schedule": "one-cycle"},
    "slanted-triangle": {"schedule": "slanted-triangle"},
    "gradual": {"recipe": "gradual"},
    "cyclical": {"recipe": "cyclical"},
    "fastai": {"recipe": "fastai", "unfreeze_blocks": 9},
    "dropout 0.2": {"dropout": 0.2},
}


def judged(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return accuracy in percent, AUROC and log-loss in nats."""
    score = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return {
        "accuracy": 100 * float(np.mean(probabilities.argmax(axis=1) == labels)),
        "auroc": float(roc_auc_score(labels, score, multi_class="ovr")),
        "log_loss": log_loss_nats(labels, probabilities),
    }


def run_seed(config: kerastl.FitConfig, names: list[str], images, table):
    """Yield the name, the measures and the seconds of each lever."""
    store = find_store("auto", largest_bytes=20 * 2**30)
    splits = split_table(table, config)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    network = find_network(config, backbone=None, preprocessing="")
    features = starts = None
    for name in names:
        changed = dataclasses.replace(config, **LEVERS[name])
        classifier = build(network, table, changed)
        if features is None:
            plain, mirrored = (
                kerastl.extract_features(classifier, pixels)
                for pixels in (images[train], images[train][:, :, ::-1])
            )
            features = np.concatenate([plain, mirrored])
            folds = np.tile(np.arange(len(train)) % 5, 2)
            known = np.tile(table.labels[train], 2)
            probe = kerastl.fit_probe(features, known, folds=folds)
            answers = probe_probabilities(probe, kerastl.extract_features(classifier, images[val]))
            yield "probe", judged(table.labels[val], answers), 0.0
            starts = network.backbone.get_weights()
        network.backbone.set_weights(starts)
        kerastl.assign_probe(classifier, probe)
        recipe, cut = find_settings(changed, network, num_train=len(train))
        started = time.perf_counter()
        result = kerastl.fine_tune(
            classifier,
            images,
            one_hot(table.labels, num_classes=len(table.class_names)),
            train_rows=train,
            val_rows=val,
            border=cut.border,
            all_borders=cut.borders,
            phase=find_phase(changed, cut, recipe),
            store=store,
        )
        measures = judged(table.labels[val], result.val_probabilities)
        yield name, measures, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--task", default="P1")
    parser.add_argument("--image-size", type=int, default=300)
    parser.add_argument("--augment", default="mirrors")
    parser.add_argument("--levers", nargs="+", default=[], choices=LEVERS)
    parser.add_argument("--out", type=Path, help="JSON lines, one for each result")
    arguments = parser.parse_args()
    wanted = set(arguments.levers)
    names = [name for name in LEVERS if name == BASE or not wanted or name in wanted]
    config = kerastl.FitConfig(
        f"demo:solar:{arguments.task}",
        image_size=arguments.image_size,
        augment=arguments.augment,
        val_fraction=0.25,
    )
    table = read_table(config)
    images = kerastl.load_pixels(table, image_size=config.image_size).images
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.seeds):
        for name, measures, seconds in run_seed(
            dataclasses.replace(config, seed=seed), names, images, table
        ):
            found.setdefault(name, []).append(measures)
            line = json.dumps({"seed": seed, "lever": name, **measures, "seconds": seconds})
            print(line, flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(f"{line}\n")
    print("\n| lever | accuracy % | AUROC | log-loss | log-loss less the recipe's, paired |")
    print("|---|---|---|---|---|")
    for name, rows in found.items():
        cells = [
            f"{np.mean([row[key] for row in rows]):.{digits}f} ± "
            f"{np.std([row[key] for row in rows]):.{digits}f}"
            for key, digits in (("accuracy", 1), ("auroc", 3), ("log_loss", 3))
        ]
        gains = [
            row["log_loss"] - base["log_loss"] for row, base in zip(rows, found[BASE], strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} | {np.mean(gains):+.3f} ± {np.std(gains):.3f} |")


if __name__ == "__main__":
    main()
