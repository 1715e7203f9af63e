"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that we run in, in bytes.

    Example:
        >>> memory_bytes() > 2**20
        True
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Linux control groups, version 2 and 1; "max" is no limit.
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return min(machine, int(text))
    return machine


def free_memory_bytes() -> int:
    """Return the memory that can be taken without swapping, in bytes; all of it if unknown.

    Example:
        >>> 0 < free_memory_bytes() <= memory_bytes()
        True
    """
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:  # not Linux
        return memory_bytes()
    kibibytes = dict(line.split(":", 1) for line in text.splitlines()).get("MemAvailable")
    if kibibytes is None:
        return memory_bytes()
    return min(memory_bytes(), 1024 * int(kibibytes.split()[0]))
