"""A handful of images per class: who is chosen, what is said, what is exported."""

import json

import numpy as np
import pytest

import kerastl
from kerastl.features.centroids import fit_centroids
from kerastl.features.probe import fit_probe
from kerastl.training.few_images import are_few, choose_head, few_image_folds


def chosen(features, labels, *, groups=None):
    folds = few_image_folds(labels, groups=groups, seed=0)
    probe = fit_probe(features, labels, folds=folds)
    return choose_head(
        probe, features, labels, folds=folds, groups=groups, num_images=len(labels), seed=0
    )


def clusters(per_class=5, num_features=200, seed=0):
    """Classes about their own centres: the centroid is the best there is."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5), per_class)
    centres = random.normal(size=(5, num_features))
    noise = random.normal(0, 2.5, (len(labels), num_features))
    return (centres[labels] + noise).astype(np.float32), labels


def stripes(per_class=10, seed=0):
    """Two classes told by one small feature beside large ones that say nothing."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], per_class)
    features = random.normal(size=(len(labels), 12)) * ([1.0] + [6.0] * 11)
    features[:, 0] += 4 * labels
    return features.astype(np.float32), labels


def test_what_is_better_left_out_is_chosen():
    few = chosen(*clusters())
    assert few.are_chosen
    assert few.log_losses[0] < few.log_losses[1]
    assert "the probe is nearest centroids" in few.words
    few = chosen(*stripes())
    assert not few.are_chosen
    assert few.log_losses[0] > few.log_losses[1]
    assert "the probe is logistic regression" in few.words


def test_the_interval_is_of_images_left_out():
    features, labels = clusters()
    few = chosen(features, labels)
    folds = few_image_folds(labels, groups=None, seed=0)
    right = fit_centroids(features, labels, folds=folds).out_of_fold.argmax(axis=1) == labels
    assert few.accuracy.value == right.mean()
    assert few.accuracy.high - few.accuracy.low > 0.15
    assert f"{100 * few.accuracy.low:.0f} to {100 * few.accuracy.high:.0f} %" in few.words


def test_groups_are_left_out_whole():
    _, labels = clusters(per_class=6)
    groups = np.array([f"g{number % 10}" for number in range(len(labels))])
    folds = few_image_folds(labels, groups=groups, seed=0)
    assert len(set(folds)) == 10
    assert all(len(set(folds[groups == one])) == 1 for one in set(groups))


def test_who_has_few():
    assert are_few(np.repeat([0, 1], [10, 2]))
    assert not are_few(np.repeat([0, 1], [11, 2]))
    assert not are_few(np.repeat([0, 1], [5, 1]))  # none could be left out
    assert not are_few(np.ones((4, 2), np.int8))


@pytest.mark.parametrize("per_class", [7, 20])
def test_a_whole_run(painter, tmp_path, per_class):
    data = painter(tmp_path / "photos", per_class=per_class)
    config = kerastl.FitConfig(
        str(data), image_size=(32, 32), fine_tune_epochs=0, out=str(tmp_path / "run"),
        export=True, export_dir=str(tmp_path / "saved"), augment="light",
    )  # fmt: skip
    result = kerastl.run(config)
    few = json.loads((tmp_path / "run" / "metrics.json").read_text())["few_images"]
    said = [line for line in result.summary_lines if "per class at most" in line]
    if per_class == 20:
        assert few is None
        assert said == []
        return
    assert few["largest_class"] <= 7
    assert said == [few["words"]]
    assert few["words"] in (tmp_path / "run" / "report.html").read_text().replace("&#39;", "'")
    losses = few["leave_one_out_log_loss"]
    assert few["chosen"] == min(losses, key=losses.get)
    # Proven to answer like the run: that the head is the one that was chosen, see below.
    assert result.export is not None


def test_the_head_is_the_one_that_was_chosen(painter, tmp_path, monkeypatch):
    from kerastl.training import few_images

    data = painter(tmp_path / "photos", per_class=7)
    heads = {}
    for loss in (0.0, 9.0):
        # Of centroids, then of logistic regression.
        losses = iter([loss, 1.0])
        monkeypatch.setattr(few_images, "log_loss_nats", lambda *_, losses=losses: next(losses))
        config = kerastl.FitConfig(
            str(data), image_size=(32, 32), fine_tune_epochs=0, out=str(tmp_path / str(loss)),
            augment="none",
        )  # fmt: skip
        heads[loss] = kerastl.run(config).model.layers[-1].get_weights()[0]
        page = (tmp_path / str(loss) / "report.html").read_text()
        # Centroids have no penalty, and nothing was chosen epoch by epoch.
        assert ("penalty" in page.lower()) == (loss == 9.0)
        assert "its epoch" not in page
    # Centroids have one length, whatever the class; logistic regression has not.
    lengths = {loss: np.linalg.norm(kernel, axis=0) for loss, kernel in heads.items()}
    assert np.ptp(lengths[0.0]) < 1e-4 * lengths[0.0].max()
    assert np.ptp(lengths[9.0]) > 1e-3 * lengths[9.0].max()


def test_a_remedy_for_imbalance_is_for_logistic_regression(painter, tmp_path):
    data = painter(tmp_path / "photos", per_class=7)
    config = kerastl.FitConfig(
        str(data), image_size=(32, 32), fine_tune_epochs=0, out=str(tmp_path / "run"),
        imbalance="logit-adjust",
    )  # fmt: skip
    assert kerastl.run(config).metrics["few_images"] is None
