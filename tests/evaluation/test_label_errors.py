"""Planted label errors are found, and little else is named."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from kerastl.evaluation.label_errors import label_candidates


def planted(seed, *, flipped=0.05, num_classes=4, images=1_000, distance=3.0):
    """Return labels with errors, out-of-fold answers of a probe, and which rows are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, images)
    features = rng.normal(size=(images, 20))
    features[np.arange(images), true] += distance
    wrong = rng.permutation(images)[: round(flipped * images)]
    labels = true.copy()
    labels[wrong] = (true[wrong] + rng.integers(1, num_classes, len(wrong))) % num_classes
    probe = LogisticRegression(C=0.1, max_iter=1_000)
    answers = cross_val_predict(probe, features, labels, cv=5, method="predict_proba")
    return labels, answers.astype(np.float32), wrong, true


@pytest.mark.parametrize("seed", range(5))
def test_the_first_half_of_the_list_is_right(seed):
    labels, answers, wrong, true = planted(seed)
    found = label_candidates(labels, answers)
    first = found.rows[: max(1, len(found.rows) // 2)]
    assert np.isin(first, wrong).mean() >= 0.8
    assert np.isin(wrong, found.rows).mean() >= 0.6
    among = np.isin(found.rows, wrong)
    assert (found.suggested[among] == true[found.rows[among]]).mean() >= 0.8
    np.testing.assert_array_equal(found.own, answers[found.rows, labels[found.rows]])
    assert (found.other > found.own).all()


def test_clean_labels_have_few_candidates():
    labels, answers, _, _ = planted(0, flipped=0.0, distance=5.0)
    assert len(label_candidates(labels, answers).rows) <= 10


def test_classes_without_images_and_a_single_class():
    labels, answers, wrong, _ = planted(1)
    wider = np.insert(answers, 2, 1e-6, axis=1)
    moved = np.where(labels >= 2, labels + 1, labels)
    found, same = label_candidates(moved, wider), label_candidates(labels, answers)
    np.testing.assert_array_equal(found.rows, same.rows)
    assert 2 not in found.suggested
    assert len(wrong)
    assert not len(label_candidates(np.zeros(5, np.int64), np.ones((5, 1), np.float32)).rows)
