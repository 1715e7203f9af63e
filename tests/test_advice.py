"""What to try next: commands that can be typed, in the report of a run."""

import dataclasses
import json
import re
import shlex
import types

import keras
import numpy as np
import pytest

import kerastl
from kerastl import tune
from kerastl.advice import advice_of
from kerastl.config import FitConfig, fit_words
from kerastl.config_file import config_from_mapping
from kerastl.errors import ConfigError
from kerastl.evaluation.diagnosis import FITS, Diagnosis
from kerastl.fit import build_app
from kerastl.training.recipes import Job, find_recipe

_BUILD_APP = {"kerastl.fit": build_app, "kerastl.tune": tune.build_app}


def two_layers():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(8, 3)(x), name="mine")


@pytest.fixture(scope="module")
def finished(colour_folder, tmp_path_factory):
    config = FitConfig(
        str(colour_folder),
        fine_tune_epochs=2,
        learning_rate=5e-5,
        image_size=(32, 32),
        unfreeze_blocks=2,
        out=str(tmp_path_factory.mktemp("run") / "run"),
    )
    return kerastl.run(config)


def test_the_report_says_what_the_curves_say_and_what_to_type(finished):
    metrics = json.loads((finished.path / "metrics.json").read_text())
    page = (finished.path / "report.html").read_text()
    assert metrics["diagnosis"]["verdict"] in ("overfits", "underfits", "fits", "no gain")
    assert "What to try next" in page
    assert "Every number of the training" in page
    environment = json.loads((finished.path / "environment.json").read_text())
    assert environment["recipe"]["learning_rate"] == 5e-5
    assert environment["recipe"]["schedule"] == "cosine"
    commands = re.findall(r"<li>[^<]*<pre>(.*?)</pre>", page)
    assert 1 <= len(commands) <= 3
    for command in commands:
        words = shlex.split(command.replace("&#39;", "'").replace("&amp;", "&"))
        assert words[:2] == ["python", "-m"]
        _BUILD_APP[words[2]](words[3:]).parse_args(words[3:], exit_on_error=False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_size": (24, 32), "export": True, "interpolate": False, "soup": 3},
        {"fold": "2/5", "learning_rate": 1e-5, "unfreeze_blocks": "all", "views": 3},
    ],
)
def test_what_is_typed_is_the_same_configuration(options):
    config = FitConfig("my photos/it's", **options)
    words = shlex.split(fit_words(config))
    _, bound, _ = build_app(words).parse_args(words, exit_on_error=False)
    assert bound.arguments["config"] == config
    assert config_from_mapping({"data": "x", "recipe": "bit"}).recipe == "bit"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"augment": "mirrors"}, ["--tta", "--max-minutes 60", "--soup 3"]),
        ({"augment": "mirrors", "tta": True}, ["--max-minutes 60", "--soup 3"]),
        ({"augment": "none"}, ["--max-minutes 60", "--soup 3"]),
    ],
)
def test_where_nothing_is_wrong_mirror_images_and_a_search_are_left(options, expected):
    job = Job(num_train=100, num_parameters=1000, num_blocks=4)
    record = types.SimpleNamespace(
        config=FitConfig("photos", image_size=64, export=True, **options),
        network=types.SimpleNamespace(image_size=(64, 64)),
        recipe=find_recipe("default", job),
        own_parts=False,
    )
    metrics = {"kept": "probe", "groups": None, "probe": {"val": {}}}
    found = advice_of(record, metrics, Diagnosis(FITS, "Nothing is wrong."))
    assert len(found) == len(expected)
    assert all(words in one.command for one, words in zip(found, expected, strict=True))
    for advice in found:
        words = shlex.split(advice.command)
        app = _BUILD_APP[words[2]](words[3:])
        app.parse_args(words[3:], exit_on_error=False)
        assert ("--export" in words) == (words[2] == "kerastl.fit")


def test_after_a_training_that_went_wrong_shorter_steps_are_advised():
    record = types.SimpleNamespace(
        config=FitConfig("photos", fine_tune_epochs=2, learning_rate=10.0, optimizer="sgd"),
        experiment=types.SimpleNamespace(diverged=True),
        recipe=types.SimpleNamespace(value={"learning_rate": 10.0}.__getitem__),
        own_parts=False,
    )
    found = advice_of(record, {"kept": "probe", "groups": None, "probe": {"val": {}}}, None)
    start = "python -m kerastl.fit photos --fine-tune-epochs 2 --learning-rate"
    assert [one.command for one in found] == [
        f"{start} 1.0 --optimizer sgd",
        f"{start} 10.0 --optimizer sgd --find-lr",
    ]


