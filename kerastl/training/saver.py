"""After every epoch a checkpoint; before the first one, where the interrupted run stood."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerastl.data.wording import counted
from kerastl.errors import ConfigError
from kerastl.models.xla import Xla
from kerastl.training.checkpoint import Checkpoint, CheckpointFile
from kerastl.training.cut import Cut
from kerastl.training.moving import Moving
from kerastl.training.phase import Phase, PhaseResult
from kerastl.training.step_precision import StepPrecision
from kerastl.training.validation_callback import ValidationCallback
from kerastl.training.view_plan import LIVE, ViewPlan

logger = logging.getLogger(__name__)

# What Keras' `ReduceLROnPlateau` counts in.
_COUNTED = ("best", "wait", "cooldown_counter")


class Saver(keras.callbacks.Callback):
    """Keep where a training stands. The last of its callbacks, so that the others are done.

    Args:
        file: Where to.
        keeper: Knows the history and what is kept of the checks.
        variables: Weights and random states that training changes.
        counting: Callbacks that count in numbers of their own.
        counted: What the interrupted run had counted, see `Checkpoint.callbacks`; empty for a
            training from the start.
        policy: What steps compute in.
        images_at_once: Images that go through the network together.
        num_views: Views of each image that are kept.
        epochs: Of the whole training.
    """

    def __init__(
        self,
        file: CheckpointFile,
        keeper: ValidationCallback,
        *,
        variables: Sequence[keras.Variable],
        counting: Sequence[keras.callbacks.Callback],
        counted: Mapping[str, float],
        policy: str,
        images_at_once: int,
        num_views: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self._file, self._keeper = file, keeper
        self._variables, self._counting = list(variables), list(counting)
        self._counted = counted
        self._policy, self._images_at_once, self._epochs = policy, images_at_once, epochs
        self._num_views = num_views

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count on from where the interrupted run was: only now, for Keras has set all to 0."""
        if not self._counted:
            return
        for number, callback in enumerate(self._counting):
            for name in _COUNTED:
                counted = self._counted[f"{number}.{name}"]
                setattr(callback, name, counted if name == "best" else int(counted))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write where it stands; not in the middle of an epoch, where the time was up."""
        if self._keeper.out_of_time:
            return
        finished, late = bool(self.model.stop_training), self._keeper.kept.late
        assert late is not None  # the epoch has ended with a check
        checkpoint = Checkpoint(
            epochs_done=epoch + 1,
            finished=finished,
            policy=self._policy,
            images_at_once=self._images_at_once,
            num_views=self._num_views,
            history=tuple(self._keeper.history),
            best=tuple(self._keeper.kept.best),
            late=late,
            variables=tuple(np.array(variable.numpy()) for variable in self._variables),
            optimizer=tuple(np.array(one.numpy()) for one in self.model.optimizer.variables),
            callbacks={
                f"{number}.{name}": float(getattr(callback, name))
                for number, callback in enumerate(self._counting)
                for name in _COUNTED
            },
        )
        self._file.save(checkpoint, last=finished or epoch + 1 == self._epochs)


def go_on(
    checkpoint: Checkpoint,
    model: keras.Model,
    keeper: ValidationCallback,
    *,
    variables: Sequence[keras.Variable],
    batches: tf.data.Dataset,
) -> None:
    """Put everything where the interrupted run left it, in place, but for what callbacks count.

    That is for `Saver`, which knows when.

    Args:
        checkpoint: Where that was.
        model: Compiled, its optimizer built.
        keeper: New.
        variables: Weights and random states, in the order that they were saved in.
        batches: Every iterator over it is an epoch of another order: those that the interrupted
            run has had are passed by.
    """
    for variable, value in zip(variables, checkpoint.variables, strict=True):
        variable.assign(value)
    for variable, value in zip(model.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)
    keeper.go_on(checkpoint.history, checkpoint.best, checkpoint.late)
    for _ in range(checkpoint.epochs_done * iterators_per_epoch()):
        iter(batches)


def as_interrupted(phase: Phase | None, file: CheckpointFile | None) -> Phase | None:
    """Return how to go on: with as many kept views of each image as the interrupted run had.

    How many that were depends on the room there was, and there may be more now.

    Args:
        phase: How it was to be trained, if at all.
        file: Where the checkpoint is, if one is kept.

    Raises:
        ConfigError: The interrupted run was another one.
    """
    checkpoint = None if phase is None or file is None else file.load()
    if phase is None or checkpoint is None:
        return phase
    return dataclasses.replace(phase, views=checkpoint.num_views or LIVE)


def check_views(checkpoint: Checkpoint, plan: ViewPlan) -> None:
    """Refuse to go on with other inputs than the interrupted run had.

    Args:
        checkpoint: Where it was interrupted.
        plan: How the frozen part would be run now.

    Raises:
        ConfigError: It is another number of views.
    """
    if plan.num_views == checkpoint.num_views:
        return
    raise ConfigError(
        f"--resume cannot go on: the interrupted run had {_views_words(checkpoint.num_views)}, "
        f"now it would have {_views_words(plan.num_views)}. {plan.words} Make room for as many "
        "(--feature-cache on a larger disk, more --feature-cache-gib), or leave out --resume to "
        "begin anew."
    )


def _views_words(num_views: int) -> str:
    return f"{counted(num_views, 'kept view')} of each image" if num_views else "no kept views"


def best_so_far(checkpoint: Checkpoint, cut: Cut, phase: Phase) -> PhaseResult:
    """Give the classifier the best that the interrupted run had, in place; return how that went.

    For want of time to take a single step more.

    Args:
        checkpoint: Where the run was interrupted.
        cut: The classifier, cut at the border.
        phase: How it was to be trained.
    """
    model = cut.view.suffix if cut.plan.num_views else cut.view.model
    late, learned = checkpoint.late, Moving.of(model, cut.view.must_not_move).learned
    for variable, value in zip(learned, late.weights, strict=True):
        variable.assign(value)
    words = (
        f"{phase.deadline.words}: no time was left to go on after epoch {checkpoint.epochs_done} "
        f"of {phase.epochs} of fine-tuning; it ends with the best so far."
    )
    logger.warning("%s", words)
    return PhaseResult(
        history=checkpoint.history,
        best_epoch=checkpoint.best[0].epoch,
        kept_epoch=late.epoch,
        val_probabilities=late.probabilities,
        num_trainable=int(sum(math.prod(one.shape) for one in model.trainable_variables)),
        num_folded=cut.view.num_folded,
        largest_difference=cut.difference,
        plan=cut.plan,
        xla=Xla(False, "no step was taken"),
        step_precision=StepPrecision(checkpoint.policy, "as before the interruption"),
        cut_short=words,
        images_at_once=checkpoint.images_at_once,
    )


@functools.cache
def iterators_per_epoch() -> int:
    """Return how many iterators Keras' `fit` makes of a data set in each epoch: 2 in keras 3.15.1.

    It begins another one at the end of each, which nobody reads, and that moves the order of the
    next epoch on. Found out by running it, because another version may do otherwise.
    """

    class Echo(keras.Model):
        def train_step(self, data: Any) -> dict[str, Any]:
            return {"seen": data[0]}

    def numbers() -> tf.data.Dataset:
        drawn = tf.data.Dataset.random(seed=1, rerandomize_each_iteration=True).take(1)
        return drawn.map(lambda number: tf.cast(number % 2**20, tf.float32)).batch(1)

    twin = numbers()
    order = [float(next(iter(twin))[0]) for _ in range(9)]
    model = Echo()
    model.compile()
    seen = model.fit(numbers(), epochs=2, shuffle=False, verbose=0).history["seen"]
    return order.index(float(seen[1])) - order.index(float(seen[0]))
