"""Measures in words, as commands print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Mean confidence less accuracy from which it is worth a warning.
_TOO_SURE = 0.05


def measure_words(test: Mapping[str, Any], *, uneven: bool = False) -> str:
    """Return how good a model is on test images, in one line.

    Args:
        test: Its metrics, from the `to_dict` of `kerastl.evaluation.metrics`.
        uneven: Whether classes are of very different sizes, so that each should count the same.
    """
    if "thresholds" in test:
        return f"all labels right {percent(test['accuracy'])}, macro F1 {number(test['macro_f1'])}"
    if uneven:
        balanced = percent(test["balanced_accuracy"])
        return f"test accuracy {percent(test['accuracy'])}, balanced {balanced}"
    return f"test accuracy {percent(test['accuracy'])}, AUROC {number(test['auroc'])}"


def percent(estimate: Mapping[str, float] | None) -> str:
    """Return a share with its interval in percent.

    Args:
        estimate: value, low and high from 0 to 1; None where it cannot be known.

    Example:
        >>> percent({"value": 0.88, "low": 0.85, "high": 0.9})
        '88.0 % (85.0 to 90.0)'
    """
    if estimate is None:
        return "unknown"
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def number(estimate: Mapping[str, float] | None) -> str:
    """Return a number with its interval.

    Args:
        estimate: value, low and high; None where it cannot be known.

    Example:
        >>> number({"value": 0.912, "low": 0.89, "high": 0.93})
        '0.912 (0.890 to 0.930)'
    """
    if estimate is None:
        return "unknown"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def too_sure_words(test: Mapping[str, Any]) -> str:
    """Return by how much answers are surer than they are right, where that matters; else "".

    Args:
        test: Metrics with "calibration", from the `to_dict` of
            `kerastl.evaluation.calibration.Calibration`.

    Example:
        >>> gap = {"value": 0.2, "low": 0.15, "high": 0.25}
        >>> too_sure_words({"calibration": {"gap": gap}})[:52]
        'Its answers are 20.0 points surer than they are righ'
    """
    gap = test.get("calibration", {}).get("gap")
    if gap is None or gap["value"] < _TOO_SURE or gap["low"] <= 0:
        return ""
    value, low, high = (100 * gap[key] for key in ("value", "low", "high"))
    return (
        f"Its answers are {value:.1f} points surer than they are right ({low:.1f} to {high:.1f}): "
        "do not take its probabilities for chances."
    )
