"""Paired comparisons against references, and what their intervals hold."""

import math

import numpy as np
import pytest
from scipy import stats

from kerastl.errors import DataError
from kerastl.evaluation.comparison import (
    accuracy_difference,
    compare_answers,
    holm,
    mcnemar_p_value,
    mean_difference,
)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 0), (5, 5), (12, 4), (2, 9)])
def test_mcnemar_is_two_tails_of_a_fair_coin(better, worse):
    trials = better + worse
    tail = sum(math.comb(trials, hits) for hits in range(min(better, worse) + 1)) / 2**trials
    assert mcnemar_p_value(better, worse) == pytest.approx(min(1.0, 2 * tail))


def test_holm_by_hand():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.04, 0.01, 0.5]) == pytest.approx([0.08, 0.03, 0.5])
    # The order of p-values stays, however they are corrected.
    assert holm([0.03, 0.02, 0.021]) == pytest.approx([0.06, 0.06, 0.06])


@pytest.fixture(scope="module")
def population():
    """How often, of images of three kinds, each of two models is right, and their losses."""
    return np.array([0.95, 0.8, 0.4]), np.array([0.97, 0.86, 0.45])


def drawn(random, population, count):
    """Draw images; both models find the same ones hard."""
    kind = random.integers(3, size=count)
    luck = random.random(count)  # shared by half
    other_luck = np.where(random.random(count) < 0.5, luck, random.random(count))
    first, second = luck < population[0][kind], other_luck < population[1][kind]
    noise = random.normal(size=(2, count)) * 0.1
    return first, second, 1 - population[0][kind] + noise[0], 1 - population[1][kind] + noise[1]


def test_intervals_hold_the_truth_as_often_as_they_say(population):
    random = np.random.default_rng(0)
    truth = float(np.mean(population[1] - population[0]))
    held = np.zeros(2)
    trials = 400
    for trial in range(trials):
        first, second, loss, other_loss = drawn(random, population, 150)
        found = compare_answers(first, second, losses=loss, other_losses=other_loss, seed=trial)
        held[0] += found.accuracy.low <= truth <= found.accuracy.high
        held[1] += found.log_loss.low <= -truth <= found.log_loss.high
    # 95 %, of 400 trials give or take three standard errors (0.033).
    assert np.all(np.abs(held / trials - 0.95) < 0.035), held / trials


def test_the_test_is_no_more_often_sure_than_it_says():
    random = np.random.default_rng(1)
    sure = 0
    for _ in range(400):
        first, second = random.random((2, 120)) < 0.8
        sure += mcnemar_p_value(int(np.sum(second & ~first)), int(np.sum(first & ~second))) < 0.05
    assert sure / 400 <= 0.05 + 0.033


def test_groups_widen_the_interval_and_leave_the_test_out():
    random = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 10)
    by_group = random.normal(size=20).repeat(10) * 0.5
    first = random.random(200) < 0.7
    second = np.where(by_group > 0.3, True, first & (by_group > -0.6))
    losses, other_losses = 1.0 - first, 1.0 - second
    alone = compare_answers(first, second, losses=losses, other_losses=other_losses)
    whole = compare_answers(first, second, losses=losses, other_losses=other_losses, groups=groups)
    assert alone.p_value is not None
    assert whole.p_value is None
    for name in ("accuracy", "log_loss"):
        one, other = getattr(alone, name), getattr(whole, name)
        assert one.value == other.value
        assert other.high - other.low > 1.5 * (one.high - one.low)


def test_a_mean_difference_is_near_that_of_students_interval():
    random = np.random.default_rng(3)
    values, other_values = random.normal(size=(2, 400))
    found = mean_difference(values, other_values, num_resamples=4000)
    expected = stats.ttest_rel(other_values, values).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_other_rows_are_refused():
    with pytest.raises(DataError, match="answers of 3 and of 2 rows"):
        accuracy_difference(np.ones(3, bool), np.ones(2, bool))
