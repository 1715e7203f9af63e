"""What a run tells a reader of itself: its report, its config.yaml, its log."""

import json
import logging

import keras
import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl import FitConfig
from kerastl.data.sources import table_from_arrays


def run(tmp_path, *, table=None, counts=(30, 30), own_backbone=True, **options):
    """Fit light and dark pictures with a network of two layers."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], counts)
    greys = 60 + 120 * labels[:, None, None, None]
    images = np.clip(rng.normal(greys, 30, (len(labels), 24, 24, 3)), 0, 255).astype(np.uint8)
    if table is None:
        table = table_from_arrays(images, labels)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    own = keras.Model(inputs, x, name="mine") if own_backbone else None
    config = FitConfig("arrays", **{"fine_tune_epochs": 0, **options}, out=str(tmp_path / "run"))
    return kerastl.run(config, table=table, backbone=own, preprocessing="tf")


@pytest.mark.parametrize(
    ("counts", "equal"), [((30, 30), True), ((36, 24), True), ((40, 24), False)]
)
def test_a_remedy_of_equal_classes_is_called_needless(tmp_path, counts, equal):
    result = run(tmp_path, counts=counts, imbalance="balanced")
    page = (result.path / "report.html").read_text()
    assert ("--imbalance balanced changes little here" in page) == equal
    assert ("Probabilities lean towards the rare classes" in page) != equal
    assert "chosen by the class-weighted log-loss" in page


def test_the_config_says_that_it_cannot_make_the_run_again(tmp_path):
    result = run(tmp_path)
    text = (result.path / "config.yaml").read_text()
    heading = " ".join(
        line.removeprefix("# ") for line in text.split("\n\n")[0].splitlines() if line
    )
    assert heading == (
        "This file alone cannot make the run again: its table and backbone came from Python, and "
        "data, backbone, weights below were not read. Type: "
        'kerastl.run(kerastl.read_config("config.yaml"), table=..., backbone=..., '
        "preprocessing=...)"
    )
    assert kerastl.read_config(result.path / "config.yaml").data == "arrays"
    assert "table=…, backbone=…)" in (result.path / "report.html").read_text()


def test_the_seconds_count_the_report(tmp_path):
    result = run(tmp_path)
    seconds = json.loads((result.path / "environment.json").read_text())["seconds"]
    page = (result.path / "report.html").read_text()
    assert f"{seconds:g}, from the first image to this page" in page
    took = float(result.summary_lines[-1].removeprefix("Took ").split(" s.")[0])
    assert took >= round(seconds)


def test_what_an_export_cannot_decode_is_said(tmp_path, caplog):
    rng = np.random.default_rng(0)
    for label, grey in (("dark", 60), ("light", 180)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(rng.normal(grey, 30, (24, 24, 3)), 0, 255).astype(np.uint8)
            suffix = "tif" if number < 5 else "png"
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.{suffix}")
    table = kerastl.load_table(str(tmp_path / "photos"))
    with caplog.at_level(logging.INFO):
        result = run(tmp_path, table=table)
    said = "10 images (TIFF) were read by Pillow"
    assert said in caplog.text
    assert said in (result.path / "report.html").read_text()


def test_strong_augmentation_of_few_images_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path, augment="strong", fine_tune_epochs=1)
    assert "Augmentation strong is for long training" in caplog.text
    assert "Augmentation strong is for long training" in (result.path / "report.html").read_text()
