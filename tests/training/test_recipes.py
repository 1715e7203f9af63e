"""Recipes: pure functions of sizes, every number with its source."""

import dataclasses

import keras
import pytest

from kerastl.config import FitConfig
from kerastl.errors import ConfigError
from kerastl.models.network import build_network
from kerastl.plan import find_settings
from kerastl.training.phase import Phase
from kerastl.training.recipes import RECIPES, Job, find_recipe, recipe_lines
from kerastl.training.schedules import SCHEDULES

SMALL = Job(num_train=1_000, num_parameters=3_400_000, num_blocks=17)
LARGE = Job(num_train=1_000_000, num_parameters=25_000_000, num_blocks=17)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("job", [SMALL, LARGE])
def test_every_number_has_a_source_and_fits_a_phase(name, job):
    recipe = find_recipe(name, job)
    assert set(recipe.settings) == set(find_recipe("default", job).settings)
    assert all(setting.source for setting in recipe.settings.values())
    names = set(recipe.settings) - {"unfreeze_blocks", "fine_tune_epochs"}
    phase = Phase(epochs=1, **{key: recipe.value(key) for key in names})
    assert phase.schedule in SCHEDULES
    assert 0 <= recipe.value("unfreeze_blocks") <= job.num_blocks
    lines = recipe_lines(recipe)
    assert lines[0].startswith(f"{name}: ")
    assert len(lines) == 2 + len(recipe.settings)
    assert find_recipe(name, job) == recipe  # pure


@pytest.mark.parametrize(
    ("num_train", "steps"), [(1_000, 500), (19_999, 500), (20_000, 10_000), (500_000, 20_000)]
)
def test_bit_counts_steps(num_train, steps):
    recipe = find_recipe("bit", Job(num_train, 25_000_000, 17))
    per_epoch = -(-num_train // 128)
    epochs = recipe.value("fine_tune_epochs")
    assert (epochs - 1) * per_epoch < steps <= epochs * per_epoch
    assert (recipe.value("optimizer"), recipe.value("weight_decay")) == ("sgd", 0.0)


def given(name, **options):
    """What find_settings shows for a network of 17 blocks, as --print-recipe."""
    job = dataclasses.replace(SMALL, num_train=40, given=options)
    recipe = find_recipe(name, job).with_given(options)
    return {key: (one.value, one.source) for key, one in recipe.settings.items()}


def test_bit_counts_the_steps_of_the_given_batches():
    assert given("bit")["fine_tune_epochs"][0] == 500
    shown = given("bit", batch_size=8)
    assert shown["fine_tune_epochs"][0] == shown["patience_epochs"][0] == 100  # of 5 steps
    assert shown["fine_tune_epochs"][1].startswith("500 steps")
    shown = given("bit", fine_tune_epochs=3)
    assert (shown["fine_tune_epochs"], shown["patience_epochs"][0]) == ((3, "given"), 3)


@pytest.mark.parametrize(
    ("options", "epochs", "patience", "words"),
    [
        ({}, 13, 13, "one for each of 9 blocks, and 4 with all of them"),
        ({"epochs_per_block": 2.0}, 22, 22, "2 for each of 9 blocks, and 4 with all of them"),
        ({"epochs_per_block": 0.5}, 9, 9, "0.5 for each of 9 blocks, and 4 with all of them"),
        ({"epochs_per_block": 0.0}, 32, 32, "800 steps, in 8 to 32 epochs"),  # as the default
        ({"fine_tune_epochs": 30}, 30, 30, "given"),
        ({"fine_tune_epochs": 30, "patience_epochs": 4}, 30, 4, "given"),
    ],
)
def test_gradual_waits_for_every_block(options, epochs, patience, words):
    shown = given("gradual", **options)
    assert shown["fine_tune_epochs"] == (epochs, words)
    assert shown["patience_epochs"][0] == patience


def test_reasons_are_left_with_what_they_are_of():
    plain = given("default")
    assert given("cyclical", schedule="exp-range")["fine_tune_epochs"][1].startswith("two cycles")
    for name in ("fine_tune_epochs", "patience_epochs"):
        assert given("cyclical", schedule="cosine")[name] == plain[name]
    for name in ("learning_rate", "weight_decay"):
        assert given("bn", batch_norm="affine")[name] == plain[name] != given("bn")[name]


def test_what_a_run_is_given_reaches_its_recipe():
    inputs = keras.Input((8, 8, 3))
    network = build_network("", own=keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs)))
    config = FitConfig("photos", recipe="bit", batch_size=8)
    assert find_settings(config, network, num_train=40)[0].value("fine_tune_epochs") == 100


def test_fastai_spans_two_decades_over_the_blocks():
    recipe = find_recipe("fastai", SMALL)
    assert recipe.value("layer_decay") ** 17 == pytest.approx(0.01, rel=0.01)


def test_what_is_given_wins_and_says_so():
    recipe = find_recipe("gradual", SMALL).with_given(
        {"learning_rate": 3e-3, "soup": None, "image_size": (3, 3)}
    )
    assert recipe.settings["learning_rate"].source == "given"
    assert recipe.value("learning_rate") == 3e-3
    assert recipe.value("soup") == 1
    assert "image_size" not in recipe.settings
    assert "given" in "\n".join(recipe_lines(recipe))


def test_a_wrong_name_is_one_clear_line():
    with pytest.raises(ConfigError, match="Did you mean 'gradual'"):
        find_recipe("gradul", SMALL)
