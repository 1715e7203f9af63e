"""Pictures that a tiny network can learn."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def images():
    """Stripes in three directions: a random network tells them apart only in part."""
    labels = np.arange(60) % 3
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(16) * 1.5)
    patterns = [np.tile(wave, (16, 1)), np.tile(wave[:, None], (1, 16)), np.outer(wave, wave)]
    clean = np.stack([patterns[label] for label in labels])[..., None] * 50 + 128
    return np.clip(clean + rng.normal(0, 30, (60, 16, 16, 3)), 0, 255).astype(np.uint8)
