"""Where an interrupted run left what it knew, and whether this is the same run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import tensorflow as tf

from kerastl._version import __version__
from kerastl.config import FitConfig
from kerastl.config_file import config_to_mapping
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


def checkpoint_of(job: Prepared, config: FitConfig, *, folder: Path) -> CheckpointFile:
    """Return where the checkpoint of a run is: beside its folder, which appears at its end.

    Args:
        job: Images and every number.
        config: All options.
        folder: The run folder.
    """
    options = {
        name: value
        for name, value in config_to_mapping(config).items()
        if name not in WITHOUT_INFLUENCE
    }
    digest = hashlib.sha256()
    for name, split in zip(job.table.ids, job.splits, strict=True):
        digest.update(f"{name}\0{split}\0".encode())
    digest.update(job.table.labels.tobytes())
    identity = {
        **options,
        "images, labels and split": digest.hexdigest(),
        "network": job.network.name,
        "weights of the network": digest_variables(job.network.backbone.variables),
        "recipe in numbers": {name: one.value for name, one in job.recipe.settings.items()},
        "version of kerastl": __version__,
        "version of keras": keras.__version__,
        "version of tensorflow": tf.__version__,
    }
    path = folder.with_name(f".{folder.name}.checkpoint.npz")
    return CheckpointFile(path, identity, resume=config.resume)
