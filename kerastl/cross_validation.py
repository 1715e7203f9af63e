"""`--folds K`: the whole job K times, every image in the test split once.

What the frozen part computes is kept image by image, so the folds share it (but not with
`deterministic`, which reuses nothing): only heads and fine-tuning are trained K times.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl.answered import AnsweredImages, subgroups_of_answers
from kerastl.config import FitConfig
from kerastl.data.sources import ImageTable
from kerastl.deadline import deadline_after
from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.measure_words import number, percent
from kerastl.evaluation.metrics import classification_metrics
from kerastl.interruption import checkpoint_path, identity_of_folds
from kerastl.plan import read_run_table, split_table
from kerastl.run_folder import (
    CROSS_VALIDATION,
    FOLDS_FOLDER,
    METRICS,
    OUT_OF_FOLD,
    PREDICTIONS,
    SUBGROUP,
    choose_run_folder,
    write_json,
    write_rows,
)
from kerastl.training.decision import MODELS
from kerastl.unfinished_folds import publish_folds, unfinished_folds
from kerastl.workflow import run

KEPT = "kept"
_MEASURES = ("accuracy", "auroc", "log_loss")


@dataclass(frozen=True)
class CrossResult:
    """A finished cross-validation.

    Attributes:
        path: The folder: one run folder for each fold, all answers, all numbers.
        results: What cross_validation.json holds.
        summary_lines: For a terminal.
    """

    path: Path
    results: dict[str, Any] = field(repr=False)
    summary_lines: tuple[str, ...] = field(repr=False)


def cross_validate(
    config: FitConfig,
    num_folds: int,
    *,
    table: ImageTable | None = None,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
) -> CrossResult:
    """Do the whole job once for each fold, and put all answers together.

    Args:
        config: All options; `fold` and `export` stay at their defaults. `max_minutes` is for all
            folds together: each has its share of what is left.
        num_folds: From 2. Groups stay whole, classes in proportion.
        table: See `kerastl.workflow.run`.
        backbone: See there; every fold begins with its first weights.
        preprocessing: See there.

    Raises:
        KerasTLError: As `run`; nothing is left under a final name, but folds that are done are
            kept for `config.resume`.
    """
    _check(config, num_folds)
    deadline = deadline_after(config.max_minutes)
    own_table = table
    table = read_run_table(config, table)
    folder = choose_run_folder(
        config.out, name=f"{table.name}-folds", overwrite=config.overwrite, kind=FOLDS_FOLDER
    )
    _check_splits(config, num_folds, table)
    start = None if backbone is None else backbone.get_weights()
    identity = identity_of_folds(
        config, num_folds, table, backbone=backbone, preprocessing=preprocessing
    )
    folds, rows = [], []
    with (
        unfinished_folds(folder, identity, config) as partial,
        tempfile.TemporaryDirectory() as scratch,
    ):
        for number_of_fold in range(1, num_folds + 1):
            place = partial / f"fold-{number_of_fold}"
            if not place.exists():
                if backbone is not None and start is not None:
                    # The fold before has trained them on our test images.
                    backbone.set_weights(start)
                one, named = _configs_of(
                    config, f"{number_of_fold}/{num_folds}", place, folder, scratch=scratch
                )
                run(
                    one,
                    table=own_table,
                    backbone=backbone,
                    preprocessing=preprocessing,
                    record_as=named,
                    deadline=deadline.share(
                        num_folds + 1 - number_of_fold,
                        words=f"{deadline.words} for {num_folds} folds",
                    ),
                )
                gc.collect()  # the models of one fold are enough
            folds.append(json.loads((place / METRICS).read_text(encoding="utf-8")))
            rows += _answers_of(place, fold=number_of_fold)
        results = _results(folds, rows, table, column=config.group_by, seed=config.seed)
        write_rows(partial / OUT_OF_FOLD, rows)
        write_json(partial / CROSS_VALIDATION, results)
        folder = publish_folds(partial, folder, overwrite=config.overwrite)
    return CrossResult(folder, results, _lines(results, folder))


def _configs_of(
    config: FitConfig, fold: str, place: Path, folder: Path, *, scratch: str
) -> tuple[FitConfig, FitConfig]:
    """Return the options of one fold, and those that its own files name."""
    one = dataclasses.replace(
        config,
        fold=fold,
        out=str(place),
        # Shared between the folds, even where nothing is kept for later.
        feature_cache=scratch if config.feature_cache == "none" else config.feature_cache,
        overwrite=False,
        resume=config.resume and checkpoint_path(place).exists(),
    )
    return one, dataclasses.replace(
        one, out=str(folder / place.name), feature_cache=config.feature_cache
    )


def _check(config: FitConfig, num_folds: int) -> None:
    """Refuse what makes no sense together."""
    if num_folds < 2:
        raise ConfigError(f"`folds` must be 2 or more; received folds={num_folds}.")
    if config.fold is not None:
        raise ConfigError(
            f"--folds {num_folds} runs all folds; received --fold {config.fold} too. Leave out one."
        )
    if config.export:
        raise ConfigError(
            "--folds measures, it gives no model to export: each fold has one of its own. Leave "
            "out --export, and train on all images without --folds."
        )
    if config.val_fraction + 1 / num_folds >= 1:
        raise ConfigError(
            f"--folds {num_folds} tests a part of {1 / num_folds:g} of the images at a time, and "
            f"--val-fraction {config.val_fraction:g} leaves none of the rest to train on; expected "
            f"a sum below 1. Choose a --val-fraction below {1 - 1 / num_folds:g}, such as 0.15."
        )


def _check_splits(config: FitConfig, num_folds: int, table: ImageTable) -> None:
    """Refuse what cannot be divided, before the first fold is trained."""
    if table.splits is not None and np.any(table.splits != ""):
        raise ConfigError(
            "--folds divides all images anew, and this data set names splits of its own. Leave out "
            "--split-column (of folders: name one that holds the classes), or leave out --folds."
        )
    unit = "images" if table.groups is None else "groups"
    found = len(table.ids) if table.groups is None else len(np.unique(table.groups))
    if found < num_folds:
        raise DataError(
            f"--folds {num_folds} needs at least {num_folds} {unit}; there are {found}. Choose "
            f"--folds {found} or fewer."
        )
    for number_of_fold in range(1, num_folds + 1):
        split_table(table, dataclasses.replace(config, fold=f"{number_of_fold}/{num_folds}"))


def _answers_of(run_folder: Path, *, fold: int) -> list[dict[str, Any]]:
    """Return what the kept model of a fold says of its test images."""
    import pandas as pd

    answers = pd.read_csv(
        run_folder / PREDICTIONS,
        dtype=dict.fromkeys(("path", "label", "predicted"), str),
        keep_default_na=False,  # a class may be called "NA"
    )
    answers.insert(0, "fold", fold)
    return [{str(key): value for key, value in row.items()} for row in answers.to_dict("records")]


def _results(
    folds: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    table: ImageTable,
    *,
    column: str | None,
    seed: int,
) -> dict[str, Any]:
    """Return mean and spread over the folds, and the measures of all answers together."""
    models: dict[str, Any] = {}
    for model in (*MODELS, KEPT):
        tests = [
            metrics[metrics["kept"] if model == KEPT else model]["test"]
            for metrics in folds
            if model == KEPT or model in metrics
        ]
        if len(tests) == len(folds):
            models[model] = {name: _spread(tests, name) for name in _MEASURES}
    return {
        "folds": len(folds),
        "kept": [metrics["kept"] for metrics in folds],
        "models": models,
        "out_of_fold": None if table.multi_label else _together(rows, table, seed=seed),
        "groups": _groups(rows, table, column=column, seed=seed),
    }


def _spread(tests: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """Return mean, standard deviation and values of a measure over the folds."""
    values = [test[name]["value"] for test in tests if test.get(name)]
    if len(values) < len(tests):
        return None
    return {
        "mean": float(np.mean(values)),
        "standard_deviation": float(np.std(values, ddof=1)),
        "values": values,
    }


def _together(rows: list[dict[str, Any]], table: ImageTable, *, seed: int) -> dict[str, Any]:
    """Return the measures of all answers, each from a model that had not seen the image."""
    place = {name: row for row, name in enumerate(table.ids)}
    known = np.array([place[row["path"]] for row in rows])
    answers = np.array([[row[f"p({name})"] for name in table.class_names] for row in rows])
    measures = classification_metrics(
        table.labels[known],
        answers / answers.sum(axis=1, keepdims=True),  # they were rounded for the file
        class_names=table.class_names,
        groups=None if table.groups is None else table.groups[known],
        seed=seed,
    )
    return measures.to_dict()


def _groups(
    rows: list[dict[str, Any]], table: ImageTable, *, column: str | None, seed: int
) -> dict[str, Any] | None:
    """Return for whom all answers together are worst; None without subgroups."""
    if table.subgroups is None or table.multi_label:
        return None
    place = {name: row for row, name in enumerate(table.ids)}
    known = np.array([place[row["path"]] for row in rows])
    answered = AnsweredImages(
        ids=tuple(row["path"] for row in rows),
        labels=table.labels[known],
        class_names=table.class_names,
        probabilities=np.array([[row[f"p({name})"] for name in table.class_names] for row in rows]),
        groups=None if table.groups is None else table.groups[known],
    )
    return subgroups_of_answers(
        answered, table.subgroups[known], column=column or SUBGROUP, seed=seed
    ).to_dict()


def _lines(results: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Return what was found, for a terminal."""
    lines = []
    for model, measures in results["models"].items():
        words = []
        for name, unit, factor in (("accuracy", " %", 100), ("auroc", "", 1)):
            if (found := measures[name]) is not None:
                digits = 1 if unit else 3
                words.append(
                    f"{'accuracy' if unit else 'AUROC'} {factor * found['mean']:.{digits}f} ± "
                    f"{factor * found['standard_deviation']:.{digits}f}{unit}"
                )
        lines.append(f"{model:<10}  {', '.join(words)}")
    lines.append(f"Mean ± standard deviation over {results['folds']} folds.")
    together = results["out_of_fold"]
    if together is not None:
        lines.append(
            f"All {together['n']:,} images, each answered by a model that had not seen it: "
            f"accuracy {percent(together['accuracy'])}, AUROC {number(together['auroc'])}"
        )
    if results["groups"] is not None:
        lines.append(results["groups"]["words"])
    lines.append(f"Folder: {folder} ({OUT_OF_FOLD}, {CROSS_VALIDATION}, a run folder per fold)")
    return tuple(lines)
