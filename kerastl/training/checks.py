"""When validation is measured within an epoch, and how that stands in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def check_parts(*, epoch_steps: int, checks_per_epoch: int) -> dict[int, float]:
    """Return after which steps of an epoch validation is measured, its last one left out.

    Args:
        epoch_steps: Steps of an epoch.
        checks_per_epoch: How often validation is measured, at the end included.

    Returns:
        From the number of a step, from 1, to the part of the epoch that is done then. The part is
        the wanted one, from which that of the step may differ by half a step. Where several
        checks would come after one step, it is the one that is nearest to it.

    Example:
        >>> check_parts(epoch_steps=83, checks_per_epoch=2)
        {42: 0.5}
        >>> check_parts(epoch_steps=2, checks_per_epoch=10)
        {1: 0.5}
        >>> check_parts(epoch_steps=83, checks_per_epoch=1)
        {}
    """
    parts: dict[int, float] = {}
    for number in range(1, checks_per_epoch):
        part = number / checks_per_epoch
        step = math.floor(part * epoch_steps + 0.5)
        missed = abs(part - step / epoch_steps)
        if 0 < step < epoch_steps and (
            step not in parts or missed < abs(parts[step] - step / epoch_steps)
        ):
            parts[step] = part
    return parts


def flat_rows(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a history as rows of plain values: the checks of an epoch become columns.

    Args:
        history: See `kerastl.training.phase.PhaseResult`.

    Example:
        >>> row = {"epoch": 4, "val_loss": 0.4,
        ...        "checks": [{"epoch": 3.5, "val_loss": 0.3, "val_accuracy": 0.9}]}
        >>> flat_rows([row])
        [{'epoch': 4, 'val_loss': 0.4, 'val_loss_at_0.5': 0.3, 'val_accuracy_at_0.5': 0.9}]
    """
    rows = []
    for row in history:
        flat = {name: value for name, value in row.items() if name != "checks"}
        for check in row.get("checks", ()):
            part = f"{check['epoch'] % 1:.3g}"
            flat |= {f"{name}_at_{part}": check[name] for name in check if name != "epoch"}
        rows.append(flat)
    return rows
