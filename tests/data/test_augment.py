"""Every policy of the table keeps shape, range and label; seeds make the same batch again."""

import numpy as np
import pytest
import tensorflow as tf

from kerastl.config import FitConfig
from kerastl.data.augment import AUGMENTATIONS, find_augmentation, symmetric_views
from kerastl.data.batches import training_batches
from kerastl.errors import ConfigError

RNG = np.random.default_rng(0)
IMAGES = tf.constant(RNG.integers(0, 256, (8, 24, 24, 3)).astype("float32"))
SEED = tf.constant([3, 4], tf.int64)
RANDOM_COLOURS = ("medium", "strong")


def test_options_and_table_are_the_same_set():
    for name in AUGMENTATIONS:
        assert FitConfig("photos", augment=name).augment == name
    with pytest.raises(ConfigError, match="must be one of auto, none, light, medium, strong,"):
        FitConfig("photos", augment="heavy")
    with pytest.raises(ConfigError, match="Did you mean 'dihedral'"):
        find_augmentation("dihedrl")


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(24, 24), (20, 32)])
def test_shape_range_and_variety(name, shape):
    images = tf.image.resize(IMAGES, shape)
    varied = AUGMENTATIONS[name](images, SEED)
    assert varied.shape == images.shape
    assert varied.dtype == tf.float32
    assert float(tf.reduce_min(varied)) >= 0
    assert float(tf.reduce_max(varied)) <= 255.001
    if name == "none":
        np.testing.assert_array_equal(varied, images)
        return
    changed = [not np.allclose(a, b, atol=1) for a, b in zip(varied, images, strict=True)]
    assert sum(changed) >= 6
    # Not noise: what is varied still has the mean colour of its picture, roughly.
    if name not in RANDOM_COLOURS:
        np.testing.assert_allclose(
            np.mean(varied, axis=(1, 2)), np.mean(images, axis=(1, 2)), atol=15
        )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_seeds_make_the_same_batch_again(name):
    first, again = (AUGMENTATIONS[name](IMAGES, SEED) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if name != "none":
        other = AUGMENTATIONS[name](IMAGES, SEED + 1)
        assert not np.allclose(first, other)


def test_dihedral_draws_all_eight_symmetries():
    """Undo the small turn by nearest match: each varied picture is close to one symmetry."""
    ramp = np.zeros((32, 32, 3), np.float32)
    ramp[:16, :16], ramp[:16, 16:], ramp[16:, :16], ramp[16:, 16:] = 0, 80, 160, 240
    symmetries = [np.rot90(f, k) for f in (ramp, ramp[:, ::-1]) for k in range(4)]
    varied = AUGMENTATIONS["dihedral"](tf.constant(np.stack([ramp] * 128)), SEED).numpy()
    distance = [[np.abs(v - s).mean() for s in symmetries] for v in varied]
    assert np.max(np.min(distance, axis=1)) < 15
    assert np.unique(np.argmin(distance, axis=1), return_counts=True)[1].min() >= 5
    assert len(np.unique(np.argmin(distance, axis=1))) == 8


def test_light_mirrors_about_half_and_never_upside_down():
    ramp = np.zeros((32, 32, 3), np.float32)
    ramp[:16], ramp[:, 16:] = 100, 250
    ramp[16:, 16:] = 0
    varied = AUGMENTATIONS["light"](tf.constant(np.stack([ramp] * 100)), SEED).numpy()
    mirrored = [np.abs(v - ramp[:, ::-1]).mean() < np.abs(v - ramp).mean() for v in varied]
    assert 30 <= sum(mirrored) <= 70
    assert all(
        min(np.abs(v - ramp).mean(), np.abs(v - ramp[:, ::-1]).mean())
        < min(np.abs(v - ramp[::-1]).mean(), np.abs(v - ramp[::-1, ::-1]).mean())
        for v in varied
    )


@pytest.mark.parametrize(
    ("policy", "square", "count"),
    [
        ("none", True, 1),
        ("light", True, 2),
        ("medium", False, 2),
        ("mirrors", True, 4),
        ("dihedral", True, 8),
        ("dihedral", False, 4),
        ("tilt", True, 1),
    ],
)
def test_symmetric_views_are_what_the_policy_draws(policy, square, count):
    """All views differ, the first is the image, none loses a pixel."""
    images = RNG.integers(0, 256, (3, 6, 6 if square else 8, 3), np.uint8)
    views = [view(images) for view in symmetric_views(policy, square=square).values()]
    assert len(views) == count
    np.testing.assert_array_equal(views[0], images)
    assert len({view.tobytes() for view in views}) == count
    for view in views:
        assert view.shape == images.shape
        np.testing.assert_array_equal(np.sort(view, axis=None), np.sort(images, axis=None))


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_two_runs_are_the_same_and_two_epochs_are_not(name, mix):
    """However many threads augment: the pictures of a run depend on its seed alone."""
    images = RNG.integers(0, 256, (40, 16, 16, 3)).astype("uint8")
    targets = np.eye(40, dtype=np.float32)

    def two_epochs():
        batches = training_batches(
            images, targets, np.arange(40), batch_size=8, augment=name, mix=mix, seed=5
        )
        return [[(x.numpy(), y.numpy()) for x, y in batches] for _ in range(2)]

    run, again = two_epochs(), two_epochs()
    for epoch, same in zip(run, again, strict=True):
        for (x, y), (other_x, other_y) in zip(epoch, same, strict=True):
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)

    def picture_of(epoch, row):
        places = [
            (b, np.argmax(y[:, row])) for b, (x, y) in enumerate(epoch) if y[:, row].max() > 0.5
        ]
        return [epoch[b][0][k] for b, k in places]

    if name != "none":
        pairs = [(picture_of(run[0], row), picture_of(run[1], row)) for row in range(40)]
        same = [np.allclose(a[0], b[0]) for a, b in pairs if a and b]
        assert np.mean(same) < 0.5


def test_tilt_mirrors_nothing_and_moves_little():
    ramp = np.zeros((32, 32, 3), np.float32)
    ramp[:16, :16], ramp[:16, 16:], ramp[16:, :16], ramp[16:, 16:] = 0, 80, 160, 240
    varied = AUGMENTATIONS["tilt"](tf.constant(np.stack([ramp] * 64)), SEED).numpy()
    assert np.abs(varied - ramp).mean(axis=(1, 2, 3)).max() < 15
    corners = varied[:, [4, 4, -5, -5], [4, -5, 4, -5], 0]
    np.testing.assert_allclose(corners, np.broadcast_to([0, 80, 160, 240], corners.shape), atol=1)
