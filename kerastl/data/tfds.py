"""Data sets of tensorflow-datasets (TFDS): read where they were prepared, or prepared once.

A prepared data set is read from its own files (`builder_from_directory`), so that neither
the network nor the code of the data set is needed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kerastl.data.given_splits import SPLIT_SYNONYMS
from kerastl.data.table import (
    ImageTable,
    encode_name_sets,
    encode_names,
    natural_key,
    natural_order,
)
from kerastl.data.tfds_records import Examples, read_examples
from kerastl.data.wording import counted
from kerastl.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

# What data sets call the file that an image once was, ours first.
FILE_NAME_FEATURES = ("file_name", "filename", "image/filename")

# NAME[/CONFIG][:VERSION][:SPLIT]; a split may have a colon of its own, as train[:10%].
_PATTERN = re.compile(
    r"(?P<name>\w+)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?(:(?P<split>.+))?"
)


def table_from_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> ImageTable:
    """Return the table of a TFDS data set; its images stay on disk until they are asked for.

    Args:
        name: NAME, with /CONFIG, :VERSION and :SPLIT where wanted, such as "mnist" or
            "oxford_flowers102:train+test". Without a split all are read, and train,
            validation and test stay what they are.
        data_dir: Where TFDS keeps its data; its own default when not given.
        label_column: Feature with the labels, if there are several.
        group_column: Feature with what a split must not tear apart.

    Raises:
        ConfigError: The name or a feature cannot be read so.
        DataError: The data set is unknown, or neither prepared nor to be downloaded, or has
            no images with labels.

    Example:
        >>> table_from_tfds("mnist train")
        Traceback (most recent call last):
        kerastl.errors.ConfigError: A TFDS source must be tfds:NAME or tfds:NAME:SPLIT; ...
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"A TFDS source must be tfds:NAME or tfds:NAME:SPLIT; received 'tfds:{name}'. Write "
            "for example tfds:mnist or tfds:mnist:train[:10%]."
        )
    directory = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    builder = _builder(
        match["name"], config=match["config"], version=match["version"], directory=directory
    )
    image_key, label_key = _feature_keys(builder, label_column)
    if group_column is not None:
        _require_feature(builder, group_column, option="group_column")
    name_key = next((key for key in FILE_NAME_FEATURES if _is_text(builder, key)), None)
    examples = read_examples(
        builder,
        _splits_to_read(builder, match["split"]),
        image_key=image_key,
        keys=[key for key in (label_key, group_column, name_key) if key is not None],
    )
    labelled = _label_names(builder.info.features[label_key], examples.columns[label_key])
    return _table(builder, examples, labelled, name_key=name_key, group_key=group_column)


def _table(
    builder: Any,
    examples: Examples,
    labelled: _LabelNames,
    *,
    name_key: str | None,
    group_key: str | None,
) -> ImageTable:
    """Return the table of the examples that have a label."""
    kept = [row for row, names in enumerate(labelled.names) if names is not None]
    if len(kept) < len(labelled.names):
        left_out = len(labelled.names) - len(kept)
        words = counted(left_out, "image without a label was", "images without a label were")
        logger.warning("%s left out.", words)
    name_sets = [labelled.names[row] or () for row in kept]
    used = {name for names in name_sets for name in names}
    class_names = tuple(name for name in labelled.class_names if name in used)
    if len(class_names) < len(labelled.class_names):
        logger.info("%d of %d classes occur.", len(class_names), len(labelled.class_names))
    splits = np.array([SPLIT_SYNONYMS.get(examples.splits[row], "") for row in kept])
    groups = [_text(examples.columns[group_key][row]) for row in kept] if group_key else None
    return ImageTable(
        name=builder.name,
        ids=_ids(examples, kept, name_key),
        labels=encode_name_sets(name_sets, class_names)
        if labelled.several
        else encode_names([names[0] for names in name_sets], class_names),
        class_names=class_names,
        contents=examples.images.take(kept),
        groups=None if groups is None else np.array(groups),
        splits=splits if len(set(splits)) > 1 else None,
    )


def _ids(examples: Examples, rows: list[int], name_key: str | None) -> tuple[str, ...]:
    """Return the names of the files that the images once were, or split and number."""
    if name_key is not None:
        names = tuple(_text(examples.columns[name_key][row]) for row in rows)
        if len(set(names)) == len(rows):
            return names
    return tuple(f"{examples.splits[row]}[{examples.numbers[row]}]" for row in rows)


