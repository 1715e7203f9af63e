"""Where bfloat16 is faster than float32: what the processor claims, and what it does.

bfloat16 has the range of float32 and 8 bits of precision. Processors made for it multiply it at
two (AVX-512) to seven (AMX) times the speed of float32; all others convert back and forth and are
slower (13 times without oneDNN, measured), so that it must never be a default.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

# Words of /proc/cpuinfo: Intel since Sapphire Rapids; Intel since Cooper Lake, AMD since Zen 4;
# ARM since Neoverse V1.
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
# NVIDIA's from Ampere on multiply bfloat16 in tensor cores (CUDA Programming Guide, "Compute
# Capabilities": Tensor Cores, bfloat16 from 8.0).
_GPU_CAPABILITY = (8, 0)
# float16 from Volta on (7.0).
_GPU_FLOAT16_CAPABILITY = (7, 0)
# 2.0 on 2 cores of a Zen 5 with avx512_bf16 (whole networks: 1.3 to 2.1 times folded float32),
# 0.2 to 0.4 there with ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI, a processor without it (2026-11).
WORTHWHILE_SPEEDUP = 1.3
_SHAPE, _KERNEL = (4, 28, 28, 256), (3, 3, 256, 256)
_ROUNDS = 9
_SECONDS = 0.25


def bfloat16_is_fast() -> bool:
    """Tell whether this machine runs convolutions clearly faster in bfloat16 than in float32.

    With GPUs they alone count. A CPU must have the instructions, TensorFlow must use oneDNN, and
    a small convolution must really be faster: a virtual machine may announce what it emulates.
    Measured once per process, in less than half a second.

    Example:
        >>> bfloat16_is_fast() == bfloat16_is_fast()
        True
    """
    if tf.config.list_physical_devices("GPU"):
        return gpus_are_made_for_bfloat16()
    if cpu_bfloat16_instructions() is None or os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return False
    return convolution_speedup() >= WORTHWHILE_SPEEDUP


def cpu_bfloat16_instructions(cpuinfo: str | None = None) -> str | None:
    """Return the name of the CPU's fastest bfloat16 instructions; None if it has none.

    Only Linux is asked: TensorFlow's builds for macOS and Windows compute bfloat16 without
    oneDNN's kernels for it.

    Args:
        cpuinfo: What to read in place of /proc/cpuinfo.

    Example:
        >>> cpu_bfloat16_instructions("flags : fpu sse2 avx512_bf16 amx_bf16")
        'amx_bf16'
        >>> cpu_bfloat16_instructions("flags : fpu sse2 avx2") is None
        True
    """
    if cpuinfo is None:
        place = Path("/proc/cpuinfo")
        if platform.system() != "Linux" or not place.exists():
            return None
        cpuinfo = place.read_text(encoding="utf-8", errors="replace")
    words = processor_flags(cpuinfo)
    return next((name for name in _INSTRUCTIONS if name in words), None)


def processor_flags(cpuinfo: str) -> frozenset[str]:
    """Return what the processors say that they can do, in lower case.

    Args:
        cpuinfo: What /proc/cpuinfo holds.

    Example:
        >>> "avx2" in processor_flags("flags : fpu sse2 avx2")
        True
    """
    return frozenset(
        word
        for line in cpuinfo.splitlines()
        if line.lower().startswith(("flags", "features"))
        for word in line.lower().split()
    )


def gpus_are_made_for_bfloat16() -> bool:
    """Tell whether there are GPUs and all of them multiply bfloat16 in tensor cores.

    What is no NVIDIA GPU tells no compute capability and counts as not made for it.
    """
    capability = _lowest_capability()
    return capability is not None and capability >= _GPU_CAPABILITY


def accelerator_policy() -> tuple[str | None, str]:
    """Return the dtype policy that training is faster by on this machine's GPUs or TPUs, and why.

    Returns:
        "mixed_bfloat16", "mixed_float16" or None, and a few words for people: empty if there is
        neither GPU nor TPU.

    Example:
        >>> policy, words = accelerator_policy()
        >>> policy in (None, "mixed_bfloat16", "mixed_float16")
        True
    """
    if tf.config.list_physical_devices("TPU"):
        return "mixed_bfloat16", "a TPU multiplies bfloat16"
    if not tf.config.list_physical_devices("GPU"):
        return None, ""
    capability = _lowest_capability()
    if capability is None:
        return None, "this GPU tells no compute capability"
    version = ".".join(map(str, capability))
    if capability >= _GPU_CAPABILITY:
        return "mixed_bfloat16", f"tensor cores of compute capability {version}"
    if capability >= _GPU_FLOAT16_CAPABILITY:
        return "mixed_float16", f"tensor cores of compute capability {version}"
    return None, f"no tensor cores before compute capability 7.0, this GPU has {version}"


def _lowest_capability() -> tuple[int, ...] | None:
    """Return the compute capability that all GPUs have; None without GPUs, or if one tells none."""
    found = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if not found or None in found:
        return None
    return min(tuple(capability) for capability in found)


@functools.cache
def convolution_speedup() -> float:
    """Return how many times as fast a 3 x 3 convolution of 256 channels is in bfloat16.

    Both run in turn, and the fastest run of each counts: other programs can only slow them down.
    Measured once per process.

    Returns:
        The ratio; 0 if this TensorFlow cannot convolve bfloat16 at all.
    """
    rng = np.random.default_rng(0)
    maps, kernel = (rng.normal(size=shape).astype(np.float32) for shape in (_SHAPE, _KERNEL))
    operands = [
        (tf.cast(maps, dtype), tf.cast(kernel, dtype)) for dtype in (tf.float32, tf.bfloat16)
    ]
    found: list[tuple[float, ...]] = []
    deadline = time.perf_counter() + _SECONDS
    try:
        # The first round compiles kernels and is not counted.
        while len(found) < 2 or (len(found) <= _ROUNDS and time.perf_counter() < deadline):
            found.append(tuple(_seconds(*pair) for pair in operands))
    except tf.errors.OpError:
        return 0.0
    slow, fast = (min(column) for column in zip(*found[1:], strict=True))
    return slow / fast


def _seconds(maps: tf.Tensor, kernel: tf.Tensor) -> float:
    """Return the seconds of one convolution."""
    started = time.perf_counter()
    tf.nn.conv2d(maps, kernel, 1, "SAME")[0, 0, 0, 0].numpy()
    return time.perf_counter() - started
