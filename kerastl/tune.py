"""`python -m kerastl.tune DATA`: search for the numbers of fine-tuning that suit these images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.config import FitConfig
from kerastl.config_option import take_config_file, typed_options
from kerastl.option_values import WHOLE

_HELP = """Search for the numbers of fine-tuning that suit these images, within a budget.

Learning rate, blocks, epochs, decays, smoothing, dropout, soup and BatchNorm, as far as they are
not given: an option that is given is fixed. The first trial is the recipe as it stands; validation
decides, the test split is not read. --max-minutes is the time for all trials together. The result
is a recipe for kerastl.fit, a table and a picture. Needs KerasTuner: pip install keras-tuner."""
_EXAMPLES = (
    "python -m kerastl.tune photos/ --trials 20 --max-minutes 60",
    "python -m kerastl.tune photos/ --learning-rate 2e-4 --search random",
    "python -m kerastl.fit photos/ --config runs/photos-trials/recipe.yaml",
)

_SEARCH = Group("Search", sort_key=0)


def tune(
    config: FitConfig,
    *,
    trials: Annotated[int, Parameter(group=_SEARCH), WHOLE] = 20,
    search: Annotated[Literal["bayesian", "random"], Parameter(group=_SEARCH)] = "bayesian",
    config_file: Annotated[Path | None, Parameter(name="--config", group="Output")] = None,
    given: Annotated[frozenset[str], Parameter(parse=False)] = frozenset(),
) -> int:
    """Search.

    Args:
        config: All options of a fit.
        trials: Largest number of trials; the first is the recipe as it stands.
        search: How values are chosen: bayesian (by a model of the losses so far) or random.
        config_file: Read options from a YAML file; what the command line says wins.
        given: Options that stand on the command line or in that file: they are not searched.
    """
    del config_file  # `build_app` has read it before the other options were parsed
    terminal.import_tensorflow_quietly()
    from kerastl.tuning.search import search_recipe

    with terminal.progress_on_stderr():
        result = search_recipe(config, trials=trials, method=search, given=given)
    terminal.print_lines(result.summary_lines)
    return terminal.EXIT_INTERRUPTED if result.interrupted else 0


def build_app(arguments: Sequence[str]) -> App:
    """Return the command, with the options of `--config FILE` as its defaults.

    Args:
        arguments: Words of the command line.

    Raises:
        ConfigError: The file cannot be read or holds an unknown or wrong option.
    """
    app = terminal.new_app("tune", help_text=_HELP, usage="DATA [OPTIONS]", examples=_EXAMPLES)
    given = take_config_file(app, arguments) | typed_options(arguments)
    app.default(functools.partial(tune, given=given))
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_built_app("tune", build_app, arguments)


if __name__ == "__main__":
    main()
