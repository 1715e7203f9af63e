"""Models that are compiled to take the steps of a phase, one for each precision that is tried."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.models.classifier import ClassifierParts
from kerastl.models.frozen import one_batch, taken_back
from kerastl.models.mixed_precision import computing_in
from kerastl.training.compilation import compile_for_training
from kerastl.training.material import Material
from kerastl.training.phase import Phase
from kerastl.training.split_step import model_for_steps
from kerastl.training.step_precision import StepPrecision, choose_step_precision


class PreparedSteps:
    """What can take the steps of a phase.

    Args:
        material: What is trained, and on what.
        parts: Of the classifier. Preprocessing, pooling and head stay float32: there are the
            pixels, and the sums that the loss is computed from.
        phase: How to train.
        targets: float32 of shape (batch, num_classes), of the first batch.
        images_at_once: Images that go through the network together in a step; None for all.
        epoch_steps: Steps of an epoch.
        depths: See `kerastl.training.compilation.compile_for_training`.
    """

    def __init__(
        self,
        material: Material,
        parts: ClassifierParts,
        phase: Phase,
        *,
        targets: NDArray[np.float32],
        images_at_once: int | None,
        epoch_steps: int,
        depths: Mapping[int, int] | None = None,
    ) -> None:
        self._material, self._phase, self._targets = material, phase, targets
        self._images_at_once = images_at_once
        self._epoch_steps, self._num_steps = epoch_steps, epoch_steps * phase.epochs
        self._depths = depths or {}
        self._models: dict[str, keras.Model] = {}
        exact = {
            id(layer)
            for part in (parts.preprocessing, parts.pooling, *parts.head)
            for layer in part._flatten_layers()
        }
        self._layers = [
            layer
            for layer in material.model._flatten_layers(include_self=False)
            if id(layer) not in exact
        ]
        self.batches = material.batches()
        self.weighted = len(self.batches.element_spec) == 3

    def model(self, policy: str) -> keras.Model:
        """Return the model that computes by a policy, compiled; the same one every time."""
        if policy not in self._models:
            model = model_for_steps(self._material.model, images_at_once=self._images_at_once)
            compile_for_training(
                model,
                self._phase,
                epoch_steps=self._epoch_steps,
                depths=self._depths,
                policy=policy,
            )
            self._models[policy] = model
        return self._models[policy]

    def choose(self) -> StepPrecision:
        """Choose the precision, by one step of each that may do; weights are put back."""
        chosen = choose_step_precision(
            self._phase.precision, seconds_of_step=self._seconds, num_steps=self._num_steps
        )
        # The others, and the states of their optimizers, would stay as long as the training.
        self._models = {chosen.policy: self.model(chosen.policy)}
        return chosen

    def take(self, policy: str) -> StepPrecision:
        """Take a precision that was chosen before."""
        return StepPrecision(policy, "as before the interruption")

    @contextmanager
    def computing(self, policy: str) -> Iterator[keras.Model]:
        """Give the model of a policy; the training step must be traced inside the block."""
        with computing_in(self._layers, policy):
            yield self.model(policy)

    def _seconds(self, policy: str) -> float:
        """Return the seconds of a step, and of handing it its batch."""
        self._phase.deadline.check()
        batch = one_batch(self._material.sample, self._targets, weighted=self.weighted)
        with self.computing(policy) as model, taken_back(model):
            started = time.perf_counter()
            model.fit(batch, shuffle=False, verbose=0)
            return time.perf_counter() - started
