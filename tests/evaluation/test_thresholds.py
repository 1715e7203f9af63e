"""Thresholds: the best F1 where validation can tell, one half where it cannot."""

import numpy as np
import pytest

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.metrics import multi_label_metrics
from kerastl.evaluation.thresholds import as_thresholds, choose_thresholds


def f1_of(present, answered):
    return 2 * np.sum(present & answered) / (present.sum() + answered.sum())


def random_label(*, seed, n=200, prior=0.2):
    rng = np.random.default_rng(seed)
    present = rng.random(n) < prior
    return present, np.clip(rng.normal(0.3, 0.15, n) + 0.25 * present, 0.001, 0.999)


def one(present, probabilities, **options):
    labels = np.asarray(present).astype(int)[:, None]
    return choose_thresholds(labels, np.asarray(probabilities)[:, None], **options)[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_plain_maximum_is_that_of_all_thresholds(seed):
    present, probabilities = random_label(seed=seed)
    threshold = one(present, probabilities, worth_hits=0)
    best = max(f1_of(present, probabilities >= t) for t in np.unique(probabilities))
    assert f1_of(present, probabilities >= threshold) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_one_hit_less_than_the_best_is_as_good_and_nearer_to_one_half(seed):
    present, probabilities = random_label(seed=seed)
    near, plain = (one(present, probabilities, worth_hits=worth) for worth in (1, 0))
    answered = probabilities >= plain
    enough = 2 * (np.sum(present & answered) - 1) / (present.sum() + answered.sum())
    assert f1_of(present, probabilities >= near) >= enough - 1e-9
    assert abs(near - 0.5) <= abs(plain - 0.5)


def test_rare_labels_of_low_probabilities_are_found():
    present = np.arange(200) < 20
    probabilities = np.where(present, 0.3, 0.1) + np.linspace(0, 0.05, 200)
    threshold = one(present, probabilities)
    assert 0.15 < threshold < 0.31
    answered = probabilities >= threshold
    assert not np.any(answered & ~present)
    assert np.sum(answered & present) >= 19


def test_it_lies_in_the_middle_between_rows():
    present = np.arange(20) < 10
    assert one(present, np.where(present, 0.4, 0.1)) == pytest.approx(0.25)
    assert one(present, np.where(present, 0.9, 0.7)) == pytest.approx(0.8)


def test_one_half_stays_where_it_is_as_good():
    present = np.arange(20) < 10
    assert one(present, np.where(present, 0.9, 0.1)) == 0.5
    # A single row is no reason to move.
    probabilities = np.where(present, 0.9, 0.1)
    probabilities[0] = 0.45
    assert one(present, probabilities) == 0.5
    assert one(present, probabilities, worth_hits=0) != 0.5


@pytest.mark.parametrize("positives", [0, 4, 16, 20])
def test_one_half_stays_where_rows_of_a_kind_are_few(positives):
    present = np.arange(20) < positives
    probabilities = np.where(present, 0.4, 0.1)
    assert one(present, probabilities) == 0.5
    if positives in (4, 16):
        assert one(present, probabilities, fewest=4) != 0.5


def test_each_label_for_itself():
    present = np.stack([np.arange(20) < 10, np.arange(20) % 2 == 0, np.arange(20) < 3], axis=1)
    low = np.array([0.1, 0.6, 0.1])
    probabilities = np.where(present, low + 0.2, low)
    assert choose_thresholds(present.astype(np.int8), probabilities) == pytest.approx(
        (0.2, 0.7, 0.5)
    )


def test_equal_probabilities_go_through_together():
    present = np.arange(20) < 10
    assert one(present, np.full(20, 0.2)) == pytest.approx(0.1)


def test_metrics_take_one_threshold_per_label():
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    probabilities = np.array([[0.3, 0.9], [0.3, 0.7], [0.1, 0.9], [0.1, 0.7]])
    metrics = multi_label_metrics(
        labels, probabilities, class_names=["a", "b"], threshold=(0.2, 0.8)
    )
    assert metrics.accuracy.value == 1.0
    assert metrics.to_dict()["thresholds"] == (0.2, 0.8)
    plain = multi_label_metrics(labels, probabilities, class_names=["a", "b"])
    assert plain.thresholds == (0.5, 0.5)
    assert plain.accuracy.value == 0.25


def test_advice():
    with pytest.raises(ConfigError, match="one for each of 2 labels"):
        as_thresholds([0.5], 2)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        as_thresholds(50, 2)
    with pytest.raises(DataError, match="must both have the shape"):
        choose_thresholds(np.zeros(3), np.zeros((3, 1)))
