"""Optimizers with a rule for each variable: its rate, its decay, and when it begins to move.

Keras has one rate for all variables of an optimizer (keras #414, #5920). Here a rule is found by a
variable's path, so it survives save and load; it acts inside the update of that variable, so
it holds under mixed precision (`LossScaleOptimizer` hands on to this). Under a strategy of
`tf.distribute` it is meant to hold likewise, which was not run.

Until a variable begins to move, its gradients are 0: they count neither in the norm that is
clipped, where those of a whole frozen network would leave little to the head, nor in moments. So
these begin with the variable, as where frozen layers are not in the optimizer yet (ULMFiT, fastai).
Moments of before would be of gradients that nobody clipped: one large squared gradient makes a
thousand steps of Adam small.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerastl.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class VariableRule:
    """How a variable is updated.

    Attributes:
        rate: What the learning rate is multiplied by for it.
        decay: Part of the distance to 0 that it loses in a step, times its rate (decoupled, as in
            AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101).
        towards_start: Whether the decay is towards the value before the first step, not 0: L2-SP,
            Li et al. 2018, arXiv:1802.01483, decoupled likewise.
        start_step: The first step that it moves in.
    """

    rate: float = 1.0
    decay: float = 0.0
    towards_start: bool = False
    start_step: int = 0


def rule_keys(variables: Iterable[keras.Variable]) -> list[str]:
    """Return by what the rule of each variable is found: its path, numbered where others have it.

    Two layers of one name in one model (the backbone's and the head's) have variables of one path.

    Args:
        variables: The trainable ones of a model, in its order.

    Example:
        >>> layers = [keras.layers.Dense(1, name="same") for _ in range(2)]
        >>> for layer in layers:
        ...     layer.build((None, 1))
        >>> rule_keys([layer.kernel for layer in layers])
        ['same/kernel', 'same/kernel#2']
    """
    seen: Counter[str] = Counter()
    keys = []
    for variable in variables:
        seen[variable.path] += 1
        number = seen[variable.path]
        keys.append(variable.path if number == 1 else f"{variable.path}#{number}")
    return keys


class RuledUpdates(keras.optimizers.Optimizer):
    """What the optimizers below have in common. Mixed in before an optimizer of Keras.

    Args:
        rules: From the path of a variable to its `VariableRule`, or to its values in order;
            variables without one are updated plainly.
        options: Of the optimizer.
    """

    def __init__(self, *, rules: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._rules = {
            path: rule if isinstance(rule, VariableRule) else VariableRule(*rule)
            for path, rule in (rules or {}).items()
        }
        self._starts: dict[int, Any] = {}
        self._keys: list[str] = []

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the optimizer's own variables; what is drawn to its start is remembered there."""
        if self.built:
            return
        super().build(variables)
        self._keys = rule_keys(variables)
        for index, variable in enumerate(variables):
            rule = self._rules.get(self._keys[index])
            if rule is not None and rule.towards_start and rule.decay:
                # `fit` may build inside its graph, where a value is to be had in no other way.
                with tf.init_scope():
                    value = np.array(variable.numpy())
                self._starts[index] = self.add_variable_from_reference(
                    variable, name="start", initializer=keras.initializers.Constant(value)
                )

    def _backend_apply_gradients(self, grads: list[Any], trainable_variables: list[Any]) -> None:
        """Do what Keras does with unscaled gradients, clipping first, without what has not begun.

        Keras' own hook: `apply` does not know yet which variables have a gradient.
        """
        grads = [
            self._if_begun(gradient, variable)
            for gradient, variable in zip(grads, trainable_variables, strict=True)
        ]
        super()._backend_apply_gradients(grads, trainable_variables)

    def _if_begun(self, gradient: Any, variable: Any) -> Any:
        """Return a gradient, or zeros in place of it before the first step of its variable."""
        rule = self._rules.get(self._keys[self._get_variable_index(variable)])
        if rule is None or not rule.start_step:
            return gradient
        gradient = keras.ops.convert_to_tensor(gradient)
        # Not a product: what is not finite stays so times 0.
        return keras.ops.where(
            self.iterations >= rule.start_step, gradient, keras.ops.zeros_like(gradient)
        )

    def _late_start(self, start_step: int, dtype: str) -> Any:
        """Return what the rate is multiplied by for a variable that begins at a later step."""
        del start_step, dtype
        return 1.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable by its rule.

        Args:
            gradient: Of the loss.
            variable: To update.
            learning_rate: Of the step.
        """
        index = self._get_variable_index(variable)
        rule = self._rules.get(self._keys[index])
        if rule is None:
            super().update_step(gradient, variable, learning_rate)
            return
        rate = keras.ops.cast(learning_rate, variable.dtype) * rule.rate
        if rule.start_step:
            begun = self.iterations >= rule.start_step
            rate = rate * keras.ops.cast(begun, variable.dtype)
        if rule.decay:
            start = self._starts.get(index)
            distance = keras.ops.convert_to_tensor(variable)
            if start is not None:
                distance = distance - keras.ops.convert_to_tensor(start)
            self.assign_sub(variable, distance * rule.decay * rate)
        if rule.start_step:
            rate = rate * self._late_start(rule.start_step, variable.dtype)
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """Return the options, rules included."""
        rules = {path: list(dataclasses.astuple(rule)) for path, rule in self._rules.items()}
        return {**super().get_config(), "rules": rules}


@keras.saving.register_keras_serializable("kerastl")
class RuledAdam(RuledUpdates, keras.optimizers.Adam):
    """Adam; with decay in its rules AdamW."""

    def _late_start(self, start_step: int, dtype: str) -> Any:
        """Return what makes the correction for moments that begin at 0 that of the first steps.

        Keras corrects by the optimizer's steps, a thousand of which ask for none: the moments of a
        variable that begins then made its steps up to five times as long.
        """
        step = keras.ops.cast(self.iterations + 1, dtype)
        own_step = keras.ops.maximum(step - start_step, 1)

        def correction(count: Any) -> Any:
            second = keras.ops.sqrt(1 - keras.ops.power(self.beta_2, count))
            return second / (1 - keras.ops.power(self.beta_1, count))

        return correction(own_step) / correction(step)


@keras.saving.register_keras_serializable("kerastl")
class RuledSGD(RuledUpdates, keras.optimizers.SGD):
    """SGD with momentum."""


@keras.saving.register_keras_serializable("kerastl")
class RuledRMSprop(RuledUpdates, keras.optimizers.RMSprop):
    """RMSprop."""


@keras.saving.register_keras_serializable("kerastl")
class RuledLion(RuledUpdates, keras.optimizers.Lion):
    """Lion (Chen et al. 2023, arXiv:2302.06675)."""


# By name the class and its own options.
OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "adamw": (RuledAdam, {}),
    "adam": (RuledAdam, {}),
    "sgd": (RuledSGD, {"momentum": 0.9}),
    "rmsprop": (RuledRMSprop, {}),
    "lion": (RuledLion, {}),
}


def build_optimizer(
    name: str,
    *,
    learning_rate: Any,
    rules: Mapping[str, VariableRule],
    clip_norm: float | None = None,
    ema_momentum: float | None = None,
) -> keras.optimizers.Optimizer:
    """Return an optimizer of Keras that follows a rule for each variable.

    Args:
        name: One of `OPTIMIZERS`.
        learning_rate: A number or a schedule.
        rules: From the path of a variable to its rule.
        clip_norm: Largest global norm of the gradients.
        ema_momentum: Of the moving average of the weights; None for no average.

    Raises:
        ConfigError: There is no such optimizer.

    Example:
        >>> build_optimizer("sgd", learning_rate=0.1, rules={}).momentum
        0.9
    """
    if name not in OPTIMIZERS:
        raise ConfigError(
            f"`optimizer` must be one of {', '.join(OPTIMIZERS)}; received optimizer={name!r}."
            f"{did_you_mean(name, list(OPTIMIZERS))}"
        )
    kind, options = OPTIMIZERS[name]
    if ema_momentum is not None:
        options = {**options, "use_ema": True, "ema_momentum": ema_momentum}
    optimizer: keras.optimizers.Optimizer = kind(
        learning_rate=learning_rate, global_clipnorm=clip_norm, rules=rules, **options
    )
    return optimizer
