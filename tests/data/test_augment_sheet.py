"""The sheet shows the image itself, then what training would see."""

import numpy as np
import pytest

from kerastl.augmentation_figure import augmentation_figure
from kerastl.data.augment import AUGMENTATIONS
from kerastl.data.augment_sheet import augmentation_sheet
from kerastl.errors import ConfigError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 20, 3), np.uint8)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_original_first_then_variants(augment):
    sheet, shares = augmentation_sheet(IMAGES, augment=augment, num_variants=4)
    np.testing.assert_array_equal(shares, np.broadcast_to(np.eye(3)[:, None], (3, 5, 3)))
    assert sheet.shape == (3, 5, 16, 20, 3)
    assert sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[:, 0], IMAGES)
    same = [np.array_equal(sheet[:, 0], sheet[:, k]) for k in range(1, 5)]
    assert all(same) if augment == "none" else not any(same)
    if augment != "none":
        assert not np.array_equal(sheet[:, 1], sheet[:, 2])


def test_mixing_shows():
    sheet, shares = augmentation_sheet(IMAGES, augment="none", mix="cutmix", num_variants=6)
    # The images are noise: a pixel is that of its own image where nothing was pasted.
    own = (sheet == sheet[:, :1]).all(axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(own, shares[np.arange(3), :, np.arange(3)], atol=0.01)
    assert own[:, 1:].min() < 0.9
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-6)
    with pytest.raises(ConfigError, match="`mix` must be one of"):
        augmentation_sheet(IMAGES, augment="none", mix="both")


def test_below_a_mixed_picture_stands_what_its_target_says():
    titles = ["cat", "dog", "eel"]
    plain = augmentation_figure(IMAGES, titles, augment="light")
    assert [axes.get_xlabel() for axes in plain.axes][:7] == ["cat", *[""] * 5, "dog"]
    mixed = augmentation_figure(IMAGES, titles, augment="light", mix="cutmix", seed=1)
    texts = [axes.get_xlabel() for axes in mixed.axes]
    assert texts[::6] == titles
    for text in (text for k, text in enumerate(texts) if k % 6):
        percents = [int(line.split(" %")[0]) for line in text.splitlines()]
        assert sum(percents) in (99, 100, 101)
        assert percents == sorted(percents, reverse=True)
    assert any("\n" in text for text in texts)
