"""From wrong labels to a corrected data set: a run names them, a person decides, a run heeds it."""

import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

import kerastl
from kerastl import FitConfig

FLIPPED = 6


def two_layers():
    """A network that takes no time to trace."""
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, x, name="mine")


@pytest.fixture
def mislabelled(painter, tmp_path):
    """120 pictures, 6 of them (5 %) in the folder of another class; and which these are."""
    folder = painter(tmp_path / "photos", per_class=40)
    rng, moved = np.random.default_rng(0), {}
    names = sorted(path.name for path in folder.iterdir())
    for number, name in enumerate(rng.choice(40, FLIPPED, replace=False)):
        at = names[number % 3]
        to = folder / names[(number + 1) % 3] / f"moved {name}.png"
        (folder / at / f"picture {name}.png").rename(to)
        moved[str(to)] = at
    return folder, moved


def fitted(folder, tmp_path, name, **options):
    config = FitConfig(str(folder), fine_tune_epochs=0, out=str(tmp_path / name), **options)
    return kerastl.run(config, backbone=two_layers(), preprocessing="tf")


def test_what_was_planted_is_found_decided_and_heeded(mislabelled, tmp_path, caplog):
    folder, moved = mislabelled
    first = fitted(folder, tmp_path, "first", augment="mirrors")
    table = pd.read_csv(first.path / "label_candidates.csv", dtype=str, keep_default_na=False)
    half = table[: max(1, len(table) // 2)]
    assert half["path"].isin(moved).mean() >= 0.8
    assert table["path"].isin(moved).sum() >= 5
    wrong = table[table["path"].isin(moved)]
    assert (wrong["suggested"] == wrong["path"].map(moved)).all()
    assert (table["action"] == "").all()
    assert set(table["split"]) <= {"train", "val", "test"}
    page = (first.path / "report.html").read_text()
    assert "to look at" in page
    assert "write keep, relabel or drop" in page
    card = (first.path / "README.md").read_text()
    assert "- Backbone: mine, weights: own" in card

    dropped, *others = wrong["path"]
    table.loc[table["path"].isin(others), "action"] = "relabel"
    table.loc[table["path"] == dropped, "action"] = "drop"
    table.loc[~table["path"].isin(moved), "action"] = "keep"
    decided = tmp_path / "decided.csv"
    table.to_csv(decided, index=False)
    with caplog.at_level("INFO", "kerastl"):
        second = fitted(folder, tmp_path, "second", augment="mirrors", label_changes=str(decided))
    assert f"{len(others)} relabelled, 1 dropped" in caplog.text
    split = pd.read_csv(second.path / "split.csv", dtype=str)
    assert len(split) == 119
    assert split.set_index("path").loc[others, "label"].tolist() == [moved[one] for one in others]
    before = pd.read_csv(first.path / "split.csv", dtype=str).set_index("path")["split"]
    assert (before[split["path"]].to_numpy() == split["split"].to_numpy()).all()
    left = pd.read_csv(second.path / "label_candidates.csv", dtype=str)
    assert not left["path"].isin(table["path"]).any()
    config = yaml.safe_load((second.path / "config.yaml").read_text())
    assert config["label_changes"] == str(decided)
    tested = split.set_index("path").loc[others, "split"].eq("test").sum()
    said = f"Of the test images {tested} {'was' if tested == 1 else 'were'} relabelled by a person"
    for name in ("report.html", "README.md"):
        assert f"{said}, and 1 of all images dropped" in (second.path / name).read_text()
        assert "Of the test images" not in (first.path / name).read_text()
    assert (folder / "1").is_dir()  # nothing of the user's is moved
    assert all((tmp_path / "photos").joinpath(one).exists() for one in moved)


def test_a_mistake_is_one_line_and_exit_code_2(colour_folder, tmp_path):
    path = tmp_path / "label_candidates.csv"
    path.write_text("path,suggested,action\nnowhere.png,1,drop\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "kerastl.fit", str(colour_folder)),
            *("--label-changes", str(path), "--out", str(tmp_path / "run")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "name the image 'nowhere.png', which is not in the data" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
