"""The stages of a fit, each ready to run again and again on the same images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.benchmarking.options import BenchmarkOptions
from kerastl.benchmarking.timing import Stage
from kerastl.data.augment import symmetric_views
from kerastl.data.batches import training_batches
from kerastl.data.image_reader import servable_image
from kerastl.data.pixels import encoded_image, load_pixels
from kerastl.data.sources import ImageTable, subset
from kerastl.data.splits import fold_rows
from kerastl.deploy.predictor import open_predictor
from kerastl.deploy.savedmodel import export_savedmodel
from kerastl.errors import DataError, ExportError
from kerastl.features.border_views import BorderViews, view_batches
from kerastl.features.extract import folded_feature_model, run_in_batches, trace_forward
from kerastl.features.probe import Probe, fit_probe
from kerastl.features.stored_rows import rows_in_memory
from kerastl.models.classifier import build_classifier, feature_model
from kerastl.models.frozen import training_view
from kerastl.models.network import Network, build_network
from kerastl.models.operations import operations_per_image
from kerastl.training.compilation import compile_for_training
from kerastl.training.frozen_fit import NUM_FOLDS
from kerastl.training.head import assign_probe
from kerastl.training.phase import Phase
from kerastl.training.targets import one_hot

logger = logging.getLogger(__name__)

# A training step goes through the trained part forwards, and backwards twice: for the gradient of
# the weights and for that of the inputs.
TRAINING_PASSES = 3
# An export loads TensorFlow in another process: seconds each time, and never much faster.
_MOST_EXPORTS = 2
_NUM_HELD_OUT = 16


@dataclass(frozen=True, eq=False)
class Setting:
    """What all stages work on.

    Attributes:
        options: What is measured.
        table: The images that could be read.
        images: uint8 of shape (n, height, width, 3).
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        network: The backbone and where it is cut.
        classifier: With the probe as its head.
        features: float32 of shape (n * num_views, num_features): of the images and their mirror
            images, as many views as a fit with this augmentation gives the probe.
        num_views: Views in `features`.
    """

    options: BenchmarkOptions
    table: ImageTable = field(repr=False)
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[Any] = field(repr=False)
    network: Network
    classifier: keras.Model = field(repr=False)
    features: NDArray[np.float32] = field(repr=False)
    num_views: int

    @property
    def targets(self) -> NDArray[np.float32]:
        """float32 of shape (n, num_classes)."""
        return one_hot(self.labels, num_classes=self.classifier.output_shape[-1])

    @property
    def operations(self) -> float:
        """Of the whole backbone, for one image."""
        return operations_per_image(self.network.backbone)


def prepare(options: BenchmarkOptions, table: ImageTable) -> Setting:
    """Read the images, build the network and give it a head.

    Args:
        options: What is measured.
        table: All images; `options.images` of them, spread over the table, are taken.

    Raises:
        KerasTLError: Images, network or weights cannot be had.
    """
    keras.utils.set_random_seed(options.seed)
    config = options.fit_config()
    network = build_network(
        options.backbone,
        weights=options.weights,
        image_size=config.image_size,
        unfreeze_blocks=config.unfreeze_blocks,
    )
    places = np.linspace(0, len(table.ids) - 1, min(options.images, len(table.ids)))
    table = subset(table, np.unique(places.round().astype(np.int64)))
    pixels = load_pixels(table, image_size=network.image_size, cache="memory")
    table, images = subset(table, pixels.rows), np.asarray(pixels.images)
    labels = _labels_of(table)
    classifier = build_classifier(
        network.backbone,
        num_classes=labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1,
        image_size=network.image_size,
        preprocessing=network.preprocessing,
        multi_label=table.multi_label,
        seed=options.seed,
    )
    views = symmetric_views(options.augment, square=images.shape[1] == images.shape[2])
    run = _runner(folded_feature_model(classifier), options.batch_size)
    setting = Setting(
        options=options,
        table=table,
        images=images,
        labels=labels,
        network=network,
        classifier=classifier,
        features=np.concatenate([run(view(images)) for view in views.values()]),
        num_views=len(views),
    )
    assign_probe(classifier, _fit(setting))
    return setting


def _labels_of(table: ImageTable) -> NDArray[Any]:
    """Return labels without classes that the chosen images do not show."""
    if table.multi_label:
        return table.labels
    present, labels = np.unique(table.labels, return_inverse=True)
    if len(present) < 2:
        raise DataError(
            f"All {len(table.ids)} images that were chosen are of the class "
            f"{table.class_names[int(present[0])]!r}; two classes are needed. Add --images."
        )
    return labels.astype(np.int64)


def build_stages(setting: Setting, *, folder: Path, bfloat16: bool) -> tuple[Stage, ...]:
    """Return all stages that this network has, in the order of a fit.

    Args:
        setting: What they work on.
        folder: For exports; it exists.
        bfloat16: Whether extraction in bfloat16 is a stage.
    """
    options, count = setting.options, len(setting.images)
    size = setting.network.image_size
    stages = [
        Stage(
            "decode",
            "Read, decode, resize",
            count,
            lambda: load_pixels(setting.table, image_size=size, cache="memory"),
        ),
        Stage("augment", f"Augment ({options.augment})", count, _augmentation(setting)),
    ]
    for dtype in ("float32", "bfloat16") if bfloat16 else ("float32",):
        run = _runner(folded_feature_model(setting.classifier, dtype=dtype), options.batch_size)
        name = "extract" if dtype == "float32" else f"extract_{dtype}"
        title = f"Extract features, {dtype}"
        stages.append(
            Stage(name, title, count, _on(run, setting.images), setting.operations, dtype)
        )
    # Images, not views: what the probe costs for each image that it learns from.
    stages.append(Stage("probe", "Fit the probe", count, lambda: _fit(setting)))
    return (*stages, *_training_stages(setting), *_export_stages(setting, folder=folder))


def _on(run: Callable[[Any], object], images: NDArray[np.uint8]) -> Callable[[], object]:
    """Return `run` on these images."""
    return lambda: run(images)


def _augmentation(setting: Setting) -> Callable[[], object]:
    """Return what goes through an epoch of varied batches, without a model."""
    batches = _live_batches(setting)

    def run() -> None:
        for _ in batches:
            pass

    return run


def _live_batches(setting: Setting) -> tf.data.Dataset:
    """Return the batches of an epoch on new pixels."""
    return training_batches(
        setting.images,
        setting.targets,
        np.arange(len(setting.images)),
        batch_size=setting.options.batch_size,
        augment=setting.options.augment,
        seed=setting.options.seed,
    )


def _runner(
    model: keras.Model, batch_size: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the function from images to what a model gives for them, traced once."""
    forward = trace_forward(model, model.input_shape[1:])
    return lambda images: run_in_batches(
        forward,
        images,
        np.arange(len(images)),
        width=model.output_shape[-1],
        batch_size=batch_size,
        description="Running the network",
    )


