"""Where an interrupted run left what it knew, and whether this is the same run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.config import FitConfig
from kerastl.config_file import config_to_mapping
from kerastl.data.lazy_contents import LazyContents
from kerastl.data.table import ImageTable
from kerastl.features.digests import digest_variables
from kerastl.prepared import Prepared
from kerastl.training.checkpoint import CheckpointFile

# Options that decide nothing about what is learned.
WITHOUT_INFLUENCE = (
    "out",
    "overwrite",
    "resume",
    "export",
    "export_dir",
    "log",
    "cache",
    "feature_cache",
    "feature_cache_gib",
    "max_minutes",
)


def checkpoint_of(
    job: Prepared, config: FitConfig, *, folder: Path, digests: NDArray[np.str_]
) -> CheckpointFile:
    """Return where the checkpoint of a run is: beside its folder, which appears at its end.

    Args:
        job: Images and every number.
        config: All options.
        folder: The run folder.
        digests: Text of shape (n,): of the pixels of each image, see
            `kerastl.data.scan.ImageFacts`.
    """
    digest = hashlib.sha256()
    for name, split in zip(_places(job.table), job.splits, strict=True):
        digest.update(f"{name}\0{split}\0".encode())
    digest.update(job.table.labels.tobytes())
    identity = {
        **_options(config),
        "images, labels and split": digest.hexdigest(),
        "content of the images": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "network": job.network.name,
        "weights of the network": digest_variables(job.network.backbone.variables),
        "recipe in numbers": {name: one.value for name, one in job.recipe.settings.items()},
        **_versions(),
    }
    return CheckpointFile(checkpoint_path(folder), identity, resume=config.resume)


def checkpoint_path(folder: Path) -> Path:
    """Return where the checkpoint of a run is.

    Args:
        folder: The run folder.
    """
    return folder.with_name(f".{folder.name}.checkpoint.npz")


def identity_of_folds(
    config: FitConfig,
    num_folds: int,
    table: ImageTable,
    *,
    backbone: keras.Model | None,
    preprocessing: str,
) -> dict[str, Any]:
    """Return which cross-validation it is, without a look into any file of an image.

    Args:
        config: All options.
        num_folds: How many.
        table: The images.
        backbone: The user's own model, or None.
        preprocessing: What it expects.
    """
    images, content = hashlib.sha256(), hashlib.sha256()
    for name in _places(table):
        images.update(f"{name}\0".encode())
    images.update(table.labels.tobytes())
    for column in (table.groups, table.strata):
        images.update(b"-" if column is None else "\0".join(map(str, column)).encode())
    for one in _contents(table):
        content.update(one)
    return {
        **_options(config),
        "folds": num_folds,
        "images and labels": images.hexdigest(),
        "content of the images": content.hexdigest(),
        "file of weights": _stamp(config.weights).decode(),
        "network": None if backbone is None else digest_variables(backbone.variables),
        "preprocessing": preprocessing,
        **_versions(),
    }


def _contents(table: ImageTable) -> Iterable[bytes]:
    """Return what changes with the content of the images: of files their sizes and times.

    Nothing of those that are read when asked for: data sets with a version.
    """
    if table.contents is None:
        return map(_stamp, table.ids)
    if isinstance(table.contents, LazyContents):
        return ()
    return map(bytes, table.contents)


def _stamp(path: str) -> bytes:
    """Return size and time of a file; nothing where there is none."""
    try:
        found = os.stat(os.path.expanduser(path))
    except OSError:
        return b"-\n"
    return f"{found.st_size} {found.st_mtime_ns}\n".encode()


def _versions() -> dict[str, str]:
    """Return what may compute otherwise in another version."""
    return {
        "version of kerastl": __version__,
        "version of keras": keras.__version__,
        "version of tensorflow": tf.__version__,
    }


def _options(config: FitConfig) -> dict[str, Any]:
    """Return the options that decide what is learned; a path is the same however it is typed."""
    options = {
        name: value
        for name, value in config_to_mapping(config).items()
        if name not in WITHOUT_INFLUENCE
    }
    for name in ("data", "data_dir", "weights"):
        path = os.path.expanduser(options.get(name) or "")
        if os.path.exists(path):
            options[name] = os.path.abspath(path)
    return options


def _places(table: ImageTable) -> Iterable[str]:
    """Return what to call the images: files by where they are."""
    return table.ids if table.contents is not None else map(os.path.abspath, table.ids)
