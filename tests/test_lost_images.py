"""Files that go while a run trains: the run goes on with the others and says so."""

import json
import logging
from pathlib import Path

import keras
import pandas as pd
import pytest

import kerastl
import kerastl.training.experiment
import kerastl.workflow
from kerastl import FitConfig
from kerastl.deploy.predictor import open_predictor
from kerastl.errors import DataError


def two_layers():
    """A network that takes no time to trace."""
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, x, name="mine")


@pytest.fixture
def run_while_files_go(painter, tmp_path, monkeypatch):
    """Run a fit; `spoil` is called with its paths, by split, when the training is over."""

    def run(spoil, **options):
        folder = painter(tmp_path / "photos")
        config = FitConfig(str(folder), fine_tune_epochs=1, out=str(tmp_path / "run"), **options)
        table = kerastl.plan.read_table(config)
        splits = kerastl.plan.split_table(table, config)
        paths = pd.Series(table.ids).groupby(splits).apply(list)
        fine_tune = kerastl.training.experiment.fine_tune

        def fine_tune_then_spoil(*arguments, **changes):
            result = fine_tune(*arguments, **changes)
            spoil(paths)
            return result

        monkeypatch.setattr(kerastl.training.experiment, "fine_tune", fine_tune_then_spoil)
        return kerastl.run(config, backbone=two_layers(), preprocessing="tf"), paths

    return run


def remove(path):
    Path(path).unlink()


def test_the_test_goes_on_without_them(run_while_files_go, caplog):
    def spoil(paths):
        remove(paths["test"][0])
        Path(paths["test"][3]).write_bytes(b"\x89PNG, half of one")
        remove(paths["train"][0])  # first of the sheet of augmented images

    with caplog.at_level(logging.WARNING):
        result, paths = run_while_files_go(spoil, cache="none")
    gone = [paths["test"][0], paths["test"][3]]
    for path in gone:
        assert f"Left out of the test: {path}" in caplog.text
    left = [path for path in paths["test"] if path not in gone]
    predictions = pd.read_csv(result.path / "test_predictions.csv", dtype=str)
    assert predictions["path"].tolist() == left
    assert result.metrics["probe"]["test"]["n"] == len(left)
    assert result.metrics["fine-tuned"]["test"]["n"] == len(left)
    split = pd.read_csv(result.path / "split.csv", dtype=str, keep_default_na=False)
    assert split[split["split"] == ""]["path"].tolist() == gone
    quarantine = pd.read_csv(result.path / "quarantine.csv")
    assert quarantine["path"].tolist() == gone
    assert "A picture of the report is left out" in caplog.text
    page = (result.path / "report.html").read_text()
    assert f"{len(split) - 2} images of 3 classes" in page
    assert "Left out: 2 files" in page
    assert f"{len(split) - 2} images, 3 classes" in result.summary_lines[0]
    (answer,) = open_predictor(result.path).predict([Path(left[0]).read_bytes()])
    assert answer.scores[0] > 0.4
    assert len(json.loads((result.path / "held_out" / "answers.json").read_text())) == len(left)


def test_with_pixels_in_memory_no_number_changes(run_while_files_go, caplog):
    """Only the copies of test files for later proofs lack the lost one."""
    with caplog.at_level(logging.WARNING):
        result, paths = run_while_files_go(lambda paths: remove(paths["test"][0]))
    assert result.metrics["probe"]["test"]["n"] == len(paths["test"])
    assert "An image is not kept for the proof of exports" in caplog.text
    held_out = json.loads((result.path / "held_out" / "answers.json").read_text())
    assert [entry["path"] for entry in held_out] == paths["test"][1:]


def test_no_test_image_left_ends_the_run(run_while_files_go):
    with pytest.raises(DataError, match="cannot be read"):
        run_while_files_go(lambda paths: [remove(path) for path in paths["test"]], cache="none")
