"""The whole check: `inspect_data(options)` reads, divides, compares and audits the images."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.audit import Audit, audit_images
from kerastl.data.finding import Finding
from kerastl.data.pixels import load_pixels
from kerastl.data.scan import ImageFacts, scan_images
from kerastl.data.sources import ImageTable, subset
from kerastl.data_options import DataOptions, data_words
from kerastl.domain_suggestion import find_orientation, suggested_domain
from kerastl.errors import DataError
from kerastl.features.extract import extract_features
from kerastl.features.neighbours import Neighbours, nearest_neighbours
from kerastl.features.orientation import Orientation
from kerastl.models.classifier import build_classifier
from kerastl.models.network import build_network
from kerastl.plan import read_table, split_table

# What tells images apart: the default backbone of a fit, frozen, as it was trained on ImageNet.
BACKBONE = "EfficientNetLite0"


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a check found, and on what.

    Attributes:
        options: Which images, and how they were to be divided.
        audit: The findings.
        table: All images, readable or not.
        splits: Text of shape (n,): where a fit with the same options puts each image; "" for
            images that cannot be read. None if a fit would refuse to divide them.
        facts: Of every image.
        features: Whether images were also compared by the features of a network.
        seconds: How long it took.
    """

    options: DataOptions
    audit: Audit
    table: ImageTable = field(repr=False)
    splits: NDArray[np.str_] | None = field(repr=False)
    facts: ImageFacts = field(repr=False)
    features: bool
    seconds: float


def inspect_data(
    options: DataOptions,
    *,
    table: ImageTable | None = None,
    features: bool = True,
    keep_together: str | None = None,
    directory: Path | None = None,
) -> Inspection:
    """Look at every image once, and at the split that `kerastl.run` would make.

    Args:
        options: Which images, and how they are divided; a `FitConfig` is one.
        table: Images that are in memory already, in place of `options.data`.
        features: Whether to compare images by the features of a network too. Without, copies
            that were changed much and sisters that differ in every pixel are missed, and it
            takes seconds where it took minutes.
        keep_together: What to type so that a split keeps suggested groups whole, for the
            advice, see `kerastl.data.audit.keep_together_advice`.
        directory: Where pixels go that do not fit into memory.

    Raises:
        KerasTLError: The source does not exist, is no data set, or its labels cannot be
            learnt.

    Example:
        >>> from kerastl.data.sources import table_from_arrays
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
        >>> images[1] = images[0]
        >>> table = table_from_arrays(images, ["cat", "dog"] * 12)
        >>> found = inspect_data(DataOptions("arrays"), table=table, features=False)
        >>> found.audit.findings[0].code, found.splits.shape
        ('duplicates-across-labels', (24,))
    """
    started = time.monotonic()
    table = table or read_table(options)
    facts = scan_images(table)
    neighbours, orientation = None, None
    if features and facts.readable.any():
        neighbours, orientation = ask_network(table, facts, directory=directory, seed=options.seed)
    splits, refusal = divide(table, options, readable=facts.readable)
    audit = audit_images(
        table,
        facts,
        splits=splits,
        neighbours=neighbours,
        data=data_words(options),
        keep_together=keep_together,
        seed=options.seed,
    )
    domain = suggested_domain(table, facts, orientation=orientation, data=data_words(options))
    refused = () if refusal is None else (refusal,)
    audit = replace(audit, findings=(*refused, *audit.findings, *domain))
    return Inspection(
        options=options,
        audit=audit,
        table=table,
        splits=splits,
        facts=facts,
        features=neighbours is not None,
        seconds=time.monotonic() - started,
    )


def divide(
    table: ImageTable, options: DataOptions, *, readable: NDArray[np.bool_]
) -> tuple[NDArray[np.str_] | None, Finding | None]:
    """Return the split that a fit would make, or the finding that it would refuse to.

    Args:
        table: All images.
        options: How to divide them.
        readable: bool of shape (n,); a fit leaves the others out before it divides.

    Returns:
        Text of shape (n,), "" where unreadable, and None; or None and why not.
    """
    splits = np.full(len(table.ids), "", "<U5")
    try:
        if not readable.any():
            raise DataError("No image can be read.")
        splits[readable] = split_table(subset(table, readable), options)
    except DataError as error:
        return None, Finding(
            code="split-refused",
            severity="error",
            title="kerastl.fit would refuse these images",
            why=str(error),
            advice="Change what the message names, then check again.",
            num_rows=len(table.ids),
        )
    return splits, None


def ask_network(
    table: ImageTable, facts: ImageFacts, *, directory: Path | None, seed: int
) -> tuple[Neighbours, Orientation | None]:
    """Return the images that a frozen network finds most alike, and whether they have an up.

    Args:
        table: All images.
        facts: Of the same rows; only images that can be read are looked at.
        directory: Where pixels go that do not fit into memory.
        seed: Of the images whose way up is asked about.

    Returns:
        Neighbours of all rows, the others are nobody's neighbour; and what
        `kerastl.domain_suggestion.find_orientation` says.

    Raises:
        DataError: A file has become unreadable meanwhile.
    """
    network = build_network(BACKBONE, unfreeze_blocks=0)
    keras.utils.set_random_seed(0)
    classifier = build_classifier(
        network.backbone,
        num_classes=len(table.class_names),
        image_size=network.image_size,
        preprocessing=network.preprocessing,
    )
    pixels = load_pixels(
        subset(table, facts.readable),
        image_size=network.image_size,
        unreadable_fraction=0.0,
        directory=directory,
    )
    seen = extract_features(classifier, pixels.images)
    orientation = find_orientation(
        table,
        facts,
        pixels.images,
        seen,
        extract=functools.partial(extract_features, classifier),
        seed=seed,
    )
    features = np.zeros((len(table.ids), seen.shape[1]), np.float32)
    features[facts.readable] = seen
    return nearest_neighbours(features, allowed=facts.readable), orientation
