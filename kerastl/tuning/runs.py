"""What all trials of a search share, and one of them: from the same probe, on the same split."""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.config import FitConfig
from kerastl.data.augment import symmetric_views
from kerastl.data.imbalance import SAMPLING, loss_weights
from kerastl.data.sources import ImageTable
from kerastl.data.stream import Images
from kerastl.data.wording import counted
from kerastl.deadline import Deadline, TimeUpError
from kerastl.errors import ConfigError, DivergedError
from kerastl.features.extract import probability_reader
from kerastl.features.precision import Precision
from kerastl.features.store import Store
from kerastl.models.classifier import parts_of
from kerastl.models.view_mean import mean_answer, mean_over_views
from kerastl.plan import build, find_phase, find_settings
from kerastl.prepared import Prepared, prepare
from kerastl.training.frozen_fit import View
from kerastl.training.frozen_start import fit_and_cut, in_precision
from kerastl.training.phase import PhaseResult
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot
from kerastl.tuning.trial import COMPLETE, CUT_SHORT, DIVERGED, Judged, Trial, judge, loss_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Start:
    """Where every trial begins. Made by `find_start`.

    Attributes:
        config: All options.
        job: Images, split, network, and the recipe as it stands.
        deadline: When the last trial must end.
        store: Where what leaves the frozen part is kept: trials cut at the same place share it.
        precision: Of features and kept views of training images.
        class_weights: float32 of shape (num_classes,): of the losses; None if they are plain.
        probe: Its answers on validation.
        backbone: Values of all variables of the backbone, random states too.
        head: Weights of the fitted head, by the name of the layer.
    """

    config: FitConfig
    job: Prepared
    deadline: Deadline
    store: Store
    precision: Precision
    class_weights: NDArray[np.float32] | None
    probe: Judged
    backbone: tuple[NDArray[Any], ...] = field(repr=False)
    head: Mapping[str, list[NDArray[Any]]] = field(repr=False)

    def put_backbone_back(self) -> None:
        """Give the backbone its first weights, in place."""
        for variable, value in zip(self.job.network.backbone.variables, self.backbone, strict=True):
            variable.assign(value)

    def new_classifier(self, config: FitConfig) -> keras.Model:
        """Return a classifier with the backbone's first weights and the fitted head.

        Args:
            config: All options of a trial.
        """
        self.put_backbone_back()
        classifier = build(self.job.network, self.job.table, config)
        for layer in parts_of(classifier).head:
            if layer.name in self.head:
                layer.set_weights(self.head[layer.name])
        return classifier

    @property
    def val_labels(self) -> NDArray[Any]:
        """Labels of the validation images."""
        return self.job.table.labels[self.job.rows("val")]

    @property
    def val_groups(self) -> NDArray[Any] | None:
        """Groups of the validation images, if there are any."""
        groups = self.job.table.groups
        return None if groups is None else groups[self.job.rows("val")]


def find_start(
    config: FitConfig,
    table: ImageTable,
    *,
    directory: Path,
    deadline: Deadline,
    store: Store,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
) -> Start:
    """Read and divide the images, build the network, and fit the probe, once for all trials.

    Args:
        config: All options.
        table: The images and labels.
        directory: Where a file of decoded pixels may be.
        deadline: When the last trial must end.
        store: Where what leaves the frozen part is kept.
        backbone: See `kerastl.workflow.run`.
        preprocessing: See there.

    Raises:
        ConfigError: There is nothing to fine-tune.
        KerasTLError: Something about the options, images or weights cannot work.
    """
    job = prepare(
        config,
        table,
        directory=directory,
        backbone=backbone,
        preprocessing=preprocessing,
        deadline=deadline,
    )
    if job.phase is None:
        raise ConfigError(
            "A search needs something to fine-tune; received a job that fits the probe alone. "
            "Leave out --recipe probe, --fine-tune-epochs 0 or --unfreeze-blocks 0."
        )
    classifier = build(job.network, job.table, config)
    first = tuple(np.array(one.numpy()) for one in job.network.backbone.variables)
    labels, val = job.table.labels, job.rows("val")
    weights = loss_weights(
        labels[job.rows("train")],
        num_classes=len(job.table.class_names),
        imbalance=config.imbalance,
    )
    fitted, precision, cut = fit_and_cut(
        classifier,
        job.pixels.images,
        labels,
        train=job.rows("train"),
        val=val,
        groups=job.table.groups,
        border=job.network.border,
        phase=job.phase,
        views=_views(config, job.pixels.images),
        tta=config.tta,
        class_weights=weights,
        batch_size=job.recipe.value("batch_size"),
        precision=config.precision,
        store=store,
        seed=config.seed,
    )
    answers = mean_answer(fitted.answer(val, "Validating the probe"), multi_label=labels.ndim == 2)
    probe = judge(
        labels[val],
        answers,
        class_weights=weights,
        groups=None if job.table.groups is None else job.table.groups[val],
        seed=config.seed,
    )
    if cut is not None:
        cut.release()
    head = {one.name: one.get_weights() for one in parts_of(classifier).head if one.weights}
    return Start(config, job, deadline, store, precision, weights, probe, first, head)


