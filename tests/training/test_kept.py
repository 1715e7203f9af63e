"""Which checks are kept: the best ones, and the last that is as good as the best."""

import numpy as np
import pytest

from kerastl.training.kept import KeptChecks, standard_error

ANSWERS = np.zeros((4, 2), np.float32)


def kept_of(losses, *, groups=None, num_best=1):
    """Keep of checks with these losses per image; the weights are the number of the check."""
    checks = KeptChecks(groups, num_best=num_best)
    taken = []

    def weights(number):
        taken.append(number)
        return [np.array(number)]

    for number, row in enumerate(losses, start=1):
        checks.add(number, np.array(row, float), ANSWERS, lambda number=number: weights(number))
    return checks, taken


def test_the_last_check_that_is_not_surely_worse_is_the_late_one():
    losses = [
        [1.0, 1.0, 1.0, 1.0],
        [0.5, 0.5, 0.5, 0.5],  # the best
        [0.7, 0.4, 0.6, 0.4],  # worse by 0.025 ± 0.075
        [0.8, 0.7, 0.9, 0.8],  # worse by 0.3 ± 0.04
    ]
    checks, taken = kept_of(losses)
    assert [one.epoch for one in checks.best] == [2]
    assert checks.late.epoch == 3
    assert int(checks.late.weights[0]) == 3
    assert taken == [1, 2, 3]  # weights are copied only where they are wanted


def test_a_better_check_makes_all_before_it_early():
    checks, _ = kept_of([[0.5, 0.5], [0.6, 0.41], [0.3, 0.3], [0.9, 0.9]])
    assert (checks.best[0].epoch, checks.late.epoch) == (3, 3)


@pytest.mark.parametrize(
    ("groups", "late"),
    [(None, 1), (np.array([0, 0, 1, 1]), 2), (np.zeros(4), 1)],
    ids=["none", "two", "one is as none"],
)
def test_groups_widen_the_error(groups, late):
    """Worse by 0.1 in one group, equal in the other: by 0.05 ± 0.029 (images) or 0.05 (groups)."""
    checks, _ = kept_of([[0.5, 0.5, 0.5, 0.5], [0.6, 0.6, 0.5, 0.49]], groups=groups)
    assert checks.late.epoch == late


def test_a_group_that_collapses_is_no_chance():
    """Three of four groups get better, one is lost: within a standard error, beyond all sense."""
    losses = [[0.5, 0.5, 0.5, 0.5], [5.5, 0.49, 0.49, 0.49]]
    checks, _ = kept_of(losses, groups=np.arange(4))
    assert np.mean(losses[1]) - 0.5 < standard_error(np.subtract(*losses), np.arange(4))
    assert checks.late.epoch == 1


def test_as_many_of_the_best_as_wanted():
    checks, taken = kept_of([[3.0], [1.0], [2.0], [4.0], [1.5]], num_best=3)
    assert [one.epoch for one in checks.best] == [2, 5, 3]
    assert checks.late.epoch == 2  # of one image nothing is known of the error
    assert taken == [1, 2, 3, 5]


def test_the_standard_error_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(size=50)
    assert standard_error(values, None) == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    assert standard_error(values, np.zeros(50)) == standard_error(values, None)
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    means = [(rng.normal(size=40)[groups] + 0.1 * rng.normal(size=200)).mean() for _ in range(400)]
    one = rng.normal(size=40)[groups] + 0.1 * rng.normal(size=200)
    assert standard_error(one, groups) == pytest.approx(np.std(means), rel=0.3)
    assert standard_error(one, None) < 0.6 * standard_error(one, groups)
