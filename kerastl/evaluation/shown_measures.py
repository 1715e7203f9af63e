"""Measures of models as pages show them: which, in which order, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Estimates of a metrics dictionary in the order of a page: key, label, unit.
MEASURES = (
    ("accuracy", "Accuracy", "%"),
    ("balanced_accuracy", "Balanced accuracy", "%"),
    ("macro_f1", "Macro F1", ""),
    ("auroc", "AUROC", ""),
    ("mean_average_precision", "Mean average precision", ""),
    ("log_loss", "Log-loss (nats)", ""),
    ("brier", "Brier score", ""),
    ("ece", "Calibration error (ECE)", "%"),
)


_ENDS = ("value", "low", "high")


def measure_rows(
    test: Mapping[str, Mapping[str, Any]], validation: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return for each measure the models' estimates and the scale that holds them all.

    Args:
        test: By model: its metrics on the test split, from the `to_dict` of
            `kerastl.evaluation.metrics`.
        validation: The same on validation.
    """
    rows = []
    for key, label, unit in MEASURES:
        measured = [_estimate(metrics, key) for metrics in test.values()]
        if all(estimate is None for estimate in measured) and key != "auroc":
            continue
        known = [estimate for estimate in measured if estimate is not None]
        low = min((estimate["low"] for estimate in known), default=0.0)
        high = max((estimate["high"] for estimate in known), default=1.0)
        models = [
            {
                "name": name,
                "test": _estimate(metrics, key),
                "validation": _estimate(validation.get(name, {}), key),
            }
            for name, metrics in test.items()
        ]
        rows.append({"label": label, "unit": unit, "models": models, "low": low, "high": high})
    return rows


def _estimate(metrics: Mapping[str, Any], key: str) -> Mapping[str, float] | None:
    """Return an estimate of a model, wherever it stands; None where it is not known."""
    found = metrics.get(key)
    return metrics.get("calibration", {}).get(key) if found is None else found


def formatted(estimate: Mapping[str, float], unit: str) -> list[str]:
    """Return the value and the ends of its interval as they are printed.

    Args:
        estimate: Value, low and high.
        unit: "%" for a share, else "".

    Example:
        >>> formatted({"value": 0.5, "low": 0.25, "high": 0.75}, "%")
        ['50.0 %', '25.0', '75.0']
        >>> formatted({"value": -1e-9, "low": -0.2, "high": 0.1}, "")
        ['0.000', '−0.200', '0.100']
    """
    if unit == "%":
        value, low, high = (_printed(100 * estimate[key], 1) for key in _ENDS)
        return [f"{value} %", low, high]
    return [_printed(estimate[key], 3) for key in _ENDS]


def _printed(number: float, digits: int) -> str:
    """Return a number with a real minus sign, and none where all of its digits are 0."""
    return f"{round(number, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")
