"""`--config FILE` of the commands that take the options of a fit, and which options were given."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App
from cyclopts.config import Dict

from kerastl.config import option_names
from kerastl.config_file import config_from_mapping, config_to_mapping, read_mapping


def take_config_file(app: App, arguments: Sequence[str]) -> frozenset[str]:
    """Make the options of `--config FILE` the defaults of a command, in place.

    Args:
        app: The command; its options are those of `kerastl.config.FitConfig`, and more.
        arguments: Words of the command line.

    Returns:
        Names of the options in the file; none where there is no file.

    Raises:
        ConfigError: The file cannot be read or holds an unknown or wrong option.
    """
    path = _config_path(arguments)
    if path is None:
        return frozenset()
    # A recipe to share need not name the data: DATA may stand on the command line alone.
    named = read_mapping(path)
    checked = config_from_mapping(
        {"data": "DATA", **named}, source=f"The configuration file {path!r}"
    )
    mapping = config_to_mapping(checked)
    given = {key.replace("_", "-"): str(mapping[key]) for key in named if mapping[key] is not None}
    app.config = (Dict(given, source=path),)
    return frozenset(key for key in named if mapping[key] is not None)


def typed_options(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the options of a fit that stand on a command line.

    Args:
        arguments: Its words.

    Example:
        >>> sorted(typed_options(["photos", "--dropout", "0", "--learning-rate=1e-4", "--trials"]))
        ['dropout', 'learning_rate']
    """
    flags = (word[2:].partition("=")[0] for word in arguments if word.startswith("--"))
    return frozenset(flag.replace("-", "_") for flag in flags) & frozenset(option_names())


def _config_path(arguments: Sequence[str]) -> str | None:
    """Return the value of --config, which must be known before the other options are parsed."""
    for position, word in enumerate(arguments):
        if word == "--config" and position + 1 < len(arguments):
            return arguments[position + 1]
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return None