@dataclass(frozen=True)
class _LabelNames:
    """Labels as names.

    Attributes:
        names: The labels of each image; None where they are not published.
        class_names: All class names, in the order of the data set.
        several: Whether an image may have several.
    """

    names: list[tuple[str, ...] | None]
    class_names: tuple[str, ...]
    several: bool


def _label_names(feature: Any, values: list[Any]) -> _LabelNames:
    """Return the labels as names; a number below 0 means that a label is not published."""
    several = isinstance(feature, tfds.features.Sequence)
    inner = feature.feature if several else feature
    if not isinstance(inner, tfds.features.ClassLabel):
        texts = [_text(value) for value in values]
        return _LabelNames([(text,) for text in texts], natural_order(texts), several=False)
    class_names = tuple(inner.names)
    names = [
        tuple(class_names[number] for number in np.atleast_1d(value))
        if np.all(np.asarray(value) >= 0)
        else None
        for value in values
    ]
    return _LabelNames(names, class_names, several)


def _builder(name: str, *, config: str | None, version: str | None, directory: Path) -> Any:
    """Return the builder of a prepared data set, preparing it first if need be."""
    folder = _prepared_folder(name, config=config, version=version, directory=directory)
    if folder is None:
        _prepare(name, config=config, version=version, directory=directory)
        folder = _prepared_folder(name, config=config, version=version, directory=directory)
    if folder is None:
        raise DataError(f"TFDS prepared {name!r}, but not in {str(directory)!r}. Set --data-dir.")
    return tfds.builder_from_directory(folder)


def _prepared_folder(
    name: str, *, config: str | None, version: str | None, directory: Path
) -> Path | None:
    """Return the folder of the newest version that was prepared, if any."""
    # NAME/VERSION or NAME/CONFIG/VERSION, see tfds.core.utils.file_utils.get_dataset_dir.
    found = [
        path.parent
        for depth in ("*", "*/*")
        for path in (directory / name).glob(f"{depth}/features.json")
        if (path.parent / "dataset_info.json").is_file()
        and version in (None, path.parent.name)
        and config in (None, path.parent.parent.name)
    ]
    configs = natural_order(path.parent.name for path in found)
    if len(configs) > 1:
        raise DataError(
            f"TFDS has prepared {name!r} in several configurations: {', '.join(configs)}. Write "
            f"which one, for example tfds:{name}/{configs[0]}."
        )
    return max(found, key=lambda path: natural_key(path.name), default=None)


def _prepare(name: str, *, config: str | None, version: str | None, directory: Path) -> None:
    """Download and prepare a data set that TFDS knows."""
    known = tfds.list_builders(with_community_datasets=False)
    prepared = {path.parents[1].name for path in directory.glob("*/*/features.json")}
    prepared |= {path.parents[2].name for path in directory.glob("*/*/*/features.json")}
    full_name = name + (f"/{config}" if config else "") + (f":{version}" if version else "")
    if name not in known:
        raise DataError(
            f"TFDS has no data set {name!r}, and none is prepared in {str(directory)!r}"
            f"{_listed(prepared)}.{did_you_mean(name, [*sorted(prepared), *known])} Names: "
            "https://www.tensorflow.org/datasets/catalog"
        )
    configs = list(tfds.builder_cls(name).builder_configs)
    if config is not None and config not in configs:
        raise DataError(
            f"The TFDS data set {name!r} has no configuration {config!r}."
            f"{did_you_mean(config, configs)} It has: {', '.join(configs[:10]) or 'none'}."
        )
    try:
        builder = tfds.builder(full_name, data_dir=directory, try_gcs=False)
    except (ValueError, AssertionError) as error:
        raise DataError(f"TFDS cannot make {full_name!r}: {' '.join(str(error).split())}") from None
    _download(builder, full_name=full_name, directory=directory)


