"""Known differences are found in their size; harmless ones are told from harmful ones."""

import dataclasses
import math

import numpy as np
import pytest

from kerastl.features.agreement import (
    LARGEST_FEATURE_ERROR,
    SMALLEST_PROBE_AGREEMENT,
    feature_error,
    measure_agreement,
)

RNG = np.random.default_rng(0)
LABELS = np.arange(96) % 3
# Twelve features, each of which tells one class a little.
FEATURES = (RNG.normal(size=(96, 12)) + 2.0 * (np.arange(12) % 3 == LABELS[:, None])).astype("f4")


def with_noise(size):
    noise = np.random.default_rng(1).normal(size=FEATURES.shape) * FEATURES.std(axis=0)
    return (FEATURES + size * noise).astype("f4")


@pytest.mark.parametrize("size", [0.1, 0.5])
def test_feature_error_is_in_standard_deviations(size):
    assert feature_error(FEATURES, with_noise(size)) == pytest.approx(size, rel=0.15)
    scaled = FEATURES * 1000 + 7, with_noise(size) * 1000 + 7
    assert feature_error(*scaled) == pytest.approx(feature_error(FEATURES, with_noise(size)))


def test_one_nearly_dead_feature_does_not_decide():
    reference, candidate = FEATURES.copy(), with_noise(0.1)
    reference[:, 0], candidate[:, 0] = 0.0, 1.0
    reference[0, 0] = 0.01
    assert feature_error(reference, candidate) < 0.15


def test_small_noise_is_no_objection():
    agreement = measure_agreement(FEATURES, with_noise(0.02), LABELS)
    assert agreement.objection is None
    assert 0 < agreement.feature_error < 0.03
    assert agreement.probe_agreement > SMALLEST_PROBE_AGREEMENT


def test_large_noise_is():
    agreement = measure_agreement(FEATURES, with_noise(0.6), LABELS)
    assert agreement.feature_error > LARGEST_FEATURE_ERROR
    assert "standard deviations, at most 0.25 allowed" in agreement.objection


def test_a_difference_that_only_the_answers_show():
    """Most features agree to the bit, the decisive ones are turned round."""
    rng = np.random.default_rng(2)
    labels = np.arange(96) % 2
    features = rng.normal(size=(96, 12)).astype("f4")
    features[:, :2] += 4 * labels[:, None]
    turned = features.copy()
    turned[:, :2] = 4 - turned[:, :2]
    agreement = measure_agreement(features, turned, labels)
    assert agreement.feature_error == 0
    assert agreement.probe_agreement < 0.2
    assert agreement.log_loss_rise > 5 * agreement.log_loss_rise_error > 0
    assert "of a probe's answers agree, at least 95% wanted" in agreement.objection


@pytest.mark.parametrize("fault", ["not a number", "constant"])
def test_features_that_say_nothing(fault):
    reference, candidate = FEATURES.copy(), FEATURES.copy()
    if fault == "constant":
        reference[:] = candidate[:] = 3.0
    else:
        candidate[5, 5] = np.nan
    agreement = measure_agreement(reference, candidate, LABELS)
    assert math.isinf(agreement.feature_error)
    assert agreement.objection


def test_a_class_that_one_half_lacks():
    labels = LABELS.copy()
    labels[0] = 7  # alone, and with numbers missing before it
    agreement = measure_agreement(FEATURES, FEATURES, labels)
    assert dataclasses.astuple(agreement) == (0.0, 1.0, 0.0, 0.0)


def test_several_labels_per_image():
    labels = (np.arange(3) == LABELS[:, None]).astype(int)
    assert measure_agreement(FEATURES, FEATURES, labels).objection is None
    turned = FEATURES.max() - FEATURES
    agreement = measure_agreement(FEATURES, turned, labels)
    assert agreement.probe_agreement < 0.8
