"""The demo data: solar cells of the optional package `elpv-dataset` (CC BY-NC-SA 4.0).

2,624 electroluminescence images of 300 x 300 pixels from 44 modules, each with the
probability of a defect (0, 1/3, 2/3 or 1) and the type of the cell (Deitsch et al. 2019,
https://doi.org/10.1016/j.solener.2019.02.067).
"""

from __future__ import annotations

import importlib.util
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.table import ImageTable, subset
from kerastl.errors import ConfigError, DataError, did_you_mean

SOLAR_TASKS = ("P1", "P2", "P3", "P4")

# The images are sorted by module, but module numbers are not published. Most modules have
# 60 cells of one type; some have 72 or 48, or lack a few.
_CELLS_PER_MODULE = 60

_PROBABILITY_NAMES = ("0%", "33%", "67%", "100%")


def table_from_demo(name: str) -> ImageTable:
    """Return the table of a demo: "solar", or "solar:P1" to "solar:P4".

    P1: functional against defective, that is a defect probability above 1/2. P2: the same,
    with the cells of one (reconstructed) module in one group. P3: probability 0 against 1
    alone. P4: all four probabilities as classes. All keep the proportions of probability and
    type of cell.

    Args:
        name: Name and task; P1 when there is no task.

    Raises:
        ConfigError: There is no such demo or task.
        DataError: The package with the images is not installed.

    Example:
        >>> table_from_demo("solar:P9")
        Traceback (most recent call last):
        kerastl.errors.ConfigError: The demo must be one of demo:solar, demo:solar:P1, ...
    """
    known = ("solar", *(f"solar:{task}" for task in SOLAR_TASKS))
    title, _, task = name.partition(":")
    task = task.upper() or SOLAR_TASKS[0]
    if title != "solar" or task not in SOLAR_TASKS:
        raise ConfigError(
            f"The demo must be one of demo:{', demo:'.join(known)}; received 'demo:{name}'."
            f"{did_you_mean(title, ['solar'])}"
        )
    folder = _solar_folder()
    lines = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    # Probabilities are written as 0.0, 0.3333333333333333, ...; thirds are whole numbers.
    thirds = np.array([round(3 * float(probability)) for _, probability, _ in lines])
    types = np.array([kind for _, _, kind in lines])
    four_classes = task == "P4"
    table = ImageTable(
        name=f"solar-{task}",
        ids=tuple(str(folder / path) for path, _, _ in lines),
        labels=(thirds if four_classes else thirds >= 2).astype(np.int64),
        class_names=_PROBABILITY_NAMES if four_classes else ("functional", "defective"),
        groups=_pseudo_modules(types) if task == "P2" else None,
        strata=np.array([f"{third}/3 {kind}" for third, kind in zip(thirds, types, strict=True)]),
    )
    return subset(table, (thirds == 0) | (thirds == 3)) if task == "P3" else table


def _solar_folder() -> Path:
    """Return the folder with labels.csv and images, without importing the package."""
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise DataError(
            "The demo images are in the package elpv-dataset, which is not installed. Type: pip "
            "install kerastl[demo] (images: CC BY-NC-SA 4.0, not for commercial use)."
        )
    return Path(found.origin).parent / "data"


def _pseudo_modules(types: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return a module name for every cell: blocks of 60 rows in each run of one type.

    A rest of less than half a module is counted to the module before it. That gives 18
    monocrystalline and 26 polycrystalline modules, the numbers of the paper.
    """
    names: list[str] = []
    for number, (kind, cells) in enumerate(groupby(types.tolist())):
        count = len(list(cells))
        modules = max(1, round(count / _CELLS_PER_MODULE))
        names += [
            f"{kind} {number}.{min(cell // _CELLS_PER_MODULE, modules - 1)}"
            for cell in range(count)
        ]
    return np.array(names)
