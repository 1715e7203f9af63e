"""`--find-lr`: which learning rate suits these images and this network."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras

from kerastl.config import FitConfig, fit_words
from kerastl.data.augment import symmetric_views
from kerastl.data.imbalance import SAMPLING, loss_weights
from kerastl.deadline import deadline_after
from kerastl.determinism import become_deterministic
from kerastl.errors import ConfigError
from kerastl.evaluation.figures import save_figure
from kerastl.evaluation.rate_picture import rate_sweep_figure
from kerastl.features.extract import folded_feature_model
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store, find_store
from kerastl.plan import build, read_table
from kerastl.prepared import Prepared, prepare
from kerastl.run_folder import (
    LEARNING_RATES,
    RATE_FOLDER,
    choose_run_folder,
    new_run_folder,
    publish,
    write_rows,
)
from kerastl.training.frozen_fit import fit_frozen
from kerastl.training.rate_finder import RateSweep
from kerastl.training.rate_search import find_learning_rate
from kerastl.training.targets import one_hot


@dataclass(frozen=True)
class RateResult:
    """A finished sweep.

    Attributes:
        path: The folder with learning_rates.csv and the picture.
        sweep: Rates, losses, suggestion.
        summary_lines: For a terminal.
    """

    path: Path
    sweep: RateSweep
    summary_lines: tuple[str, ...]


def find_rates(config: FitConfig) -> RateResult:
    """Fit the probe, search for a rate, draw what was found; nothing stays trained.

    Args:
        config: All options; `learning_rate` does not count.

    Raises:
        KerasTLError: Something about the options, images or weights cannot work.
    """
    if config.resume:
        raise ConfigError(
            "--resume goes on with a fit; a search for a rate begins anew, and finds what the "
            "frozen part had computed in the feature cache. Leave out --resume."
        )
    deadline = deadline_after(config.max_minutes)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        become_deterministic(config)
    table = read_table(config)
    folder = choose_run_folder(
        config.out, name=f"{table.name}-rates", overwrite=config.overwrite, kind=RATE_FOLDER
    )
    store = find_store(config.feature_cache, largest_bytes=int(config.feature_cache_gib * 2**30))
    if config.deterministic:
        store = NO_STORE  # as a fit: rows that others computed differ in a last bit
    with tempfile.TemporaryDirectory() as directory:
        job = prepare(config, table, directory=Path(directory), deadline=deadline)
        if job.phase is None:
            raise ConfigError(
                "--find-lr needs something to fine-tune; received a job that fits the probe alone. "
                "Leave out --recipe probe, --fine-tune-epochs 0 or --unfreeze-blocks 0."
            )
        classifier = _with_probe(job, config, store=store)
        sweep = find_learning_rate(
            classifier,
            job.pixels.images,
            one_hot(job.table.labels, num_classes=len(job.table.class_names)),
            train_rows=job.rows("train"),
            val_rows=job.rows("val"),
            border=job.network.border,
            all_borders=job.network.borders,
            phase=job.phase,
            store=store,
            class_weights=loss_weights(
                job.table.labels[job.rows("train")],
                num_classes=len(job.table.class_names),
                imbalance=config.imbalance,
            ),
            balanced=config.imbalance == SAMPLING,
        )
    rows = [
        *(
            {"kind": "step", "learning_rate": r, "loss": one}
            for r, one in zip(sweep.rates.tolist(), sweep.losses.tolist(), strict=True)
        ),
        *(
            {"kind": f"{sweep.epochs} epochs", "learning_rate": r, "loss": one}
            for r, one in sweep.tried
        ),
    ]
    with new_run_folder(folder, kind=RATE_FOLDER) as partial:
        write_rows(partial / LEARNING_RATES, rows)
        figure = rate_sweep_figure(
            sweep.rates, sweep.losses, sweep.tried, sweep.suggestion, epochs=sweep.epochs
        )
        save_figure(figure, partial / "learning_rates")
        folder = publish(partial, folder, overwrite=config.overwrite, kind=RATE_FOLDER)
    return RateResult(folder, sweep, _lines(config, folder, sweep, planned=job.phase.learning_rate))


def _with_probe(job: Prepared, config: FitConfig, *, store: Store) -> keras.Model:
    """Return the classifier with the probe as its head, as fine-tuning finds it."""
    classifier = build(job.network, job.table, config)
    images, labels, train = job.pixels.images, job.table.labels, job.rows("train")
    fit_frozen(
        classifier,
        images,
        labels,
        train=train,
        val=job.rows("val"),
        groups=job.table.groups,
        views=symmetric_views(config.augment, square=images.shape[1] == images.shape[2]),
        class_weights=loss_weights(
            labels[train], num_classes=len(job.table.class_names), imbalance=config.imbalance
        ),
        batch_size=job.recipe.value("batch_size"),
        features=folded_feature_model(classifier),
        dtype="float32",
        cut=None,
        store=store,
        seed=config.seed,
    )
    return classifier


def _lines(config: FitConfig, folder: Path, sweep: RateSweep, *, planned: float) -> tuple[str, ...]:
    """Return what was found, and what to type next."""
    picture = f"Picture: {folder / 'learning_rates.png'}, numbers: {folder / LEARNING_RATES}"
    rate = float(f"{sweep.suggestion:.1e}")
    words = fit_words(config, learning_rate=rate, out=None, overwrite=None)
    return (
        f"Suggested learning rate: {rate:.1e} (the recipe has {planned:g})",
        picture,
        f"Type: python -m kerastl.fit {words}",
    )
