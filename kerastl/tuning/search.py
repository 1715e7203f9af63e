"""`python -m kerastl.tune`: a search for the numbers of fine-tuning, within a budget."""

from __future__ import annotations

import importlib
import logging
import math
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from kerastl.config import FitConfig
from kerastl.data.sources import ImageTable
from kerastl.deadline import deadline_after
from kerastl.determinism import become_deterministic
from kerastl.errors import ConfigError, DataError, did_you_mean
from kerastl.features.shelf import NO_STORE
from kerastl.features.store import Store, find_store
from kerastl.plan import read_table
from kerastl.progress import track
from kerastl.run_folder import TRIALS_FOLDER, choose_run_folder, new_run_folder, publish
from kerastl.tuning.levers import BAYESIAN, LEVERS, METHODS, Lever, find_levers, free_levers
from kerastl.tuning.record import Found, result_lines, write_found
from kerastl.tuning.runs import Start, find_start, run_trial
from kerastl.tuning.trial import DIVERGED, Trial, best_trial, loss_of

logger = logging.getLogger(__name__)

MOST_TRIALS = 10_000


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A finished search, or one that Ctrl-C ended.

    Attributes:
        path: The folder with recipe.yaml, trials.csv and the picture.
        trials: In their order; the first is the recipe as it stands.
        best: The one whose values are in recipe.yaml.
        probe_loss: Validation log-loss of the probe, where all of them began.
        interrupted: Whether Ctrl-C ended it.
        summary_lines: For a terminal.
    """

    path: Path
    trials: tuple[Trial, ...] = field(repr=False)
    best: Trial = field(repr=False)
    probe_loss: float
    interrupted: bool
    summary_lines: tuple[str, ...] = field(repr=False)


def search_recipe(
    config: FitConfig,
    *,
    trials: int = 20,
    method: str = BAYESIAN,
    given: Collection[str] = (),
    table: ImageTable | None = None,
    backbone: keras.Model | None = None,
    preprocessing: str = "identity",
) -> SearchResult:
    """Try values of the levers that are not given, keep what was best on validation.

    Every trial begins at the same probe and ends with its own answers to the same validation
    images; the test split is not read. Nothing stays trained.

    Args:
        config: All options; `max_minutes` is the time for all trials together.
        trials: Largest number of them; the first is the recipe as it stands.
        method: "bayesian" or "random".
        given: Options that are not searched though they are at their default.
        table: See `kerastl.workflow.run`.
        backbone: See there; it has its first weights again in the end.
        preprocessing: See there.

    Raises:
        KerasTLError: Something about the options, images or weights cannot work.
        KeyboardInterrupt: Ctrl-C, before any trial was complete; after that the result is
            what was found.
    """
    require_tuner()
    _check(config, trials=trials, method=method, given=given)
    deadline = deadline_after(config.max_minutes)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        become_deterministic(config)
    table = table or read_table(config)
    folder = choose_run_folder(
        config.out, name=f"{table.name}-trials", overwrite=config.overwrite, kind=TRIALS_FOLDER
    )
    with tempfile.TemporaryDirectory() as directory:
        start = find_start(
            config,
            table,
            directory=Path(directory),
            deadline=deadline,
            store=_find_store(config, scratch=directory),
            backbone=backbone,
            preprocessing=preprocessing,
        )
        levers = find_levers(config, start.job.recipe, start.job.network, given=given)
        _refuse_no_lever(levers)
        done: list[Trial] = []
        interrupted = False

        def found() -> Found:
            return Found(start, levers, tuple(done), trials, method, frozenset(given), interrupted)

        try:
            _run_all(start, levers, done, method=method, trials=trials)
        except KeyboardInterrupt:
            if best_trial(done) is None:
                raise
            interrupted = True
        except Exception:
            if best_trial(done) is not None:
                path = _written(found(), folder)
                logger.warning("Trial %d failed; what the others found: %s", len(done) + 1, path)
            raise
        finally:
            start.put_backbone_back()
    if (best := best_trial(done)) is None:
        raise _nothing_found(config, done)
    folder = _written(found(), folder)
    lines = result_lines(found(), folder)
    return SearchResult(folder, tuple(done), best, start.probe.loss, interrupted, lines)


def require_tuner() -> None:
    """Refuse to begin where KerasTuner is not installed.

    Raises:
        ConfigError: It is not.
    """
    try:
        importlib.import_module("keras_tuner")
    except ImportError as error:
        raise ConfigError(
            f"kerastl.tune needs KerasTuner, which cannot be imported ({error}). Type: pip install "
            "keras-tuner"
        ) from error


def _check(config: FitConfig, *, trials: int, method: str, given: Collection[str]) -> None:
    """Refuse what cannot work, before any work is done."""
    if isinstance(trials, bool) or not 1 <= trials <= MOST_TRIALS:
        raise ConfigError(
            f"`trials` must be a whole number from 1 to {MOST_TRIALS:,}; received trials={trials}."
        )
    if method not in METHODS:
        raise ConfigError(
            f"`search` must be one of {', '.join(METHODS)}; received search={method!r}."
            f"{did_you_mean(method, METHODS)}"
        )
    if config.resume:
        raise ConfigError(
            "--resume goes on with a fit; a search begins anew, and finds what the frozen part had "
            "computed in the feature cache. Leave out --resume."
        )
    _refuse_no_lever(free_levers(config, given=given))


def _refuse_no_lever(levers: Collection[object]) -> None:
    """Refuse to search where nothing may be chosen."""
    if not levers:
        raise ConfigError(
            f"There is nothing to search: every lever is given, or has one value here. Leave out "
            f"one of --{', --'.join(name.replace('_', '-') for name in LEVERS)}."
        )


def _find_store(config: FitConfig, *, scratch: str) -> Store:
    """Return where what leaves the frozen part is shared between trials, for later runs or not."""
    if config.deterministic:  # as a fit: rows that others computed differ in a last bit
        return NO_STORE
    kept = config.feature_cache != "none"
    choice = config.feature_cache if kept else str(Path(scratch) / "features")
    return find_store(choice, largest_bytes=int(config.feature_cache_gib * 2**30))


def _run_all(
    start: Start, levers: tuple[Lever, ...], done: list[Trial], *, method: str, trials: int
) -> None:
    """Run trials until the budget is spent; add each to `done`."""
    from kerastl.tuning.oracle import search_values

    with track("Trials", total=trials) as advance:

        def loss_after(values: dict[str, Any]) -> float:
            trial = run_trial(start, values, number=len(done) + 1)
            done.append(trial)
            advance(1)
            return told(trial, done, probe_loss=start.probe.loss)

        search_values(
            levers,
            loss_after,
            method=method,
            trials=trials,
            seed=start.config.seed,
            stop=lambda: start.deadline.passed,
        )


def told(trial: Trial, trials: Collection[Trial], *, probe_loss: float) -> float:
    """Return the loss that the search is told of a trial.

    One that diverged counts as bad as the worst, and twice as bad as the probe: where it is told
    nothing of a failure, it goes there again.

    Args:
        trial: Just run.
        trials: All so far.
        probe_loss: Of the probe.
    """
    loss = loss_of(trial)
    if trial.state != DIVERGED and math.isfinite(loss):
        return loss
    return max(
        2 * probe_loss, *(loss_of(one) for one in trials if math.isfinite(loss_of(one))), 0.0
    )


def _nothing_found(config: FitConfig, done: Collection[Trial]) -> DataError:
    """Return why there is no recipe to write."""
    if any(trial.state == DIVERGED for trial in done):
        return DataError(
            f"Not one of {len(done)} trials came to an end: fine-tuning diverged. Look at the "
            "labels, or give a smaller --learning-rate."
        )
    return DataError(
        f"--max-minutes {config.max_minutes:g} was over before the first trial had made a step. "
        "Give more minutes."
    )


def _written(found: Found, folder: Path) -> Path:
    """Write what was found; return where it is now."""
    config = found.start.config
    with new_run_folder(folder, kind=TRIALS_FOLDER) as partial:
        write_found(partial, found, folder=folder)
        return publish(partial, folder, overwrite=config.overwrite, kind=TRIALS_FOLDER)
