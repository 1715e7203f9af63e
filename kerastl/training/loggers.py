"""The history of a training where its owner already looks: by the tools' own Keras callbacks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import keras

from kerastl.errors import ConfigError

TENSORBOARD, MLFLOW, WANDB = "tensorboard", "mlflow", "wandb"

# Where each tool has its callback for Keras 3, and its name.
_CALLBACKS = {
    MLFLOW: ("mlflow.keras", "MlflowCallback"),
    WANDB: ("wandb.integration.keras", "WandbMetricsLogger"),
}


def require_logger(name: str) -> None:
    """Refuse a tool that is not installed, before there is any work to lose.

    Args:
        name: "none", "tensorboard", "mlflow" or "wandb".

    Raises:
        ConfigError: It is not installed.
    """
    if name != "none":
        _installed(name, name)


def find_loggers(name: str, *, directory: Path) -> list[keras.callbacks.Callback]:
    """Return the callbacks that write the history of fine-tuning somewhere else too.

    MLflow and Weights & Biases find their server, project and run in their own settings; without
    a run that is going on, they begin one.

    Args:
        name: "none", "tensorboard", "mlflow" or "wandb".
        directory: Where TensorBoard's files go, in a folder of that name.

    Raises:
        ConfigError: The tool is not installed.

    Example:
        >>> find_loggers("none", directory=Path("run"))
        []
    """
    if name == "none":
        return []
    if name == TENSORBOARD:
        _installed("tensorboard", name)
        return [keras.callbacks.TensorBoard(directory / TENSORBOARD, write_graph=False)]
    module, kind = _CALLBACKS[name]
    tool = _installed(name, name)
    if name == WANDB and tool.run is None:
        tool.init()
    callback: keras.callbacks.Callback = getattr(_installed(module, name), kind)()
    return [callback]


def _installed(module: str, name: str) -> Any:
    """Return a module, or say in one line what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"`log` is {name!r}, but {module} cannot be imported ({error}). Type: pip install "
            f"{name}"
        ) from error
