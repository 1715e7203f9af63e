"""Domains: what kind of pictures these are, and what that settles before anything is learnt.

One row each; every choice stands beside its reason and where that comes from. What a user gives
always wins. `python -m kerastl.fit DATA --domain NAME --print-recipe` shows what a row settles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# In place of a value: what the domain says, or without a domain what is usual.
AUTO = "auto"

# What an image keeps of its colour inside the model, see `kerastl.models.luminance`.
KEEP, GREY = "keep", "grey"

# Backbones halve an image five times: sizes that are not their own are brought to whole steps.
_SIZE_STEP = 32


@dataclass(frozen=True)
class Choice:
    """What a domain takes for one option.

    Attributes:
        value: Of the option.
        reason: Why, a few words.
        source: Paper, measurement or tool; "kerastl" where it is our judgement.
    """

    value: Any
    reason: str
    source: str

    @property
    def words(self) -> str:
        """Reason and source, for the table of a recipe."""
        return f"{self.reason} ({self.source})"


@dataclass(frozen=True)
class Domain:
    """What one kind of pictures settles.

    Attributes:
        name: Value of `--domain`.
        pictures: Which pictures they are, for people.
        augment: How training images are varied, see `kerastl.data.augment`.
        colour: "keep", or "grey" for the luminance alone.
        batch_norm: What fine-tuning does with BatchNorm; a recipe that has a policy of its own
            keeps it.
        size_factor: Times the image size that the backbone was trained on.
        resize_mode: How images of another shape are fitted.
        measured: What the row is worth, and how that was found; what is not known.
    """

    name: str
    pictures: str
    augment: Choice
    colour: Choice
    batch_norm: Choice
    size_factor: Choice
    resize_mode: Choice
    measured: str

    def image_size(self, native_size: tuple[int, int]) -> tuple[int, int]:
        """Return the image size for a backbone, in pixels.

        Args:
            native_size: (height, width) that its weights were trained on.

        Example:
            >>> DOMAINS["document"].image_size((224, 224)), DOMAINS["photo"].image_size((299, 299))
            ((352, 352), (299, 299))
        """
        factor = self.size_factor.value
        if factor == 1:
            return native_size
        height, width = (_SIZE_STEP * math.ceil(factor * side / _SIZE_STEP) for side in native_size)
        return height, width


_OURS = "kerastl"
_USUAL_SIZE = Choice(
    1.0,
    "the backbone's own: away from it features change",
    "Touvron et al. 2019, arXiv:1906.06423",
)
_FROZEN_NORM = Choice(
    "frozen",
    "statistics of a million images are better than those of a few batches",
    "Keras guide on transfer learning",
)
_NO_DATA = "No data here to measure it on."

_ROWS = (
    Domain(
        name="photo",
        pictures="photographs of things, animals, people, places",
        augment=Choice(
            "light", "a mirrored photo is a photo, one upside down is rare", "BiT, arXiv:1912.11370"
        ),
        colour=Choice(KEEP, "colour tells things apart, and the weights know it", _OURS),
        batch_norm=_FROZEN_NORM,
        size_factor=_USUAL_SIZE,
        resize_mode=Choice("stretch", "all of the picture, and no border", "BiT, arXiv:1912.11370"),
        measured="What a fit does without a domain, by name and with its reasons: no effect.",
    ),
    Domain(
        name="dihedral-gray",
        pictures="grey pictures without an up: cells, microscopes, EL, some X-rays",
        augment=Choice(
            "dihedral",
            "without an up, turned by 90° and mirrored is the same class",
            "Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067",
        ),
        colour=Choice(GREY, "colour is tint or noise of JPEG there, no signal", _OURS),
        batch_norm=Choice(
            "frozen",
            "on solar cells affine gave nothing, train cost 0.024 of validation log-loss",
            "benchmarks/domains.py",
        ),
        size_factor=_USUAL_SIZE,
        resize_mode=Choice("stretch", "nothing is cut off: a fault may be at the rim", _OURS),
        # 128 pixels, 6 epochs, validation and test of a quarter each, 2026-11-23. The probe alone
        # (160 pixels, 5 seeds): accuracy +0.1 ± 0.9, mirrors +0.9 ± 0.3; log-loss as it was.
        measured=(
            "On solar cells (P1, fine-tuned, 3 seeds, paired, test) no effect: accuracy +0.2 ± 1.4 "
            "points, log-loss +0.003 ± 0.011; their bus bars have a direction: with --augment "
            "mirrors +0.6 ± 0.3 and -0.004 ± 0.003."
        ),
    ),
    Domain(
        name="satellite",
        pictures="views from above in colour: satellites, planes, drones",
        augment=Choice("dihedral", "north is a convention: every turn is a view from above", _OURS),
        colour=Choice(KEEP, "crops, water and roofs differ in colour", _OURS),
        batch_norm=_FROZEN_NORM,
        size_factor=Choice(
            1.0,
            "the backbone's own, however small the tiles: +11 points on EuroSAT of 64 pixels",
            "Corley et al. 2024, arXiv:2305.13456",
        ),
        resize_mode=Choice("stretch", "tiles are square as a rule", _OURS),
        measured=_NO_DATA,
    ),
    Domain(
        name="document",
        pictures="pages: scans, forms, letters, tables",
        augment=Choice(
            "tilt",
            "small turns and shears as of a scanner; a mirrored page is none",
            "shear: Tensmeyer and Martinez 2017, arXiv:1708.03273",
        ),
        colour=Choice(KEEP, "stamps, logos and coloured forms tell kinds apart", _OURS),
        batch_norm=_FROZEN_NORM,
        size_factor=Choice(
            1.5,
            "writing is fine: larger images are better on RVL-CDIP; how much larger is our choice",
            "Tensmeyer and Martinez 2017, arXiv:1708.03273",
        ),
        resize_mode=Choice(
            "stretch", "all of the page in all of the pixels; pages are alike in shape", _OURS
        ),
        measured=_NO_DATA,
    ),
)

DOMAINS: Mapping[str, Domain] = {row.name: row for row in _ROWS}

# What is taken without a domain, of the options that a domain settles with the configuration. What
# a recipe or a backbone settles is settled there: `batch_norm` and `image_size`.
USUAL: Mapping[str, str] = {"augment": "light", "colour": KEEP, "resize_mode": "stretch"}

# What a row has a choice for; `size_factor` is that of `image_size`.
CHOICES = ("augment", "colour", "batch_norm", "size_factor", "resize_mode")


def settled_value(name: str, domain: str | None) -> str:
    """Return what "auto" stands for.

    Args:
        name: Of an option, a key of `USUAL`.
        domain: Name of a row, or None.

    Example:
        >>> settled_value("augment", None), settled_value("augment", "satellite")
        ('light', 'dihedral')
    """
    if domain is None or domain not in DOMAINS:  # an unknown one is named by the configuration
        return USUAL[name]
    return str(getattr(DOMAINS[domain], name).value)
