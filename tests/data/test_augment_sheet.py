"""The sheet shows the image itself, then what training would see."""

import numpy as np
import pytest

from kerastl.data.augment import AUGMENTATIONS
from kerastl.data.augment_sheet import augmentation_sheet
from kerastl.errors import ConfigError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 20, 3), np.uint8)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_original_first_then_variants(augment):
    sheet = augmentation_sheet(IMAGES, augment=augment, num_variants=4)
    assert sheet.shape == (3, 5, 16, 20, 3)
    assert sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[:, 0], IMAGES)
    same = [np.array_equal(sheet[:, 0], sheet[:, k]) for k in range(1, 5)]
    assert all(same) if augment == "none" else not any(same)
    if augment != "none":
        assert not np.array_equal(sheet[:, 1], sheet[:, 2])


def test_mixing_shows():
    sheet = augmentation_sheet(IMAGES, augment="none", mix="cutmix", num_variants=6)
    assert (sheet[:, 1:] != sheet[:, :1]).any()
    with pytest.raises(ConfigError, match="`mix` must be one of"):
        augmentation_sheet(IMAGES, augment="none", mix="both")
