"""The picture of what augmentation does: on the report of a run and on the page of a check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerastl.data.augment_sheet import augmentation_sheet
from kerastl.evaluation.pictures import contact_sheet_figure

_NUM_VARIANTS = 5


def augmentation_figure(
    images: NDArray[np.uint8],
    titles: Sequence[str],
    *,
    augment: str,
    mix: str = "none",
    seed: int = 0,
) -> Figure:
    """Draw each image, and beside it five variants as training would see them.

    Args:
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        titles: One for each image.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", see `kerastl.data.mixing`.
        seed: Same seed, same variants.

    Example:
        >>> images = np.zeros((2, 8, 8, 3), np.uint8)
        >>> len(augmentation_figure(images, ["cat", "dog"], augment="light").axes)
        12
    """
    sheet = augmentation_sheet(
        images, augment=augment, mix=mix, num_variants=_NUM_VARIANTS, seed=seed
    )
    captions = [text for title in titles for text in (title, *[""] * _NUM_VARIANTS)]
    return contact_sheet_figure(
        list(sheet.reshape(-1, *images.shape[1:])), captions, num_columns=1 + _NUM_VARIANTS
    )
