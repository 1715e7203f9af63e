"""What a measurement was made on, in words that tell one machine from another."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from kerastl._version import __version__
from kerastl.data.memory import memory_bytes
from kerastl.models.hardware import processor_flags

# Instructions that decide how fast a network runs on a CPU, as Linux names them, fastest first.
_INSTRUCTIONS = (
    "amx_bf16",
    "avx512_bf16",
    "avx512_vnni",
    "avx512f",
    "avx2",
    "sve",
    "bf16",
    "asimd",
)
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Machine:
    """The machine and what runs on it.

    Attributes:
        processor: Model of the CPU.
        num_processors: How many of its threads this process may use.
        instructions: Those that matter for networks, as Linux names them; empty if unknown.
        memory_bytes: Of the machine, or of the container.
        gpus: Names; empty without a GPU.
        platform: Operating system.
        versions: By package.
    """

    processor: str
    num_processors: int
    instructions: tuple[str, ...]
    memory_bytes: int
    gpus: tuple[str, ...]
    platform: str
    versions: dict[str, str]

    @property
    def words(self) -> str:
        """Return processor, memory and GPUs in one line."""
        special = f" with {', '.join(self.instructions[:2])}" if self.instructions else ""
        gpus = f"; {', '.join(self.gpus)}" if self.gpus else ", no GPU"
        return (
            f"{self.processor}, {self.num_processors} processors{special}, "
            f"{self.memory_bytes / 2**30:.0f} GiB{gpus}"
        )


def describe_machine() -> Machine:
    """Return what this process runs on.

    Example:
        >>> describe_machine().num_processors >= 1
        True
    """
    cpuinfo = _cpuinfo()
    affinity = getattr(os, "sched_getaffinity", None)
    gpus = tf.config.list_physical_devices("GPU")
    names = (tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus)
    return Machine(
        processor=processor_name(cpuinfo) or platform.processor() or platform.machine(),
        num_processors=len(affinity(0)) if affinity else os.cpu_count() or 1,
        instructions=instructions_of(cpuinfo),
        memory_bytes=memory_bytes(),
        gpus=tuple(str(name or "GPU") for name in names),
        platform=platform.platform(),
        versions={
            "kerastl": __version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            "python": platform.python_version(),
        },
    )


def processor_name(cpuinfo: str) -> str:
    r"""Return the CPU's name; empty if it is not told.

    Args:
        cpuinfo: What /proc/cpuinfo holds.

    Example:
        >>> processor_name("processor : 0\nmodel name : Some CPU  9000\n")
        'Some CPU 9000'
    """
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return ""


def instructions_of(cpuinfo: str) -> tuple[str, ...]:
    """Return the instructions that matter for networks, fastest first.

    Args:
        cpuinfo: What /proc/cpuinfo holds.

    Example:
        >>> instructions_of("flags : fpu avx2 avx512f avx512_bf16")
        ('avx512_bf16', 'avx512f', 'avx2')
    """
    words = processor_flags(cpuinfo)
    return tuple(name for name in _INSTRUCTIONS if name in words)


def _cpuinfo() -> str:
    """Return /proc/cpuinfo; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
