"""The whole job: `run(config)` joins data, models, features, training, evaluation and deploy."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.config import FitConfig
from kerastl.data.augment import find_augmentation
from kerastl.data.pixels import Pixels, load_pixels
from kerastl.data.sources import ImageTable, load_table, subset
from kerastl.data.splits import fold_rows, split_rows
from kerastl.errors import ConfigError
from kerastl.features.extract import (
    folded_feature_model,
    predict_probabilities,
    run_in_batches,
)
from kerastl.features.probe import Probe, fit_probe
from kerastl.models.backbones import build_backbone, find_backbone
from kerastl.models.blocks import Border, count_blocks, top_blocks_border
from kerastl.models.classifier import build_classifier, feature_model, parts_of
from kerastl.models.frozen import prove_inert
from kerastl.run_folder import choose_run_folder, new_run_folder
from kerastl.training.phases import Phase, PhaseResult, assign_probe, fine_tune
from kerastl.training.recipes import default_learning_rate, default_unfreeze_blocks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What one model says of the two splits that it was not fitted on.

    Attributes:
        validation: float32 of shape (num_val, num_classes): probabilities.
        test: The same for the test split.
    """

    validation: NDArray[np.float32]
    test: NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A backbone and how it wants its pixels and may be cut.

    Attributes:
        name: For people.
        backbone: The model, on preprocessed pixels.
        image_size: (height, width) in pixels.
        preprocessing: Mode of `kerastl.models.backbones.preprocess`.
        border: Where the trained part begins; None to train all of it.
        num_blocks: Blocks that it has.
        unfreeze_blocks: Blocks above the border.
    """

    name: str
    backbone: keras.Model
    image_size: tuple[int, int]
    preprocessing: str
    border: Border | None
    num_blocks: int
    unfreeze_blocks: int


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        path: The run folder.
        model: The classifier that was kept: raw RGB 0..255 in, probabilities out.
        class_names: In the order of the probabilities.
        kept: "probe" or "fine-tuned".
        metrics: What metrics.json holds.
        export: What was exported, if anything.
        summary_lines: At most ten lines for a terminal.
    """

    path: Path
    model: keras.Model
    class_names: tuple[str, ...]
    kept: str
    metrics: dict[str, Any]
    export: ExportResult | None
    summary_lines: tuple[str, ...]


def run(
    config: FitConfig,
    *,
    table: ImageTable | None = None,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
) -> RunResult:
    """Do the whole job: images in; a classifier, an account of how good it is, a run folder out.

    Args:
        config: All options.
        table: Images that are in memory already, in place of `config.data`.
        backbone: Your own functional `keras.Model` from images to feature maps, in place of
            `config.backbone` and `config.weights`.
        preprocessing: What your own backbone expects, see
            `kerastl.models.backbones.preprocess`; "identity" for pixels 0..255.

    Returns:
        The kept model, its metrics and where everything was written.

    Raises:
        KerasTLError: Something about the options, images or weights cannot work; the
            message says what and what to do. Nothing is left under a final name.
    """
    started = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    find_augmentation(config.augment)
    if backbone is None:
        find_backbone(config.backbone)
    if table is None:
        table = read_table(config)
    folder = choose_run_folder(config.out, name=table.name, overwrite=config.overwrite)
    with new_run_folder(folder) as partial:
        network = build_network(config, backbone=backbone, preprocessing=preprocessing)
        pixels = load_pixels(
            table,
            image_size=network.image_size,
            resize_mode=config.resize_mode,
            directory=partial,
        )
        table = subset(table, pixels.rows)
        split = split_table(table, config)
        experiment = train(network, table, pixels.images, split, config)
        record = Record(
            config=config,
            table=table,
            split=split,
            unreadable=pixels.unreadable,
            network=network,
            experiment=experiment,
            seconds=time.monotonic() - started,
        )
        metrics = write_record(partial, record, images=pixels.images)
    exported = export_run(folder, export_dir=config.export_dir) if config.export else None
    return RunResult(
        path=folder,
        model=experiment.classifier,
        class_names=table.class_names,
        kept=experiment.kept,
        metrics=metrics,
        export=exported,
        summary_lines=summary_lines(record, metrics, folder=folder, export=exported),
    )
