"""The whole job: `run(config)` joins data, models, features, training, evaluation and deploy."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.archive import write_record
from kerastl.config import FitConfig
from kerastl.data.audit import Audit, audit_images
from kerastl.data.pixels import Unreadable
from kerastl.data.scan import ImageFacts, scan_pixels
from kerastl.data.sources import ImageTable
from kerastl.data.unserved import unserved_kinds, unserved_words
from kerastl.data_options import data_words
from kerastl.deadline import Deadline, deadline_after
from kerastl.deploy.runs import export_run
from kerastl.deploy.savedmodel import ExportResult
from kerastl.determinism import become_deterministic
from kerastl.errors import ExportError, KerasTLError
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store, find_store
from kerastl.findings import finding_lines
from kerastl.interruption import checkpoint_of
from kerastl.plan import build, read_run_table
from kerastl.prepared import Prepared, prepare
from kerastl.record import Record
from kerastl.run_folder import REPORT, choose_run_folder, new_run_folder, publish
from kerastl.summary import summary_lines
from kerastl.training.augmentation_advice import augmentation_warning
from kerastl.training.checkpoint import CheckpointFile
from kerastl.training.decision import PROBE
from kerastl.training.experiment import Experiment, probe_then_fine_tune
from kerastl.training.loggers import find_loggers, require_logger
from kerastl.training.novelty_fit import KnownKind, learn_known_kind
from kerastl.training.phase import Phase
from kerastl.training.saver import as_interrupted

logger = logging.getLogger(__name__)

# Lines about the data at the start of a fit; the report has all of it.
_MOST_FINDING_LINES = 5


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        path: The run folder.
        model: The classifier that was kept: raw RGB 0..255 in, probabilities out.
        class_names: In the order of the probabilities.
        kept: "probe", "fine-tuned" or "group-balanced".
        metrics: What metrics.json holds.
        export: What was exported, if anything.
        summary_lines: At most twelve lines for a terminal.
    """

    path: Path
    model: keras.Model = field(repr=False)
    class_names: tuple[str, ...]
    kept: str
    metrics: dict[str, Any] = field(repr=False)
    export: ExportResult | None
    summary_lines: tuple[str, ...] = field(repr=False)


def run(
    config: FitConfig,
    *,
    table: ImageTable | None = None,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
    record_as: FitConfig | None = None,
    deadline: Deadline | None = None,
) -> RunResult:
    """Do the whole job: images in; a classifier, an account of how good it is, a run folder out.

    Args:
        config: All options.
        table: Images that are in memory already, in place of `config.data`.
        backbone: Your own functional `keras.Model` from images to feature maps, in place of
            `config.backbone` and `config.weights`. It may leave the image size open where
            `config.image_size` says it.
        preprocessing: What your own backbone expects, see
            `kerastl.models.backbones.preprocess`; "identity" for pixels 0..255.
        record_as: The options that config.yaml and the report name, where they are others: the
            paths of a run that is a part of another job.
        deadline: When training must end, in place of `config.max_minutes` from now.

    Returns:
        The kept model, its metrics and where everything was written.

    Raises:
        KerasTLError: Something about the options, images or weights cannot work; the
            message says what and what to do. Nothing is left under a final name, unless
            only the export failed: then the run folder is complete.
    """
    require_logger(config.log)
    started, deadline = time.monotonic(), deadline or deadline_after(config.max_minutes)
    keras.utils.set_random_seed(config.seed)
    store = find_store(config.feature_cache, largest_bytes=int(config.feature_cache_gib * 2**30))
    if config.deterministic:
        become_deterministic(config)
        store = NO_STORE  # rows of an earlier run come from other batches, and differ in a last bit
    own_table = table is not None
    table = read_run_table(config, table)
    folder = choose_run_folder(config.out, name=table.name, overwrite=config.overwrite)
    with new_run_folder(folder) as partial:
        job = prepare(
            config,
            table,
            directory=partial,
            backbone=backbone,
            preprocessing=preprocessing,
            deadline=deadline,
        )
        table, splits, pixels = job.table, job.splits, job.pixels
        facts = scan_pixels(pixels.images)
        audit = quick_audit(table, facts, splits, config)
        unserved = unserved_kinds(table)
        warn_in_time(unserved, splits, config, phase=job.phase)
        checkpoint = checkpoint_of(job, config, folder=folder, digests=facts.digests)
        with checkpoint.offered():
            experiment = train(job, config, directory=partial, checkpoint=checkpoint, store=store)
        lost = forget_lost(splits, experiment.test_rows)
        record = Record(
            config=record_as or config,
            table=table,
            splits=splits,
            unreadable=(*pixels.unreadable, *lost_images(table, lost, rows=pixels.rows)),
            audit=audit,
            network=job.network,
            experiment=experiment,
            recipe=job.recipe,
            phase=job.phase,
            unserved=unserved,
            own_table=own_table,
            digests=facts.digests,
            known_kind=known_kind_of(job, experiment, store=store, seed=config.seed),
        )
        metrics = write_record(
            partial, record, images=pixels.images, elapsed=lambda: time.monotonic() - started
        )
        folder = publish(partial, folder, overwrite=config.overwrite)
        checkpoint.remove()
    exported = export_finished(folder, config) if config.export else None
    seconds = time.monotonic() - started
    lines = summary_lines(record, metrics, folder=folder, export=exported, seconds=seconds)
    return RunResult(
        path=folder,
        model=experiment.classifier,
        class_names=table.class_names,
        kept=experiment.kept,
        metrics=metrics,
        export=exported,
        summary_lines=lines,
    )


