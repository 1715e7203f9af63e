"""Nearest centroids against the paper's rule, word by word."""

import numpy as np
import pytest

from kerastl.features.centroids import fit_centroids, leave_one_out_folds
from kerastl.features.probe import log_loss_nats


def made(num_classes=4, per_class=5, num_features=24, noise=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    centres = random.normal(size=(num_classes, num_features)) + 3
    features = centres[labels] + random.normal(0, noise, (len(labels), num_features))
    return features.astype(np.float32), labels


def nearest_by_hand(features, labels, images):
    """The class whose centroid has the largest cosine to the centred image."""
    middle = np.mean([features[labels == one].mean(axis=0) for one in np.unique(labels)], axis=0)
    unit = np.array([(row - middle) / np.linalg.norm(row - middle) for row in features])
    centroids = [unit[labels == one].mean(axis=0) for one in np.unique(labels)]
    return [
        int(np.argmax([(row - middle) @ c / np.linalg.norm(c) for c in centroids]))
        for row in images
    ]


def test_it_answers_with_the_nearest_centroid():
    features, labels = made(noise=2.0)
    found = fit_centroids(features, labels, folds=leave_one_out_folds(labels))
    others, _ = made(noise=4.0, seed=1)
    answers = (others @ found.kernel + found.bias).argmax(axis=1)
    assert answers.tolist() == nearest_by_hand(features, labels, others)


def test_held_out_images_had_no_part_in_their_answer():
    features, labels = made(noise=2.0)
    folds = leave_one_out_folds(labels)
    found = fit_centroids(features, labels, folds=folds)
    for fold in np.unique(folds):
        outside = folds == fold
        expected = nearest_by_hand(features[~outside], labels[~outside], features[outside])
        assert found.out_of_fold[outside].argmax(axis=1).tolist() == expected
    changed = features.copy()
    changed[0] += 100
    again = fit_centroids(changed, labels, folds=folds)
    same = folds == folds[0]
    # Only through the scale can an image reach the answers of its own fold.
    order = np.argsort(found.out_of_fold[same][1:], axis=1)
    assert np.array_equal(order, np.argsort(again.out_of_fold[same][1:], axis=1))


def test_it_is_as_sure_as_it_may_be():
    clear, labels = made(noise=0.1)
    found = fit_centroids(clear, labels, folds=leave_one_out_folds(labels))
    # 20 of 20 are right: of 22 one may be wrong, says Laplace, and no more than that is said.
    assert found.out_of_fold.argmax(axis=1).tolist() == labels.tolist()
    assert found.out_of_fold.max(axis=1).mean() == pytest.approx(21 / 22, abs=0.02)
    labels = np.repeat(np.arange(4), 60)
    noise = np.random.default_rng(0).normal(size=(240, 24)).astype(np.float32)
    found = fit_centroids(noise, labels, folds=leave_one_out_folds(labels))
    assert log_loss_nats(labels, found.out_of_fold) == pytest.approx(np.log(4), abs=0.05)


def test_equal_features_are_no_error():
    labels = np.repeat([0, 1], 3)
    found = fit_centroids(np.ones((6, 3), np.float32), labels, folds=leave_one_out_folds(labels))
    assert np.isfinite(found.kernel).all()
    assert found.out_of_fold == pytest.approx(0.5)


def test_each_fold_has_one_image_of_each_class():
    labels = np.array([2, 0, 1, 0, 2, 2])
    folds = leave_one_out_folds(labels)
    assert folds.max() == 2
    for fold in range(3):
        found = labels[folds == fold]
        assert len(set(found)) == len(found)
