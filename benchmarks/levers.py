"""What each lever adds to the probe and to fine-tuning, one at a time, on validation.

    python benchmarks/levers.py --seeds 2

Solar cells (P1), EfficientNetLite0 with ImageNet weights at 300 pixels. Each seed is another split;
a quarter of the images validates, the test split is not touched. Levers that see the same pixels
and features begin at the same probe and share what leaves the frozen part. Every row is measured
twice: as it is, and as the mean over mirror images (TTA); with more than two classes once more,
TTA with logit adjustment (`--imbalance logit-adjust`). Differences are paired by seed; the
spread is the standard deviation over seeds. `--levers` picks some, `--probes` trains nothing:

    python benchmarks/levers.py --probes --seeds 5 --levers max stages
"""

import argparse
import dataclasses
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

import kerastl
from kerastl.data.augment import symmetric_views
from kerastl.data.imbalance import log_priors
from kerastl.deadline import NEVER
from kerastl.features.store import find_store
from kerastl.models.view_mean import mean_over_views
from kerastl.plan import build, find_network, read_table
from kerastl.training.adjustment import adjusted_probabilities
from kerastl.training.temperature import tempered_losses
from kerastl.tuning.runs import Start, find_start, train_once

BASE = "recipe"
LEVERS: dict[str, dict] = {
    BASE: {},
    "layer_decay 0.9": {"layer_decay": 0.9},
    "layer_decay 0.8": {"layer_decay": 0.8},
    "batch_norm affine": {"batch_norm": "affine"},
    "soup 3": {"soup": 3},
    "no interpolation": {"interpolate": False},
    "8 epochs": {"fine_tune_epochs": 8},
    "16 epochs": {"fine_tune_epochs": 16},
    "16 epochs, 4e-4": {"fine_tune_epochs": 16, "learning_rate": 4e-4},
    "4e-4": {"learning_rate": 4e-4},
    "1e-4": {"learning_rate": 1e-4},
    "5e-5": {"learning_rate": 5e-5},
    "16 epochs, 1e-4": {"fine_tune_epochs": 16, "learning_rate": 1e-4},
    "1 view": {"views": 1},
    "8 views": {"views": 8},
    "live views": {"views": "live"},
    "16 epochs, 8 views, 4e-4": {"fine_tune_epochs": 16, "views": 8, "learning_rate": 4e-4},
    "17 blocks": {"unfreeze_blocks": "all"},
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
    "dihedral": {"augment": "dihedral"},
    "dihedral, 8 views": {"augment": "dihedral", "views": 8},
    "max": {"pooling": "max"},
    "stages": {"pooling": "stages"},
    "stages, 16 epochs": {"pooling": "stages", "fine_tune_epochs": 16},
    "stages, 17 blocks": {"pooling": "stages", "unfreeze_blocks": "all"},
    "stages, dihedral": {"pooling": "stages", "augment": "dihedral"},
    "224 pixels": {"image_size": 224},
    "balanced": {"imbalance": "balanced"},
    "sqrt": {"imbalance": "sqrt"},
    "384 pixels": {"image_size": 384},
}
# What the probe depends on.
_SEEN = ("image_size", "pooling", "augment", "imbalance")
# Times the training size (FixRes: Touvron et al. 2019, https://arxiv.org/abs/1906.06423).
_TEST_SIZES = (1.15, 1.3)