def _fit(setting: Setting) -> Probe:
    """Fit the probe as a fit does, all views of an image held out together."""
    folds = fold_rows(setting.labels, num_folds=NUM_FOLDS, seed=setting.options.seed)
    return fit_probe(
        setting.features,
        np.concatenate([setting.labels] * setting.num_views),
        folds=np.tile(folds, setting.num_views),
    )


def _training_stages(setting: Setting) -> list[Stage]:
    """Return the frozen part over one view, and an epoch on kept views and on new pixels."""
    network, options, count = setting.network, setting.options, len(setting.images)
    if not network.unfreeze_blocks:
        return []
    view = training_view(setting.classifier, border=network.border)
    below = operations_per_image(view.frozen)
    above = TRAINING_PASSES * (setting.operations - below)
    blocks = f"top {network.unfreeze_blocks} of {network.num_blocks} blocks"
    live = Stage(
        "train_live",
        f"Train the {blocks}, live",
        count,
        _epoch(view.model, _live_batches(setting), setting),
        below + above,
    )
    if network.border is None:
        return [live]
    frozen = _runner(_flattened(view.frozen), options.batch_size)
    shapes = tuple(tuple(x.shape[1:]) for x in keras.tree.flatten(view.frozen.output))
    kept = BorderViews(
        (rows_in_memory(frozen(setting.images)),),
        shapes,
        single=not isinstance(view.frozen.output, list),
    )
    batches = view_batches(kept, setting.targets, batch_size=options.batch_size, seed=options.seed)
    epoch = _epoch(view.suffix, batches, setting)
    return [
        Stage("frozen", "Frozen part, for one view", count, _on(frozen, setting.images), below),
        Stage("train", f"Train the {blocks}, kept views", count, epoch, above),
        live,
    ]


def _flattened(frozen: keras.Model) -> keras.Model:
    """Return the frozen part with all that leaves it in one row for each image, as it is kept."""
    pixels = keras.Input(frozen.input_shape[1:], dtype="float32")
    tensors = keras.tree.flatten(frozen(pixels, training=False))
    rows = [keras.layers.Reshape((math.prod(x.shape[1:]),))(x) for x in tensors]
    return keras.Model(pixels, rows[0] if len(rows) == 1 else keras.layers.Concatenate()(rows))


def _epoch(model: keras.Model, batches: tf.data.Dataset, setting: Setting) -> Callable[[], object]:
    """Return what trains for an epoch, in a way that leaves every weight as it is."""
    compile_for_training(
        model,
        # The same work in every round, and the export is that of the probe.
        Phase(epochs=1, learning_rate=0.0, weight_decay=0.0),
        epoch_steps=math.ceil(len(setting.images) / setting.options.batch_size),
    )
    return lambda: model.fit(batches, epochs=1, shuffle=False, verbose=0)


def _export_stages(setting: Setting, *, folder: Path) -> list[Stage]:
    """Return writing and proving an export, and answering encoded images with it."""
    rows = range(len(setting.table.ids))
    contents = [encoded_image(setting.table, row) for row in rows]
    num_classes = setting.classifier.output_shape[-1]

    def export() -> Path:
        return export_savedmodel(
            setting.classifier,
            folder / "export",
            class_names=[f"class {number}" for number in range(num_classes)],
            image_size=setting.network.image_size,
            held_out=[servable_image(content) for content in contents[:_NUM_HELD_OUT]],
            features=feature_model(setting.classifier),
            multi_label=setting.table.multi_label,
        ).path

    try:
        predictor = open_predictor(export())
    except ExportError as error:  # a network of random weights may answer at random
        logger.warning("Export and prediction are not measured: %s", error)
        return []
    batch_size = setting.options.batch_size

    def predict() -> None:
        for start in range(0, len(contents), batch_size):
            predictor.predict(contents[start : start + batch_size])

    return [
        Stage("export", "Export and prove", 1, export, most_rounds=_MOST_EXPORTS, warm_up=False),
        Stage("predict", "Predict with the export", len(contents), predict, setting.operations),
    ]
