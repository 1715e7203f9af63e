"""kerastl.tune: all trials begin alike, the recipe is the first, and fit takes what was found."""

import contextlib
import dataclasses
import math
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

import kerastl
import kerastl.fit
import kerastl.prepared
import kerastl.tune
from kerastl.config import FitConfig
from kerastl.deadline import TimeUpError
from kerastl.errors import ConfigError, DataError, DivergedError
from kerastl.features import frozen_pass, stored_features
from kerastl.models.network import build_network
from kerastl.plan import find_settings, read_table
from kerastl.training.phases import fine_tune
from kerastl.tuning import record, runs, search
from kerastl.tuning.levers import LEVERS, Lever, find_levers
from kerastl.tuning.oracle import search_values
from kerastl.tuning.search import search_recipe, told
from kerastl.tuning.trial import (
    COMPLETE,
    CUT_SHORT,
    DIVERGED,
    Trial,
    best_trial,
    judge,
    paired_difference,
)
from kerastl.workflow import train

SIZE = (32, 32)
NUM_TRIALS = 4


def small_network():
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((*SIZE, 3))
    for number in range(4):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    return keras.Model(inputs, x, name="mine")


OWN = {"preprocessing": "tf"}


class Watched:
    """Images that note which rows were looked at."""

    def __init__(self, images, seen):
        self._images, self._seen = images, seen
        self.shape = images.shape

    def __len__(self):
        return len(self._images)

    def __getitem__(self, key):
        self._seen.update(np.arange(len(self._images))[key].ravel().tolist())
        return self._images[key]


@pytest.fixture(scope="module")
def searched(colour_folder, tmp_path_factory):
    """One small search, and what happened in it."""
    config = FitConfig(
        str(colour_folder),
        image_size=SIZE,
        fine_tune_epochs=2,
        batch_size=8,
        augment="none",
        val_fraction=0.3,
        learning_rate=1e-3,
        soup=1,
        feature_cache="none",
        imbalance="sqrt",
        out=str(tmp_path_factory.mktemp("runs") / "trials"),
    )
    seen, starts, jobs, passed, found = set(), [], [], [], []
    trace = frozen_pass._trace

    def preparing(*arguments, **options):
        job = kerastl.prepared.prepare(*arguments, **options)
        pixels = dataclasses.replace(job.pixels, images=Watched(job.pixels.images, seen))
        jobs.append(dataclasses.replace(job, pixels=pixels))
        return jobs[-1]

    def tuning(classifier, *arguments, **options):
        assert options["class_weights"] is not None
        weights = [np.array(one) for one in classifier.get_layer("mine").get_weights()]
        weights += [np.array(one) for one in classifier.layers[-1].get_weights()]
        starts.append(weights)
        return fine_tune(classifier, *arguments, **options)

    def tracing(*arguments):
        run = trace(*arguments)
        return lambda pixels, *rest: passed.append(len(pixels)) or run(pixels, *rest)

    backbone = small_network()
    first = [np.array(one) for one in backbone.get_weights()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "prepare", preparing)
        patch.setattr(runs, "fine_tune", tuning)
        patch.setattr(frozen_pass, "_trace", tracing)
        patch.setattr(
            stored_features, "trace_forward", lambda *_: pytest.fail("the frozen part ran twice")
        )
        find_start = search.find_start
        patch.setattr(
            search, "find_start", lambda *a, **o: found.append(find_start(*a, **o)) or found[0]
        )
        result = search_recipe(config, trials=NUM_TRIALS, method="random", backbone=backbone, **OWN)
    return SimpleNamespace(
        config=config, result=result, job=jobs[0], seen=seen, starts=starts, passed=passed,
        backbone=backbone, first=first, start=found[0],
    )  # fmt: skip


def test_the_first_trial_is_the_recipe_as_it_stands(searched):
    trials, recipe = searched.result.trials, searched.job.recipe
    assert len(trials) == NUM_TRIALS
    for name, value in trials[0].values.items():
        assert value == (0.0 if name == "dropout" else recipe.value(name)), name
    assert searched.result.best.judged.loss == min(one.judged.loss for one in trials)
    assert len({tuple(one.values.items()) for one in trials}) == NUM_TRIALS


