"""Every validation of a fine-tuning: those at the ends of its epochs and those between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """What was measured on validation, and when.

    Attributes:
        row: Of the history, from 0.
        epoch: 4 at the end of the fourth epoch, 3.5 in its middle.
        loss: Nats per image; not a number where it is not known.
        tempered_loss: The same after the temperature that fits validation best, which checks are
            compared by; the plain one where it is not known.
        accuracy: 0..1; not a number where it is not known.
        at_end: Whether it is that at the end of the row's epoch.
    """

    row: int
    epoch: float
    loss: float
    tempered_loss: float
    accuracy: float
    at_end: bool


def checks_of(history: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Return all checks of a history in the order of time.

    Args:
        history: One row per epoch with "epoch", "val_loss", "val_tempered_loss", "val_accuracy"
            and "checks", those before its end; what is missing is not known.

    Example:
        >>> rows = [{"val_loss": 0.5}, {"val_loss": 0.4, "checks": [{"epoch": 1.5}]}]
        >>> [(check.row, check.epoch, check.at_end) for check in checks_of(rows)]
        [(0, 1.0, True), (1, 1.5, False), (1, 2.0, True)]
    """
    found = []
    for row, values in enumerate(history):
        for part in (*values.get("checks", ()), values):
            epoch = float(part.get("epoch", row + 1))
            loss, accuracy = (_number(part.get(name)) for name in ("val_loss", "val_accuracy"))
            tempered = _number(part.get("val_tempered_loss", loss))
            found.append(Check(row, epoch, loss, tempered, accuracy, part is values))
    return found


def best_check(checks: Sequence[Check]) -> Check | None:
    """Return the first check with the smallest tempered loss; None where no loss is known.

    Args:
        checks: From `checks_of`.
    """
    known = [check for check in checks if math.isfinite(check.tempered_loss)]
    return min(known, key=lambda check: check.tempered_loss) if known else None


def check_at(checks: Sequence[Check], epoch: float) -> Check | None:
    """Return the check at a time; None where there was none.

    Args:
        checks: From `checks_of`.
        epoch: 4 for the end of the fourth, 3.5 for its middle.
    """
    return next((check for check in checks if math.isclose(check.epoch, epoch)), None)


def _number(value: Any) -> float:
    """Return a number, or nan for what is none."""
    return math.nan if value in (None, "") else float(value)
