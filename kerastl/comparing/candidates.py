"""Which backbones are compared: names, image sizes, weights. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from kerastl.domains import DOMAINS
from kerastl.errors import ConfigError
from kerastl.models.backbones import backbone_names, find_backbone
from kerastl.option_values import parse_image_size

# Fewer than 7.5 million weights without their top, cheapest first by operations of one image.
SMALL = (
    "MobileNetV3Small",
    "MobileNetV3Large",
    "MobileNetV2",
    "EfficientNetLite0",
    "EfficientNetB0",
    "MobileNet",
    "NASNetMobile",
    "EfficientNetV2B0",
    "EfficientNetB1",
    "EfficientNetV2B1",
    "DenseNet121",
)
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Candidate:
    """One network that images could be transferred from.

    Attributes:
        backbone: A known backbone.
        image_size: (height, width) in pixels.
        weights: "imagenet", "none" or a file.
    """

    backbone: str
    image_size: tuple[int, int]
    weights: str = IMAGENET

    @property
    def size_words(self) -> str:
        """The image size as people say it: one number where it is square."""
        height, width = self.image_size
        return str(height) if height == width else f"{height}x{width}"

    @property
    def name(self) -> str:
        """What it is called in tables: as it is typed, with its size.

        Example:
            >>> Candidate("ResNet50", (224, 224)).name
            'ResNet50@224'
        """
        weights = "" if self.weights == IMAGENET else f"={self.weights}"
        return f"{self.backbone}@{self.size_words}{weights}"


def parse_candidates(
    text: str, *, image_size: tuple[int, int] | None = None, domain: str | None = None
) -> tuple[Candidate, ...]:
    """Return the candidates that a user names, each once, smaller images first.

    See `repeated_candidates` for those that are named twice.

    Args:
        text: With commas between them: NAME, NAME@SIZE, NAME=WEIGHTS or NAME@SIZE=WEIGHTS; "small"
            stands for `SMALL`, "all" for every known backbone.
        image_size: (height, width) of those that name none; each backbone's own when not given.
        domain: What kind of pictures, whose image size it then is; None where nobody says.

    Raises:
        ConfigError: A backbone or a size is unknown, or nothing is named.

    Example:
        >>> [one.name for one in parse_candidates("resnet50@96=none, EfficientNetLite0")]
        ['ResNet50@96=none', 'EfficientNetLite0@224']
    """
    # One size after the other: images are decoded once for each.
    unique = dict.fromkeys(_named(text, image_size, domain))
    return tuple(sorted(unique, key=lambda one: one.image_size[0] * one.image_size[1]))


def repeated_candidates(
    text: str, *, image_size: tuple[int, int] | None = None, domain: str | None = None
) -> tuple[str, ...]:
    """Return the names of candidates that a user names more than once.

    Args:
        text: As for `parse_candidates`.
        image_size: As there.
        domain: As there.

    Example:
        >>> repeated_candidates("VGG16,VGG19,vgg16@224")
        ('VGG16@224',)
    """
    counts = Counter(one.name for one in _named(text, image_size, domain))
    return tuple(name for name, count in counts.items() if count > 1)


def _named(text: str, image_size: tuple[int, int] | None, domain: str | None) -> list[Candidate]:
    """Return the candidates in the order of their names, also those that are there already."""
    found = []
    for word in (stripped for part in text.split(",") if (stripped := part.strip())):
        if word in ("small", "all"):
            names = SMALL if word == "small" else backbone_names()
            found += [_candidate(name, None, IMAGENET, image_size, domain) for name in names]
            continue
        network, _, weights = word.partition("=")
        name, _, size = network.partition("@")
        found.append(_candidate(name, size or None, weights or IMAGENET, image_size, domain))
    if not found:
        raise ConfigError(
            "`backbones` names none. Type names with commas between them, such as "
            "--backbones EfficientNetLite0,ResNet50@299, or small, or all."
        )
    return found


def _candidate(
    name: str,
    size: str | None,
    weights: str,
    image_size: tuple[int, int] | None,
    domain: str | None,
) -> Candidate:
    """Return one candidate, its names as the table writes them."""
    try:
        row = find_backbone(name.strip())
        wanted = image_size if size is None else parse_image_size(size.strip())
    except ConfigError as error:
        raise ConfigError(
            str(error).replace("`backbone`", "`backbones`").replace("backbone=", "backbones=")
        ) from None
    usual = row.native_size
    if domain is not None and domain in DOMAINS:  # others are named by the configuration of a fit
        usual = DOMAINS[domain].image_size(usual)
    return Candidate(row.name, wanted or usual, weights.strip())