def test_what_is_given_is_not_searched(searched):
    given = {"learning_rate", "fine_tune_epochs", "soup"}
    for trial in searched.result.trials:
        assert set(trial.values) == set(LEVERS) - given


def test_all_trials_begin_at_the_same_probe(searched):
    first, *others = searched.starts
    assert len(others) == NUM_TRIALS - 1
    for start in others:
        for one, other in zip(first, start, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(searched.first, first, strict=False):
        np.testing.assert_array_equal(one, other)
    assert np.any(first[-2])  # the probe, no zeros
    for one, other in zip(searched.first, searched.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_test_image_is_read(searched):
    job = searched.job
    assert len(job.rows("test")) > 3
    assert searched.seen == {*job.rows("train").tolist(), *job.rows("val").tolist()}


def test_trials_share_what_leaves_the_frozen_part(searched):
    job = searched.job
    cuts = {trial.values["unfreeze_blocks"] for trial in searched.result.trials}
    assert len(cuts) < NUM_TRIALS  # or nothing is shown
    known = len(job.rows("train")) + len(job.rows("val"))
    assert known <= sum(searched.passed) <= len(cuts) * known


def test_the_table_and_the_pictures_say_the_same(searched):
    result = searched.result
    assert {path.name for path in result.path.iterdir()} == {
        "recipe.yaml", "trials.csv", "trials.png", "trials.svg",
    }  # fmt: skip
    rows = pd.read_csv(result.path / "trials.csv")
    assert rows["trial"].tolist() == [1, 2, 3, 4]
    for row, trial in zip(rows.to_dict("records"), result.trials, strict=True):
        assert row["validation_loss"] == pytest.approx(trial.judged.loss)
        assert row["validation_accuracy"] == pytest.approx(trial.judged.accuracy)
        assert (row["state"], row["epochs"]) == (COMPLETE, 2)
        assert row["layer_decay"] == trial.values["layer_decay"]
    text = "\n".join(result.summary_lines)
    assert f"probe   validation log-loss {result.probe_loss:.4f}" in text
    count = len(searched.job.rows("val"))
    assert f"4 trials, 4 compared on {count} images of validation" in text
    assert "optimistic" in text
    assert "--config" in result.summary_lines[-1]


def test_fit_takes_the_recipe_and_finds_the_same_loss(searched, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "kerastl.plan.find_network",
        lambda *_, **__: build_network("", own=small_network(), image_size=SIZE),
    )
    result = searched.result
    path = result.path / "recipe.yaml"
    came_from = path.read_text().splitlines()[0]
    assert came_from.endswith(f"--trials {NUM_TRIALS} --search random")
    options = yaml.safe_load(path.read_text())
    assert set(options) == {
        *LEVERS, "image_size", "batch_size", "augment", "val_fraction", "imbalance",
    }  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        kerastl.fit.main([searched.config.data, "--config", str(path), "--print-recipe"])
    assert caught.value.code == 0
    printed = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[2:]}
    for name, value in result.best.values.items():
        if name != "dropout":
            assert printed[name][1:] == [str(value), "given"]
    config = kerastl.FitConfig(searched.config.data, **options)
    table = read_table(config)
    # Not only that of the recipe.yaml: however many trials were before one, it is what fit does.
    for trial in (result.best, result.trials[-1]):
        one = dataclasses.replace(config, **trial.values)
        job = kerastl.prepared.prepare(
            one, table, directory=tmp_path, backbone=small_network(), **OWN
        )
        keras.utils.set_random_seed(one.seed)  # as `kerastl.run`
        answers = train(job, one, directory=tmp_path).answers
        assert answers["probe"].validation_loss == pytest.approx(result.probe_loss, rel=1e-4)
        found = answers["fine-tuned"].validation_loss
        assert found == pytest.approx(trial.judged.loss, rel=1e-3), trial.values


def test_trials_are_judged_as_a_fit_with_mirror_images_judges(colour_folder, tmp_path):
    config = FitConfig(
        str(colour_folder),
        image_size=SIZE,
        fine_tune_epochs=1,
        batch_size=8,
        augment="mirrors",
        tta=True,
        val_fraction=0.3,
        feature_cache="none",
        dropout=0.0,
        out=str(tmp_path / "trials"),
    )
    result = search_recipe(
        config, trials=1, given={"dropout"}, method="random", backbone=small_network(), **OWN
    )
    came_from = (result.path / "recipe.yaml").read_text().splitlines()[0]
    assert "--dropout 0.0" in came_from  # without it that command would search it
    job = kerastl.prepared.prepare(
        config, read_table(config), directory=tmp_path, backbone=small_network(), **OWN
    )
    keras.utils.set_random_seed(config.seed)
    answers = train(job, config, directory=tmp_path).answers
    assert answers["probe"].validation_loss == pytest.approx(result.probe_loss, rel=1e-4)
    found = answers["fine-tuned"].validation_loss
    assert found == pytest.approx(result.best.judged.loss, rel=1e-3)
    labels = job.table.labels[job.rows("val")]
    alone = judge(labels, answers["fine-tuned"].while_training, class_weights=None)
    assert found != pytest.approx(alone.loss, rel=1e-3)  # or nothing is shown


# The oracles, without any training.

SPACE = (
    Lever("learning_rate", 2e-4, span=(2e-5, 2e-3)),
    Lever("layer_decay", 0.7627, (0.65, 0.7627, 1.0)),
    Lever("batch_norm", "frozen", ("frozen", "affine")),
    Lever("soup", 1, (1, 3, 5)),
)


def tried(method="bayesian", *, seed=0, trials=14, stop=lambda: False, levers=SPACE):
    values = []

    def loss_of(one):
        values.append(one)
        return abs(math.log(one.get("learning_rate", 1.0) / 1e-3)) + one["soup"] / 5

    search_values(levers, loss_of, method=method, trials=trials, seed=seed, stop=stop)
    return values


@pytest.mark.parametrize("method", ["bayesian", "random"])
def test_the_same_seed_gives_the_same_trials(method, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = tried(method, trials=4)
    assert first[0] == {lever.name: lever.own for lever in SPACE}
    assert first == tried(method, trials=4)
    assert first[1] != tried(method, seed=1, trials=2)[1]
    assert len({tuple(one.items()) for one in first}) == 4
    for one in first[1:]:
        assert one["learning_rate"] == float(f"{one['learning_rate']:.2g}")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().out == ""


def test_the_model_of_the_losses_is_of_use():
    rates = [one["learning_rate"] for one in tried(trials=8)]
    assert min(abs(math.log(rate / 1e-3)) for rate in rates[3:]) < 0.7


def test_a_small_space_is_tried_once_and_the_budget_ends_a_search():
    combinations = tried("random", levers=SPACE[2:], trials=50)
    assert len(combinations) == 6
    asked = iter([False, False, True])
    assert len(tried(stop=lambda: next(asked))) == 2


def test_a_fault_in_a_trial_is_no_bad_trial():
    def broken(_values):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        search_values(SPACE, broken, method="random", trials=3, seed=0, stop=lambda: False)


# Searches whose trials are told, not trained.


@pytest.fixture
def pretended(searched, tmp_path, monkeypatch):
    """A search whose trials do what a list says: a part of right answers, or an exception."""
    config = dataclasses.replace(searched.config, imbalance="none", out=str(tmp_path / "trials"))
    start = dataclasses.replace(searched.start, class_weights=None)

    def searching(*outcomes, trials=None, **changes):
        left = iter(outcomes)

        def tuning(classifier, images, targets, *, val_rows, phase, **_options):
            outcome = next(left)
            if isinstance(outcome, tuple):
                outcome, words = outcome
            else:
                words = ""
            if not isinstance(outcome, float):
                raise outcome
            answers = np.full_like(targets[val_rows], (1 - outcome) / 2)
            answers[targets[val_rows] == 1] = outcome
            return SimpleNamespace(history=({},), val_probabilities=answers, cut_short=words)

        def starting(asked, *_arguments, deadline, **_options):
            return dataclasses.replace(start, config=asked, deadline=deadline)

        monkeypatch.setattr(record, "save_figure", lambda *_: None)
        monkeypatch.setattr(runs, "fine_tune", tuning)
        monkeypatch.setattr(search, "find_start", starting)
        return search_recipe(
            dataclasses.replace(config, **changes),
            trials=len(outcomes) if trials is None else trials,
            method="random",
        )

    return searching


def test_a_trial_that_diverges_is_a_trial(pretended):
    result = pretended(0.6, DivergedError("The loss became nan."), 0.9, 0.8)
    assert [one.state for one in result.trials] == [COMPLETE, DIVERGED, COMPLETE, COMPLETE]
    assert result.best.number == 3
    rows = pd.read_csv(result.path / "trials.csv")
    assert np.isnan(rows["validation_loss"][1])
    assert "4 trials (1 diverged), 3 compared on" in "\n".join(result.summary_lines)
    # Of a failure the search learns as of the worst.
    trials = result.trials
    assert told(trials[1], trials, probe_loss=0.1) == pytest.approx(-math.log(0.6), rel=1e-4)
    assert told(trials[1], trials, probe_loss=0.5) == 1.0


def test_where_all_diverge_there_is_no_recipe(pretended, tmp_path):
    with pytest.raises(DataError, match="Not one of 2 trials came to an end"):
        pretended(*[DivergedError("nan")] * 2)
    assert not (tmp_path / "trials").exists()


def test_the_recipe_stays_where_nothing_is_better(pretended):
    result = pretended(0.95, 0.5, 0.6)
    assert result.best.number == 1
    options = yaml.safe_load((result.path / "recipe.yaml").read_text())
    assert options["layer_decay"] == 1.0
    assert "No trial is better than the recipe" in "\n".join(result.summary_lines)


def test_the_deadline_ends_the_search(pretended, monkeypatch):
    asked = iter([False, False, True])  # before each trial

    class Clock:
        words = "--max-minutes 1"
        passed = property(lambda self: next(asked))

    monkeypatch.setattr(search, "deadline_after", lambda _minutes: Clock())
    result = pretended(0.7, (0.9, "--max-minutes 1: stopped"), trials=20)
    assert [one.state for one in result.trials] == [COMPLETE, CUT_SHORT]
    assert result.best.number == 1
    assert "(1 cut short), 1 compared" in "\n".join(result.summary_lines)


def test_without_any_time_nothing_is_left(pretended, tmp_path):
    for minutes, outcome in ((0.0, 0.9), (1.0, TimeUpError())):
        with pytest.raises(DataError, match=f"--max-minutes {minutes:g} was over .* Give more"):
            pretended(outcome, max_minutes=minutes)
    assert not (tmp_path / "trials").exists()


def test_ctrl_c_keeps_what_was_found(pretended, tmp_path, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        pretended(KeyboardInterrupt())
    assert not (tmp_path / "trials").exists()
    result = pretended(0.6, 0.8, KeyboardInterrupt(), trials=20)
    assert result.interrupted
    assert len(pd.read_csv(result.path / "trials.csv")) == 2
    assert "Interrupted in trial 3" in "\n".join(result.summary_lines)
    monkeypatch.setattr(search, "search_recipe", lambda *_, **__: result)
    with pytest.raises(SystemExit) as caught:
        kerastl.tune.main(["photos"])
    assert caught.value.code == 130
    assert "recipe.yaml" in capsys.readouterr().out


def test_another_failure_keeps_what_was_found_and_is_told(pretended, tmp_path):
    with pytest.raises(MemoryError):
        pretended(0.6, MemoryError())
    assert len(pd.read_csv(tmp_path / "trials" / "trials.csv")) == 1


# Pieces, mistakes, and the command line.


def test_levers_that_make_no_sense_are_left_alone():
    config = FitConfig("photos", image_size=SIZE)
    network = build_network("", own=small_network(), image_size=SIZE)

    def names(config, network=network, **options):
        recipe, _ = find_settings(config, network, num_train=100)
        return {one.name: one for one in find_levers(config, recipe, network, **options)}

    every = names(config)
    assert set(every) == set(LEVERS)
    for lever in every.values():
        assert lever.own in lever.choices or lever.span[0] < lever.own < lever.span[1]
    assert network.num_blocks not in every["unfreeze_blocks"].choices
    assert "dropout" not in names(dataclasses.replace(config, hidden_units=8))
    assert "dropout" not in names(config, given=("dropout",))
    assert "batch_norm" not in names(dataclasses.replace(config, recipe="bn"))
    assert "fine_tune_epochs" not in names(dataclasses.replace(config, recipe="gradual"))
    fastai = names(dataclasses.replace(config, recipe="fastai"))
    assert fastai["layer_decay"].own in fastai["layer_decay"].choices
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3, name="low")(inputs)
    plain = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="high")(x), name="plain")
    without = names(config, build_network("", own=plain, image_size=SIZE))
    assert not {"batch_norm", "unfreeze_blocks"} & set(without)


