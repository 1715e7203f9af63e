"""Which numbers options may have."""

from __future__ import annotations

from typing import Any

from kerastl.errors import ConfigError

# Smallest and largest value; the smallest of a fraction of rows is not zero,
# because all three splits are needed: one trains, one decides, one is read once.
RANGES: dict[str, tuple[float, float]] = {
    "val_fraction": (0.01, 0.9),
    "test_fraction": (0.01, 0.9),
    "feature_cache_gib": (0, 1e6),
    "unreadable_fraction": (0, 1),
    "hidden_units": (0, 65536),
    "dropout": (0, 0.95),
    "l1": (0, 1e3),
    "l2": (0, 1e3),
    "fine_tune_epochs": (0, 100_000),
    "patience_epochs": (1, 100_000),
    "checks_per_epoch": (1, 10),
    "max_minutes": (0, 1e6),
    "batch_size": (1, 65536),
    "accumulate_steps": (1, 65536),
    "learning_rate": (1e-12, 10),
    "weight_decay": (0, 10),
    "layer_decay": (0.01, 1),
    "l2_sp": (0, 10),
    "epochs_per_block": (0, 1000),
    "label_smoothing": (0, 0.9),
    "clip_norm": (0, 1e6),
    "ema_momentum": (0, 0.99999),
    "soup": (1, 20),
    "seed": (0, 2**31 - 1),
}


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is not a number from low to high (None passes where it is the default).

    Args:
        name: Of the option.
        value: What a user gave.
        low: Smallest value.
        high: Largest value.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> check_range("seed", 3, 0, 10)
    """
    if value is None:
        return
    whole = isinstance(low, int) and isinstance(high, int) and name not in _FRACTIONAL
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ConfigError(
            f"`{name}` must be a {'whole ' if whole else ''}number from {low:g} to {high:g}; "
            f"received {name}={value!r}."
        )


_FRACTIONAL = {
    "layer_decay",
    "l2_sp",
    "epochs_per_block",
    "label_smoothing",
    "clip_norm",
    "ema_momentum",
    "feature_cache_gib",
    "unreadable_fraction",
    "dropout",
    "l1",
    "l2",
    "learning_rate",
    "max_minutes",
    "weight_decay",
}
