"""Recipes: pure functions of sizes, every number with its source."""

import pytest

from kerastl.errors import ConfigError
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