def judged(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return accuracy in percent, macro-F1, AUROC and log-loss in nats, as checks are compared."""
    score = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return {
        "accuracy": 100 * float(np.mean(probabilities.argmax(axis=1) == labels)),
        "macro_f1": float(f1_score(labels, probabilities.argmax(axis=1), average="macro")),
        "auroc": float(roc_auc_score(labels, score, multi_class="ovr")),
        "log_loss": float(tempered_losses(labels, probabilities).mean()),
    }


def both(start: Start, classifier: keras.Model, images: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yield what a classifier is worth, as it is and over views, by what to add to its name."""
    views = list(symmetric_views(start.config.augment, square=True))
    yield "", judged(start.val_labels, classifier.predict(images, verbose=0))
    over_views = mean_over_views(classifier, views)
    answers = over_views.predict(images, batch_size=32, verbose=0)
    yield ", TTA", judged(start.val_labels, answers)
    if answers.shape[1] > 2 and start.config.imbalance == "none":
        labels = start.job.table.labels[start.job.rows("train")]
        priors = log_priors(labels, num_classes=answers.shape[1])
        adjusted = adjusted_probabilities(answers, priors)
        yield ", TTA, logit-adjust", judged(start.val_labels, adjusted)


def larger(start: Start, classifier: keras.Model, factor: float) -> dict[str, float]:
    """Return what a classifier is worth on larger images than it was trained on."""
    height, width = start.job.network.image_size
    size = (round(height * factor), round(width * factor))
    config = dataclasses.replace(start.config, image_size=size)
    network = find_network(config, backbone=None, preprocessing="")
    model = build(network, start.job.table, config)
    model.set_weights(classifier.get_weights())
    images = kerastl.load_pixels(start.job.table, image_size=size).images
    answers = model.predict(np.asarray(images[start.job.rows("val")]), verbose=0)
    return judged(start.val_labels, answers)


def rows_of_start(
    start: Start, levers: dict[str, dict], *, name: str, probes: bool
) -> Iterator[tuple]:
    """Yield name, measures and seconds of the probe, and of each lever that begins at it."""
    images = np.asarray(start.job.pixels.images[start.job.rows("val")])
    for ending, measures in both(start, start.new_classifier(start.config), images):
        yield f"probe{name}{ending}", measures, 0.0
    if probes:
        return
    for lever, values in levers.items():
        began = time.perf_counter()
        classifier, result = train_once(start, values)
        seconds = time.perf_counter() - began
        for ending, measures in both(start, classifier, images):
            yield f"{lever}{ending}", measures, seconds
        if lever == BASE:
            for factor in _TEST_SIZES:
                yield f"{lever}, tested at {factor}x", larger(start, classifier, factor), seconds
        del classifier, result
        gc.collect()


def rows_of_seed(
    config: kerastl.FitConfig, names: list[str], table, *, probes: bool
) -> Iterator[tuple]:
    """Yield the name, the measures and the seconds of every row."""
    starts: dict[tuple, dict[str, dict]] = {}
    for name in names:
        changed = dataclasses.replace(config, **LEVERS[name])
        starts.setdefault(tuple(getattr(changed, one) for one in _SEEN), {})[name] = LEVERS[name]
    for seen, levers in starts.items():
        changed = dict(zip(_SEEN, seen, strict=True))
        words = [str(value) for key, value in changed.items() if value != getattr(config, key)]
        with tempfile.TemporaryDirectory() as directory:
            start = find_start(
                dataclasses.replace(config, **changed),
                table,
                directory=Path(directory),
                deadline=NEVER,
                store=find_store("auto", largest_bytes=20 * 2**30),
            )
            name = "".join(f", {word}" for word in words)
            yield from rows_of_start(start, levers, name=name, probes=probes)
        del start
        gc.collect()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--task", default="P1")
    parser.add_argument("--image-size", type=int, default=300)
    parser.add_argument("--augment", default="mirrors")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--levers", nargs="+", default=[], choices=LEVERS)
    parser.add_argument("--probes", action="store_true", help="train nothing but the heads")
    parser.add_argument("--out", type=Path, help="JSON lines, one for each result")
    arguments = parser.parse_args()
    wanted = set(arguments.levers)
    names = [name for name in LEVERS if name == BASE or not wanted or name in wanted]
    config = kerastl.FitConfig(
        f"demo:solar:{arguments.task}",
        image_size=arguments.image_size,
        augment=arguments.augment,
        precision=arguments.precision,
        val_fraction=0.25,
    )
    table = read_table(config)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        changed = dataclasses.replace(config, seed=seed)
        for name, measures, seconds in rows_of_seed(changed, names, table, probes=arguments.probes):
            found.setdefault(name, []).append(measures)
            line = json.dumps({"seed": seed, "lever": name, **measures, "seconds": seconds})
            print(line, flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(f"{line}\n")
    print_table(found, base="probe" if arguments.probes else BASE)


CELLS = (("accuracy", 1), ("macro_f1", 3), ("auroc", 3), ("log_loss", 3))


def print_table(found: dict[str, list[dict[str, float]]], *, base: str) -> None:
    """Print means and spreads over seeds, and the gain over one row."""
    print(f"\n| lever | accuracy % | macro-F1 | AUROC | log-loss | less that of {base}, paired |")
    print("|---|---|---|---|---|---|")
    for name, rows in found.items():
        freedom = min(1, len(rows) - 1)
        cells = [
            f"{np.mean([row[key] for row in rows]):.{digits}f} ± "
            f"{np.std([row[key] for row in rows], ddof=freedom):.{digits}f}"
            for key, digits in CELLS
        ]
        gains = [
            row["log_loss"] - other["log_loss"]
            for row, other in zip(rows, found[base], strict=True)
        ]
        cells.append(f"{np.mean(gains):+.3f} ± {np.std(gains, ddof=freedom):.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
