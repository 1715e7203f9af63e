"""A run with --tune says everywhere what it trained."""

import dataclasses
import json
import logging

import keras
import pytest

import kerastl
from kerastl.advice import _against_overfitting, _against_underfitting
from kerastl.config import FitConfig
from kerastl.interruption import WITHOUT_INFLUENCE
from kerastl.models.network import Network, build_network
from kerastl.tuning.levers import LEVERS, free_levers


def four_blocks():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((24, 24, 3))
    x = inputs
    for _ in range(3):
        x = keras.layers.Conv2D(6, 3, padding="same")(x)
        x = keras.layers.MaxPooling2D()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Conv2D(8, 3, padding="same")(x), name="mine")


def test_a_run_says_what_it_trained(colour_folder, tmp_path, caplog):
    config = FitConfig(
        str(colour_folder),
        tune="2-3",
        fine_tune_epochs=2,
        image_size=(24, 24),
        batch_size=8,
        out=str(tmp_path / "run"),
    )
    with caplog.at_level(logging.INFO):
        done = kerastl.run(config, backbone=four_blocks(), preprocessing="tf")
    assert "Fine-tuning trains blocks 2 to 3 of 4, and the head." in caplog.text
    assert "The frozen part runs once over 2 views of each image" in caplog.text
    page = " ".join((done.path / "report.html").read_text().split())
    assert "blocks 2 to 3 of 4, and the head" in page
    assert "given: blocks 2 to 3 of 4" in page
    assert "from the top" not in page
    around = json.loads((done.path / "environment.json").read_text())
    assert around["trained_blocks"] == "blocks 2 to 3 of 4"
    assert around["recipe"]["tune"] == "2-3"
    assert "unfreeze_blocks" not in around["recipe"]
    assert "tune: 2-3" in (done.path / "config.yaml").read_text()
    assert "tune" not in WITHOUT_INFLUENCE, "another choice is another run for --resume"


def test_a_search_leaves_the_blocks_that_are_given():
    assert "unfreeze_blocks" in free_levers(FitConfig("photos"))
    found = free_levers(FitConfig("photos", tune="first"))
    assert set(found) == {*LEVERS} - {"unfreeze_blocks"}


@dataclasses.dataclass
class Run:
    """What advice reads of a run."""

    config: FitConfig
    network: Network

    @property
    def recipe(self):
        return self

    def value(self, name):
        return {"fine_tune_epochs": 8, "soup": 3, "interpolate": True}[name]


@pytest.mark.parametrize(
    ("options", "fewer", "more"),
    [
        ({"tune": "first"}, None, "--tune 1-2"),
        ({"tune": "2-3"}, "--tune 3", "--tune 1-3"),
        ({"tune": "3-4"}, "--tune 4", "--tune 2-4"),
        ({"unfreeze_blocks": 2}, "--unfreeze-blocks 1", "--unfreeze-blocks 3"),
    ],
)
def test_advice_stays_in_the_part_that_was_trained(options, fewer, more):
    """Never --tune beside --unfreeze-blocks, which would be refused."""
    record = Run(FitConfig("photos", **options), build_network("own", own=four_blocks(), **options))
    found = [one for one in _against_overfitting(record) if one.words.startswith("Fewer blocks")]
    assert [one.command.rpartition("photos ")[2] for one in found] == ([fewer] if fewer else [])
    found = [one for one in _against_underfitting(record) if one.words == "More blocks"]
    assert [one.command.rpartition("photos ")[2] for one in found] == [more]
