"""In which precision a training step is taken: 16 bits where this machine gains by it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from kerastl.models.hardware import accelerator_policy, bfloat16_is_fast

FLOAT32 = "float32"
MIXED_BFLOAT16 = "mixed_bfloat16"

# Less gain is not worth any rounding, as for the probe's features.
SMALLEST_SPEED_RATIO = 1.15
# Finding out takes two graphs more, some 5 s for a network like ResNet50: a twelfth of it.
SHORTEST_SECONDS = 60.0
_ROUNDS = 3


@dataclass(frozen=True)
class StepPrecision:
    """What a training step computes in; weights, their updates and all answers are float32.

    Attributes:
        policy: "float32", "mixed_bfloat16" or "mixed_float16".
        reason: In a few words, for people.
        speed_ratio: How many times as fast as float32 a step was here; None if not measured.
    """

    policy: str
    reason: str
    speed_ratio: float | None = None

    @property
    def words(self) -> str:
        """Both in one."""
        return f"{self.policy} ({self.reason})"


def choose_step_precision(
    precision: str, *, seconds_of_step: Callable[[str], float], num_steps: int
) -> StepPrecision:
    """Choose what a training step computes in.

    On a GPU or TPU that is made for it: mixed precision, without a measurement. On a CPU
    bfloat16 is faster for large convolutions and slower for depthwise ones (2 busy cores of an AMD
    EPYC with avx512_bf16, 2026-11, 9 steps of the top half, of VGG16 the top block: ResNet50 1.8,
    VGG16 1.6, InceptionV3 1.6, MobileNetV2 0.8, EfficientNetLite0 0.5 times as fast), so one step
    is timed in both.

    Args:
        precision: "float32"; "auto", which does not try where training is short anyway; or
            "bfloat16", which does, but takes no float16. Neither takes what is slower.
        seconds_of_step: From a policy to the seconds of one step with it, the first call for a
            policy not counted.
        num_steps: Of the whole phase.

    Example:
        >>> choose_step_precision("float32", seconds_of_step=lambda _policy: 1.0, num_steps=9).words
        'float32 (asked for)'
    """
    if precision == FLOAT32:
        return StepPrecision(FLOAT32, "asked for")
    policy, machine = accelerator_policy()
    if precision == "bfloat16" and policy == "mixed_float16":
        return StepPrecision(FLOAT32, f"{machine} have no bfloat16; auto takes float16")
    if machine or not bfloat16_is_fast():
        reason = machine or "this machine is not made for bfloat16"
        return StepPrecision(policy or FLOAT32, reason)
    seconds_of_step(FLOAT32)
    seconds = seconds_of_step(FLOAT32)
    if precision == "auto" and seconds * num_steps < SHORTEST_SECONDS:
        return StepPrecision(
            FLOAT32, f"about {seconds * num_steps:.0f} s of training are too short to try others"
        )
    seconds_of_step(MIXED_BFLOAT16)
    ratio = statistics.median(
        seconds_of_step(FLOAT32) / seconds_of_step(MIXED_BFLOAT16) for _ in range(_ROUNDS)
    )
    found = f"bfloat16 is {ratio:.2f} times as fast here, {SMALLEST_SPEED_RATIO} wanted"
    if ratio < SMALLEST_SPEED_RATIO:
        return StepPrecision(FLOAT32, found, ratio)
    return StepPrecision(MIXED_BFLOAT16, f"{ratio:.1f} times as fast as float32 here", ratio)
