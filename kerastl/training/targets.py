"""Labels as training targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_hot(labels: NDArray[Any], *, num_classes: int) -> NDArray[np.float32]:
    """Return labels as training targets.

    Args:
        labels: int64 of shape (n,), or already 0/1 of shape (n, num_classes).
        num_classes: Number of columns.

    Example:
        >>> one_hot(np.array([1, 0]), num_classes=2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if labels.ndim == 2:
        return labels.astype(np.float32)
    return np.eye(num_classes, dtype=np.float32)[labels]
