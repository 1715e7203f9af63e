"""What a run will do: which images go where, which network, every number of the training."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.config import FitConfig
from kerastl.data.folds import split_rows_of_fold
from kerastl.data.label_changes import read_label_changes, with_label_changes
from kerastl.data.sources import ImageTable, load_table
from kerastl.data.splits import split_rows
from kerastl.data_options import DataOptions
from kerastl.deadline import NEVER, Deadline
from kerastl.domains import DOMAINS, USUAL
from kerastl.errors import ConfigError
from kerastl.models.backbones import find_backbone
from kerastl.models.classifier import STAGES, build_classifier
from kerastl.models.network import OWN, Network, build_network
from kerastl.training.phase import Phase
from kerastl.training.recipes import Job, Recipe, Setting, find_recipe
from kerastl.training_options import TrainingOptions

logger = logging.getLogger(__name__)

# What a recipe and a phase call alike.
_PHASE_SETTINGS = (
    "patience_epochs",
    "checks_per_epoch",
    "batch_size",
    "optimizer",
    "learning_rate",
    "schedule",
    "weight_decay",
    "layer_decay",
    "l2_sp",
    "epochs_per_block",
    "batch_norm",
    "label_smoothing",
    "soup",
    "interpolate",
)


def read_table(config: DataOptions, *, to_learn: bool = True) -> ImageTable:
    """Return the images and labels that the options name.

    Args:
        config: Options of the data.
        to_learn: Whether there must be enough images of each class and group to divide them.
    """
    table = load_table(
        config.data,
        data_dir=config.data_dir,
        path_column=config.path_column,
        label_column=config.label_column,
        label_separator=config.label_separator,
        split_column=config.split_column,
        group_column=config.group_column,
        to_learn=to_learn,
    )
    if config.label_changes is None:
        return table
    return with_label_changes(table, read_label_changes(config.label_changes))


def read_run_table(config: FitConfig, table: ImageTable | None = None) -> ImageTable:
    """Return the images that a run learns from, with the subgroups to measure apart.

    Args:
        config: All options.
        table: Images that are in memory already, in place of `config.data`.

    Raises:
        ConfigError: There is no column `config.group_by`, or the images in memory have no
            subgroups.
    """
    if table is not None:
        if config.group_by is not None and table.subgroups is None:
            raise ConfigError(
                f"`group_by` is {config.group_by!r}, and the images that came from Python have no "
                "subgroups. Give them: table_from_arrays(..., subgroups=...)."
            )
        return table
    table = read_table(config)
    if config.group_by is None:
        return table
    try:
        by = dataclasses.replace(config, group_column=config.group_by)
        groups = read_table(by, to_learn=False).groups
    except ConfigError as error:  # it speaks of the option that reads such a column elsewhere
        raise ConfigError(str(error).replace("group_column", "group_by")) from None
    return dataclasses.replace(table, subgroups=groups)


def split_table(table: ImageTable, config: DataOptions) -> NDArray[np.str_]:
    """Return which row goes where: "train", "val" or "test".

    Args:
        table: The images.
        config: Options of the data.

    Raises:
        ConfigError: The fractions leave no rows for training.
        DataError: A class is too small to be on every side.
    """
    if table.before is not None:
        # Labels that were changed move no image to another side.
        sides = split_table(table.before.table, config)[table.before.rows]
        return split_rows(
            table.labels,
            given=sides,
            class_names=table.class_names,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            seed=config.seed,
        )
    options: dict[str, Any] = {
        "strata": table.strata,
        "groups": table.groups,
        "given": table.splits,
        "class_names": table.class_names,
        "val_fraction": config.val_fraction,
        "seed": config.seed,
    }
    if config.fold_numbers is not None:
        fold, num_folds = config.fold_numbers
        return split_rows_of_fold(table.labels, fold=fold, num_folds=num_folds, **options)
    return split_rows(table.labels, test_fraction=config.test_fraction, **options)


def find_network(config: FitConfig, *, backbone: keras.Model | None, preprocessing: str) -> Network:
    """Return the backbone that the options name, or the user's own, and where it is cut.

    Args:
        config: All options.
        backbone: The user's own model, or None.
        preprocessing: What the user's own model expects.
    """
    size = config.image_size
    if size is None and config.domain is not None and backbone is None:
        size = DOMAINS[config.domain].image_size(find_backbone(config.backbone).native_size)
    return build_network(
        config.backbone,
        weights=config.weights,
        image_size=size,
        unfreeze_blocks=config.unfreeze_blocks,
        tune=config.tune,
        own=backbone,
        own_preprocessing=preprocessing,
        stage_features=config.pooling == STAGES,
    )


def find_settings(config: FitConfig, network: Network, *, num_train: int) -> tuple[Recipe, Network]:
    """Return every number of the training: the recipe's, and what the user gave in their place.

    Args:
        config: All options.
        network: The backbone.
        num_train: Training images.

    Returns:
        The numbers, and the backbone cut as they say.

    Raises:
        ConfigError: The network has not so many blocks.
    """
    tuning = network if config.tune is None else network.tuning(config.tune)
    blocks = network.num_blocks if config.unfreeze_blocks == "all" else config.unfreeze_blocks
    if config.tune is not None:
        blocks = tuning.unfreeze_blocks
    job = Job(
        num_train=num_train,
        num_parameters=network.backbone.count_params(),
        num_blocks=network.num_blocks,
        unfreeze_blocks=blocks,
        given=dict(vars(config)),
        domain=config.domain,
    )
    recipe = find_recipe(config.recipe, job)
    if not recipe.value("fine_tune_epochs") and (config.fine_tune_epochs or blocks):
        raise ConfigError(
            f"--recipe {recipe.name} fits the probe alone; received an option of fine-tuning "
            "(--fine-tune-epochs, --unfreeze-blocks or --tune) too. Leave out one of the two."
        )
    given = {name: getattr(config, name) for name in recipe.settings}
    given["unfreeze_blocks"] = blocks
    if given["fine_tune_epochs"] == 0:
        given["unfreeze_blocks"] = 0
    recipe = recipe.with_given(given).beginning_with(_settings_of_domain(config, network))
    if config.tune is not None and recipe.value("fine_tune_epochs"):
        return recipe.tuning(config.tune, tuning.tuned_words), tuning
    return recipe, network.unfrozen(recipe.value("unfreeze_blocks"))


def _settings_of_domain(config: FitConfig, network: Network) -> dict[str, Setting]:
    """Return what the kind of pictures settles besides the recipe's numbers, and what wins."""
    if config.domain is None:
        return {}
    row = DOMAINS[config.domain]
    settings = {"domain": Setting(row.name, f"given: {row.pictures}. {row.measured}")}
    for name in USUAL:
        value, choice = getattr(config, name), getattr(row, name)
        given = f"given; {row.name} has {choice.value}"
        settings[name] = Setting(value, choice.words if value == choice.value else given)
    height, width = network.image_size
    if config.image_size is not None:
        factor = row.size_factor.value
        times = "" if factor == 1 else f"{factor:g} times "
        source = f"given; {row.name} has {times}the backbone's own"
    elif network.weights == OWN:
        source = "that of your own backbone"
    else:
        source = row.size_factor.words
    return {**settings, "image_size": Setting(f"{height}x{width}", source)}


