"""The options of a run as plain values and as YAML, both ways."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from kerastl.config import (
    FitConfig,
    choices_of_options,
    option_names,
)
from kerastl.data_options import DataOptions
from kerastl.errors import ConfigError, did_you_mean
from kerastl.option_values import parse_image_size, parse_tune, parse_unfreeze_blocks, parse_views
from kerastl.training_options import TrainingOptions


def config_from_mapping(mapping: Mapping[str, Any], *, source: str = "mapping") -> FitConfig:
    """Return the configuration that a mapping of plain values describes.

    Args:
        mapping: Option names to values, as `config_to_mapping` gives them; missing
            options keep their defaults. Hyphens in names are taken for underscores.
        source: Where the mapping comes from, for messages.

    Raises:
        ConfigError: An option is unknown or its value has the wrong type or range.

    Example:
        >>> config_from_mapping({"data": "photos", "learning_rate": "1e-4"}).learning_rate
        0.0001
    """
    import pydantic

    values = {str(key).replace("-", "_"): value for key, value in mapping.items()}
    unknown = [key for key in values if key not in option_names()]
    if unknown:
        raise ConfigError(
            f"{source} has an unknown option {unknown[0]!r}."
            f"{did_you_mean(unknown[0], option_names())}"
            " `python -m kerastl.fit --help` lists the options."
        )
    if "data" not in values:
        raise ConfigError(f"{source} does not say which `data` to use. Add a line: data: FOLDER")
    for name, parse in (
        ("image_size", parse_image_size),
        ("unfreeze_blocks", parse_unfreeze_blocks),
        ("tune", parse_tune),
        ("views", parse_views),
    ):
        if name in values:
            values[name] = parse(values[name])
    hints = get_type_hints(FitConfig)
    for name, value in values.items():
        if name in choices_of_options():
            continue  # the nearest right one is named by FitConfig itself
        try:
            values[name] = pydantic.TypeAdapter(hints[name]).validate_python(value)
        except pydantic.ValidationError as error:
            raise ConfigError(
                f"{source}: `{name}` cannot be read: {error.errors()[0]['msg'].lower()}; "
                f"received {name}={value!r}."
            ) from None
    return FitConfig(**values)


def config_to_mapping(config: FitConfig) -> dict[str, Any]:
    """Return the options as plain values that YAML and JSON can hold.

    Args:
        config: The options.

    Example:
        >>> config_to_mapping(FitConfig("photos", image_size=(240, 320)))["image_size"]
        '240x320'
    """
    mapping = dataclasses.asdict(config)
    if config.image_size is not None:
        height, width = config.image_size
        mapping["image_size"] = height if height == width else f"{height}x{width}"
    return mapping


def read_config(path: str | os.PathLike[str]) -> FitConfig:
    """Return the options that a YAML file holds.

    Args:
        path: A file that `config_to_yaml` or a person wrote.

    Raises:
        ConfigError: The file is missing, is not YAML, or has an unknown or wrong option.
    """
    return config_from_mapping(read_mapping(path), source=f"The configuration file {str(path)!r}")


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a YAML file holds, by name of option, before it is checked.

    Args:
        path: A file that `config_to_yaml` or a person wrote.

    Raises:
        ConfigError: The file is missing, is not YAML, or has no lines of options.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration file {str(path)!r} cannot be read ({error}). "
            "Make one with: python -m kerastl.fit DATA --print-config > config.yaml"
        ) from None
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The configuration file {str(path)!r} is not YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(mapping, dict):
        raise ConfigError(
            f"The configuration file {str(path)!r} must hold lines of the form 'option: value'; "
            f"received {type(mapping).__name__}."
        )
    return {str(key).replace("-", "_"): value for key, value in mapping.items()}


def config_to_yaml(config: FitConfig, *, comments: bool = True, heading: str = "") -> str:
    """Return the options as YAML text that `read_config` reads back unchanged.

    Args:
        config: The options.
        comments: Whether each option is preceded by its help text.
        heading: A comment at the top, with or without the other comments.

    Example:
        >>> print(config_to_yaml(FitConfig("photos"), comments=False).splitlines()[0])
        data: photos
    """
    import yaml

    lines = [f"# {line}" for line in textwrap.wrap(heading, 86)]
    helps = option_helps() if comments else {}
    for name, value in config_to_mapping(config).items():
        if comments:
            lines.append("")
            lines.extend(f"# {line}" for line in textwrap.wrap(helps[name], 86))
        lines.append(yaml.safe_dump({name: value}, allow_unicode=True, width=10_000).strip())
    return "\n".join(lines).lstrip("\n") + "\n"


def option_helps() -> dict[str, str]:
    """Return the help text of every option, in one line each.

    Example:
        >>> option_helps()["batch_size"]
        'Images per step. Default: 32.'
    """
    import ast
    import inspect

    helps: dict[str, str] = {}
    for kind in (DataOptions, TrainingOptions, FitConfig):
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        name = ""
        for node in getattr(body, "body", []):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
                helps[name] = " ".join(str(node.value.value).split())
    return helps