def test_comparisons():
    labels = np.array([0, 1, 1, 0])
    sure, unsure = (
        judge(labels, np.eye(2, dtype=np.float32)[labels] * p + (1 - p) / 2, class_weights=None)
        for p in (0.8, 0.2)
    )
    gain, error = paired_difference(sure, unsure, groups=None)
    assert gain == pytest.approx(unsure.loss - sure.loss)
    assert error == pytest.approx(0, abs=1e-6)
    assert paired_difference(sure, unsure, groups=np.zeros(4))[1] == np.inf  # of one group: unknown
    several = np.array([[1, 0], [1, 1]])
    both = judge(several, np.array([[0.9, 0.1], [0.9, 0.4]], np.float32), class_weights=None)
    assert both.accuracy == 0.5
    cut = Trial(1, {}, CUT_SHORT, sure, 1, 1.0)
    assert best_trial([cut]) is cut
    assert best_trial([cut, Trial(2, {}, COMPLETE, unsure, 1, 1.0)]).number == 2
    assert best_trial([Trial(1, {}, DIVERGED, None, 0, 1.0)]) is None


@pytest.mark.parametrize(
    ("changes", "options", "advice"),
    [
        ({}, {"trials": 0}, "from 1 to 10,000; received trials=0"),
        ({}, {"method": "bayes"}, "Did you mean 'bayesian'"),
        ({"resume": True}, {}, "Leave out --resume"),
        ({}, {"given": LEVERS}, "There is nothing to search"),
        ({"recipe": "probe"}, {}, "Leave out --recipe probe"),
    ],
)
def test_mistakes_are_one_line(colour_folder, tmp_path, changes, options, advice):
    config = FitConfig(str(colour_folder), image_size=SIZE, out=str(tmp_path / "trials"), **changes)
    with pytest.raises(ConfigError, match=advice):
        search_recipe(config, backbone=small_network(), **OWN, **options)
    assert not (tmp_path / "trials").exists()


def test_without_kerastuner_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(SystemExit) as caught:
        kerastl.tune.main(["photos"])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "Type: pip install keras-tuner" in err
    assert err.count("\n") == 1


def test_the_command_line_says_what_is_given(tmp_path, monkeypatch):
    asked = []

    def searching(config, **options):
        asked.append((config, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "search_recipe", searching)
    path = tmp_path / "recipe.yaml"
    path.write_text("soup: 1\nlayer_decay: null\n")
    words = ["photos", "--dropout", "0", "--learning-rate=1e-4", "--trials", "7", "--search"]
    with contextlib.suppress(SystemExit):
        kerastl.tune.main([*words, "random", "--config", str(path), "--max-minutes", "5"])
    ((config, options),) = asked
    assert (config.learning_rate, config.soup, config.max_minutes) == (1e-4, 1, 5)
    assert (options["trials"], options["method"]) == (7, "random")
    assert {"dropout", "learning_rate", "soup"} <= options["given"]
    assert "layer_decay" not in options["given"]