def run_trial(start: Start, values: Mapping[str, Any], *, number: int) -> Trial:
    """Fine-tune once with some values in place of the recipe's, and judge it on validation.

    Args:
        start: Where it begins; the backbone is left as it was trained.
        values: By the name of the option.
        number: Of the trial, from 1.

    Returns:
        The trial; also where it diverged or time was up, which is no mistake here.

    Raises:
        KerasTLError: Something else cannot work.
    """
    began = time.monotonic()
    state, judged, epochs = COMPLETE, None, 0
    try:
        classifier, result = train_once(start, values)
        epochs = len(result.history)
        state = CUT_SHORT if result.cut_short else COMPLETE
        answers = _answers_of(classifier, result, start)
        judged = judge(
            start.val_labels,
            answers,
            class_weights=start.class_weights,
            groups=start.val_groups,
            seed=start.config.seed,
        )
    except DivergedError as error:
        state = DIVERGED
        logger.info("Trial %d diverged. %s", number, error.what)
    except TimeUpError:
        state = CUT_SHORT
    gc.collect()  # the models of one trial are enough
    trial = Trial(number, dict(values), state, judged, epochs, time.monotonic() - began)
    if judged is not None:
        logger.info(
            "Trial %d: validation log-loss %.4f after %s%s (%s).",
            number,
            loss_of(trial),
            counted(epochs, "epoch"),
            ", cut short" if state == CUT_SHORT else "",
            ", ".join(f"{name} {value}" for name, value in values.items()),
        )
    return trial


def _answers_of(classifier: keras.Model, result: PhaseResult, start: Start) -> NDArray[np.float32]:
    """Return what a fit would compare with the probe: over mirror images where it answers so."""
    if not start.config.tta:
        return result.val_probabilities
    images = start.job.pixels.images
    model = mean_over_views(classifier, tuple(_views(start.config, images)))
    ask = probability_reader(model, images, batch_size=start.job.recipe.value("batch_size"))
    return ask(start.job.rows("val"), "Validating the mean over views")


def _views(config: FitConfig, images: Images) -> dict[str, View]:
    """Return the mirror images of the policy."""
    return symmetric_views(config.augment, square=images.shape[1] == images.shape[2])


def train_once(start: Start, values: Mapping[str, Any]) -> tuple[keras.Model, PhaseResult]:
    """Fine-tune once with some values in place of the recipe's.

    Args:
        start: Where it begins; the backbone is left as it was trained.
        values: By the name of the option.

    Returns:
        The trained classifier, which shares its backbone with all others of this start, and what
        the training gave.

    Raises:
        KerasTLError: It cannot work, diverged, or time was up.
    """
    # A fit begins so; and no training may depend on how many were before it.
    keras.utils.set_random_seed(start.config.seed)
    config, job = dataclasses.replace(start.config, **values), start.job
    train = job.rows("train")
    recipe, network = find_settings(config, job.network, num_train=len(train))
    phase = find_phase(config, network, recipe, deadline=start.deadline)
    phase = in_precision(phase, start.precision)
    assert phase is not None  # no lever turns fine-tuning off, and the recipe has it
    classifier = start.new_classifier(config)
    result = fine_tune(
        classifier,
        job.pixels.images,
        one_hot(job.table.labels, num_classes=len(job.table.class_names)),
        train_rows=train,
        val_rows=job.rows("val"),
        border=network.border,
        all_borders=network.borders,
        phase=phase,
        groups=job.table.groups,
        class_weights=start.class_weights,
        balanced=config.imbalance == SAMPLING,
        store=start.store,
    )
    return classifier, result
