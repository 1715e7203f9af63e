"""What must survive kill -9: everything that the rest of a fine-tuning depends on.

Keras' `BackupAndRestore` is deleted when a training ends, is bound to one compilation, and loses
the best weights so far, the position of the schedule and that in the data (keras #22010). Here a
file holds them all: weights and random states, the optimizer's moments and step, history, the
best checks with their answers. It is complete or not there, and is no pickle.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError
from kerastl.training.kept import Kept

logger = logging.getLogger(__name__)

_VERSION = 4
# Between two writings passes so many times what one takes: a twentieth of the time at most.
_LEAST_PAUSE = 20.0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a fine-tuning stands after an epoch.

    Attributes:
        epochs_done: Completed epochs.
        finished: Whether patience has ended it.
        policy: What its steps compute in.
        images_at_once: Images that go through the network together.
        num_views: Views of each image that are kept, see `kerastl.training.view_plan.ViewPlan`.
        history: One row per epoch.
        best: The best checks, the best first.
        late: The late one, see `kerastl.training.kept.KeptChecks`.
        variables: Weights and random states.
        optimizer: The optimizer's variables.
        callbacks: Numbers that callbacks count in, by name.
    """

    epochs_done: int
    finished: bool
    policy: str
    images_at_once: int
    num_views: int
    history: tuple[dict[str, Any], ...]
    best: tuple[Kept, ...] = field(repr=False)
    late: Kept = field(repr=False)
    variables: tuple[NDArray[Any], ...] = field(repr=False)
    optimizer: tuple[NDArray[Any], ...] = field(repr=False)
    callbacks: Mapping[str, float] = field(default_factory=dict)


class CheckpointFile:
    """Where the checkpoint of a run is.

    Args:
        path: Of the file; its folder is made when it is needed.
        identity: Plain values that say which run it is: options, data, versions.
        resume: Whether an interrupted run is to be gone on with.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.path, self._resume = path, resume
        # As they come back from the file.
        self._identity: dict[str, Any] = json.loads(json.dumps(dict(identity)))
        self._seconds, self._written = 0.0, -float("inf")

    def load(self) -> Checkpoint | None:
        """Return where the interrupted run stands; None if there is none, or nobody asks.

        It is read once: that is where this run began, however far it comes.

        Raises:
            ConfigError: The interrupted run was another one.
        """
        return self._loaded

    @functools.cached_property
    def _loaded(self) -> Checkpoint | None:
        found = self._read()
        if found is None:
            if self._resume:
                logger.info("Nothing to resume: fine-tuning had not come through an epoch.")
            return None
        identity, checkpoint = found
        if not self._resume:
            logger.info(
                "A run was interrupted here after epoch %d; --resume would go on with it. It "
                "begins anew; until its first epoch is done, the other may still be resumed.",
                checkpoint.epochs_done,
            )
            return None
        refuse_another(self.path, identity, self._identity)
        logger.info("Fine-tuning goes on after epoch %d.", checkpoint.epochs_done)
        return checkpoint

    def save(self, checkpoint: Checkpoint, *, last: bool = False) -> None:
        """Write a checkpoint, if the last one is not just written; what fails is one warning.

        Args:
            checkpoint: Where the training stands.
            last: Whether nothing comes after it: then it is written in any case.
        """
        started = time.monotonic()
        if not last and started - self._written < _LEAST_PAUSE * self._seconds:
            return
        # One name for all processes, so that what kill -9 leaves is overwritten, and removed in the
        # end. Two runs into one folder at once could only spoil each other's: then it is not read.
        partial = self._partial
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **self._arrays(checkpoint))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            logger.warning("This run could not be resumed: %s.", error.strerror or error)
        finally:  # Ctrl-C too
            partial.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._seconds = self._written - started

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Say how to go on if the block ends before its time, by Ctrl-C or a mistake."""
        try:
            yield
        except BaseException:
            if self.path.exists():
                logger.warning(
                    "How far fine-tuning came is kept: the same command with --resume goes on."
                )
            raise

    def remove(self) -> None:
        """Delete it: the run is complete, or begins anew."""
        self.path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")

    def _arrays(self, checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
        """Return everything as arrays by name, plain values as text."""
        # The late one is often the best one as well.
        kept_checks = list(dict.fromkeys((*checkpoint.best, checkpoint.late)))
        plain = {
            "version": _VERSION,
            "identity": self._identity,
            "epochs_done": checkpoint.epochs_done,
            "finished": checkpoint.finished,
            "policy": checkpoint.policy,
            "images_at_once": checkpoint.images_at_once,
            "num_views": checkpoint.num_views,
            "history": list(checkpoint.history),
            "epochs_kept": [kept.epoch for kept in kept_checks],
            "late": kept_checks.index(checkpoint.late),
            "num_best": len(checkpoint.best),
            "callbacks": dict(checkpoint.callbacks),
        }
        arrays = {"plain": np.frombuffer(json.dumps(plain).encode(), np.uint8)}
        groups: dict[str, Sequence[NDArray[Any]]] = {
            "variable": checkpoint.variables,
            "optimizer": checkpoint.optimizer,
            "answers": [kept.probabilities for kept in kept_checks],
            "losses": [kept.losses for kept in kept_checks],
            **{f"kept{n}": kept.weights for n, kept in enumerate(kept_checks)},
        }
        for name, values in groups.items():
            arrays |= {f"{name}/{number}": value for number, value in enumerate(values)}
        return arrays

    def _read(self) -> tuple[dict[str, Any], Checkpoint] | None:
        """Return identity and checkpoint; None if there is none that can be read."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            plain = json.loads(arrays["plain"].tobytes())
            if plain["version"] != _VERSION:
                raise ValueError(f"version {plain['version']}")
            return plain["identity"], _checkpoint_of(plain, arrays)
        # What zipfile says of damaged flags is a RuntimeError.
        except (ValueError, LookupError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
            logger.warning("The checkpoint %s cannot be read (%s).", self.path, error)
            return None


def refuse_another(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with another run.

    Args:
        path: Where the interrupted one is.
        then: Which one that is: plain values by name.
        now: Which one is to go on.

    Raises:
        ConfigError: They differ.
    """
    for name in dict.fromkeys((*now, *then)):
        if then.get(name) != now.get(name):
            raise ConfigError(
                f"--resume cannot go on: the interrupted run in {path} was another one; its "
                f"{name} was {_shortened(then.get(name))}, now it is "
                f"{_shortened(now.get(name))}. Type the same command for the same images, or "
                "leave out --resume to begin anew."
            )


def _checkpoint_of(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Checkpoint:
    """Return the checkpoint that plain values and arrays make."""

    def group(name: str) -> tuple[NDArray[Any], ...]:
        count = sum(key.startswith(f"{name}/") for key in arrays)
        return tuple(arrays[f"{name}/{number}"] for number in range(count))

    answers, losses = group("answers"), group("losses")
    kept = [
        Kept(epoch, losses[number], list(group(f"kept{number}")), answers[number])
        for number, epoch in enumerate(plain["epochs_kept"])
    ]
    return Checkpoint(
        epochs_done=plain["epochs_done"],
        finished=plain["finished"],
        policy=plain["policy"],
        images_at_once=plain["images_at_once"],
        num_views=plain["num_views"],
        history=tuple(plain["history"]),
        best=tuple(kept[: plain["num_best"]]),
        late=kept[plain["late"]],
        variables=group("variable"),
        optimizer=group("optimizer"),
        callbacks=plain["callbacks"],
    )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-18:]}"
