"""What one phase of training does, and how it went: two values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.deadline import NEVER, Deadline
from kerastl.models.batch_norm import FROZEN_NORM
from kerastl.models.blocks import Border
from kerastl.models.xla import Xla
from kerastl.training.step_precision import FLOAT32, StepPrecision
from kerastl.training.view_plan import AUTO, ViewPlan


@dataclass(frozen=True)
class Phase:
    """What one phase of training does.

    Attributes:
        epochs: Longest length.
        learning_rate: Highest rate.
        schedule: How it changes, one of `kerastl.training.schedules.SCHEDULES`.
        optimizer: One of `kerastl.training.optimizers.OPTIMIZERS`.
        weight_decay: On kernels only, apart from the gradients (as in AdamW).
        layer_decay: What the rate is multiplied by for each block down from the head.
        l2_sp: Decay of the backbone's kernels towards their first values, in place of weight_decay.
        epochs_per_block: Gradual unfreezing: the head begins, each block so many epochs after the
            one above; 0 for all at once.
        frozen_above: Border of the backbone where the trained part ends: what lies between it and
            the head stays as it is, and depths are counted from the block below it. None where
            nothing does. (Where the trained part begins is told apart.)
        batch_norm: "frozen"; "affine": scale and shift are trained, statistics stay; or "train":
            both, with the statistics of the batches.
        label_smoothing: Part of each target that is spread over all classes.
        ema_momentum: Of a moving average of the weights, which is what is validated and kept; None
            for the weights themselves.
        soup: Of how many of the best checks the weights may be averaged, if that is better on
            validation (greedy soup: Wortsman et al. 2022, arXiv:2203.05482); 1 for the best alone.
        interpolate: Whether weights between the first ones and those that would be kept are kept
            if they are better on validation (WiSE-FT: Wortsman et al. 2022, arXiv:2109.01903).
        batch_size: Images per step.
        patience_epochs: Ends after so many epochs without a better validation loss.
        checks_per_epoch: How often validation is measured in an epoch, at its end included, to
            find the best weights; it changes no step.
        augment: Name of a policy, see `kerastl.data.augment`.
        mix: "none", "mixup" or "cutmix", see `kerastl.data.mixing`.
        clip_norm: Largest global norm of the gradients of what has begun; None for any.
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
            with; their gradients are added up, see `kerastl.training.split_step`. With
            batch_norm "train" that is another step: BatchNorm sees one part at a time.
    """

    epochs: int
    learning_rate: float
    schedule: str = "cosine"
    optimizer: str = "adamw"
    weight_decay: float = 1e-3
    layer_decay: float = 1.0
    l2_sp: float = 0.0
    epochs_per_block: float = 0.0
    frozen_above: Border | None = None
    batch_norm: str = FROZEN_NORM
    label_smoothing: float = 0.0
    ema_momentum: float | None = None
    soup: int = 1
    interpolate: bool = False
    batch_size: int = 32
    patience_epochs: int = 5
    checks_per_epoch: int = 1
    augment: str = "light"
    mix: str = "none"
    clip_norm: float | None = 1.0
    seed: int = 0
    views: int | str = AUTO
    memory_bytes: int | None = None
    deadline: Deadline = NEVER
    precision: str = FLOAT32
    view_dtype: str = FLOAT32
    accumulate_steps: int = 1


@dataclass(frozen=True)
class PhaseResult:
    """How a phase went; the classifier holds the weights of its best checks, or better ones.

    Attributes:
        history: One row per epoch: phase, epoch (from 1), loss, accuracy, val_loss,
            val_tempered_loss, val_accuracy, learning_rate, val_loss_kind ("plain" or
            "class-weighted"). Losses in nats per image; the tempered one is that after the
            temperature which fits validation best, see `kerastl.training.temperature`: what checks
            are compared by. The rate is that of the epoch's middle step, half of its steps
            before and after (of its first step where the deadline came before the middle).
            The epoch is whole but for the last one if patience was over within it: 8.5. What was
            measured between the ends of epochs is in its `checks`: epoch (3.5), val_loss,
            val_tempered_loss and val_accuracy of each.
        best_epoch: When the tempered validation loss was smallest: 4 at the end of the fourth
            epoch (an int then), 3.5 in its middle.
        kept_epoch: When the weights were that were kept: the last check that is as good, see
            `kerastl.training.kept`; None where they are an average.
        val_probabilities: float32 of shape (num_val, num_classes): the answers of what the
            classifier holds now.
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
        averaged: What the weights are an average of, one sentence; empty if they are those of one
            check.
        out_of_memory: What was done when memory ran out, one sentence; empty if it did not.
    """

    history: tuple[dict[str, Any], ...] = field(repr=False)
    best_epoch: float
    kept_epoch: float | None
    val_probabilities: NDArray[np.float32] = field(repr=False)
    num_trainable: int
    num_folded: int
    largest_difference: float
    plan: ViewPlan
    xla: Xla
    step_precision: StepPrecision
    cut_short: str = ""
    images_at_once: int = 0
    averaged: str = ""
    out_of_memory: str = ""


def images_to_begin_with(phase: Phase, *, num_train: int) -> int:
    """Return how many images go through the network together as long as memory does not run out.

    Args:
        phase: How to train.
        num_train: Training images.
    """
    return math.ceil(min(phase.batch_size, num_train) / phase.accumulate_steps)
