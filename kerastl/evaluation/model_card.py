"""The model card: what one must know of a model before using it, in the form of Hugging Face.

Sections after Mitchell et al. 2019 (https://arxiv.org/abs/1810.03993); the front matter as
https://huggingface.co/docs/hub/model-cards has it, so that the run folder can be uploaded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import markupsafe
import yaml

from kerastl.errors import ConfigError
from kerastl.evaluation.report import Report
from kerastl.evaluation.shown_measures import formatted, measure_rows
from kerastl.evaluation.template import render_template

# Measures of the front matter: ours, and what Hugging Face calls them.
_TYPES = {"accuracy": "accuracy", "macro_f1": "f1", "auroc": "roc_auc"}


def render_model_card(report: Report) -> str:
    """Return the card of a model as Markdown, its front matter in YAML.

    Whatever a run cannot know (intended use, licence) is left to who publishes it, in so many
    words.

    Args:
        report: What the page of the run says.

    Raises:
        ConfigError: It is the report of an evaluation, which trained nothing.
    """
    if report.model is None:
        raise ConfigError("A model card tells of a training; received the report of an evaluation.")
    kept = report.test[report.kept]
    names = report.data.class_names
    findings = [f"{one.severity}: {one.title}" for one in report.findings]
    return render_template(
        "model_card.md",
        filters={"shown": _shown, "line": _line},
        report=report,
        kept=kept,
        several="thresholds" in kept,
        front_matter=yaml.safe_dump(
            _front_matter(report, kept, backbone=report.model.backbone), sort_keys=False
        ),
        limits=[*report.notes, *findings],
        counts=[
            (name, [of_split[index] for of_split in report.data.counts.values()])
            for index, name in enumerate(names)
        ],
        models=[f"{name} (kept)" if name == report.kept else name for name in report.test],
        measures=measure_rows(report.test, report.validation),
    )


def _front_matter(report: Report, kept: Mapping[str, Any], *, backbone: str) -> dict[str, Any]:
    """Return what a machine reads of a card."""
    measures = {
        name: float(kept[key]["value"]) for key, name in _TYPES.items() if kept.get(key) is not None
    }
    return {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "kerastl", backbone],
        "metrics": list(measures),
        "model-index": [
            {
                "name": report.title,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": report.data.name,
                            "type": report.data.name,
                            "split": "test",
                        },
                        "metrics": [
                            {"type": name, "value": value} for name, value in measures.items()
                        ],
                    }
                ],
            }
        ],
    }


def _shown(estimate: Mapping[str, float] | None, unit: str) -> str:
    """Return an estimate with its interval."""
    if estimate is None:
        return "unknown"
    value, low, high = formatted(estimate, unit)
    return f"{value} ({low} to {high})"


def _line(value: object) -> markupsafe.Markup:
    """Return text that stays in its line and in its cell of a table, whatever a class is called."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in ("\\", "|", "`", "*", "_", "[", "]"):
        text = text.replace(sign, f"\\{sign}")
    return markupsafe.Markup(text)
