"""Pictures that differ from each other as photographs do: sums of blobs of several sizes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter


def make_textures(count, *, size=(72, 96), seed=0):
    """Return uint8 of shape (count, height, width, 3), in colour."""
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, *size, 3), np.uint8)
    for row in range(count):
        noise = sum(
            scale * gaussian_filter(rng.normal(size=(*size, 3)), (scale, scale, 0))
            for scale in (2, 4, 9)
        )
        low, high = noise.min(), noise.max()
        pictures[row] = np.round(20 + 210 * (noise - low) / (high - low))
    return pictures


@pytest.fixture(scope="session")
def textures():
    """The function that makes such pictures."""
    return make_textures
