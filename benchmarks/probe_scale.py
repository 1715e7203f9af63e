"""By what should features be divided before a penalised regression? Few images, several seeds.

    python benchmarks/probe_scale.py --seeds 4

Probes on frozen features at 96 pixels, of some training images each: log-loss on held-out folds of
these, log-loss and accuracy on 800 others. "own" divides each feature by its own deviation alone,
"median" is kerastl: by no less than the median deviation.
"""

import argparse
from collections.abc import Callable

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from kerastl.data.pixels import load_pixels
from kerastl.data.sources import load_table
from kerastl.data.splits import fold_rows
from kerastl.features import probe as probe_module
from kerastl.features.extract import extract_features
from kerastl.features.probe import fit_probe, log_loss_nats, probe_probabilities
from kerastl.models.classifier import build_classifier
from kerastl.models.network import build_network

_SIZE = (96, 96)
_OTHERS = 800


def solar_cells() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of the solar cells."""
    table = load_table("demo:solar:P1")
    return load_pixels(table, image_size=_SIZE).images, table.labels


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of scikit-learn's handwritten digits, enlarged."""
    found = load_digits()
    grey = [Image.fromarray((15 * one).astype(np.uint8)).resize(_SIZE) for one in found.images]
    return np.stack([np.asarray(one.convert("RGB")) for one in grey]), found.target


def own(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale as standardisation usually has them."""
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    return mean, np.where(scale > 1e-6 * scale.max(), scale, 1.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--images", type=int, nargs="+", default=[60, 120, 400, 1600])
    options = parser.parse_args()
    scales: dict[str, Callable] = {"own": own, "median": probe_module.standardisation}
    print("| task | images | divided by | held-out folds | others | accuracy |")
    print("|---|---|---|---|---|---|")
    for name, read in (("digits", digits), ("solar cells", solar_cells)):
        images, labels = read()
        network = build_network(
            "EfficientNetLite0", weights="imagenet", image_size=_SIZE, unfreeze_blocks=0
        )
        model = build_classifier(
            network.backbone,
            num_classes=int(labels.max()) + 1,
            image_size=_SIZE,
            preprocessing=network.preprocessing,
        )
        features = extract_features(model, images)
        for count in options.images:
            if count + _OTHERS > len(labels):
                continue
            for scale, function in scales.items():
                probe_module.standardisation = function
                found = []
                for seed in range(options.seeds):
                    order = np.random.default_rng(seed).permutation(len(labels))
                    few, others = order[:count], order[count:][-_OTHERS:]
                    folds = fold_rows(labels[few], num_folds=5, seed=seed)
                    probe = fit_probe(features[few], labels[few], folds=folds)
                    said = probe_probabilities(probe, features[others])
                    found.append(
                        (
                            log_loss_nats(labels[few], probe.out_of_fold),
                            log_loss_nats(labels[others], said),
                            (said.argmax(axis=1) == labels[others]).mean(),
                        )
                    )
                held, fresh, right = np.mean(found, axis=0)
                print(
                    f"| {name} | {count} | {scale} | {held:.3f} | {fresh:.3f} | {right:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
