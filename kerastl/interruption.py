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
        "version of kerastl": __version__,
        "version of keras": keras.__version__,
        "version of tensorflow": tf.__version__,
    }
    path = folder.with_name(f".{folder.name}.checkpoint.npz")
    return CheckpointFile(path, identity, resume=config.resume)


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
