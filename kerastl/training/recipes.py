"""The default recipe as pure functions of the data's size and the backbone."""

from __future__ import annotations

# Above this a network is not of mobile size (MobileNetV3Large has 5.5 million, ResNet50 25.6).
_MOBILE_PARAMETERS = 10_000_000

# BiT's rule calls less than this small and leaves MixUp off (Kolesnikov et al. 2020, section 3.3).
# The best strength of RandAugment grows with the number of training images as well (Cubuk et
# al. 2020, https://arxiv.org/abs/1909.13719, figure 1).
SMALL_DATA_IMAGES = 20_000


def default_learning_rate(*, num_parameters: int) -> float:
    """Return the highest rate of fine-tuning with AdamW.

    1e-4 as AutoGluon, or 2e-4 for networks of mobile size. AutoGluon gives these 4e-4;
    after a probe that throws the first epochs away: on the solar cells (P1, one
    split, best of 8 epochs) validation log-loss is 0.33 with 4e-4 and 0.285 with 2e-4.

    Args:
        num_parameters: Of the backbone.

    Example:
        >>> default_learning_rate(num_parameters=3_400_000)
        0.0002
    """
    return 2e-4 if num_parameters < _MOBILE_PARAMETERS else 1e-4


def warmup_steps(*, total_steps: int) -> int:
    """Return the steps in which the rate climbs to its highest value: 10 % (AutoGluon, ViT).

    Args:
        total_steps: Of the whole phase.

    Example:
        >>> warmup_steps(total_steps=500)
        50
    """
    return max(1, round(0.1 * total_steps))


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
