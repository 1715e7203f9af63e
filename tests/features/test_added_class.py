"""One class more: against scikit-learn where it can say the same, and what must not move."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from kerastl.features.added_class import add_class
from kerastl.features.probe import fit_probe, standardisation


def clusters(num_classes, per_class, *, num_features=16, seed=0, distance=2.0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    centres = np.random.default_rng(99).normal(size=(num_classes, num_features)) * distance
    found = centres[labels] + random.normal(size=(len(labels), num_features))
    return found.astype(np.float32), labels


def test_with_no_opinion_of_the_others_it_is_logistic_regression():
    features, labels = clusters(2, 30)
    new, known = features[labels == 1][:12], features[labels == 0]
    kernel, bias = np.zeros((16, 3), np.float32), np.zeros(3, np.float32)
    found = add_class(new, known, kernel=kernel, bias=bias)
    both = np.concatenate([new, known])
    mean, scale = standardisation(both)
    is_new = np.arange(len(both)) < len(new)
    weights = np.where(is_new, 1 / (4 * len(new)), 3 / (4 * len(known))) * len(both)
    reference = LogisticRegression(C=1 / found.penalty, tol=1e-10, max_iter=10_000).fit(
        (both - mean) / scale, is_new, sample_weight=weights
    )
    # The offset is the same for all images, so that the bias alone takes it up.
    assert found.kernel * scale == pytest.approx(reference.coef_[0], abs=5e-3)
    logits = both @ found.kernel + found.bias - np.log(3)
    assert logits == pytest.approx(reference.decision_function((both - mean) / scale), abs=2e-2)


def test_it_is_recognised_and_takes_little_from_the_others():
    features, labels = clusters(4, 60)
    old = labels < 3
    probe = fit_probe(features[old], labels[old], folds=np.arange(old.sum()) % 5)
    new = features[labels == 3][:20]
    found = add_class(new, features[old], kernel=probe.kernel, bias=probe.bias)
    others, answers = clusters(4, 50, seed=1)
    logits = np.column_stack(
        [others @ probe.kernel + probe.bias, others @ found.kernel + found.bias]
    )
    right = logits.argmax(axis=1) == answers
    assert right[answers == 3].mean() > 0.9
    assert right[answers < 3].mean() > 0.9
    # What is left out is right about as often as others are.
    assert (found.left_out[:20] > 0.5).mean() > 0.85
    assert (found.left_out[20:] < 0.5).mean() > 0.9


def test_noise_is_not_recognised():
    random = np.random.default_rng(0)
    known, new = (random.normal(size=(n, 40)).astype(np.float32) for n in (120, 12))
    found = add_class(new, known, kernel=np.zeros((40, 3), np.float32), bias=np.zeros(3))
    assert found.left_out[:12].mean() == pytest.approx(found.left_out[12:].mean(), abs=0.1)


def test_the_same_again():
    features, labels = clusters(2, 20)
    options = {"kernel": np.zeros((16, 2), np.float32), "bias": np.zeros(2, np.float32)}
    one, two = (
        add_class(features[labels == 1], features[labels == 0], **options) for _ in range(2)
    )
    assert np.array_equal(one.kernel, two.kernel)


def test_odds_of_the_others_cannot_move():
    features, labels = clusters(3, 20)
    probe = fit_probe(features, labels, folds=np.arange(60) % 5)
    new, _ = clusters(1, 9, seed=5, distance=9.0)
    found = add_class(new, features, kernel=probe.kernel, bias=probe.bias)
    before = softmax(features @ probe.kernel + probe.bias, axis=1)
    kernel = np.column_stack([probe.kernel, found.kernel])
    after = softmax(features @ kernel + np.append(probe.bias, found.bias), axis=1)
    odds = np.log(before[:, :1] / before), np.log(after[:, :1] / after[:, :3])
    assert odds[0] == pytest.approx(odds[1], abs=1e-4)
