"""Files of Python that run in a process of their own, as if nothing but their needs were there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from kerastl.errors import ExportError


def run_alone(script: str, arguments: Sequence[str | os.PathLike[str]]) -> None:
    """Run a file of Python to its end, on the CPU.

    Args:
        script: The file; `kerastl` cannot be imported there by being its folder.
        arguments: Its words.

    Raises:
        ExportError: It failed; with the last error that it wrote.
    """
    process = subprocess.run(
        # -P: this package's folder must not hide modules of the same name.
        [sys.executable, "-P", script, *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode != 0:
        raise ExportError(
            "The exported model could not be loaded and asked in a fresh process, "
            f"outside kerastl (exit code {process.returncode}): {_last_error(process.stderr)}"
        )


def _last_error(stderr: str) -> str:
    """Return what a traceback ends with: its exception, whose message may have several lines."""
    lines = stderr.strip().splitlines() or ["no message"]
    last = next(
        (line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), ""
    )
    return (last or lines[-1])[:500]
