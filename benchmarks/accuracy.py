"""Accuracy of kerastl and of the official Keras recipe: same images, splits, epochs, weights.

    python benchmarks/accuracy.py --seeds 5

Some of the solar cells (P1), EfficientNetLite0 with ImageNet weights. Each seed is another split
and other shuffling; both sides get the same pixels of the same split. "Keras" is the guide
"Transfer learning & fine-tuning" of keras.io with the network's own preprocessing: dropout and a
Dense layer, 10 epochs of Adam, then the last stage unfrozen and 5 more at 1e-5. "kerastl, same
epochs" fine-tunes the same layers for 5 epochs over one view, "kerastl" is what a user gets who
names nothing but the augmentation. The test split is read once, at the end. Spread is the
standard deviation over seeds; the difference is paired by seed.
"""

import argparse
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from whole_job import LAST_STAGE, blocks_above

import kerastl
from kerastl.models.backbones import preprocess
from kerastl.models.network import build_network

BACKBONE = "EfficientNetLite0"


def run_keras(images, labels, splits, *, seed: int, head_epochs: int, epochs: int) -> np.ndarray:
    """Follow the guide; return the probability of the second class for the test images."""
    keras.utils.set_random_seed(seed)
    network = build_network(BACKBONE, weights="imagenet")
    base = network.backbone

    def part(name: str) -> tf.data.Dataset:
        rows = np.flatnonzero(splits == name)
        dataset = tf.data.Dataset.from_tensor_slices((images[rows], labels[rows]))
        return (dataset.shuffle(len(rows), seed=seed) if name == "train" else dataset).batch(32)

    train, val = part("train"), part("val")
    base.trainable = False
    inputs = keras.Input(images.shape[1:])
    x = base(preprocess(inputs, network.preprocessing), training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))

    def train_for(rate: float, count: int) -> None:
        model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
        )
        model.fit(train, epochs=count, validation_data=val, verbose=0)

    train_for(1e-3, head_epochs)
    base.trainable = True
    names = [layer.name for layer in base.layers]
    for layer in base.layers[: names.index(LAST_STAGE[BACKBONE]) + 1]:
        layer.trainable = False
    train_for(1e-5, epochs)
    return model.predict(images[splits == "test"], verbose=0)[:, 0]


def run_kerastl(table, folder: Path, *, seed: int, **options: object) -> dict[str, float]:
    """Run the whole job; return what the kept model reached on the test split."""
    config = kerastl.FitConfig(
        "cells", backbone=BACKBONE, seed=seed, out=str(folder), overwrite=True, **options
    )
    result = kerastl.run(config, table=table)
    measured = result.metrics[result.kept]["test"]
    return {"accuracy": measured["accuracy"]["value"], "auroc": measured["auroc"]["value"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train-images", type=int, default=600)
    parser.add_argument("--head-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    cells = kerastl.load_table("demo:solar:P1")
    size = build_network(BACKBONE, weights="none").image_size
    images = np.asarray(kerastl.load_pixels(cells, image_size=size).images)
    labels = cells.labels
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.seeds):
        splits = kerastl.split_rows(
            labels,
            strata=cells.strata,
            class_names=cells.class_names,
            val_fraction=0.1,
            test_fraction=0.4,
            seed=seed,
        )
        rng = np.random.default_rng(seed)
        train = rng.permutation(np.flatnonzero(splits == "train"))
        rows = np.sort([*train[: arguments.train_images], *np.flatnonzero(splits != "train")])
        splits, some, known = splits[rows], images[rows], labels[rows]
        answers = run_keras(
            some,
            known.astype(np.float32),
            splits,
            seed=seed,
            head_epochs=arguments.head_epochs,
            epochs=arguments.epochs,
        )
        truth = known[splits == "test"]
        one = {
            "Keras guide": {
                "accuracy": float(np.mean((answers > 0) == truth)),
                "auroc": float(roc_auc_score(truth, answers)),
            }
        }
        table = kerastl.table_from_arrays(
            some, known, class_names=cells.class_names, splits=splits, name="cells"
        )
        with tempfile.TemporaryDirectory() as place:
            one["kerastl, same epochs"] = run_kerastl(
                table,
                Path(place) / "run",
                seed=seed,
                unfreeze_blocks=blocks_above(BACKBONE),
                fine_tune_epochs=arguments.epochs,
                augment="none",
            )
            one["kerastl"] = run_kerastl(table, Path(place) / "run", seed=seed, augment="mirrors")
        print(json.dumps({"seed": seed, **one}), flush=True)
        for name, values in one.items():
            found.setdefault(name, []).append(values)
        keras.backend.clear_session()
    print("\n| | accuracy % | AUROC | accuracy over Keras', paired |\n|---|---|---|---|")
    reference = np.array([one["accuracy"] for one in found["Keras guide"]])
    for name, values in found.items():
        accuracy = np.array([one["accuracy"] for one in values])
        auroc = np.array([one["auroc"] for one in values])
        over = 100 * (accuracy - reference)
        print(
            f"| {name} | {100 * accuracy.mean():.1f} ± {100 * accuracy.std(ddof=1):.1f} "
            f"| {auroc.mean():.3f} ± {auroc.std(ddof=1):.3f} "
            f"| {over.mean():+.1f} ± {over.std(ddof=1):.1f} |"
        )


if __name__ == "__main__":
    main()
