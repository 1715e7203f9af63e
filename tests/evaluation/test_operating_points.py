"""Thresholds for a wanted recall or precision: against scikit-learn, and on other images."""

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.operating_points import LEAST_IMAGES, operating_points, threshold_for


def drawn(seed, count=400, *, digits=2):
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.3
    scores = 1 / (1 + np.exp(-(random.normal(size=count) + 2.5 * positive - 1.5)))
    return positive, scores.round(digits)  # with ties


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("value", [0.5, 0.9, 0.95, 1.0])
def test_a_recall_is_reached_by_the_highest_threshold(seed, value):
    positive, scores = drawn(seed)
    threshold = threshold_for(positive, scores, wanted="recall", value=value)
    assert recall_score(positive, scores >= threshold) >= value
    higher = scores[scores > threshold]
    if len(higher):
        assert recall_score(positive, scores >= higher.min()) < value


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("value", [0.5, 0.8, 0.9])
def test_a_precision_is_reached_with_the_most_that_is_found(seed, value):
    positive, scores = drawn(seed)
    threshold = threshold_for(positive, scores, wanted="precision", value=value)
    assert precision_score(positive, scores >= threshold) >= value
    for lower in np.unique(scores[scores < threshold]):
        assert precision_score(positive, scores >= lower) < value


def test_whole_numbers_are_not_asked_for_one_more():
    positive = np.ones(20, bool)
    scores = np.arange(20) / 20
    assert threshold_for(positive, scores, wanted="recall", value=0.95) == scores[1]


def test_what_cannot_be_had_is_none_or_named():
    positive = np.array([False, True, False])
    scores = np.array([0.9, 0.5, 0.1])
    assert threshold_for(positive, scores, wanted="precision", value=0.9) is None
    with pytest.raises(ConfigError, match="above 0 and up to 1"):
        threshold_for(positive, scores, wanted="recall", value=0.0)
    with pytest.raises(DataError, match="No image has the class"):
        threshold_for(np.zeros(3, bool), scores, wanted="recall", value=0.9)


def test_they_are_measured_on_other_images():
    validation, test = drawn(0, 2000, digits=6), drawn(1, 2000, digits=6)
    columns = [
        (np.stack([~positive, positive], axis=1), np.stack([1 - scores, scores], axis=1))
        for positive, scores in (validation, test)
    ]
    found = operating_points(*columns, class_names=["sound", "defective"])
    assert [one.class_name for one in found] == ["sound"] * 4 + ["defective"] * 4
    for one in found:
        index = ["sound", "defective"].index(one.class_name)
        own, said = columns[1][0][:, index], columns[1][1][:, index] >= one.threshold
        assert one.recall.value == pytest.approx(recall_score(own, said))
        assert one.precision.value == pytest.approx(precision_score(own, said))
        # What validation promised comes about, give or take what 2,000 images tell.
        reached = getattr(one, one.wanted)
        assert reached.low - 0.03 < one.value < reached.high + 0.03


def test_classes_with_few_images_have_no_threshold():
    truth = np.zeros((100, 2), bool)
    truth[: LEAST_IMAGES - 1, 0] = True
    truth[:LEAST_IMAGES, 1] = True
    scores = np.random.default_rng(0).random((100, 2))
    found = operating_points((truth, scores), (truth, scores), class_names=["few", "enough"])
    assert {one.class_name for one in found} == {"enough"}
