"""Remedies for uneven classes: what each weighs and draws, and what none of them may do."""

import numpy as np
import pytest

from kerastl.config import FitConfig, choices_of_options
from kerastl.data.batches import training_batches
from kerastl.data.imbalance import (
    IMBALANCES,
    WEIGHTINGS,
    balanced_rows,
    check_imbalance,
    class_ratio,
    class_weights,
    log_priors,
    loss_weights,
)
from kerastl.errors import ConfigError

LABELS = np.array([0] * 200 + [1] * 40 + [2] * 10)


@pytest.mark.parametrize("how", WEIGHTINGS)
def test_weights_have_the_mean_one_over_rows_and_rise_with_rarity(how):
    weights = class_weights(LABELS, num_classes=3, how=how)
    assert weights.dtype == np.float32
    assert weights[LABELS].mean() == pytest.approx(1, abs=1e-6)
    assert weights[0] < weights[1] < weights[2]


def test_weights_are_those_of_their_formulas():
    balanced, sqrt, effective = (
        class_weights(LABELS, num_classes=3, how=how) for how in WEIGHTINGS
    )
    np.testing.assert_allclose(balanced, len(LABELS) / (3 * np.array([200, 40, 10])), rtol=1e-6)
    assert balanced[2] / balanced[0] == pytest.approx(20)
    assert sqrt[2] / sqrt[0] == pytest.approx(20**0.5)
    # Cui et al. (2019), equation 2: E(n) = (1 - β^n) / (1 - β).
    assert effective[2] / effective[0] == pytest.approx((1 - 0.999**200) / (1 - 0.999**10))


def test_many_rows_bring_little_new_by_the_effective_number():
    labels = np.repeat([0, 1], [20_000, 10_000])
    effective = class_weights(labels, num_classes=2, how="effective")
    assert effective[1] / effective[0] == pytest.approx(1, abs=1e-4)


def test_a_class_without_rows_has_a_finite_weight():
    for how in WEIGHTINGS:
        weights = class_weights(np.array([0, 0, 2]), num_classes=4, how=how)
        assert np.isfinite(weights).all()
        assert weights[[0, 0, 2]].mean() == pytest.approx(1)
        assert weights[1] == weights[3] == weights[2]
    assert np.isfinite(log_priors(np.array([0, 0, 2]), num_classes=4)).all()


def test_only_weights_and_sampling_change_the_loss():
    by_name = {name: loss_weights(LABELS, num_classes=3, imbalance=name) for name in IMBALANCES}
    assert by_name["none"] is by_name["logit-adjust"] is None
    np.testing.assert_array_equal(by_name["sampling"], by_name["balanced"])


def test_a_draw_has_every_class_equally_often_and_spares_no_row():
    rows = np.arange(250) + 1000
    drawn = balanced_rows(LABELS, rows, seed=3)
    assert len(drawn) == 250
    times = np.bincount(drawn - 1000, minlength=250)
    by_class = [times[label == LABELS] for label in range(3)]
    assert sorted(int(t.sum()) for t in by_class) == [83, 83, 84]
    # Without replacement as far as it goes: no row more than once more often than another.
    assert all(np.ptp(t) <= 1 for t in by_class)
    assert np.array_equal(drawn, balanced_rows(LABELS, rows, seed=3))
    assert not np.array_equal(drawn, balanced_rows(LABELS, rows, seed=4))


def test_more_classes_than_rows_of_an_epoch():
    drawn = balanced_rows(np.arange(5), np.arange(5), seed=0)
    assert sorted(drawn.tolist()) == list(range(5))


def test_the_ratio_leaves_out_absent_classes():
    assert class_ratio(np.array([0] * 9 + [4] * 3)) == 3


def test_options_and_remedies_are_the_same_names():
    assert choices_of_options()["imbalance"] == IMBALANCES
    with pytest.raises(ConfigError, match="Did you mean 'balanced'"):
        check_imbalance("balance", multi_label=False)
    with pytest.raises(ConfigError, match="Did you mean 'logit-adjust'"):
        FitConfig("photos", imbalance="logit_adjust")


@pytest.mark.parametrize("imbalance", IMBALANCES)
def test_several_labels_have_thresholds_instead(imbalance):
    if imbalance == "none":
        assert check_imbalance(imbalance, multi_label=True) == "none"
        return
    with pytest.raises(ConfigError, match="rare labels get a threshold of their own") as caught:
        check_imbalance(imbalance, multi_label=True)
    assert "\n" not in str(caught.value)


def batches_of(**options):
    images = np.arange(250, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    targets = np.eye(3, dtype=np.float32)[LABELS]
    return training_batches(images, targets, np.arange(250), batch_size=32, seed=5, **options)


def test_batches_of_balanced_draws_differ_by_epoch_and_come_again_with_the_seed():
    def epochs(batches):
        return [
            np.concatenate([pixels.numpy()[:, 0, 0, 0] for pixels, _ in batches]).astype(int)
            for _ in range(2)
        ]

    first, second = epochs(batches_of(balanced=True))
    assert len(first) == len(second) == 250
    assert len(batches_of(balanced=True)) == 8
    for drawn in (first, second):
        assert sorted(np.bincount(LABELS[drawn]).tolist()) == [83, 83, 84]
    assert not np.array_equal(first, second)
    again = epochs(batches_of(balanced=True))
    np.testing.assert_array_equal(again[0], first)
    np.testing.assert_array_equal(again[1], second)


def test_weights_come_from_soft_targets():
    """A picture that is half a common and half a rare class weighs half of each."""
    soft = np.array([[0.5, 0.5, 0], [0, 0.25, 0.75], [1, 0, 0]], np.float32)
    weights = np.array([0.4, 1.0, 8.0], np.float32)
    images = np.arange(3, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    batches = training_batches(
        images, soft, np.arange(3), batch_size=3, seed=0, class_weights=weights
    )
    ((pixels, targets, weighed),) = batches
    rows = pixels.numpy()[:, 0, 0, 0].astype(int)
    np.testing.assert_allclose(weighed, np.array([0.7, 6.25, 0.4])[rows], rtol=1e-6)
    np.testing.assert_array_equal(targets, soft[rows])
