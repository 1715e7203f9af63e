"""What a search leaves: a recipe to fit with, a table and a picture of its trials, a few lines."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from kerastl.config import FitConfig, fit_words, is_at_default
from kerastl.config_file import config_to_mapping
from kerastl.data.wording import counted
from kerastl.evaluation.figures import save_figure
from kerastl.evaluation.trials_picture import trials_figure
from kerastl.interruption import WITHOUT_INFLUENCE
from kerastl.run_folder import RECIPE, TRIALS, write_rows
from kerastl.tuning.levers import LEVERS, Lever
from kerastl.tuning.runs import Start
from kerastl.tuning.trial import (
    COMPLETE,
    CUT_SHORT,
    DIVERGED,
    Judged,
    Trial,
    best_trial,
    loss_of,
    paired_difference,
)

# Of this machine, of this search or of where things go: no part of how to learn.
_NOT_OF_A_RECIPE = frozenset(("data", *WITHOUT_INFLUENCE))
# Of the search itself: a fit that follows has its own.
_NOT_OF_A_FIT = frozenset(("out", "overwrite", "resume", "max_minutes"))

PICTURE = "trials.png"


@dataclass(frozen=True, eq=False)
class Found:
    """All trials of a search.

    Attributes:
        start: Where they began.
        levers: What was searched.
        trials: In their order; at least one has a loss.
        budget: Largest number of trials.
        method: How values were chosen: "bayesian" or "random".
        given: Options that the user gave, though they may be at their default.
        interrupted: Whether Ctrl-C ended the search.
    """

    start: Start
    levers: tuple[Lever, ...]
    trials: tuple[Trial, ...] = field(repr=False)
    budget: int
    method: str
    given: frozenset[str] = frozenset()
    interrupted: bool = False

    @property
    def best(self) -> Trial:
        """The trial whose values are kept."""
        best = best_trial(self.trials)
        assert best is not None
        return best

    @property
    def recipe(self) -> Trial:
        """The first trial, which is the recipe as it stands."""
        return self.trials[0]

    @property
    def num_complete(self) -> int:
        """Trials among which was chosen."""
        return sum(trial.state == COMPLETE for trial in self.trials)


def write_found(partial: Path, found: Found, *, folder: Path) -> None:
    """Write recipe.yaml, trials.csv and the picture.

    Args:
        partial: Folder to write into.
        found: All trials.
        folder: Where it will be, for the comment of the recipe.
    """
    text = recipe_yaml(found, path=folder / RECIPE)
    (partial / RECIPE).write_text(text, encoding="utf-8")
    write_rows(partial / TRIALS, [_row(trial) for trial in found.trials])
    searched = {lever.name for lever in found.levers}
    figure = trials_figure(
        [loss_of(trial) for trial in found.trials],
        complete=[trial.state == COMPLETE for trial in found.trials],
        best=found.best.number,
        probe=found.start.probe.loss,
        rates=[trial.values["learning_rate"] for trial in found.trials]
        if "learning_rate" in searched
        else None,
    )
    save_figure(figure, (partial / PICTURE).with_suffix(""))


def recipe_options(found: Found) -> dict[str, Any]:
    """Return the options of the recipe: what was searched, and what the user gave.

    Args:
        found: All trials.
    """
    config = found.start.config
    searched = set(found.best.values)
    given = {
        option.name
        for option in fields(FitConfig)
        if option.name in found.given or not is_at_default(config, option.name)
    }
    mapping = config_to_mapping(replace(config, **found.best.values))
    return {
        name: value
        for name, value in mapping.items()
        if name in (searched | given) - _NOT_OF_A_RECIPE and value is not None
    }


def recipe_yaml(found: Found, *, path: Path) -> str:
    """Return the text of recipe.yaml.

    Args:
        found: All trials.
        path: Where it will be.
    """
    best = found.best
    account = (
        f"Trial {best.number}, the best of {found.num_complete} complete ones on "
        f"{counted(len(found.start.val_labels))} of validation: log-loss {loss_of(best):.4f} "
        f"(which is optimistic); the recipe {_loss_words(found.recipe)}, the probe "
        f"{found.start.probe.loss:.4f}."
    )
    # A lever that is given at its default is not searched, which its absence would change.
    words = fit_words(found.start.config, also=found.given & set(LEVERS))
    search = f"--trials {found.budget} --search {found.method}"
    lines = [f"# From: python -m kerastl.tune {words} {search}"]
    lines += [f"# {line}" for line in textwrap.wrap(account, 86)]
    lines.append(f"# Type: python -m kerastl.fit {_fit_command(found, path)}")
    lines += [
        yaml.safe_dump({name: value}, allow_unicode=True, width=10_000).strip()
        for name, value in recipe_options(found).items()
    ]
    return "\n".join(lines) + "\n"


def result_lines(found: Found, folder: Path) -> tuple[str, ...]:
    """Return what a terminal shows in the end.

    Args:
        found: All trials.
        folder: Where the folder is now.
    """
    best, recipe, start = found.best, found.recipe, found.start
    lines = [_judged_line("probe", start.probe)]
    lines.append(_trial_line("recipe", recipe))
    if best is not recipe:
        lines.append(_trial_line("best", best))
        lines.append(f"It differs in: {_differences(best.values, recipe.values)}.")
    lines.append(_verdict(found))
    lines += _honest(found)
    lines.append(f"Folder: {folder} ({RECIPE}, {TRIALS}, {PICTURE})")
    lines.append(f"Type: python -m kerastl.fit {_fit_command(found, folder / RECIPE)}")
    return tuple(lines)


def _row(trial: Trial) -> dict[str, Any]:
    """Return a trial as a row of the table."""
    judged = trial.judged
    return {
        "trial": trial.number,
        "state": trial.state,
        "validation_loss": None if judged is None else judged.loss,
        "validation_accuracy": None if judged is None else judged.accuracy,
        "epochs": trial.epochs,
        "seconds": round(trial.seconds, 2),
        **trial.values,
    }


def _loss_words(trial: Trial) -> str:
    """Return the loss of a trial, or why it has none."""
    return trial.state if trial.judged is None else f"{trial.judged.loss:.4f}"


def _judged_line(name: str, judged: Judged, note: str = "") -> str:
    """Return a row of the comparison."""
    return (
        f"{name:<7} validation log-loss {judged.loss:.4f}, "
        f"accuracy {100 * judged.accuracy:.1f} %{note}"
    )


def _trial_line(name: str, trial: Trial) -> str:
    """Return the row of a trial."""
    if trial.judged is None:
        return f"{name:<7} {trial.state} (trial {trial.number})"
    note = "" if trial.state == COMPLETE else f", {trial.state}"
    return _judged_line(name, trial.judged, f" (trial {trial.number}{note})")


def _differences(values: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Return in words which levers differ."""
    return ", ".join(
        f"{name} {value} (recipe: {others[name]})"
        for name, value in values.items()
        if value != others[name]
    )


