"""Whether fine-tuning keeps what leaves the frozen part, and for how many views of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.data.augment import find_augmentation
from kerastl.data.memory import memory_bytes
from kerastl.data.mixing import find_mix
from kerastl.data.stream import Images
from kerastl.data.wording import counted
from kerastl.errors import ConfigError
from kerastl.features.room import size_text

AUTO, LIVE = "auto", "live"

# As good as new pixels in every epoch on solar cells, where 1 and 2 views were worse: validation
# log-loss 0.306 against 0.320 live, 0.391 and 0.347 (`benchmarks/views.py`, one seed).
MOST_VIEWS = 4

# Pixels must change every time: RandAugment lives from never showing the same picture twice.
_ALWAYS_NEW = ("strong",)


@dataclass(frozen=True)
class ViewPlan:
    """How fine-tuning gets past the frozen part.

    Attributes:
        num_views: Views of each training image that are kept; 0 to run the frozen part on new
            pixels in every epoch.
        num_bytes: What they take, those of validation included.
        words: The choice and its reason, one line.
    """

    num_views: int
    num_bytes: int
    words: str


def plan_views(
    views: int | str,
    *,
    augment: str,
    mix: str,
    epochs: int,
    num_train: int,
    num_val: int,
    view_bytes: int,
    budget_bytes: int,
    place: str = "memory",
) -> ViewPlan:
    """Choose between kept views and live pixels.

    Live, every epoch runs the frozen part over all images; with kept views it runs over each
    view once. So views pay as long as they are fewer than the epochs, and they have to fit.

    Args:
        views: "auto", "live" or a number of views.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix": blends pixels, so always live.
        epochs: Longest length of fine-tuning.
        num_train: Training images.
        num_val: Validation images, of which one view is kept.
        view_bytes: Of one view of one image; 0 where nothing is frozen below what is trained.
        budget_bytes: What may be taken.
        place: Of what: "memory" or "disk".

    Returns:
        The plan. The first view is the image itself. "auto" takes one view without augmentation,
        else one per epoch, at most `MOST_VIEWS`; live where the policy wants new pixels every
        time. Fewer views, or live, where room is short.

    Raises:
        ConfigError: A number of views was asked for where none can be kept.

    Example:
        >>> plan = plan_views("auto", augment="light", mix="none", epochs=8, num_train=1000,
        ...                   num_val=200, view_bytes=40_000, budget_bytes=2**30)
        >>> plan.num_views, plan.num_bytes
        (4, 168000000)
        >>> plan.words[:44]
        'The frozen part runs once over 4 views of ea'
    """
    reason = ""
    if not view_bytes:
        reason = "nothing is frozen below what is trained"
    elif find_mix(mix) != "none":
        reason = f"--mix {mix} blends new pixels in every epoch"
    elif views == LIVE:
        reason = "--views live"
    elif views == AUTO and find_augmentation(augment) in _ALWAYS_NEW:
        reason = f"--augment {augment} wants new pixels in every epoch"
    if reason:
        if isinstance(views, int):
            raise ConfigError(
                f"`views` cannot be {views}: {reason}. Leave out one of the two options."
            )
        return ViewPlan(0, 0, f"The frozen part runs in every epoch: {reason}.")
    varied = find_augmentation(augment) != "none"
    if views == AUTO and varied and epochs == 1:
        # The first view is the image itself.
        return ViewPlan(0, 0, "The frozen part runs in every epoch: there is one.")
    room = (budget_bytes // view_bytes - num_val) // max(num_train, 1)
    wanted = views if isinstance(views, int) else _wanted(augment, epochs)
    num_views = min(wanted, room)
    if num_views < 1 or (num_views == 1 and wanted > 1):
        # One view of an image that is to be varied would be the image itself.
        return ViewPlan(
            0,
            0,
            f"The frozen part runs in every epoch: {counted(wanted, 'view')} of each image would "
            f"take {size_text((wanted * num_train + num_val) * view_bytes)} of {place}, "
            f"{size_text(budget_bytes)} are left.",
        )
    num_bytes = (num_views * num_train + num_val) * view_bytes
    what = "each image" if num_views == 1 else f"{num_views} views of each image"
    if varied and num_views == 1:
        what += f" as it is (without --augment {augment})"
    fewer = f"; {wanted} would not fit" if num_views < wanted else ""
    return ViewPlan(
        num_views,
        num_bytes,
        f"The frozen part runs once over {what}; what leaves it is kept "
        f"({size_text(num_bytes)} of {place}{fewer}).",
    )


def room_for_views(images: Images, store_bytes: int, given_bytes: int | None) -> dict[str, Any]:
    """Return how much room kept views may take, and where.

    Args:
        images: uint8 of shape (n, height, width, 3).
        store_bytes: What the store has room for.
        given_bytes: What the caller allows, if anything.
    """
    if given_bytes is not None:
        return {"budget_bytes": given_bytes, "place": "memory"}
    in_memory = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
    pixels = math.prod(images.shape) if in_memory else 0
    # Two thirds for both.
    memory = max(0, min(memory_bytes() // 3, 2 * memory_bytes() // 3 - pixels))
    # Mapped from files: the system keeps of them in memory what it has room for.
    if store_bytes >= memory:
        return {"budget_bytes": store_bytes, "place": "disk"}
    return {"budget_bytes": memory, "place": "memory"}


def _wanted(augment: str, epochs: int) -> int:
    """Return the number of views that "auto" would like."""
    return 1 if find_augmentation(augment) == "none" else min(epochs, MOST_VIEWS)
