"""How long `--help` takes, as a whole process: median of runs.

python benchmarks/help_time.py
"""

import subprocess
import sys
import time

import numpy as np

RUNS = 11

print("| command | median, s | range, s |\n|---|---|---|")
for verb in ("fit", "predict", "export"):
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        command = [sys.executable, "-m", f"kerastl.{verb}", "--help"]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"| python -m kerastl.{verb} --help | {np.median(seconds):.2f} | {spread} |")
