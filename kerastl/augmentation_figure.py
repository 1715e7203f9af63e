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

    Below a mixed variant stands what its target says: "62 % cat, 38 % dog".

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
    pictures, shares = augmentation_sheet(
        images, augment=augment, mix=mix, num_variants=_NUM_VARIANTS, seed=seed
    )
    captions = []
    for title, (_, *variants) in zip(titles, shares, strict=True):
        captions += [title, *("" if mix == "none" else _mixture(s, titles) for s in variants)]
    return contact_sheet_figure(
        list(pictures.reshape(-1, *images.shape[1:])), captions, num_columns=1 + _NUM_VARIANTS
    )


def _mixture(shares: NDArray[np.float32], titles: Sequence[str]) -> str:
    """Return the shares of the images in a picture, one line each; below 1 % none."""
    percents = np.round(100 * shares).astype(int)
    largest_first = np.argsort(-shares, kind="stable")
    return "\n".join(f"{percents[k]} % {titles[k]}" for k in largest_first if percents[k])