def _verdict(found: Found) -> str:
    """Return what comes of the comparison with recipe and probe."""
    best, recipe, start = found.best, found.recipe, found.start
    if start.probe.loss <= loss_of(best):
        return "The probe is not beaten: no trial has a smaller loss than it."
    if best is recipe:
        return "No trial is better than the recipe: it stays as it is."
    if recipe.judged is None or best.judged is None:
        return "There is nothing to compare it with: the recipe came to no end."
    gain, error = paired_difference(best.judged, recipe.judged, groups=start.val_groups)
    chance = "" if gain > 2 * error else ", which may be chance"
    return (
        f"Better than the recipe by {gain:.4f} ± {error:.4f} (standard error over "
        f"{'images' if start.val_groups is None else 'groups'}){chance}."
    )


def _honest(found: Found) -> list[str]:
    """Return how many were compared on how little, and what else should be known."""
    states = Counter(trial.state for trial in found.trials)
    others = [f"{states[name]} {name}" for name in (DIVERGED, CUT_SHORT) if states[name]]
    ran = counted(len(found.trials), "trial") + (f" ({', '.join(others)})" if others else "")
    lines = [
        f"{ran}, {found.num_complete} compared on {counted(len(found.start.val_labels))} of "
        "validation: the smallest of many losses is optimistic. The test split was not read."
    ]
    if found.best.state == CUT_SHORT:
        lines.append(
            f"No trial is complete: {found.start.deadline.words} ended the first one. Give more "
            "minutes."
        )
    if found.interrupted:
        lines.append(f"Interrupted in trial {len(found.trials) + 1}, which does not count.")
    return lines


def _fit_command(found: Found, path: Path) -> str:
    """Return what to type after `python -m kerastl.fit`: the recipe, and the rest of what was."""
    inside = recipe_options(found)
    left_out: dict[str, Any] = dict.fromkeys((*inside, *found.best.values, *_NOT_OF_A_FIT))
    words = fit_words(found.start.config, **left_out)
    return f"{words} --config {shlex.quote(str(path))}"
