"""One whole job in a process of its own: `python -m kerastl.benchmarking.growth_job JSON`.

Prints, as JSON, its seconds and the most memory that the process ever took.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job.

    Args:
        arguments: One word, a JSON object of options of `kerastl.FitConfig`; that of this process
            when not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options: Mapping[str, Any] = json.loads(words[0])
    from kerastl.config import FitConfig
    from kerastl.errors import KerasTLError
    from kerastl.workflow import run

    started = time.perf_counter()
    try:
        run(FitConfig(**options))
    except KerasTLError as error:
        raise SystemExit(" ".join(str(error).split())) from None
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"job_seconds": seconds, "peak_bytes": peak_memory_bytes()}) + "\n")


def peak_memory_bytes() -> int:
    """Return the most memory that this process ever had in use.

    On Linux what the kernel counts for this program (VmHWM): the number of `getrusage` begins
    with the memory of the process that started it, which is larger than a small job's.

    Example:
        >>> peak_memory_bytes() > 2**20
        True
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


if __name__ == "__main__":
    main()
