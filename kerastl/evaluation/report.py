"""What a report says, in plain values: result, images, network, pictures."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerastl.evaluation.comparison import PairedComparison
from kerastl.evaluation.confusion_table import CellImages
from kerastl.evaluation.findings import ShownFinding
from kerastl.evaluation.unknown import UnknownMetrics


@dataclass(frozen=True)
class DataSummary:
    """The images.

    Attributes:
        name: Of the data set.
        num_images: Images that could be read.
        class_names: In the order of the model's outputs.
        counts: By split ("train", "val", "test"): images of each class.
        unreadable: (path, reason) of images that were left out.
        how_split: How the splits were made, in a sentence; may be empty.
        unlabelled: Where an image can have several labels: images of each split with none.
    """

    name: str
    num_images: int
    class_names: Sequence[str]
    counts: Mapping[str, Sequence[int]]
    unreadable: Sequence[tuple[str, str]] = ()
    how_split: str = ""
    unlabelled: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSummary:
    """The network.

    Attributes:
        backbone: Its name.
        weights: Where they come from.
        image_size: (height, width) in pixels.
        num_parameters: All numbers of the network.
        num_trained: Numbers that fine-tuning changed; None without fine-tuning.
        tuned: What of the backbone fine-tuning trained: "the top 3 of 16 blocks"; "" without.
        epochs: Epochs of fine-tuning that were run; 8.5 if it ended in the middle of the ninth.
        kept_epoch: When its weights were, 3.5 for the middle of the fourth epoch; None without
            fine-tuning.
        settings: Anything else worth a line, name to value.
    """

    backbone: str
    weights: str
    image_size: tuple[int, int]
    num_parameters: int
    num_trained: int | None = None
    tuned: str = ""
    epochs: float = 0
    kept_epoch: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        title: Short.
        source: data: URI of an SVG or PNG, see `kerastl.evaluation.figures.figure_data_uri`.
        alt: What it shows, for who cannot see it.
        caption: What to look at; may be empty.
    """

    title: str
    source: str = field(repr=False)
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Report:
    """All that the page says; plain values.

    Attributes:
        title: Headline of the page.
        created: When the run was finished.
        version: Of kerastl.
        command: What to type to make it again.
        data: The images.
        model: The network.
        kept: The model that was kept, a key of `validation` and `test`; of an evaluation the
            first one.
        kept_because: Why, in a sentence; may be empty.
        validation: By model ("probe", "fine-tuned"): its metrics on validation, from the
            `to_dict` of `kerastl.evaluation.metrics`; empty where models are only evaluated.
        test: The same on the test images.
        difference: How much more accurate the second model of `test` is than the first on
            the same images: value, low and high, from
            `kerastl.evaluation.comparison.accuracy_difference`; None if there is one model
            only, or to compare the two intervals instead.
        class_ratio: Images of the largest class for each of the smallest, where that is so
            large that accuracy alone says little; else None.
        pictures: In the order of the page.
        findings: What looks wrong about the images, most severe first.
        notes: What a reader should know, in sentences.
        environment: Versions and hardware, name to value.
        diagnosis: What the learning curves say, in sentences; may be empty.
        advice: What to try next: a sentence and what to type, which may be empty.
        recipe: Every number of the training: name, value, source.
        untouched: What the test images are to the models, after "images".
        comparisons: Of models with the first one on the same images: name and comparison.
        subgroups: How good the kept model is group by group, from the `to_dict` of
            `kerastl.evaluation.subgroups.Subgroups`, if groups were named.
        subgroups_before: What they say of the model before its last layer was balanced; may be
            empty.
        unknown: How well the kept model tells pictures of something else, if such were given.
        sets: What sets of classes with a promised coverage are worth, in sentences; may be empty.
        known_kind: How pictures of another kind are told, in sentences; may be empty.
        known_kind_command: What to type to measure that; may be empty.
        points: Thresholds for a wanted recall or precision of each class, and what they give, from
            `kerastl.evaluation.operating_points`.
        cell_images: Images of the cells of the confusion matrix of the kept model.
    """

    title: str
    created: datetime.datetime
    version: str
    command: str
    data: DataSummary
    model: ModelSummary | None
    kept: str
    kept_because: str
    validation: Mapping[str, Mapping[str, Any]] = field(repr=False)
    test: Mapping[str, Mapping[str, Any]] = field(repr=False)
    difference: Mapping[str, float] | None = None
    class_ratio: float | None = None
    pictures: Sequence[Picture] = ()
    findings: Sequence[ShownFinding] = ()
    notes: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    diagnosis: str = ""
    advice: Sequence[tuple[str, str]] = ()
    recipe: Sequence[tuple[str, str, str]] = ()
    untouched: str = "that had no part in training or in any choice"
    comparisons: Sequence[tuple[str, PairedComparison]] = ()
    subgroups: Mapping[str, Any] | None = None
    subgroups_before: str = ""
    unknown: UnknownMetrics | None = None
    sets: str = ""
    known_kind: str = ""
    known_kind_command: str = ""
    points: Sequence[Mapping[str, Any]] = ()
    cell_images: Sequence[CellImages] = ()
