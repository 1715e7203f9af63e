"""Recipes: every number of a training, as a pure function of the data's size and the backbone.

Each number stands beside its source. `python -m kerastl.fit DATA --print-recipe` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastl.domains import DOMAINS
from kerastl.errors import ConfigError, did_you_mean
from kerastl.models.batch_norm import FROZEN_NORM, ONLY_NORM
from kerastl.models.network import upper_half

# Above this a network is not of mobile size (MobileNetV3Large has 5.5 million, ResNet50 25.6).
_MOBILE_PARAMETERS = 10_000_000

# BiT's rule calls less than this small and leaves MixUp off (Kolesnikov et al. 2020, section 3.3).
# The best strength of RandAugment grows with the number of training images as well (Cubuk et
# al. 2020, https://arxiv.org/abs/1909.13719, figure 1).
SMALL_DATA_IMAGES = 20_000
_LARGE_DATA_IMAGES = 500_000

_BIT = "BiT-HyperRule (Kolesnikov et al. 2020, arXiv:1912.11370)"
_FASTAI = "fastai 2.7, Learner.fine_tune"
_ULMFIT = "ULMFiT (Howard and Ruder 2018, arXiv:1801.06146)"
_SMITH = "Smith 2017, arXiv:1506.01186"
_OURS = "kerastl"

# AutoGluon clips a training to 1,000 steps and more; BiT has 500 of larger batches. Of 46 steps an
# epoch (solar cells, 160 pixels, `benchmarks/levers.py`, validation, two seeds, 2026-11) 16 epochs
# in place of 8 bring AUROC 0.930 to 0.939 (P1) and 0.854 to 0.873, accuracy 78.0 to 80.1 % (P4). A
# training of very few steps ends before it has recovered from its first ones, which Adam makes too
# long. By hand on the tasks of `benchmarks/never_below.py`, 2 to 4 other seeds, none stopped early
# (2026-11): 32 epochs in place of 8 were better on 66 drawn cells (chaos in 3 of 4 before), by 4
# points on 270 digits, and no better on 135 solar cells (log-loss 0.59, 0.52; within the spread).
_EPOCHS, _LEAST_STEPS, _MOST_EPOCHS = 8, 800, 32
# Schedules whose rate goes up and down in cycles of four epochs.
_CYCLES = ("triangular", "triangular2", "exp-range")


@dataclass(frozen=True)
class Job:
    """What a recipe is made for.

    Attributes:
        num_train: Training images.
        num_parameters: Of the backbone.
        num_blocks: Of the backbone.
        unfreeze_blocks: Blocks that are trained, if somebody says.
        given: What somebody says besides, by the name of the option; None where nothing is said.
            What a recipe makes of a number follows the given one.
        domain: What kind of pictures, a key of `kerastl.domains.DOMAINS`; None where nobody says.
    """

    num_train: int
    num_parameters: int
    num_blocks: int
    unfreeze_blocks: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    domain: str | None = None

    def value(self, name: str, own: Any) -> Any:
        """Return what is given for an option, else a recipe's own value.

        Args:
            name: Of the option.
            own: The recipe's value.

        Example:
            >>> Job(100, 3_400_000, 17, given={"batch_size": 8}).value("batch_size", 128)
            8
        """
        given = self.given.get(name)
        return own if given is None else given


@dataclass(frozen=True)
class Setting:
    """One number of a training, and where it comes from.

    Attributes:
        value: Of the option of the same name, see `kerastl.FitConfig`.
        source: Paper, tool, or that the user gave it.
    """

    value: Any
    source: str


@dataclass(frozen=True)
class Recipe:
    """All numbers of a training.

    Attributes:
        name: One of `RECIPES`.
        purpose: When to take it, one sentence.
        settings: By the name of the option.
    """

    name: str
    purpose: str
    settings: Mapping[str, Setting] = field(repr=False)

    def value(self, name: str) -> Any:
        """Return the value of one setting.

        Args:
            name: Of the option.
        """
        return self.settings[name].value

    def with_given(self, given: Mapping[str, Any]) -> Recipe:
        """Return the recipe with what the user says in place of its own.

        Args:
            given: By the name of the option; None for the recipe's own.
        """
        own = {
            name: Setting(value, "given")
            for name, value in given.items()
            if name in self.settings and value is not None
        }
        return Recipe(self.name, self.purpose, {**self.settings, **own})

    def beginning_with(self, settings: Mapping[str, Setting]) -> Recipe:
        """Return the recipe with other settings before its own.

        Args:
            settings: By the name of the option.
        """
        return Recipe(self.name, self.purpose, {**settings, **self.settings})

    def tuning(self, tune: str, words: str) -> Recipe:
        """Return the recipe with other blocks in place of so many from the top.

        Args:
            tune: What the user gave.
            words: Which blocks these are.
        """
        tuned = Setting(tune, f"given: {words}")
        pairs = [
            ("tune", tuned) if name == "unfreeze_blocks" else (name, one)
            for name, one in self.settings.items()
        ]
        return Recipe(self.name, self.purpose, dict(pairs))


def find_recipe(name: str, job: Job) -> Recipe:
    """Return a recipe for a job.

    Args:
        name: One of `RECIPES`.
        job: Sizes of data and backbone, and what is given that its numbers depend on; that itself
            is put in their place by `Recipe.with_given`.

    Raises:
        ConfigError: There is no such recipe.

    Example:
        >>> job = Job(num_train=1_706, num_parameters=3_400_000, num_blocks=17)
        >>> find_recipe("default", job).value("learning_rate")
        0.0002
        >>> find_recipe("bit", job).value("fine_tune_epochs")  # 500 steps of 128 images
        36
    """
    if name not in RECIPES:
        raise ConfigError(
            f"`recipe` must be one of {', '.join(RECIPES)}; received recipe={name!r}."
            f"{did_you_mean(name, list(RECIPES))}"
        )
    purpose, settings_of = RECIPES[name]
    changed = {key: Setting(*pair) for key, pair in settings_of(job).items()}
    return Recipe(name, purpose, {**_base(job), **_of_domain(job), **changed})


def default_learning_rate(*, num_parameters: int) -> float:
    """Return the highest rate of fine-tuning with AdamW.

    1e-4 as AutoGluon, or 2e-4 for networks of mobile size. AutoGluon gives these 4e-4;
    after a probe that throws the first epochs away: on the solar cells (P1, one
    split, best of 8 epochs) validation log-loss is 0.33 with 4e-4 and 0.285 with 2e-4.

    Args:
        num_parameters: Of the backbone.

    Example:
        >>> default_learning_rate(num_parameters=3_400_000)
        0.0002
    """
    return 2e-4 if num_parameters < _MOBILE_PARAMETERS else 1e-4


def default_epochs(*, num_train: int, batch_size: int) -> int:
    """Return the epochs of fine-tuning: 8, and up to 32 where these are under 800 steps.

    Args:
        num_train: Training images.
        batch_size: Of a step.

    Example:
        >>> [default_epochs(num_train=images, batch_size=32) for images in (300, 1_700, 5_000)]
        [32, 15, 8]
    """
    enough = _epochs_for(_LEAST_STEPS, num_train=num_train, batch_size=batch_size)
    return max(_EPOCHS, min(_MOST_EPOCHS, enough))


def _base(job: Job) -> dict[str, Setting]:
    """Return the default: probe, then fine-tuning (LP-FT: Kumar et al. 2022, arXiv:2202.10054)."""
    rate = default_learning_rate(num_parameters=job.num_parameters)
    epochs = default_epochs(num_train=job.num_train, batch_size=job.value("batch_size", 32))
    why = f"{_LEAST_STEPS} steps, in {_EPOCHS} to {_MOST_EPOCHS} epochs"
    # From a good probe the loss rises first, and falls as the rate does: a patience of 5 epochs
    # ended fine-tuning on the solar cells (P1, 300 pixels, `--pooling stages`) before. Without, the
    # log-loss on validation was smaller by 0.014 and 0.045 (seeds 0 and 1; 2026-11-23).
    patience = job.value("fine_tune_epochs", epochs)
    return {
        "unfreeze_blocks": Setting(upper_half(num_blocks=job.num_blocks), "upper half of blocks"),
        "fine_tune_epochs": Setting(epochs, why),
        "patience_epochs": Setting(
            patience or epochs, "no early stop: the loss falls last, as the rate does"
        ),
        "checks_per_epoch": Setting(2, "AutoGluon, val_check_interval 0.5"),
        "batch_size": Setting(32, _OURS),
        "optimizer": Setting("adamw", "AutoGluon"),
        "learning_rate": Setting(
            rate, "AutoGluon's for AdamW; mobile networks half of it, measured"
        ),
        "schedule": Setting("cosine", "warm-up 10 %, cosine to 0 (AutoGluon, ViT)"),
        "weight_decay": Setting(1e-3, "AutoGluon; none on biases and scales"),
        "layer_decay": Setting(1.0, "one rate for all blocks"),
        "l2_sp": Setting(0.0, "off"),
        "epochs_per_block": Setting(0.0, "all blocks at once"),
        "batch_norm": Setting(FROZEN_NORM, "Keras guide on transfer learning"),
        "label_smoothing": Setting(0.0, "off: it spoils calibration"),
        "clip_norm": Setting(1.0, "AutoGluon, ViT"),
        "ema_momentum": Setting(0.0, "off"),
        "soup": Setting(1, "one check alone"),
        "interpolate": Setting(True, "WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903)"),
    }


def _of_domain(job: Job) -> dict[str, Setting]:
    """Return what the kind of pictures says of training."""
    if job.domain is None:
        return {}
    choice = DOMAINS[job.domain].batch_norm
    return {"batch_norm": Setting(choice.value, choice.words)}


def _epochs_for(steps: int, *, num_train: int, batch_size: int) -> int:
    """Return the epochs that have at least so many steps."""
    return math.ceil(steps / math.ceil(num_train / batch_size))


Pairs = dict[str, tuple[Any, str]]


def _default(_job: Job) -> Pairs:
    return {}


def _probe(_job: Job) -> Pairs:
    return {
        "fine_tune_epochs": (0, "the probe alone"),
        "unfreeze_blocks": (0, "the probe alone"),
    }


def _no_early_stop(job: Job, epochs: int, source: str) -> Pairs:
    """Return a patience of all epochs, whoever says how many these are."""
    return {"patience_epochs": (job.value("fine_tune_epochs", epochs) or epochs, source)}


def _bit(job: Job) -> Pairs:
    steps = 500
    if job.num_train >= SMALL_DATA_IMAGES:
        steps = 10_000 if job.num_train < _LARGE_DATA_IMAGES else 20_000
    batch_size = job.value("batch_size", 128)
    epochs = _epochs_for(steps, num_train=job.num_train, batch_size=batch_size)
    return {
        "unfreeze_blocks": (job.num_blocks, f"all, {_BIT}"),
        "fine_tune_epochs": (epochs, f"{steps:,} steps, {_BIT}"),
        **_no_early_stop(job, epochs, f"no early stop, {_BIT}"),
        "batch_size": (128, "BiT's repository, for small machines; 512 in the paper"),
        "optimizer": ("sgd", f"momentum 0.9, {_BIT}"),
        "learning_rate": (1e-3, "BiT's repository at a batch of 128; 0.003 at 512"),
        "schedule": ("bit", f"climbs over 20 %, a tenth at 40, 60 and 80 %, {_BIT}"),
        "weight_decay": (0.0, _BIT),
        "clip_norm": (0.0, "none"),
        "interpolate": (False, "off"),
    }


def _fastai(job: Job) -> Pairs:
    return {
        "unfreeze_blocks": (job.num_blocks, f"all, {_FASTAI}"),
        "learning_rate": (1e-3, f"base_lr 2e-3, halved, {_FASTAI}"),
        "layer_decay": (
            round(0.01 ** (1 / (job.unfreeze_blocks or job.num_blocks)), 4),
            f"slice(lr/100, lr): a hundredth at the bottom, {_FASTAI}",
        ),
        "schedule": ("fastai", f"pct_start 0.3, div 5, {_FASTAI}"),
        "weight_decay": (0.01, "fastai's Adam"),
        "clip_norm": (0.0, "none"),
        "interpolate": (False, "off"),
    }


def _gradual(job: Job) -> Pairs:
    blocks = job.unfreeze_blocks or upper_half(num_blocks=job.num_blocks)
    each = job.value("epochs_per_block", 1.0)
    epochs = math.ceil(blocks * each) + 4
    lengths: Pairs = {
        "fine_tune_epochs": (
            epochs,
            f"{'one' if each == 1 else f'{each:g}'} for each of {blocks} blocks, and 4 with all "
            "of them",
        ),
        **_no_early_stop(job, epochs, "blocks are still to come"),
    }
    return {
        **(lengths if each else {}),
        "epochs_per_block": (1.0, _ULMFIT),
        "layer_decay": (round(1 / 2.6, 4), f"each block down 1/2.6, {_ULMFIT}"),
        "schedule": ("slanted-triangle", f"cut 0.1, ratio 32, {_ULMFIT}"),
    }


def _cyclical(job: Job) -> Pairs:
    lengths: Pairs = {
        "fine_tune_epochs": (8, "two cycles of four epochs"),
        "patience_epochs": (8, "two cycles: the loss rises and falls with the rate"),
    }
    return {
        **(lengths if job.value("schedule", "triangular2") in _CYCLES else {}),
        "schedule": (
            "triangular2",
            f"from a quarter, half cycle 2 epochs, {_SMITH}",
        ),
        "soup": (3, "averages, as of snapshots (Huang et al. 2017, arXiv:1704.00109)"),
    }


def _bn(job: Job) -> Pairs:
    numbers: Pairs = {
        "learning_rate": (1e-3, "few numbers are trained"),
        "weight_decay": (0.0, "none of the backbone's is a kernel"),
    }
    return {
        "unfreeze_blocks": (job.num_blocks, "normalisation is everywhere"),
        "batch_norm": (ONLY_NORM, "scale and shift alone (Frankle et al. 2021, arXiv:2003.00152)"),
        **(numbers if job.value("batch_norm", ONLY_NORM) == ONLY_NORM else {}),
    }


RECIPES: dict[str, tuple[str, Callable[[Job], Pairs]]] = {
    "default": ("Probe, then fine-tuning from there: for most data.", _default),
    "probe": ("The frozen network and its best linear head: seconds, a few images.", _probe),
    "bit": ("Big Transfer: SGD on the whole network; without its MixUp and image sizes.", _bit),
    "fastai": (
        "Rates as in fastai's fine_tune after its frozen epoch; Adam's betas are Keras'.",
        _fastai,
    ),
    "gradual": ("Block by block from the top, as ULMFiT.", _gradual),
    "cyclical": ("The rate rises and falls; several good epochs are averaged.", _cyclical),
    "bn": ("Only the scale and shift of BatchNorm, and the head.", _bn),
}


def recipe_lines(recipe: Recipe) -> list[str]:
    """Return a recipe as a table for people, a line each.

    Args:
        recipe: With what the user gave.

    Example:
        >>> job = Job(num_train=100, num_parameters=3_400_000, num_blocks=17)
        >>> recipe_lines(find_recipe("probe", job))[2].split()[:3]
        ['unfreeze_blocks', '0', 'the']
    """
    rows = [(name, str(one.value), one.source) for name, one in recipe.settings.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{recipe.name}: {recipe.purpose}", ""]
    return lines + [
        f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows
    ]
