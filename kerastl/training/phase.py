"""What one phase of training does, and how it went: two values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.deadline import NEVER, Deadline
from kerastl.models.xla import Xla
from kerastl.training.step_precision import FLOAT32, StepPrecision
from kerastl.training.view_plan import AUTO, ViewPlan


@dataclass(frozen=True)
class Phase:
    """What one phase of training does.

    Attributes:
        epochs: Longest length; the rate falls along a cosine to 0 at its end.
        learning_rate: Highest rate, reached after the warm-up.
        weight_decay: Of AdamW, on kernels only.
        batch_size: Images per step.
        patience_epochs: Ends after so many epochs without a better validation loss.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", see `kerastl.data.mixing`.
        clip_norm: Largest global norm of the gradients.
        seed: Decides order and augmentation.
        views: Views of each image of which the frozen part's output is kept, or "auto" or "live",
            see `kerastl.training.view_plan`.
        memory_bytes: What kept views may take. When not given, what the store may hold and the
            disk has room for, or a third of the machine's memory, whichever is more.
        deadline: When it must end, in the middle of an epoch too.
        precision: Of training steps: "float32", "auto" or "bfloat16", see
            `kerastl.training.step_precision`.
        view_dtype: What the frozen part computes kept views of training images in: "float32", or
            "bfloat16" where `kerastl.features.precision.choose_precision` allows it. Those of
            validation are float32, as all answers are.
        accumulate_steps: In how many parts the images of a step go through the network to begin
            with; their gradients are added up, see `kerastl.training.split_step`.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 1e-3
    batch_size: int = 32
    patience_epochs: int = 5
    augment: str = "light"
    mix: str = "none"
    clip_norm: float = 1.0
    seed: int = 0
    views: int | str = AUTO
    memory_bytes: int | None = None
    deadline: Deadline = NEVER
    precision: str = FLOAT32
    view_dtype: str = FLOAT32
    accumulate_steps: int = 1


@dataclass(frozen=True)
class PhaseResult:
    """How a phase went; the classifier holds the weights of its best epoch.

    Attributes:
        history: One row per epoch: phase, epoch (from 1), loss, accuracy, val_loss,
            val_accuracy, learning_rate, val_loss_kind ("plain" or "class-weighted"). Losses in
            nats per image; the rate is that of the epoch's middle step, half of its steps
            before and after (of its first step where the deadline came before the middle).
        best_epoch: The epoch with the smallest validation loss, from 1.
        val_probabilities: float32 of shape (num_val, num_classes): its answers.
        num_trainable: Numbers that the phase trained.
        num_folded: BatchNorm layers of the frozen part that were folded.
        largest_difference: Of the frozen part's outputs to the classifier's own layers,
            in standard deviations, on the batch of the check.
        plan: How the frozen part was run.
        xla: Whether the training step was compiled.
        step_precision: What the training step computed in.
        cut_short: What the deadline did, one sentence; empty if it did nothing.
        images_at_once: Images that went through the network together in a step, at most the
            batch's.
        out_of_memory: What was done when memory ran out, one sentence; empty if it did not.
    """

    history: tuple[dict[str, Any], ...] = field(repr=False)
    best_epoch: int
    val_probabilities: NDArray[np.float32] = field(repr=False)
    num_trainable: int
    num_folded: int
    largest_difference: float
    plan: ViewPlan
    xla: Xla
    step_precision: StepPrecision
    cut_short: str = ""
    images_at_once: int = 0
    out_of_memory: str = ""


def images_to_begin_with(phase: Phase, *, num_train: int) -> int:
    """Return how many images go through the network together as long as memory does not run out.

    Args:
        phase: How to train.
        num_train: Training images.
    """
    return math.ceil(min(phase.batch_size, num_train) / phase.accumulate_steps)
