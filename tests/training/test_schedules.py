"""Learning rates: what the papers draw, step by step."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.training.schedules import SCHEDULES, RateTable, schedule_factors, warmup_steps


def factors(name, total_steps=100, epoch_steps=10):
    return schedule_factors(name, total_steps=total_steps, epoch_steps=epoch_steps)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total_steps", [1, 2, 3, 7, 100, 1001])
def test_every_schedule_is_finite_and_at_most_the_highest_rate(name, total_steps):
    found = factors(name, total_steps=total_steps)
    assert found.shape == (total_steps,)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.max() <= 1 + 1e-12
    assert found[0] > 0  # a first step that moves nothing proves nothing
    assert found.max() > (0.7 if total_steps >= 10 else 0)


def test_cosine_is_that_of_keras():
    keras_own = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=1 / 50, warmup_target=1.0, warmup_steps=50, decay_steps=450
    )
    expected = [float(keras_own(step)) for step in range(500)]
    np.testing.assert_allclose(factors("cosine", 500), expected, atol=1e-6)


def test_one_cycle_is_that_of_fastai():
    """combined_cos(0.25, lr/25, lr, lr/1e5), written out."""
    found = factors("one-cycle", 401)
    assert found[0] == pytest.approx(1 / 25)
    assert found[100] == pytest.approx(1)
    assert found[400] == pytest.approx(1e-5)
    middle = 1 / 25 + (1 + np.cos(np.pi * 0.5)) / 2 * (1 - 1 / 25)
    assert found[50] == pytest.approx(middle)
    assert np.all(np.diff(found[:101]) > 0)
    assert np.all(np.diff(found[100:]) < 0)


def test_step_falls_where_bit_does():
    """500 steps: climbs to 100, a tenth at 200, 300, 400 (BiT's bit_hyperrule.py)."""
    found = factors("bit", 500)
    assert found[0] == pytest.approx(1 / 100)
    assert found[[99, 150, 199, 200, 299, 300, 400, 499]].tolist() == pytest.approx(
        [1, 1, 1, 0.1, 0.1, 0.01, 0.001, 0.001]
    )
    np.testing.assert_allclose(factors("step", 500)[100:], found[100:])


def test_triangles_are_those_of_smith():
    """A half cycle of two epochs, from a quarter to the highest rate."""
    found = factors("triangular", 80)
    np.testing.assert_allclose(found[:41], 0.25 + 0.75 * (1 - np.abs(np.arange(41) / 20 - 1)))
    np.testing.assert_allclose(found[40:80], found[:40])
    halved = factors("triangular2", 120)
    np.testing.assert_allclose(halved[40:80] - 0.25, (halved[:40] - 0.25) / 2)
    np.testing.assert_allclose(halved[80:] - 0.25, (halved[:40] - 0.25) / 4)
    falling = factors("exp-range", 80)
    np.testing.assert_allclose(falling - 0.25, (found - 0.25) * 0.1 ** (np.arange(80) / 80))


def test_the_slanted_triangle_is_that_of_ulmfit():
    """eta_max (1 + p (ratio - 1)) / ratio, cut_frac 0.1, ratio 32 (equation 3)."""
    total, cut = 200, 20
    expected = []
    for step in range(total):
        p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / 0.1 - 1))
        expected.append((1 + p * 31) / 32)
    np.testing.assert_allclose(factors("slanted-triangle", total), expected)


def test_a_wrong_name_is_one_clear_line():
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        factors("cosin")


def test_a_table_survives_saving_and_stays_at_its_end():
    table = RateTable([0.5, 0.25])
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(table))
    assert [float(again(step)) for step in (0, 1, 5)] == [0.5, 0.25, 0.25]
    assert warmup_steps(total_steps=3) == 1
