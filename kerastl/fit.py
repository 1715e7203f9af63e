"""`python -m kerastl.fit DATA`: train, evaluate and keep an image classifier."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.config import FitConfig
from kerastl.config_file import config_to_yaml
from kerastl.config_option import take_config_file
from kerastl.errors import ConfigError
from kerastl.option_values import WHOLE

_EXAMPLES = (
    "python -m kerastl.fit photos/ --export",
    "python -m kerastl.fit table.csv --group-column patient --backbone ResNet50",
    "python -m kerastl.fit demo:solar --augment mirrors",
)


def fit(
    config: FitConfig,
    *,
    config_file: Annotated[Path | None, Parameter(name="--config", group="Output")] = None,
    print_config: Annotated[bool, Parameter(group="Output", negative="")] = False,
    print_recipe: Annotated[bool, Parameter(group="Output", negative="")] = False,
    find_lr: Annotated[bool, Parameter(group="Output", negative="")] = False,
    folds: Annotated[int | None, Parameter(group="Data"), WHOLE] = None,
) -> None:
    """Run the whole job of one configuration.

    Args:
        config: All options.
        config_file: Read options from a YAML file; what the command line says wins.
        print_config: Write the options as YAML to standard output and stop.
        print_recipe: Write every number of the training, and where it comes from, and stop.
        find_lr: Search for a learning rate by short trainings, draw what was found, and stop.
        folds: Cross-validation: do the whole job so many times, every image in the test split once.
    """
    del config_file  # `main` has read it before the other options were parsed
    if print_config:
        sys.stdout.write(config_to_yaml(config))
        return
    if find_lr and folds is not None:
        raise ConfigError("--find-lr and --folds are two jobs. Leave out one of the two.")
    terminal.import_tensorflow_quietly()
    if print_recipe:
        from kerastl.plan import planned_recipe
        from kerastl.training.recipes import recipe_lines

        terminal.print_lines(recipe_lines(planned_recipe(config)))
        return
    with terminal.progress_on_stderr():
        lines = _lines_of(config, find_lr=find_lr, folds=folds)
    terminal.print_lines(lines)


def _lines_of(config: FitConfig, *, find_lr: bool, folds: int | None) -> tuple[str, ...]:
    """Do what was asked for; return what to say of it."""
    if find_lr:
        from kerastl.rate_sweep import find_rates

        return find_rates(config).summary_lines
    if folds is not None:
        from kerastl.cross_validation import cross_validate

        return cross_validate(config, folds).summary_lines
    from kerastl.workflow import run

    return run(config).summary_lines


def build_app(arguments: Sequence[str]) -> App:
    """Return the command, with the options of `--config FILE` as its defaults.

    Args:
        arguments: Words of the command line.

    Raises:
        ConfigError: The file cannot be read or holds an unknown or wrong option.
    """
    app = terminal.new_app(
        "fit",
        help_text="Train, evaluate and keep an image classifier.",
        usage="DATA [OPTIONS]",
        examples=_EXAMPLES,
    )
    app.default(fit)
    take_config_file(app, arguments)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_built_app("fit", build_app, arguments)


if __name__ == "__main__":
    main()
