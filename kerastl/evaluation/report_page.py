"""One page that says what was made, how good it is and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerastl.errors import ConfigError, did_you_mean
from kerastl.evaluation.comparison import PairedComparison
from kerastl.evaluation.confusion_table import MOST_CLASSES, ConfusionTable, confusion_table
from kerastl.evaluation.intervals import WILSON_FOR_BOOTSTRAP
from kerastl.evaluation.measure_words import too_sure_words
from kerastl.evaluation.metrics import most_confused
from kerastl.evaluation.report import DataSummary, ModelSummary, Report
from kerastl.evaluation.shown_measures import MEASURES, formatted, measure_rows
from kerastl.evaluation.template import dateline, inline_script, render_template

_ON_THE_PAGE = {key for key, _, _ in MEASURES} | {"precision", "recall", "f1"}
# Longer tables show their first rows; the rest opens on demand.
_MOST_OPEN_ROWS = 24
_FINDINGS = "What looks wrong about the images"
_PICTURE_STARTS = ("data:image/svg+xml;base64,", "data:image/png;base64,")


def render_report(report: Report) -> str:
    """Return the page: one HTML text that loads nothing from anywhere.

    It follows the reader's light or dark setting and can be printed. All text is escaped:
    a class may be called "<script>".

    Args:
        report: What to say.

    Raises:
        ConfigError: `kept` was not measured, or a picture is no data: URI.

    Example:
        >>> import datetime
        >>> from kerastl.evaluation.metrics import classification_metrics
        >>> metrics = classification_metrics(
        ...     np.array([0, 1]), np.eye(2), class_names=["cat", "dog"]).to_dict()
        >>> page = render_report(Report(
        ...     title="Cats and dogs", created=datetime.datetime(2026, 1, 2), version="1.0",
        ...     command="kerastl fit pets/", kept="probe", kept_because="It is the only one.",
        ...     data=DataSummary("pets", 4, ["cat", "dog"], {"train": [1, 1], "test": [1, 1]}),
        ...     model=ModelSummary("ResNet50", "imagenet", (224, 224), 23_500_000),
        ...     validation={"probe": metrics}, test={"probe": metrics}))
        >>> page.startswith("<!doctype html>"), "100.0 %" in page
        (True, True)
    """
    _check(report)
    kept = report.test[report.kept]
    several = "thresholds" in kept
    return render_template(
        "report.html",
        filters={
            "estimate": formatted,
            "percent": _percent,
            "place": _place,
            "heat": _heat,
            "share": _share,
        },
        script=inline_script("page.js"),
        report=report,
        created=dateline(report.created),
        kept=kept,
        several=several,
        confidence=_sure(kept),
        stands_in=WILSON_FOR_BOOTSTRAP,
        any_stands_in=_any_stands_in([*report.test.values(), *report.validation.values()]),
        majority=None if several else max(row["support"] for row in kept["per_class"]) / kept["n"],
        comparison=measure_rows(report.test, report.validation),
        verdict=_verdict(report),
        headline=_headline(kept, class_ratio=report.class_ratio),
        classes=sorted(_class_rows(kept), key=_weakness),
        num_open=_MOST_OPEN_ROWS,
        findings_title=_FINDINGS,
        confusion=_confusion(report, kept),
        pairs=_pairs(report, kept),
        counts=_count_rows(report.data),
        totals={split: sum(counts) for split, counts in report.data.counts.items()},
        model_rows=[] if report.model is None else _model_rows(report.model),
        unknown=None if report.unknown is None else report.unknown.to_dict(),
        by_group=report.subgroups,
        compared=[_compared(name, one) for name, one in report.comparisons],
        notes=_notes(report, kept),
        split_names={"train": "training", "val": "validation", "test": "test"},
    )


def _check(report: Report) -> None:
    """Raise ConfigError where the page could not be true or whole."""
    splits = {"test": report.test, "validation": report.validation}
    for name, measured in splits.items():
        if report.kept not in measured and (measured or name == "test"):
            raise ConfigError(
                f"`kept` must be a model with metrics in `{name}`, one of {sorted(measured)}; "
                f"received kept={report.kept!r}.{did_you_mean(report.kept, measured)} "
                "Measure the kept model on both splits."
            )
    for picture in report.pictures:
        if not picture.source.startswith(_PICTURE_STARTS):
            raise ConfigError(
                f"The picture {picture.title!r} must be a data: URI, so that the page is whole by "
                f"itself; received {picture.source[:40]!r}. Make it with `figure_data_uri`."
            )


def _notes(report: Report, kept: Mapping[str, Any]) -> list[str]:
    """Return what a reader should know before the numbers, each once."""
    too_sure = [words] if (words := too_sure_words(kept)) else []
    notes = [*_data_notes(report), *too_sure, *report.notes, *kept.get("notes", ())]
    return list(dict.fromkeys(notes))


def _confusion(report: Report, kept: Mapping[str, Any]) -> ConfusionTable | None:
    """Return the confusion matrix as a table; None with several labels or very many classes."""
    if "confusion" not in kept or len(report.data.class_names) > MOST_CLASSES:
        return None
    return confusion_table(
        np.asarray(kept["confusion"]), report.data.class_names, shown=report.cell_images
    )


def _pairs(report: Report, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the most frequent mistakes, and where the page has images of them."""
    if "confusion" not in kept:
        return []
    names = report.data.class_names
    anchors = {(names[one.true], names[one.answered]): one.anchor for one in report.cell_images}
    return [
        {**pair, "anchor": anchors.get((pair["true"], pair["answered"]), "")}
        for pair in most_confused(np.asarray(kept["confusion"]), names)
    ]