def _download(builder: Any, *, full_name: str, directory: Path) -> None:
    """Download and prepare, or say how it can be done elsewhere."""
    command = f"tfds build {full_name} --data_dir {directory}"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        raise DataError(
            f"The TFDS data set {full_name!r} is not prepared in {str(directory)!r}, and its "
            f"files must be downloaded by hand: see {builder.info.homepage or 'its catalog page'}"
            f". Then type: {command}"
        )
    logger.info("Downloading and preparing %s in %s.", full_name, directory)
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        _look_up_hosts(builder.url_infos or ())
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            builder.download_and_prepare(download_config=settings)
    except (OSError, ImportError, tfds.download.DownloadError) as error:
        reason = [type(error).__name__, *str(error).splitlines()[:1]]
        raise DataError(
            f"The TFDS data set {full_name!r} is not prepared in {str(directory)!r} and could not "
            f"be downloaded ({': '.join(reason)[:200]}). Where there is a network, type: {command}"
            " and copy that folder here, or say with --data-dir where it is."
        ) from error


def _look_up_hosts(urls: Iterable[str]) -> None:
    """Raise OSError at once where there is no network; TFDS itself tries for many minutes."""
    if urllib.request.getproxies():
        return  # then names are looked up by the proxy
    for host in sorted({urllib.parse.urlsplit(url).hostname or "" for url in urls} - {""}):
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise OSError(f"{host}: {error.strerror}") from error


def _splits_to_read(builder: Any, wanted: str | None) -> list[str]:
    """Return the splits to read: the wanted one, or all that have a usual name."""
    if wanted is not None:
        return [wanted]
    names = list(builder.info.splits)
    usual = [name for name in names if name in SPLIT_SYNONYMS]
    if "train" not in usual:
        return names
    others = [name for name in names if name not in usual]
    if others:
        logger.warning(
            "Splits of %s that are not read: %s. Name splits to read them, such as tfds:%s:%s.",
            builder.name,
            ", ".join(others),
            builder.name,
            "+".join(["train", *others]),
        )
    return usual


def _feature_keys(builder: Any, label_column: str | None) -> tuple[str, str]:
    """Return the names of the image and the label feature."""
    features = builder.info.features
    supervised = builder.info.supervised_keys or ()
    # Features of a prepared data set come in no fixed order.
    images = [
        key
        for key in sorted(features)
        if isinstance(features[key], tfds.features.Image)
        and features[key].np_dtype != np.float32  # such pixels are hidden in four channels of a PNG
    ]
    if not images:
        raise DataError(
            f"The TFDS data set {builder.name!r} has no images; its features are "
            f"{', '.join(sorted(features))}. Choose an image data set."
        )
    image_key = min(images, key=lambda key: (key not in supervised, key != "image", key))
    if label_column is not None:
        _require_feature(builder, label_column, option="label_column")
        return image_key, label_column
    labels = [key for key, one in features.items() if _is_label(one)]
    labels = [key for key in labels if key in supervised] or labels
    if len(labels) != 1:
        raise DataError(
            f"The TFDS data set {builder.name!r} has {len(labels) or 'no'} features with class "
            f"labels; its features are {', '.join(sorted(features))}. Say which one with "
            "--label-column."
        )
    return image_key, labels[0]


def _is_label(feature: Any) -> bool:
    """Whether a feature is one class label, or a list of them."""
    inner = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
    return isinstance(inner, tfds.features.ClassLabel)


def _is_text(builder: Any, name: str) -> bool:
    """Whether there is such a feature, with one text per image."""
    features = builder.info.features
    return name in features and isinstance(features[name], tfds.features.Text)


def _require_feature(builder: Any, name: str, *, option: str) -> None:
    """Refuse a feature that does not exist or is neither a label, a number nor text."""
    features = builder.info.features
    if name not in features:
        raise ConfigError(
            f"`{option}` must be a feature of the TFDS data set {builder.name!r}; received "
            f"{option}={name!r}.{did_you_mean(name, features)} Its features are "
            f"{', '.join(sorted(features))}."
        )
    if not _is_label(features[name]) and features[name].shape != ():
        raise ConfigError(
            f"`{option}` must be a feature with one value per image; received {option}={name!r}, "
            f"which has shape {features[name].shape}."
        )


def _text(value: Any) -> str:
    """Return a number or text of TFDS as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _listed(names: Iterable[str]) -> str:
    """Return the prepared names, for a message."""
    shown = natural_order(names)[:5]
    return f" (which has {', '.join(shown)})" if shown else ""
