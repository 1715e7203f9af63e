"""What a phase gives: the late check, or what validation prefers on the way there."""

import types

import numpy as np
import pytest

from kerastl.training.final_weights import choose_weights
from kerastl.training.kept import Kept

ANSWERS = np.zeros((1, 2), np.float32)


class Keeper:
    """Weights of one number, whose loss is its distance from where it would be best."""

    def __init__(self, best_at, *, late, best=()):
        self._best_at = best_at
        checks = sorted((self._kept(epoch, at) for epoch, at in best), key=lambda one: one.loss)
        self.kept = types.SimpleNamespace(best=checks, late=self._kept(*late))
        self.model = None

    def _kept(self, epoch, at):
        return Kept(epoch, np.array([abs(at - self._best_at)]), [np.array([at])], ANSWERS)

    def measure(self, weights):
        return self._kept(float("nan"), float(weights[0][0]))

    def put_back(self, kept):
        self.model = float(kept.weights[0][0])


def chosen(keeper, **phase):
    options = types.SimpleNamespace(**{"interpolate": True, "checks_per_epoch": 2, **phase})
    return choose_weights(keeper, options, [np.array([0.0])])


def test_the_way_ends_at_the_late_check_not_at_the_best():
    keeper = Keeper(0.6, late=(8.0, 1.0), best=[(3.0, 0.75)])
    final = chosen(keeper)
    assert keeper.model == pytest.approx(0.6)
    assert (final.epoch, final.kept.loss) == (None, pytest.approx(0))
    assert final.words.startswith("The weights are 60% of the way from the first ones to those of ")
    assert "epoch 8: validation loss 0.0000, that of the best check alone is 0.1500" in final.words


@pytest.mark.parametrize(("best_at", "interpolate"), [(1.0, True), (0.95, True), (0.6, False)])
def test_the_late_check_itself(best_at, interpolate):
    keeper = Keeper(best_at, late=(8.0, 1.0), best=[(3.0, 0.75)])
    final = chosen(keeper, interpolate=interpolate)
    assert keeper.model == 1.0
    assert (final.epoch, final.words) == (8.0, "")


def test_the_mean_of_the_best_is_where_the_way_ends():
    keeper = Keeper(0.8, late=(8.0, 3.0), best=[(2.0, 0.5), (3.0, 1.5)])
    final = chosen(keeper)
    assert keeper.model == pytest.approx(0.8)  # 80 % of the way to their mean, 1
    assert "80% of the way from the first ones to the mean of 2 of the best 2 checks" in final.words
    assert final.epoch is None