def test_a_run_from_python_gets_no_command_that_is_another_run(colour_folder, tmp_path):
    config = FitConfig(
        str(colour_folder), fine_tune_epochs=1, image_size=(24, 24), out=str(tmp_path / "run")
    )
    done = kerastl.run(config, backbone=two_layers(), preprocessing="tf")
    page = (done.path / "report.html").read_text()
    assert "What to try next" in page
    assert not re.findall(r"<li>[^<]*<pre>", page)


def test_a_first_epoch_of_chaos_ends_fine_tuning_with_a_hint(painter, tmp_path, caplog):
    """The probe is what is left, and the report says why."""
    config = FitConfig(
        str(painter(tmp_path / "photos", per_class=20)),
        fine_tune_epochs=3,
        learning_rate=9.0,
        optimizer="sgd",
        clip_norm=0.0,
        schedule="constant",
        image_size=(24, 24),
        batch_size=4,
        out=str(tmp_path / "run"),
    )
    done = kerastl.run(config, backbone=two_layers(), preprocessing="tf")
    assert done.kept == "probe"
    assert "Fine-tuning was given up, the probe is what is left." in caplog.text
    assert "--learning-rate 0.9" in caplog.text
    page = (done.path / "report.html").read_text()
    assert "Fine-tuning was given up" in page
    assert "A tenth of the learning rate" in page  # no command here: the network came from Python
    assert done.metrics["kept_because"].startswith("Fine-tuning was given up")
    probe = kerastl.run(
        dataclasses.replace(config, fine_tune_epochs=0, out=str(tmp_path / "probe")),
        backbone=two_layers(),
        preprocessing="tf",
    )
    for one, other in zip(done.model.get_weights(), probe.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_chosen_learning_rate_can_be_typed(colour_folder, tmp_path, monkeypatch):
    """--find-lr: a folder with numbers and a picture, and nothing trained."""
    from kerastl import rate_sweep

    monkeypatch.setattr(
        "kerastl.rate_sweep.prepare",
        lambda *given, **options: kerastl.prepared.prepare(
            *given, **options, backbone=two_layers(), preprocessing="tf"
        ),
    )
    config = FitConfig(
        str(colour_folder), image_size=(24, 24), fine_tune_epochs=4, out=str(tmp_path / "rates")
    )
    found = rate_sweep.find_rates(config)
    lines = (found.path / "learning_rates.csv").read_text().splitlines()
    assert lines[0] == "kind,learning_rate,loss"
    assert {line.split(",")[0] for line in lines[1:]} == {"step", "4 epochs"}
    assert (found.path / "learning_rates.png").stat().st_size > 5_000
    assert f"--learning-rate {float(f'{found.sweep.suggestion:.1e}')}" in found.summary_lines[-1]
    assert np.isfinite(found.sweep.suggestion)


def test_a_search_for_a_rate_keeps_the_promises_of_a_fit(colour_folder, tmp_path, monkeypatch):
    from kerastl import rate_sweep
    from kerastl.features.shelf import NO_STORE

    given = {}

    def prepared(*words, **options):
        given["deadline"] = options["deadline"]
        return kerastl.prepared.prepare(
            *words, **options, backbone=two_layers(), preprocessing="tf"
        )

    class ReachedError(Exception):
        pass

    def searched(*_, store, phase, **__):
        given.update(store=store, of_phase=phase.deadline)
        raise ReachedError

    monkeypatch.setattr("kerastl.rate_sweep.prepare", prepared)
    monkeypatch.setattr("kerastl.rate_sweep.find_learning_rate", searched)
    monkeypatch.setattr("kerastl.rate_sweep.become_deterministic", lambda _: None)
    config = FitConfig(
        str(colour_folder),
        image_size=(24, 24),
        fine_tune_epochs=4,
        max_minutes=3,
        deterministic=True,
        out=str(tmp_path / "rates"),
    )
    with pytest.raises(ReachedError):
        rate_sweep.find_rates(config)
    assert given["store"] is NO_STORE
    assert given["deadline"].words == given["of_phase"].words == "--max-minutes 3"
    with pytest.raises(ConfigError, match="Leave out --resume"):
        rate_sweep.find_rates(dataclasses.replace(config, resume=True))
