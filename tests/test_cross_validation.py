"""--folds: every image tested once, features shared, nothing leaks from fold to fold."""

import dataclasses
import itertools
import json
import os

import keras
import numpy as np
import pandas as pd
import pytest

import kerastl
from kerastl.config import FitConfig
from kerastl.cross_validation import cross_validate
from kerastl.errors import ConfigError, DataError, KerasTLError
from kerastl.features import frozen_pass, stored_features
from kerastl.features.locks import alone
from kerastl.training.checkpoint import CheckpointFile


def two_layers():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="low")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(8, 3, name="high")(x), name="mine")


@pytest.fixture
def config(colour_folder, tmp_path):
    return FitConfig(
        str(colour_folder),
        image_size=(24, 24),
        fine_tune_epochs=1,
        augment="none",
        learning_rate=1e-3,
        feature_cache="none",
        out=str(tmp_path / "folds"),
    )


def test_every_image_is_answered_once_by_a_model_that_had_not_seen_it(config, monkeypatch):
    seen = []
    trace = frozen_pass._trace
    monkeypatch.setattr(
        frozen_pass,
        "_trace",
        lambda *a: lambda pixels, *rest: seen.append(len(pixels)) or trace(*a)(pixels, *rest),
    )
    monkeypatch.setattr(
        stored_features,
        "trace_forward",
        lambda *a: pytest.fail("the frozen part ran a second time"),
    )
    backbone = two_layers()
    result = cross_validate(config, 3, backbone=backbone, preprocessing="tf")
    rows = pd.read_csv(result.path / "out_of_fold.csv")
    assert len(rows) == 36
    assert rows["path"].is_unique
    assert sorted(rows["fold"].unique()) == [1, 2, 3]
    for fold in (1, 2, 3):
        split = pd.read_csv(result.path / f"fold-{fold}" / "split.csv")
        tested = set(split.loc[split["split"] == "test", "path"])
        assert tested == set(rows.loc[rows["fold"] == fold, "path"])
    # Of 36 images features or what leaves the frozen part, shared between folds: no more than each
    # once for training or validation, and once where it was tested first.
    assert sum(seen) <= 2 * 36
    found = json.loads((result.path / "cross_validation.json").read_text())
    values = found["models"]["kept"]["accuracy"]["values"]
    assert found["models"]["kept"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    right = (rows["label"].astype(str) == rows["predicted"].astype(str)).mean()
    assert found["out_of_fold"]["accuracy"]["value"] == pytest.approx(right)
    assert "each answered by a model that had not seen it" in "\n".join(result.summary_lines)


def test_every_fold_begins_with_the_first_weights(config, monkeypatch):
    """The fold before has trained them on images that are tested now."""
    starts = []
    backbone = two_layers()
    run = cross_validate.__globals__["run"]

    def noting(one, **options):
        starts.append([np.array(w) for w in backbone.get_weights()])
        return run(dataclasses.replace(one, fine_tune_epochs=2), **options)

    monkeypatch.setitem(cross_validate.__globals__, "run", noting)
    cross_validate(config, 2, backbone=backbone, preprocessing="tf")
    for first, second in zip(*starts, strict=True):
        np.testing.assert_array_equal(first, second)


def test_classes_may_have_names_that_pandas_takes_for_nothing(painter, tmp_path):
    colours = {"NA": (200, 40, 40), "None": (40, 200, 40)}
    folder = painter(tmp_path / "photos", colours=colours)
    config = FitConfig(
        str(folder), image_size=(24, 24), fine_tune_epochs=0, out=str(tmp_path / "folds")
    )
    result = cross_validate(config, 2, backbone=two_layers(), preprocessing="tf")
    rows = pd.read_csv(result.path / "out_of_fold.csv", keep_default_na=False)
    assert sorted(rows["label"].unique()) == ["NA", "None"]
    # What a fold's folder says of itself is where it is now.
    assert str(result.path / "fold-1") in (result.path / "fold-1" / "config.yaml").read_text()
    page = (result.path / "fold-1" / "report.html").read_text()
    assert ".partial" not in page


def test_given_splits_and_too_many_folds_are_refused_before_any_work(colour_folder, tmp_path):
    table = kerastl.load_table(str(colour_folder))
    given = dataclasses.replace(table, splits=np.array(["train"] * len(table.ids)))
    config = FitConfig("photos", image_size=(24, 24), out=str(tmp_path / "folds"))
    with pytest.raises(ConfigError, match="divides all images anew"):
        cross_validate(config, 3, table=given)
    with pytest.raises(KerasTLError):
        cross_validate(config, 30, table=table)
    few = r"--folds 100 needs at least 100 images; there are 36. Choose --folds 36 or fewer."
    with pytest.raises(DataError, match=few):
        cross_validate(config, 100, table=table)
    assert not (tmp_path / "folds").exists()


@pytest.mark.parametrize(
    ("changes", "folds", "advice"),
    [
        ({}, 1, "2 or more"),
        ({"fold": "1/3"}, 3, "Leave out one"),
        ({"val_fraction": 0.6}, 2, "--folds 2 .* --val-fraction 0.6 .* below 0.5, such as 0.15"),
        ({"export": True}, 3, "train on all images without --folds"),
    ],
)
def test_mistakes_are_one_line(config, changes, folds, advice):
    with pytest.raises(ConfigError, match=advice):
        cross_validate(dataclasses.replace(config, **changes), folds)


def test_the_minutes_are_for_all_folds_together(config, monkeypatch):
    """Each has its share of what is left, so that the last one is trained too."""
    clock = itertools.count()
    now = [0.0]
    monkeypatch.setattr("kerastl.deadline.time.monotonic", lambda: now[0])
    run, ends = cross_validate.__globals__["run"], []

    def noting(one, *, deadline, **options):
        ends.append(deadline.at_seconds)
        if next(clock) == 0:
            now[0] += 30  # it did not need its share
        return run(one, deadline=deadline, **options)

    monkeypatch.setitem(cross_validate.__globals__, "run", noting)
    config = dataclasses.replace(config, max_minutes=2)
    cross_validate(config, 2, backbone=two_layers(), preprocessing="tf")
    assert ends == [60, 30 + 90]


def test_a_fold_says_whose_minutes_are_over(config):
    config = dataclasses.replace(config, max_minutes=0)
    result = cross_validate(config, 2, backbone=two_layers(), preprocessing="tf")
    assert "--max-minutes 0 for 2 folds" in (result.path / "fold-2" / "report.html").read_text()


@pytest.fixture
def interrupted(config, painter, tmp_path, monkeypatch):
    """The options of a cross-validation that was interrupted in its second fold of two."""
    photos = painter(tmp_path / "photos")
    config = dataclasses.replace(config, data=str(photos), fine_tune_epochs=2)
    save = CheckpointFile.save

    def save_and_die(self, checkpoint, *, last=False):
        save(self, checkpoint, last=True)
        if self.path.name == ".fold-2.checkpoint.npz":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(config, 2, backbone=two_layers(), preprocessing="tf")
    assert not (tmp_path / "folds").exists()
    return config


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_one_goes_on_where_it_was(interrupted, tmp_path, caplog):
    again = dataclasses.replace(interrupted, resume=True)
    with caplog.at_level("INFO"):
        result = cross_validate(again, 2, backbone=two_layers(), preprocessing="tf")
    assert "1 of 2 folds are done already." in caplog.text
    assert caplog.text.count("Fine-tuning goes on after epoch 1.") == 1
    assert "Nothing to resume" not in caplog.text
    assert names_in(tmp_path) == ["folds", "photos"]
    assert names_in(result.path) == [
        "cross_validation.json", "fold-1", "fold-2", "out_of_fold.csv",
    ]  # fmt: skip
    anew = dataclasses.replace(interrupted, out=str(tmp_path / "anew"))
    expected = cross_validate(anew, 2, backbone=two_layers(), preprocessing="tf").results["models"]
    for model, measures in expected.items():
        values = result.results["models"][model]["log_loss"]["values"]
        assert values == pytest.approx(measures["log_loss"]["values"], rel=1e-3)


def test_an_interrupted_one_is_not_mixed_with_another_or_lost(interrupted, tmp_path, monkeypatch):
    def again(folds=2, **changes):
        other = dataclasses.replace(interrupted, **changes)
        return cross_validate(other, folds, backbone=two_layers(), preprocessing="tf")

    with pytest.raises(ConfigError, match=r"1 of 2 folds are done. Add --resume .* --overwrite"):
        again()
    with pytest.raises(ConfigError, match=r"its learning_rate was 0.001, now it is 0.002"):
        again(resume=True, learning_rate=2e-3)
    with pytest.raises(ConfigError, match=r"its folds was 2, now it is 3"):
        again(resume=True, folds=3)
    image = next((tmp_path / "photos").glob("*/*"))
    times = image.stat()
    os.utime(image, (1, 1))
    with pytest.raises(ConfigError, match=r"its content of the images was"):
        again(resume=True)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    with alone(tmp_path / ".folds.folds" / ".lock"), pytest.raises(ConfigError, match="at work"):
        again(resume=True)
    assert names_in(tmp_path) == [".folds.folds", "photos"]
    done = []
    run = cross_validate.__globals__["run"]
    monkeypatch.setitem(
        cross_validate.__globals__,
        "run",
        lambda one, **options: done.append((one.fold, one.resume)) or run(one, **options),
    )
    again(overwrite=True, fine_tune_epochs=0)
    assert done == [("1/2", False), ("2/2", False)]
    assert names_in(tmp_path) == ["folds", "photos"]


def test_where_nothing_was_done_nothing_is_left(config, tmp_path, monkeypatch):
    def die(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setitem(cross_validate.__globals__, "run", die)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(config, 2)
    assert names_in(tmp_path) == []
