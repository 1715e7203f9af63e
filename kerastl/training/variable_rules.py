"""Which variable moves how fast: by its depth, its kind, and when its block is unfrozen."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from kerastl.training.optimizers import VariableRule, rule_keys

# They shift and scale; nothing is gained by making them small. The names are of those with several
# axes, as the biases of attention; a vector is one by its shape: the scale of ConvNeXt's branches
# has no name in Keras.
_WITHOUT_DECAY = ("bias", "gamma", "beta")


def variable_rules(
    model: keras.Model,
    depths: Mapping[int, int],
    *,
    weight_decay: float = 0.0,
    layer_decay: float = 1.0,
    l2_sp: float = 0.0,
    steps_per_block: int = 0,
) -> dict[str, VariableRule]:
    """Return the rule of every variable that a phase trains.

    Args:
        model: Whose trainable variables are trained.
        depths: From the `id` of a variable of the backbone to its block, 1 for the top one, see
            `kerastl.models.depth`; the others are the head's.
        weight_decay: Towards 0, on kernels: what has two axes or more, and is no bias.
        layer_decay: The rate of the head times this, once for each block down: 0.9 in AutoGluon,
            0.7 to 0.8 for ConvNeXt, 1/2.6 in ULMFiT; 1 for one rate.
        l2_sp: Decay of the backbone's kernels towards what they were before the first step, in
            place of that towards 0 (Li et al. 2018, arXiv:1802.01483).
        steps_per_block: Gradual unfreezing: the head begins, each block so many steps after the
            one above it (ULMFiT: an epoch); 0 for all at once.

    Returns:
        From the key of a variable (`kerastl.training.optimizers.rule_keys`) to its rule.

    Example:
        >>> features = keras.Input((4,))
        >>> model = keras.Model(features, keras.layers.Dense(2, name="head")(features))
        >>> variable_rules(model, {}, weight_decay=0.1)["head/bias"].decay
        0.0
    """
    rules = {}
    keys = rule_keys(model.trainable_variables)
    for key, variable in zip(keys, model.trainable_variables, strict=True):
        depth = depths.get(id(variable), 0)
        decays = len(variable.shape) > 1 and variable.path.rpartition("/")[2] not in _WITHOUT_DECAY
        towards_start = bool(l2_sp) and depth > 0
        rules[key] = VariableRule(
            rate=layer_decay**depth,
            decay=(l2_sp if towards_start else weight_decay) if decays else 0.0,
            towards_start=towards_start,
            start_step=depth * steps_per_block,
        )
    return rules