def planned_recipe(config: FitConfig) -> Recipe:
    """Return every number that a run with these options would take.

    Args:
        config: All options.
    """
    table = read_table(config)
    splits = split_table(table, config)
    network = find_network(config, backbone=None, preprocessing="identity")
    return find_settings(config, network, num_train=int(np.sum(splits == "train")))[0]


def find_phase(
    config: TrainingOptions, network: Network, recipe: Recipe, *, deadline: Deadline = NEVER
) -> Phase | None:
    """Return how fine-tuning goes, or None where nothing is unfrozen.

    Args:
        config: All options.
        network: The backbone, cut as the recipe says.
        recipe: Every number of the training.
        deadline: When it must end.

    Raises:
        ConfigError: Views are to be kept of a frozen part that there is not.
    """
    if network.tuned is None or not recipe.value("fine_tune_epochs"):
        return None
    if network.border is None and isinstance(config.views, int):
        raise ConfigError(
            f"`views` cannot be {config.views} where the first block is trained: nothing below is "
            "frozen. Leave it out, or leave out the first block."
        )
    numbers = {name: recipe.value(name) for name in _PHASE_SETTINGS}
    if config.accumulate_steps > numbers["batch_size"]:
        raise ConfigError(
            f"`accumulate_steps` must be at most `batch_size`, which is {numbers['batch_size']}; "
            f"received accumulate_steps={config.accumulate_steps}."
        )
    last = network.unfreeze_blocks * numbers["epochs_per_block"]
    if last >= recipe.value("fine_tune_epochs"):
        logger.warning(
            "The lowest of %d blocks would begin after %g epochs, of which there are %d: it will "
            "not be trained. Give more --fine-tune-epochs or fewer --epochs-per-block.",
            network.unfreeze_blocks,
            last,
            recipe.value("fine_tune_epochs"),
        )
    logger.info("Fine-tuning trains %s, and the head.", network.tuned_words)
    return Phase(
        **numbers,
        epochs=recipe.value("fine_tune_epochs"),
        # 0 is off: None on a command line is "not given".
        clip_norm=recipe.value("clip_norm") or None,
        ema_momentum=recipe.value("ema_momentum") or None,
        accumulate_steps=config.accumulate_steps,
        frozen_above=network.frozen_above,
        augment=config.augment,
        mix=config.mix,
        seed=config.seed,
        views=config.views,
        precision=config.precision,
        deadline=deadline,
    )


def build(network: Network, table: ImageTable, config: FitConfig) -> keras.Model:
    """Return the classifier, still with a random head.

    Args:
        network: The backbone.
        table: The images' classes.
        config: All options.
    """
    return build_classifier(
        network.backbone,
        num_classes=len(table.class_names),
        image_size=network.image_size,
        preprocessing=network.preprocessing,
        colour=config.colour,
        pooling=config.pooling,
        hidden_units=config.hidden_units,
        dropout=config.dropout,
        l1=config.l1,
        l2=config.l2,
        multi_label=table.multi_label,
        seed=config.seed,
    )
