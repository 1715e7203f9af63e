"""Whether an augmentation is too strong for so few images."""

from __future__ import annotations

from kerastl.training.recipes import SMALL_DATA_IMAGES


def augmentation_warning(augment: str, *, num_train: int) -> str:
    """Return in a sentence why a policy is too strong for so few images; "" where it is not.

    On the solar cells (P1, 1,706 training images, 96 px, 4 epochs, seeds 0 and 1) the validation
    log-loss is 0.354 and 0.376 with `light`, 0.405 and 0.418 with `strong`, whose fine-tuning then
    loses to the probe both times; test AUROC 0.905 and 0.906 against 0.871 and 0.855 (2026-11).
    Cells are no photographs, for which the policy was made; there the gap may be smaller.

    Args:
        augment: Name of a policy, see `kerastl.data.augment`.
        num_train: Training images.

    Example:
        >>> print(augmentation_warning("strong", num_train=1_700).partition(";")[0])
        Augmentation strong is for long training on 20,000 images or more
        >>> augmentation_warning("strong", num_train=50_000)
        ''
    """
    if augment != "strong" or num_train >= SMALL_DATA_IMAGES:
        return ""
    return (
        f"Augmentation strong is for long training on {SMALL_DATA_IMAGES:,} images or more; of "
        f"{num_train:,} it may teach less than it disturbs. Compare with --augment light."
    )
