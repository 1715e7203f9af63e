"""What levers add to the probe that cost no training: pooling and test-time augmentation.

    python benchmarks/probe_levers.py --task P1 --seeds 5

Solar cells, EfficientNetLite0 with ImageNet weights at 300 pixels. Each seed is another split; a
quarter of the images validates, the test split is not touched. Features are extracted once for
all seeds. Differences are paired by seed; the spread is the standard deviation over seeds.
"""

import argparse
import dataclasses

import numpy as np
from sklearn.metrics import roc_auc_score

import kerastl
from kerastl.data.augment import symmetric_views
from kerastl.features.probe import log_loss_nats, probe_probabilities
from kerastl.models.view_mean import mean_answer
from kerastl.plan import build, find_network, read_table, split_table


def judged(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float, float]:
    """Return accuracy in percent, AUROC and log-loss in nats."""
    score = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return (
        100 * float(np.mean(probabilities.argmax(axis=1) == labels)),
        float(roc_auc_score(labels, score, multi_class="ovr")),
        log_loss_nats(labels, probabilities),
    )


def features_of_views(
    config: kerastl.FitConfig, table: kerastl.ImageTable
) -> dict[str, np.ndarray]:
    """Return the features of all images, for each mirror image."""
    images = kerastl.load_pixels(table, image_size=config.image_size).images
    classifier = build(find_network(config, backbone=None, preprocessing=""), table, config)
    square = images.shape[1] == images.shape[2]
    return {
        name: kerastl.extract_features(classifier, np.ascontiguousarray(view(images[:])))
        for name, view in symmetric_views(config.augment, square=square).items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="P1")
    parser.add_argument("--image-size", type=int, default=300)
    parser.add_argument("--augment", default="mirrors")
    arguments = parser.parse_args()
    config = kerastl.FitConfig(
        f"demo:solar:{arguments.task}",
        image_size=arguments.image_size,
        augment=arguments.augment,
        val_fraction=0.25,
    )
    table = read_table(config)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for pooling in ("avg", "max", "stages"):
        features = features_of_views(dataclasses.replace(config, pooling=pooling), table)
        for seed in range(arguments.seeds):
            splits = split_table(table, dataclasses.replace(config, seed=seed))
            train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
            groups = None if table.groups is None else table.groups[train]
            folds = kerastl.fold_rows(table.labels[train], groups=groups, num_folds=5, seed=seed)
            probe = kerastl.fit_probe(
                np.concatenate([view[train] for view in features.values()]),
                np.tile(table.labels[train], len(features)),
                folds=np.tile(folds, len(features)),
            )
            answers = [probe_probabilities(probe, view[val]) for view in features.values()]
            mean = mean_answer(answers, multi_label=False)
            found.setdefault(pooling, []).append(judged(table.labels[val], answers[0]))
            found.setdefault(f"{pooling}, tta", []).append(judged(table.labels[val], mean))
    print("| | accuracy % | AUROC | log-loss | log-loss less that of avg, paired |")
    print("|---|---|---|---|---|")
    for name, rows in found.items():
        means, spreads = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        cells = [
            f"{means[i]:.{digits}f} ± {spreads[i]:.{digits}f}" for i, digits in enumerate((1, 3, 3))
        ]
        gains = np.array(rows)[:, 2] - np.array(found["avg"])[:, 2]
        cells.append(f"{gains.mean():+.3f} ± {gains.std(ddof=1):.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
