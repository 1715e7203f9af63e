"""--tune: exactly the blocks that are named and the head move, bit for bit nothing else."""

import dataclasses
import re

import keras
import numpy as np
import pytest

from kerastl.config import FitConfig
from kerastl.errors import ConfigError, FrozenPartError
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier, parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import prove_frozen, training_view
from kerastl.models.network import build_network
from kerastl.plan import find_settings
from kerastl.training.compilation import compile_for_training
from kerastl.training.memory_estimate import estimate_memory
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot
from kerastl.training.variable_rules import variable_rules

SIZE = (16, 16)
ROWS = np.arange(60)
TRAIN, VAL = ROWS[ROWS % 5 != 4], ROWS[ROWS % 5 == 4]
TARGETS = one_hot(ROWS % 3, num_classes=3)
PHASE = Phase(epochs=2, learning_rate=1e-2, batch_size=8, augment="none", patience_epochs=9)


def own_backbone():
    """Four blocks with all that may act in training: BatchNorm, Dropout, residuals."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    x = inputs
    for block in range(1, 5):
        y = keras.layers.Conv2D(5, 3, padding="same", name=f"conv{block}")(x)
        y = keras.layers.BatchNormalization(name=f"norm{block}")(y)
        y = keras.layers.Dropout(0.2, name=f"drop{block}")(keras.layers.ReLU()(y))
        x = keras.layers.Add(name=f"end{block}")([x, y]) if block > 1 else y
        if block == 1:
            x = keras.layers.MaxPooling2D(name="end1")(x)
    backbone = keras.Model(inputs, x, name="net")
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, 5))
            layer.moving_variance.assign(np.linspace(0.5, 2, 5))
    return backbone


def prepared(*, stages=False, **options):
    network = build_network("own", own=own_backbone(), stage_features=stages, **options)
    classifier = build_classifier(
        network.backbone,
        num_classes=3,
        image_size=SIZE,
        preprocessing="tf",
        pooling="stages" if stages else "avg",
        seed=0,
    )
    return network, classifier


def tuned(images, network, classifier, **changes):
    return fine_tune(
        classifier,
        images,
        TARGETS,
        train_rows=TRAIN,
        val_rows=VAL,
        border=network.border,
        all_borders=network.borders,
        phase=dataclasses.replace(PHASE, frozen_above=network.frozen_above, **changes),
    )


def values(classifier):
    return {id(v): np.array(v.numpy()) for v in classifier.variables}


def moved(before, classifier):
    """Which variables are other bits than before; the random states of Dropout are variables."""
    return {
        re.sub(r"^net/", "", variable.path)
        for variable in classifier.variables
        if not np.array_equal(before[id(variable)], variable.numpy())
    }


HEAD = {"probabilities/kernel", "probabilities/bias"}
ENDS = {"1": (1, 1), "2": (2, 2), "2-3": (2, 3), "middle": (2, 3), "1-3": (1, 3), "3-4": (3, 4)}


def kernels(tune, *, kinds=("conv{}/kernel", "conv{}/bias")):
    first, last = ENDS[tune]
    return {kind.format(block) for block in range(first, last + 1) for kind in kinds}


@pytest.mark.parametrize("views", ["auto", "live"])
@pytest.mark.parametrize("tune", ["1", "2", "2-3", "3-4"])
def test_exactly_these_blocks_and_the_head_move(images, tune, views):
    network, classifier = prepared(tune=tune)
    before = values(classifier)
    result = tuned(images, network, classifier, views=views)
    draws = {path for path in moved(before, classifier) if path.endswith("seed_generator_state")}
    assert moved(before, classifier) - draws == HEAD | kernels(tune)
    first, last = ENDS[tune]
    assert len(draws) == last - first + 1, "Dropout draws in these blocks alone"
    assert result.plan.num_views == (1 if first > 1 and views == "auto" else 0)
    sizes = (5 * 9 * 3 + 5 if block == 1 else 5 * 9 * 5 + 5 for block in range(first, last + 1))
    assert result.num_trainable == sum(sizes) + 5 * 3 + 3
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(answers, result.val_probabilities, atol=1e-5)


AFFINE = ("norm{}/gamma", "norm{}/beta")
STATISTICS = ("norm{}/moving_mean", "norm{}/moving_variance")
KERNELS = ("conv{}/kernel", "conv{}/bias")


@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        ("affine", KERNELS + AFFINE),
        ("train", KERNELS + AFFINE + STATISTICS),
        ("only", AFFINE),
    ],
)
def test_a_policy_of_batch_norm_holds_in_these_blocks_alone(images, policy, kinds):
    network, classifier = prepared(tune="2")
    before = values(classifier)
    tuned(images, network, classifier, batch_norm=policy)
    found = {path for path in moved(before, classifier) if "seed_generator" not in path}
    assert found == HEAD | kernels("2", kinds=kinds)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16"},
        {"accumulate_steps": 3},
        {"ema_momentum": 0.9, "soup": 2, "interpolate": True, "l2_sp": 0.1, "optimizer": "sgd"},
    ],
)
def test_other_levers_move_nothing_else(images, changes):
    network, classifier = prepared(tune="2")
    before = values(classifier)
    tuned(images, network, classifier, **changes)
    found = {path for path in moved(before, classifier) if "seed_generator" not in path}
    assert found == HEAD | kernels("2")


def test_a_layer_that_is_used_above_too_is_frozen(images):
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(3, 3, name="low")(inputs))
    x = keras.layers.Conv2D(3, 3, padding="same", name="own")(shared(x))
    x = shared(keras.layers.MaxPooling2D()(x))
    network = build_network("own", own=keras.Model(inputs, x, name="net"), tune="2")
    classifier = build_classifier(
        network.backbone, num_classes=3, image_size=SIZE, preprocessing="tf", seed=0
    )
    before = values(classifier)
    tuned(images, network, classifier)
    assert moved(before, classifier) == HEAD | {"own/kernel", "own/bias"}


def test_features_of_all_stages_pass_the_trained_part_by(images):
    network, classifier = prepared(tune="2", stages=True)
    before = values(classifier)
    tuned(images, network, classifier)
    found = {path for path in moved(before, classifier) if "seed_generator" not in path}
    assert found == HEAD | kernels("2")


def test_the_step_is_proven(images):
    """What is frozen above is among what must not move; the proof fails if it is not frozen."""
    network, classifier = prepared(tune="2")
    view = training_view(classifier, border=network.border, frozen_above=network.frozen_above)
    still = {id(variable) for variable in view.must_not_move}
    for block in (3, 4):
        for name in ("conv", "norm", "drop"):
            for variable in network.backbone.get_layer(f"{name}{block}").variables:
                assert id(variable) in still, variable.path
    network.backbone.get_layer("conv4").trainable = True
    view.model.get_layer("frozen_above").trainable = True
    view.model.compile(keras.optimizers.SGD(0.1), loss="categorical_crossentropy")
    with pytest.raises(FrozenPartError, match="frozen variables moved in one training step"):
        prove_frozen(
            view.model,
            must_not_move=view.must_not_move,
            inputs=images[TRAIN[:8]],
            targets=TARGETS[TRAIN[:8]],
        )


def test_what_is_frozen_above_is_in_inference_mode(images):
    network, classifier = prepared(tune="2")
    view = training_view(classifier, border=network.border, frozen_above=network.frozen_above)
    network.backbone.get_layer("drop2").rate = 0.0
    batch = images[:8].astype(np.float32)
    np.testing.assert_allclose(
        view.model(batch, training=True), classifier(batch, training=False), atol=1e-5
    )


def test_a_later_cut_trains_again_what_was_frozen_above():
    network, classifier = prepared(tune="2")
    training_view(classifier, border=network.border, frozen_above=network.frozen_above)
    view = training_view(classifier, border=network.borders[-1])
    paths = {v.path for v in view.model.trainable_variables}
    assert {"conv4/kernel", "conv4/bias"} | HEAD == {re.sub(r"^net/", "", path) for path in paths}


@pytest.mark.parametrize("count", [1, 3])
def test_a_range_up_to_the_top_gives_the_numbers_of_unfreeze_blocks(images, count):
    runs = []
    for options in ({"unfreeze_blocks": count}, {"tune": f"{5 - count}-4"}):
        network, classifier = prepared(**options)
        result = tuned(images, network, classifier, layer_decay=0.8)
        runs.append((result.history, classifier.get_weights()))
    (history, weights), (other_history, other_weights) = runs
    assert history == other_history
    for one, other in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_depth_is_counted_from_the_highest_tuned_block():
    network, classifier = prepared(tune="2-3")
    backbone = parts_of(classifier).backbone
    depths = variable_depths(backbone, network.borders, frozen_above=network.frozen_above)
    found = {b: depths[id(backbone.get_layer(f"conv{b}").kernel)] for b in range(1, 5)}
    assert (found[3], found[2], found[1]) == (1, 2, 3)
    view = training_view(classifier, border=network.border, frozen_above=network.frozen_above)
    rules = variable_rules(view.model, depths, layer_decay=0.5, l2_sp=0.1, weight_decay=0.2)
    rates = {re.sub(r"^net/", "", path): rule.rate for path, rule in rules.items()}
    assert rates == {
        "conv2/kernel": 0.25,
        "conv2/bias": 0.25,
        "conv3/kernel": 0.5,
        "conv3/bias": 0.5,
        "probabilities/kernel": 1.0,
        "probabilities/bias": 1.0,
    }, "nothing that is frozen has a rule"
    phase = dataclasses.replace(PHASE, l2_sp=0.1)
    compile_for_training(view.model, phase, epoch_steps=5, depths=depths)
    view.model.optimizer.build(view.model.trainable_variables)
    starts = [v for v in view.model.optimizer.variables if "start" in v.path]
    assert len(starts) == 2, "conv2 and conv3 are drawn to their start"


def test_the_efficient_net_of_kerastl(images):
    """Blocks 5 and 6 of 17 by the names of their layers, kept views below, frozen blocks above."""
    network = build_network("EfficientNetLite0", weights="none", image_size=(32, 32), tune="5-6")
    assert network.tuned_words == "blocks 5 to 6 of 17"
    classifier = build_classifier(
        network.backbone,
        num_classes=3,
        image_size=network.image_size,
        preprocessing=network.preprocessing,
        seed=0,
    )
    before = values(classifier)
    result = fine_tune(
        classifier,
        images.repeat(2, axis=1).repeat(2, axis=2),
        TARGETS,
        train_rows=TRAIN[:8],
        val_rows=VAL[:4],
        border=network.border,
        all_borders=network.borders,
        phase=dataclasses.replace(PHASE, epochs=1, frozen_above=network.frozen_above),
    )
    assert result.plan.num_views == 1
    expected = {
        variable.path
        for variable in classifier.variables
        if re.search(r"(block3b|block4a)\w*_(conv|dwconv)/|probabilities/", variable.path)
    }
    now = {
        variable.path
        for variable in classifier.variables
        if not np.array_equal(before[id(variable)], variable.numpy())
        and not variable.path.endswith("seed_generator_state")
    }
    assert now == expected
    assert len(expected) == 2 * 3 + 2


def test_the_memory_of_what_is_learned_is_counted(images):
    """The optimizer keeps nothing for what is frozen above."""
    networks = {}
    for name, options in {"two": {"tune": "2"}, "from two": {"tune": "2-4"}}.items():
        network, classifier = prepared(**options)
        phase = dataclasses.replace(PHASE, frozen_above=network.frozen_above)
        networks[name] = estimate_memory(
            classifier,
            images,
            border=network.border,
            phase=phase,
            batch_size=8,
            num_train=40,
            num_val=10,
            store_bytes=0,
        )
    block = 4 * (5 * 9 * 5 + 5 + 4 * 5)
    more = networks["from two"].network - networks["two"].network
    assert 7 * 2 * block <= more <= 7 * 2 * (block + 100)
    assert networks["two"].work <= networks["from two"].work
    assert networks["two"].views == networks["from two"].views


def test_a_recipe_says_which_blocks(images):
    network, _ = prepared()
    for recipe, tune, words in (
        ("default", "first", "given: block 1 of 4"),
        ("bit", "2-3", "given: blocks 2 to 3 of 4"),
        ("fastai", "2-3", "given: blocks 2 to 3 of 4"),
        ("bn", "3-4", "given: the top 2 of 4 blocks"),
    ):
        config = FitConfig("photos", recipe=recipe, tune=tune)
        found, cut = find_settings(config, network, num_train=100)
        assert (found.value("tune"), found.settings["tune"].source) == (tune, words)
        assert "unfreeze_blocks" not in found.settings
        assert cut.tuned == network.tuning(tune).tuned
    fastai, _ = find_settings(
        FitConfig("photos", recipe="fastai", tune="2-3"), network, num_train=100
    )
    assert fastai.value("layer_decay") == pytest.approx(0.1)
    nothing, cut = find_settings(
        FitConfig("photos", tune="2", fine_tune_epochs=0), network, num_train=100
    )
    assert cut.tuned is None
    assert "tune" not in nothing.settings
    with pytest.raises(ConfigError, match="fits the probe alone"):
        find_settings(FitConfig("photos", tune="2", recipe="probe"), network, num_train=100)


def test_a_border_above_the_end_is_refused():
    _, classifier = prepared()
    low, _, high = borders(parts_of(classifier).backbone, None)
    with pytest.raises(ConfigError, match="from input to output, each above the one before"):
        training_view(classifier, border=high, frozen_above=low)
