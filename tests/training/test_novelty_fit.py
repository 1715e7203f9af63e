"""What a model knows: which images are remembered, and pictures of an unknown class."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kerastl.errors import DataError, FrozenPartError
from kerastl.features.novelty import fit_novelty
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import open_store
from kerastl.models.classifier import build_classifier, feature_model
from kerastl.training import novelty_fit
from kerastl.training.novelty_fit import learn_known_kind

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


@pytest.fixture
def classifier():
    """An untrained network: random features tell colours already."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(inputs)
    return build_classifier(
        keras.Model(inputs, x), num_classes=3, image_size=(8, 8), preprocessing="tf"
    )


def painted(colours, count, *, seed):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(colours)
    pixels = colours[labels][:, None, None] + random.normal(0, 30, (count, 8, 8, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def learn(classifier, images, labels, splits, **options):
    return learn_known_kind(
        classifier,
        images,
        labels,
        splits=splits,
        **{"store": NO_STORE, "batch_size": 16, "seed": 0, **options},
    )


def test_an_unknown_class_is_told(classifier):
    images, labels = painted(COLOURS, 240, seed=0)
    splits = np.repeat(["train", "val", "test"], 80)
    found = learn(classifier, images, labels, splits)
    assert {name: len(rows) for name, rows in found.rows.items()} == {
        "train": 80,
        "val": 80,
        "test": 80,
    }
    assert found.rows["test"].tolist() == list(range(160, 240))
    assert np.sum(found.test_scores > found.novelty.threshold) <= 12  # 4 expected
    # The threshold is that of validation: training images are their own neighbours.
    validated = feature_model(classifier)(images[80:160].astype(np.float32)).numpy()
    again = fit_novelty(found.features["train"], validated, num_neighbours=10)
    assert found.novelty.threshold == pytest.approx(again.threshold, abs=1e-5)
    trained = feature_model(classifier)(images[:80].astype(np.float32)).numpy()
    own = fit_novelty(found.features["train"], trained, num_neighbours=10)
    assert abs(found.novelty.threshold - own.threshold) > 1e-5
    strange, _ = painted(np.array([[200, 200, 40]]), 60, seed=1)
    features = feature_model(classifier)(strange.astype(np.float32)).numpy()
    scores = np.concatenate([found.test_scores, found.novelty.scores(features)])
    assert roc_auc_score(np.repeat([0, 1], [80, 60]), scores) >= 0.9
    assert np.mean(found.novelty.scores(features) > found.novelty.threshold) > 0.5


def test_classes_are_remembered_alike_where_there_are_too_many(classifier, monkeypatch):
    monkeypatch.setattr(novelty_fit, "MOST_KNOWN", 24)
    images, labels = painted(COLOURS, 120, seed=0)
    labels[:100] = 0  # three classes of 100, 10 and 10
    labels[100:] = np.arange(20) % 2 + 1
    splits = np.full(120, "train", object).astype("<U5")
    splits[::10] = "val"
    kept = novelty_fit._some_of_each_class(
        np.flatnonzero(splits == "train"), labels, np.random.default_rng(0)
    )
    assert np.bincount(labels[kept]).tolist() == [8, 8, 8]
    found = learn(classifier, images, labels, splits)
    assert len(found.novelty.known) == 24
    assert found.novelty.num_neighbours == 4  # half of a class of 8
    assert found.test_scores.shape == (0,)


def test_several_labels(classifier):
    images, labels = painted(COLOURS, 90, seed=0)
    several = np.eye(3, dtype=np.int8)[labels]
    found = learn(classifier, images, several, np.repeat(["train", "val", "test"], 30))
    assert found.novelty.num_neighbours == 5
    assert np.isfinite(found.novelty.threshold)


def test_stored_features_are_the_same(classifier, tmp_path):
    images, labels = painted(COLOURS, 90, seed=0)
    splits = np.repeat(["train", "val", "test"], 30)
    store = open_store(tmp_path / "cache", largest_bytes=2**20)
    plain = learn(classifier, images, labels, splits)
    trained = learn(classifier, images, labels, splits, store=None)
    np.testing.assert_array_equal(trained.novelty.known, plain.novelty.known)
    for _ in range(2):
        kept = learn(classifier, images, labels, splits, store=store)
        np.testing.assert_array_equal(kept.novelty.known, plain.novelty.known)
        np.testing.assert_array_equal(kept.test_scores, plain.test_scores)


def test_images_that_have_gone_do_not_lose_the_run(classifier, caplog):
    images, labels = painted(COLOURS, 90, seed=0)

    class Gone:
        shape = images.shape

        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            raise DataError("a file has gone.")

    assert learn(classifier, Gone(), labels, np.repeat(["train", "val", "test"], 30)) is None
    assert "a file has gone" in caplog.text


def test_a_fold_that_is_inexact_does_not_lose_the_run(classifier, caplog, monkeypatch):
    def prove(*_arguments, **_options):
        raise FrozenPartError("folding changes the features.")

    monkeypatch.setattr(novelty_fit, "prove_in_memory", prove)
    images, labels = painted(COLOURS, 90, seed=0)
    assert learn(classifier, images, labels, np.repeat(["train", "val", "test"], 30)) is None
    assert "folding changes the features" in caplog.text
