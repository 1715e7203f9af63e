"""Targets say exactly which share of an image is whose."""

import numpy as np
import pytest
import tensorflow as tf

from kerastl.data.mixing import MIXES, cutmix, find_mix, mixup
from kerastl.errors import ConfigError

COUNT = 200
# Image k is all k, its target is class k: what was mixed with what can be read off.
NUMBERS = np.arange(COUNT, dtype=np.float32)
IMAGES = tf.constant(np.broadcast_to(NUMBERS[:, None, None, None], (COUNT, 16, 20, 3)).copy())
TARGETS = tf.eye(COUNT)
SEED = tf.constant([5, 6], tf.int64)


@pytest.mark.parametrize("name", MIXES)
def test_targets_are_the_shares_of_the_pixels(name):
    images, targets = MIXES[name](IMAGES, TARGETS, SEED)
    assert images.shape == IMAGES.shape
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, atol=1e-5)
    # The mean of an image is the mean of the numbers that its target names.
    np.testing.assert_allclose(
        np.mean(images, axis=(1, 2, 3)), np.asarray(targets) @ NUMBERS, rtol=1e-4
    )


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_seeds_decide(mix):
    first, again, other = (mix(IMAGES, TARGETS, SEED + k) for k in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.allclose(first[1], other[1])


@pytest.mark.parametrize("mix", [mixup, cutmix])
@pytest.mark.parametrize("targets", ["several", "soft"])
def test_any_targets(mix, targets):
    rng = np.random.default_rng(0)
    values = rng.random((COUNT, 4)).astype("float32")
    values = (values > 0.5).astype("float32") if targets == "several" else values
    mixed = mix(IMAGES, tf.constant(values), SEED)[1].numpy()
    shares = mix(IMAGES, TARGETS, SEED)[1].numpy()
    np.testing.assert_allclose(mixed, shares @ values, atol=1e-5)


def test_mixup_keeps_the_larger_share_and_has_the_spread_of_its_beta():
    shares = np.concatenate(
        [np.max(mixup(IMAGES, TARGETS, SEED + k)[1], axis=1) for k in range(20)]
    )
    assert shares.min() >= 0.5
    # E max(x, 1 - x) of Beta(0.1, 0.1), by numbers drawn with NumPy.
    drawn = np.random.default_rng(0).beta(0.1, 0.1, 200_000)
    assert abs(shares.mean() - np.maximum(drawn, 1 - drawn).mean()) < 0.01


def test_cutmix_windows_have_every_size():
    own = np.concatenate([np.diag(cutmix(IMAGES, TARGETS, SEED + k)[1]) for k in range(10)])
    assert own.min() < 0.15
    assert own.max() == 1
    # Without cutting off at edges the mean share were 1/2; cutting off only makes it larger.
    assert 0.5 < own.mean() < 0.75


def test_one_image_mixes_with_itself():
    for mix in (mixup, cutmix):
        images, targets = mix(IMAGES[3:4], TARGETS[3:4], SEED)
        np.testing.assert_allclose(images, IMAGES[3:4], rtol=1e-6)
        np.testing.assert_allclose(targets, TARGETS[3:4], rtol=1e-6)


def test_a_misspelt_name():
    with pytest.raises(ConfigError, match="Did you mean 'mixup'"):
        find_mix("mix-up")