def _headline(
    kept: Mapping[str, Any], *, class_ratio: float | None
) -> list[tuple[str, str, Mapping[str, float] | None]]:
    """Return what stands beside accuracy: label, unit and estimate of the kept model."""
    keys = ["auroc", "macro_f1", "log_loss"]
    if class_ratio is not None:
        keys = ["balanced_accuracy", "macro_f1", "auroc", "log_loss"]
    labels = {key: (label, unit) for key, label, unit in MEASURES}
    return [(*labels[key], kept[key]) for key in keys]


def _class_rows(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the measures of each class, with its threshold if it has one."""
    rows = kept["per_class"]
    thresholds = kept.get("thresholds") or [None] * len(rows)
    return [{**row, "threshold": t} for row, t in zip(rows, thresholds, strict=True)]


# Of two models whose difference may be 0: a large difference on few images reads like a result.
_UNSURE = "the interval holds 0, so these images do not show which of the two is better"


def _verdict(report: Report) -> str:
    """Return in a sentence whether the difference of two models is more than noise."""
    if len(report.test) != 2 or report.comparisons:
        return ""
    (first_name, first), (second_name, second) = report.test.items()
    if report.difference is not None:
        value, low, high = (100 * report.difference[key] for key in ("value", "low", "high"))
        side = f"{_named(second_name)} is {abs(value):.1f} points {'more' if value > 0 else 'less'}"
        if value == 0:
            side = f"{_named(second_name)} is exactly as"
        return (
            f"On the same {second['n']:,} test images {side} accurate "
            f"{'than' if value else 'as'} {_named(first_name)} "
            f"({_sure(second)} interval {_signed(low)} to {_signed(high)} "
            f"points): {_UNSURE if low <= 0 <= high else 'the difference is more than noise'}."
        )
    gap = 100 * abs(second["accuracy"]["value"] - first["accuracy"]["value"])
    worse, better = sorted((first, second), key=lambda metrics: float(metrics["accuracy"]["value"]))
    overlap = worse["accuracy"]["high"] >= better["accuracy"]["low"]
    return (
        f"The test intervals of {_named(first_name)} and {_named(second_name)} "
        f"{'' if overlap else 'do not '}overlap: the difference of {gap:.1f} points in accuracy "
        f"is {'within the' if overlap else 'more than'} noise."
    )


def _compared(name: str, comparison: PairedComparison) -> dict[str, Any]:
    """Return a row of the table of comparisons, and what it means in words."""
    accuracy, loss = comparison.accuracy, comparison.log_loss
    real = [
        "more accurate" if accuracy.low > 0 else "less accurate" if accuracy.high < 0 else "",
        "smaller log-loss" if loss.high < 0 else "larger log-loss" if loss.low > 0 else "",
    ]
    words = " and ".join(word for word in real if word)
    return {
        "name": name,
        "comparison": comparison,
        "accuracy": [_signed(100 * one) for one in (accuracy.value, accuracy.low, accuracy.high)],
        "log_loss": [_signed(one, 3) for one in (loss.value, loss.low, loss.high)],
        "words": words or "no sure difference",
    }


def _data_notes(report: Report) -> list[str]:
    """Return what is wrong with the images in a sentence: numbers are no better than these."""
    titles = [finding.title for finding in report.findings if finding.severity != "note"]
    if not titles:
        return []
    count = len(titles) - 1
    more = f" (and {count} more finding{'s' if count > 1 else ''})" if count else ""
    return [f"{titles[0]}{more}: see “{_FINDINGS}” below."]


def _sure(metrics: Mapping[str, Any]) -> str:
    """Return the confidence of the intervals as it is printed."""
    return f"{100 * metrics['confidence']:g}\N{NO-BREAK SPACE}%"


def _any_stands_in(measured: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Wilson's interval stands in for the bootstrap anywhere on the page."""
    shown = [
        estimate
        for metrics in measured
        for row in (metrics, metrics.get("calibration", {}), *metrics["per_class"])
        for name, estimate in row.items()
        if name in _ON_THE_PAGE
    ]
    return any(one is not None and one.get("method") == WILSON_FOR_BOOTSTRAP for one in shown)


def _named(model: str) -> str:
    """Return how a sentence calls a model."""
    return "the probe" if model == "probe" else f"the {model} model"


def _signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, as it is printed."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _weakness(row: Mapping[str, Any]) -> float:
    """Order classes from the weakest; what is unknown comes last."""
    return 2.0 if row["f1"] is None else float(row["f1"]["value"])


def _count_rows(data: DataSummary) -> list[dict[str, Any]]:
    """Return for each class its images in every split."""
    rows = []
    for index, name in enumerate(data.class_names):
        counts = [int(counts[index]) for counts in data.counts.values()]
        rows.append({"name": name, "counts": counts, "total": sum(counts)})
    return rows


def _model_rows(model: ModelSummary) -> list[tuple[str, str]]:
    """Return what is to say about the network, name and value."""
    height, width = model.image_size
    rows = [
        ("Backbone", model.backbone),
        ("Weights", model.weights),
        ("Image size", f"{height} \N{MULTIPLICATION SIGN} {width} pixels"),
        ("Parameters", f"{model.num_parameters:,}"),
    ]
    if model.epochs:
        if model.tuned:
            rows.append(("Fine-tuned", f"{model.tuned}, and the head"))
        if model.num_trained is not None:
            share = model.num_trained / max(model.num_parameters, 1)
            rows.append(("Trained parameters", f"{model.num_trained:,} ({share:.0%})"))
        kept = "" if model.kept_epoch is None else f"; taken from epoch {model.kept_epoch:g}"
        rows.append(("Epochs", f"{model.epochs:g}{kept}"))
    else:
        rows.append(("Training", "the head on frozen features (probe); no fine-tuning"))
    return [*rows, *((str(name), str(value)) for name, value in model.settings.items())]


def _percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"


def _share(share: float) -> str:
    """Return a share in percent, as a cell has room for it."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _heat(share: float, right: bool) -> str:
    """Return how deep the colour of a cell is, in percent: a single mistake should show."""
    return f"{100 * (share if right else share**0.5):.0f}"


def _place(value: float, low: float, high: float) -> str:
    """Return where a value stands between two others, in percent of the way."""
    return f"{100 * (value - low) / (high - low) if high > low else 50:.2f}"
