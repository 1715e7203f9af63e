"""Batches: every row once an epoch, anew in each epoch, the same again with the same seed."""

import gc
import weakref

import numpy as np
import pytest

from kerastl.data.batches import training_batches

COUNT = 10
IMAGES = np.repeat(np.arange(COUNT, dtype=np.uint8), 8 * 8 * 3).reshape(COUNT, 8, 8, 3) * 20
TARGETS = np.eye(COUNT, dtype=np.float32)


def epochs(number, **options):
    options = {"batch_size": 4, "seed": 0, **options}
    batches = training_batches(IMAGES, TARGETS, np.arange(1, COUNT), **options)
    return [[(p.numpy(), t.numpy()) for p, t in batches] for _ in range(number)]


def test_nothing_is_tuned_that_is_waited_for():
    """See `prepared_ahead`: with tf.data's autotuning, epochs waited seconds for each other."""
    batches = training_batches(IMAGES, TARGETS, np.arange(COUNT), batch_size=4, seed=0)
    assert batches.options().autotune.enabled is False


def test_every_row_once_with_its_label():
    for epoch in epochs(2):
        assert [len(pixels) for pixels, _ in epoch] == [4, 4, 1]
        pixels = np.concatenate([p for p, _ in epoch])
        rows = np.concatenate([t for _, t in epoch]).argmax(axis=1)
        assert sorted(rows) == list(range(1, COUNT))
        np.testing.assert_array_equal(pixels[:, 0, 0, 0], rows * 20.0)
        assert pixels.dtype == np.float32


def test_epochs_differ_and_seeds_reproduce():
    first, second = epochs(2)
    assert not np.array_equal(first[0][1], second[0][1])
    for a, b in zip(first, epochs(1)[0], strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(first[0][1], epochs(1, seed=1)[0][0][1])


def test_augmentation_is_not_cached_and_reproduces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)

    def two_epochs():
        batches = training_batches(
            images, np.eye(4, dtype=np.float32), np.arange(4), batch_size=4, augment="light", seed=5
        )
        found = []
        for _ in range(2):
            ((pixels, targets),) = list(batches)
            order = targets.numpy().argmax(axis=1).argsort()
            found.append(pixels.numpy()[order])
        return found

    first, second = two_epochs()
    assert not np.allclose(first, second), "the second epoch saw the pictures of the first"
    np.testing.assert_array_equal(two_epochs(), [first, second])


@pytest.mark.parametrize("name", ["memory", "file"])
def test_pixels_in_a_file_give_the_same_batches(tmp_path, name):
    images = IMAGES
    if name == "file":
        images = np.memmap(tmp_path / "pixels", np.uint8, mode="w+", shape=IMAGES.shape)
        images[:] = IMAGES
    batches = training_batches(images, TARGETS, np.arange(COUNT), batch_size=3, seed=2)
    epoch = list(batches)  # once: every iteration is another epoch
    rows = np.concatenate([t.numpy().argmax(axis=1) for _, t in epoch])
    pixels = np.concatenate([p.numpy() for p, _ in epoch])
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], rows * 20.0)


def test_pixels_go_when_the_batches_go():
    """TensorFlow keeps Python functions of graphs for ever; they must not hold the images."""
    images = np.zeros((6, 4, 4, 3), np.uint8)
    kept = weakref.ref(images)
    batches = training_batches(
        images, np.eye(6, dtype=np.float32), np.arange(6), batch_size=2, seed=0
    )
    del images
    gc.collect()
    assert sum(len(pixels) for pixels, _ in batches.map(lambda *pair: pair)) == 6
    iterator = iter(batches)
    next(iterator)
    assert kept() is not None
    del batches
    gc.collect()
    assert len(list(iterator)) == 2, "an iterator keeps what it reads from"
    del iterator
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_class_weights_follow_mixed_targets(mix):
    """Keras' own class_weight takes a mixed image for its largest part (traps of soft labels)."""
    weights = np.linspace(0.1, 5, COUNT).astype("float32")
    batches = training_batches(
        IMAGES, TARGETS, np.arange(COUNT), batch_size=5, mix=mix, seed=1, class_weights=weights
    )
    soft = 0
    for _ in range(4):
        for _, targets, weight in batches:
            np.testing.assert_allclose(weight, targets.numpy() @ weights, rtol=1e-5)
            soft += (targets.numpy().max(axis=1) < 0.99).sum()
    assert (soft > 0) == (mix != "none")
