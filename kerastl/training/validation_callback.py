"""After each epoch of a phase, and within it: measure, keep what is good, stop in time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.deadline import NEVER, Deadline
from kerastl.errors import DivergedError
from kerastl.features.halving import halving
from kerastl.features.probe import log_loss_nats
from kerastl.progress import Advance
from kerastl.training.checks import check_parts
from kerastl.training.kept import Kept, KeptChecks
from kerastl.training.temperature import tempered_losses

# Of the log-loss without any knowledge: above it, training has gone wrong.
_CHAOS = 5.0


class ValidationCallback(keras.callbacks.Callback):
    """After each epoch, and within it: measure on validation, keep what is good, end with patience.

    What is measured within an epoch changes no step of the training.

    Args:
        inputs: Gives the validation inputs of the trained model, batch by batch, whenever asked.
        targets: float32 of shape (num_val, num_classes).
        variables: What the phase may change for good: what is kept of the checks.
        first: Their values before the first step.
        learning_rate: The highest of the phase, for advice.
        patience_epochs: Ends after so many epochs without a better validation loss.
        epoch_steps: Steps of an epoch.
        class_weights: float32 of shape (num_classes,): of the validation loss.
        groups: Of shape (num_val,): validation images of one group are alike; None if none are.
        advance: Called with 1 after each step.
        deadline: Ends the phase, in the middle of an epoch too, once one step was made.
        num_kept: Of how many of the best checks the weights are kept.
        checks_per_epoch: How often an epoch is measured, at its end included.

    Attributes:
        history: One row per epoch, see `kerastl.training.phase.PhaseResult`.
        kept: What is worth keeping of the checks; of the moving averages of the weights, if the
            optimizer has any.
        out_of_time: Whether the deadline ended the phase.
    """

    def __init__(
        self,
        inputs: Callable[[], Iterable[Any]],
        targets: NDArray[np.float32],
        *,
        variables: Sequence[keras.Variable],
        first: list[NDArray[Any]],
        learning_rate: float,
        patience_epochs: int,
        epoch_steps: int,
        class_weights: NDArray[np.float32] | None,
        groups: NDArray[Any] | None,
        advance: Advance,
        deadline: Deadline = NEVER,
        num_kept: int = 1,
        checks_per_epoch: int = 1,
    ) -> None:
        super().__init__()
        self.history: list[dict[str, Any]] = []
        self.kept = KeptChecks(groups, num_best=num_kept)
        self._variables, self._first = list(variables), first
        self.out_of_time = False
        self._deadline = deadline
        self._inputs = inputs
        self._targets = targets
        self._learning_rate = learning_rate
        self._patience_epochs = patience_epochs
        self._epoch_steps = epoch_steps
        self._middle_step = (epoch_steps - 1) // 2
        self._middle_rate = learning_rate
        self._class_weights = class_weights
        self._advance = advance
        self._step = 0
        self._parts = check_parts(epoch_steps=epoch_steps, checks_per_epoch=checks_per_epoch)
        # Of the present epoch, and the step of the last of them.
        self._checks: list[dict[str, float]] = []
        self._checked_step = 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the rate that the middle step of the epoch is taken with, if it comes so far.

        After an epoch the optimizer gives the rate of the next step: 0 at the end of a phase.
        """
        if batch in (0, self._middle_step):
            self._middle_rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop at once when the loss is no number: every later step would be wasted.

        Else validate, if it is time: after the step, and before the next one.
        """
        self._advance(1)
        self._step += 1
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergedError(
                f"The loss became {loss} in step {self._step} of fine-tuning, at a learning rate "
                f"of {float(self.model.optimizer.learning_rate):.3g}; expected a finite number.",
                f"Try --learning-rate {self._learning_rate / 10:g}.",
            )
        is_last = self._step == self._epoch_steps * (self.params or {}).get("epochs", 0)
        if self._deadline.passed and not is_last:
            # What the epoch has reached is measured like the others.
            self.out_of_time = self.model.stop_training = True
            return
        if batch + 1 in self._parts:
            when = round(len(self.history) + self._parts[batch + 1], 3)
            self._checks.append({"epoch": when, **self._validate(when)})
            self._checked_step = self._step

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one row of history."""
        logs = {} if logs is None else logs
        if self._checked_step == self._step:  # patience was over within the epoch: it ends here
            measured = self._checks.pop()
            when = measured.pop("epoch")
        else:
            when = epoch + 1
            measured = self._validate(when)
        logs |= measured  # for callbacks that come after this one
        if epoch == 0:
            self._refuse_chaos(measured["val_loss"])
        self.history.append(
            {
                "phase": "fine-tune",
                "epoch": when,
                "loss": float(logs["loss"]),
                "accuracy": float(logs["accuracy"]),
                **measured,
                "learning_rate": self._middle_rate,
                # Keras weights training losses only: said here, so that nobody compares apples
                # with pears.
                "val_loss_kind": "plain" if self._class_weights is None else "class-weighted",
                "checks": self._checks,
            }
        )
        self._checks = []

    def _validate(self, when: float) -> dict[str, float]:
        """Return what validation says, by name; keep the weights if they are worth it."""
        with self._averaged():
            probabilities = self._forward_all()
            loss, accuracy = self._judged(probabilities)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"The validation loss is {loss} after {when:g} epochs of fine-tuning; expected "
                    "a finite number.",
                    f"Try --learning-rate {self._learning_rate / 10:g}.",
                )
            losses = self._losses(probabilities)
            is_best = self.kept.add(
                when,
                losses,
                probabilities,
                lambda: [np.array(variable.numpy()) for variable in self._variables],
            )
        # 0.001: thirds are rounded.
        if not is_best and when - self.kept.best[0].epoch > self._patience_epochs - 1e-3:
            self.model.stop_training = True
        return {
            "val_loss": loss,
            "val_tempered_loss": float(losses.mean()),
            "val_accuracy": accuracy,
        }

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the model the moving averages of its weights, if there are any, inside the block."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if not optimizer.use_ema:
            yield
            return
        variables = self.model.trainable_variables
        own = [np.array(variable.numpy()) for variable in variables]
        for variable, average in zip(
            variables, optimizer._model_variables_moving_average, strict=True
        ):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)

    def _refuse_chaos(self, loss: float) -> None:
        """Stop where a first epoch has left answers that are far worse than no knowledge at all."""
        if self.model.loss.name == "binary_crossentropy":
            num_classes = 2
        else:
            num_classes = max(2, self._targets.shape[1])
        limit = _CHAOS * math.log(num_classes)
        if loss > limit and loss > 2 * self._first_loss():
            raise DivergedError(
                f"After the first epoch of fine-tuning the validation log-loss is {loss:.3g}, far "
                f"above {math.log(num_classes):.3g}, which is what answers without any knowledge "
                "have: the steps are too long, or the labels do not belong to the images.",
                f"Try --learning-rate {self._learning_rate / 10:g}, or look for a rate with "
                "--find-lr.",
            )

    def _first_loss(self) -> float:
        """Return the validation loss of the weights before the first step."""
        now = [np.array(variable.numpy()) for variable in self._variables]
        self._assign(self._first)
        first, _ = self._judged(self._forward_all())
        self._assign(now)
        return first

    def go_on(self, history: Sequence[dict[str, Any]], best: Sequence[Kept], late: Kept) -> None:
        """Know what an interrupted run knew, in place.

        Args:
            history: Its rows.
            best: Its best checks, the best first.
            late: Its late one, see `kerastl.training.kept.KeptChecks`.
        """
        self.history = list(history)
        self.kept.go_on(best, late)
        self._step = len(self.history) * self._epoch_steps
        self._advance(self._step)

    def trace(self, model: keras.Model) -> None:
        """Trace what validates now: in what the layers compute in now, whatever they train in.

        Args:
            model: The one that will be trained.
        """
        self.set_model(model)
        _ = self._forward

    def measure(self, weights: list[NDArray[Any]]) -> Kept:
        """Return other weights with their validation loss and answers; they stay in the model.

        Args:
            weights: Of the variables, in their order.
        """
        self._assign(weights)
        probabilities = self._forward_all()
        return Kept(math.nan, self._losses(probabilities), weights, probabilities)

    def put_back(self, kept: Kept) -> None:
        """Give the model weights that were kept, in place."""
        self._assign(kept.weights)

    def _assign(self, weights: Sequence[NDArray[Any]]) -> None:
        """Give the model other weights, in place."""
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)

    def _losses(self, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the loss of each image that checks are compared by."""
        if self.model.loss.name == "binary_crossentropy":
            return tempered_losses(self._targets, probabilities)
        labels = self._targets.argmax(axis=1)
        return tempered_losses(labels, probabilities, class_weights=self._class_weights)

    def _judged(self, probabilities: NDArray[np.float32]) -> tuple[float, float]:
        """Return the log-loss in nats, without penalties on weights, and the accuracy."""
        if self.model.loss.name == "binary_crossentropy":
            right = np.all((probabilities >= 0.5) == (self._targets >= 0.5), axis=1)
            return log_loss_nats(self._targets, probabilities), float(right.mean())
        labels = self._targets.argmax(axis=1)
        loss = log_loss_nats(labels, probabilities, class_weights=self._class_weights)
        return loss, float(np.mean(probabilities.argmax(axis=1) == labels))

    def _forward_all(self) -> NDArray[np.float32]:
        """Return the probabilities of the validation images."""
        return np.concatenate([self._forward(batch).numpy() for batch in self._inputs()])

    @functools.cached_property
    def _forward(self) -> Callable[[Any], Any]:
        """The model in inference mode, traced once for batches of any size."""
        inputs = self.model.inputs
        specs = [tf.TensorSpec((None, *one.shape[1:]), tf.float32) for one in inputs]

        @tf.function(input_signature=specs)
        def forward(*batch: Any) -> Any:
            return self.model(list(batch) if len(batch) > 1 else batch[0], training=False)

        answer = halving(forward.get_concrete_function(), what="validating")

        def call(batch: Any) -> Any:
            parts = batch if isinstance(batch, list) else [batch]
            return answer(*(tf.cast(part, tf.float32) for part in parts))

        return call