def known_kind_of(
    job: Prepared, experiment: Experiment, *, store: Store, seed: int
) -> KnownKind | None:
    """Return what tells pictures of another kind from those that the kept model knows.

    Args:
        job: Images and their splits.
        experiment: What was trained on them.
        store: Where features of the network as it was before may be kept already.
        seed: Of which images are remembered.
    """
    return learn_known_kind(
        experiment.classifier,
        job.pixels.images,
        job.table.labels,
        splits=job.splits,
        store=store if experiment.base == PROBE else None,
        batch_size=job.recipe.value("batch_size"),
        seed=seed,
    )


def export_finished(folder: Path, config: FitConfig) -> ExportResult:
    """Export a run that is complete, and say so if the export fails.

    Args:
        folder: The run folder.
        config: All options.

    Raises:
        ExportError: The answers differ, or nothing can be written.
    """
    try:
        return export_run(folder, export_dir=config.export_dir)
    except KerasTLError as error:
        raise ExportError(
            f"{error} The run itself is complete: {folder}. Export it again with: python -m "
            f"kerastl.export {folder} --export-dir {config.export_dir}"
        ) from error


def quick_audit(
    table: ImageTable,
    facts: ImageFacts,
    splits: NDArray[np.str_],
    config: FitConfig,
) -> Audit:
    """Return what looks wrong about the images, from pixels that are decoded anyway.

    Errors and warnings go to the log, a line each.

    Args:
        table: The images' labels and groups.
        facts: From `kerastl.data.scan.scan_pixels`.
        splits: Of shape (n,).
        config: All options.
    """
    data = data_words(config)
    keep_together = None
    if table.contents is None and not config.data.startswith("demo:"):
        keep_together = (
            f"Type: python -m kerastl.check {data}; its page says how to keep together what "
            "belongs together."
        )
    audit = audit_images(table, facts, splits=splits, data=data, keep_together=keep_together)
    for line in finding_lines(
        audit.findings, limit=_MOST_FINDING_LINES, rest=f"{REPORT} shows all of them."
    ):
        logger.warning("%s", line)
    return audit


def forget_lost(splits: NDArray[np.str_], tested: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take test images that could not be read any more out of the split, and return which.

    Args:
        splits: Of shape (n,); changed in place.
        tested: int64: those that could.
    """
    lost = np.setdiff1d(np.flatnonzero(splits == "test"), tested)
    splits[lost] = ""
    return lost


def lost_images(
    table: ImageTable, lost: NDArray[np.int64], *, rows: NDArray[np.int64]
) -> tuple[Unreadable, ...]:
    """Return test images that were readable before training and are not any more; log them.

    Args:
        table: Images that could be read before training.
        lost: Which of them are lost.
        rows: Of shape (n,): the row that each had among all images.
    """
    reason = "it could be read before the training, not for the test"
    for row in lost:
        logger.warning("Left out of the test: %s: %s", table.ids[row], reason)
    return tuple(Unreadable(int(rows[row]), table.ids[row], reason) for row in lost)


def warn_in_time(
    unserved: Mapping[str, int],
    splits: NDArray[np.str_],
    config: FitConfig,
    *,
    phase: Phase | None,
) -> None:
    """Say to the log, before any training, what an export or these few images will not like.

    Args:
        unserved: From `kerastl.data.unserved.unserved_kinds`.
        splits: Of shape (n,).
        config: All options.
        phase: How to fine-tune; None for the probe alone.
    """
    if unserved:
        level = logging.WARNING if config.export else logging.INFO
        logger.log(level, "%s", unserved_words(unserved))
    if phase is not None:
        num_train = int(np.sum(splits == "train"))
        if too_strong := augmentation_warning(phase.augment, num_train=num_train):
            logger.warning("%s", too_strong)


def train(
    job: Prepared,
    config: FitConfig,
    *,
    directory: Path,
    checkpoint: CheckpointFile | None = None,
    store: Store = NO_STORE,
) -> Experiment:
    """Build the classifier, fit the probe, fine-tune, keep one by validation.

    Args:
        job: Images, network and every number.
        config: All options.
        directory: Of the run: where TensorBoard's files go, if they are wanted.
        checkpoint: Where it is kept how far fine-tuning has come.
        store: Where what the frozen part computes is kept for later runs.
    """
    return probe_then_fine_tune(
        build(job.network, job.table, config),
        job.pixels.images,
        job.table.labels,
        splits=job.splits,
        groups=job.table.groups,
        subgroups=job.table.subgroups if config.balance_groups else None,
        border=job.network.border,
        all_borders=job.network.borders,
        phase=as_interrupted(job.phase, checkpoint),
        callbacks=find_loggers(config.log, directory=directory),
        checkpoint=checkpoint,
        augment=config.augment,
        tta=config.tta,
        imbalance=config.imbalance,
        batch_size=job.recipe.value("batch_size"),
        precision=config.precision,
        store=store,
        seed=config.seed,
    )
