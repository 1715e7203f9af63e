"""Groups in a fit: a planted weak one is found and named, and the last layer cures it."""

import csv
import dataclasses
import json
import shlex
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression

import kerastl
from kerastl.data.table import table_from_arrays
from kerastl.deploy.predictor import open_predictor
from kerastl.errors import ConfigError, DataError
from kerastl.features.shelf import NO_STORE
from kerastl.models.classifier import build_classifier, feature_model
from kerastl.recorded_answers import recorded_answers
from kerastl.training.group_balance import (
    GroupBalance,
    cell_weights,
    cells_of,
    fit_balanced_head,
)

SIZE = 48
AS_IS = {"as it is": lambda images: images}


def picture(kind, camera, random, noise=70):
    """A disc or a cross in noise, by a camera with a tint."""
    image = Image.new("RGB", (SIZE, SIZE), (90, 90, 90))
    pen = ImageDraw.Draw(image)
    x, y = random.integers(16, 32, 2)
    colour = tuple(int(value) for value in random.integers(130, 200, 3))
    if kind == "disc":
        pen.ellipse((x - 10, y - 10, x + 10, y + 10), fill=colour)
    else:
        pen.rectangle((x - 11, y - 4, x + 11, y + 4), fill=colour)
        pen.rectangle((x - 4, y - 11, x + 4, y + 11), fill=colour)
    pixels = np.asarray(image) + random.normal(0, noise, (SIZE, SIZE, 3))
    pixels[..., 0 if camera == "red" else 2] += 50
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Nearly all discs of training and validation are red, crosses blue; not those of the test."""
    place, random = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    file = place / "table.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["path", "label", "camera", "split"])
        for kind, usual in (("disc", "red"), ("cross", "blue")):
            for camera in ("red", "blue"):
                known = 150 if camera == usual else 24
                for number in range(known + 40):
                    path = place / f"{kind} {camera} {number}.png"
                    picture(kind, camera, random).save(path)
                    split = ("train", "val")[number % 2] if number < known else "test"
                    rows.writerow([path.name, kind, camera, split])
    return file


@pytest.fixture(scope="module")
def config(table, tmp_path_factory):
    return kerastl.FitConfig(
        str(table),
        group_by="camera",
        image_size=SIZE,
        fine_tune_epochs=2,
        unfreeze_blocks=2,
        out=str(tmp_path_factory.mktemp("runs") / "plain"),
    )


@pytest.fixture(scope="module")
def plain(config):
    return kerastl.run(config)


@pytest.fixture(scope="module")
def balanced(config):
    out = config.out.replace("plain", "balanced")
    changed = dataclasses.replace(
        config, balance_groups=True, out=out, export=True, export_dir=out + "-saved"
    )
    return kerastl.run(changed)


def least_found(groups):
    return min(rates["found"]["value"] for one in groups["groups"] for rates in one["rates"])


def test_the_report_says_for_whom_the_model_is_worst(plain, config):
    groups = plain.metrics["groups"][plain.kept]["test"]
    splits = pd.read_csv(plain.path / "split.csv")
    answers = pd.read_csv(plain.path / "test_predictions.csv").merge(splits, on="path")
    answers["right"] = answers["predicted"] == answers["label_x"]
    cells = answers.groupby(["subgroup", "label_x"])["right"].mean()
    for one in groups["groups"]:
        assert one["n"] == 80
        for rates in one["rates"]:
            assert rates["found"]["value"] == pytest.approx(cells[one["name"], rates["class_name"]])
    assert groups["odds_p_value"] < 0.01
    assert least_found(groups) < 0.5
    # Both cameras are right about as often: each is failed in another class.
    worst = cells.idxmin()
    said = next(words for words in plain.summary_lines if words.startswith("By camera"))
    assert f"is found in {cells.min():.1%} of its images for {worst[0]}" in said
    page = (plain.path / "report.html").read_text()
    assert "Group by group" in page
    words = shlex.split(next(line for line in page.splitlines() if "--balance-groups" in line))
    assert "--group-by" in words
    assert words[words.index("--group-by") + 1] == "camera"
    read = kerastl.read_config(plain.path / "config.yaml")
    assert (read.group_by, read.balance_groups) == ("camera", False)


def test_a_balanced_last_layer_helps_the_worst_off(plain, balanced):
    groups = balanced.metrics["groups"]
    base = "fine-tuned" if balanced.metrics["balance"]["fitted_on"] == "validation" else "probe"
    assert balanced.kept == "group-balanced"
    assert least_found(groups["group-balanced"]["test"]) > least_found(groups[base]["test"]) + 0.15
    # Test images have all four combinations alike.
    accuracy = {name: balanced.metrics[name]["test"]["accuracy"]["value"] for name in groups}
    assert accuracy["group-balanced"] > accuracy[base]
    balance = balanced.metrics["balance"]
    assert balance["num_cells"] == 4
    assert balance["loss_after"] < balance["loss_before"]
    # The models that were there without it are as they were.
    for name in (base, "probe"):
        assert balanced.metrics[name]["test"] == plain.metrics[name]["test"]
    page = (balanced.path / "report.html").read_text()
    assert "Are the differences real?" in page
    assert "Before its last layer was balanced: by camera" in page
    assert "--balance-groups" in page
    card = (balanced.path / "README.md").read_text()
    assert "group-balanced" in card


def test_what_is_kept_and_exported_is_what_was_measured(balanced, table):
    recorded = recorded_answers(balanced.path)
    measured = balanced.metrics["group-balanced"]["test"]["accuracy"]["value"]
    assert recorded.right.mean() == pytest.approx(measured)
    rows = np.arange(0, len(recorded.ids), 9)
    pictures = [table.parent / Path(recorded.ids[row]).name for row in rows]
    for place in (balanced.path, balanced.export.path):
        answers = open_predictor(place).predict([path.read_bytes() for path in pictures])
        found = np.array([[dict(zip(a.classes, a.scores, strict=True))[name] for name in
                           recorded.class_names] for a in answers])  # fmt: skip
        np.testing.assert_allclose(found, recorded.probabilities[rows], atol=2e-5)


def test_what_does_not_surely_help_is_not_kept():
    good = GroupBalance("validation", 80, 4, (), 0.5, 0.4, 0.8, 0.85, 0.05, 0.6, 0.7, 1.0)
    assert good.helps
    assert not dataclasses.replace(good, standard_error=0.11).helps
    assert not dataclasses.replace(good, worst_after=0.59).helps
    assert not dataclasses.replace(good, loss_after=0.51).helps


def test_groups_without_meaning_are_balanced_by_hand_and_seldom_kept(table, tmp_path):
    """A coin for a camera: the report has the layer, and the model stays as it is."""
    frame = pd.read_csv(table)
    frame["camera"] = np.random.default_rng(0).permutation(np.arange(len(frame)) % 2)
    frame["path"] = [str(table.parent / name) for name in frame["path"]]
    frame = frame[frame["split"] != "test"].drop(columns="split")
    frame.to_csv(tmp_path / "coin.csv", index=False)
    kept = []
    for seed in range(2):
        config = kerastl.FitConfig(
            str(tmp_path / "coin.csv"),
            group_by="camera",
            balance_groups=True,
            recipe="probe",
            tta=True,
            hidden_units=4,
            image_size=SIZE,
            seed=seed,
            out=str(tmp_path / f"run {seed}"),
        )
        result = kerastl.run(config)
        assert {"probe", "group-balanced"} <= set(result.metrics["groups"])
        kept.append(result.kept)
        if result.kept == "probe":
            assert "So it is not kept." in result.metrics["kept_because"]
    assert "probe" in kept
    # One group alone cannot be balanced, and no run is lost for it.
    frame["camera"] = "only"
    frame.to_csv(tmp_path / "one.csv", index=False)
    one = kerastl.run(
        dataclasses.replace(config, data=str(tmp_path / "one.csv"), out=str(tmp_path / "one"))
    )
    assert one.kept == "probe"
    assert "images of one group alone" in one.metrics["kept_because"]


def test_folds_say_together_for_whom_it_is_worst(table, tmp_path):
    frame = pd.read_csv(table)
    frame["path"] = [str(table.parent / name) for name in frame["path"]]
    frame[frame["split"] == "test"].drop(columns="split").to_csv(tmp_path / "t.csv", index=False)
    config = kerastl.FitConfig(
        str(tmp_path / "t.csv"), group_by="camera", recipe="probe", image_size=SIZE,
        out=str(tmp_path / "folds"),
    )  # fmt: skip
    result = kerastl.cross_validate(config, 2)
    groups = json.loads((tmp_path / "folds" / "cross_validation.json").read_text())["groups"]
    assert [one["n"] for one in groups["groups"]] == [80, 80]
    assert groups["words"] in result.summary_lines


def test_validation_answers_are_of_layers_that_did_not_see_the_image():
    """Random labels: a layer that had seen them would know them, and no other could."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (240, 8, 8, 3), np.uint8)
    labels = np.repeat([0, 1], 120)
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.Flatten()(inputs))
    model = build_classifier(backbone, num_classes=2, image_size=(8, 8), preprocessing="tf")
    rows = {"val": np.arange(0, 240, 2), "train": np.arange(1, 240, 2)}
    subgroups = np.array(["a", "b", "b"])[np.arange(240) % 3]
    options = {
        "rows": rows,
        "subgroups": subgroups,
        "groups": None,
        "views": AS_IS,
        "tta": False,
        "store": NO_STORE,
        "batch_size": 32,
        "seed": 0,
    }
    before = model.get_weights()
    head = fit_balanced_head(model, images, labels, fit_on="val", **options)
    assert head.fitted_on == "validation"
    assert head.validation.shape == (120, 2)
    said = head.validation.argmax(axis=1)
    assert abs((said == labels[rows["val"]]).mean() - 0.5) < 0.15
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    # On training images it is the weighted regression of scikit-learn, asked about validation.
    head = fit_balanced_head(model, images, labels, fit_on="train", **options)
    features = feature_model(model).predict(images.astype(np.float32), verbose=0)
    known = features[rows["train"]]
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale = np.maximum(scale, np.median(scale))
    cells, _ = cells_of(labels[rows["train"]], subgroups[rows["train"]])
    reference = LogisticRegression(C=1 / head.probe.penalty, max_iter=2000, tol=1e-8)
    reference.fit((known - mean) / scale, labels[rows["train"]], cell_weights(cells))
    expected = reference.predict_proba((features[rows["val"]] - mean) / scale)
    np.testing.assert_allclose(head.validation, expected, atol=5e-3)
    # A class that validation lacks cannot be balanced on.
    lacking = {**rows, "val": np.arange(0, 120, 2)}
    with pytest.raises(DataError, match="no image of 1 of the 2 classes"):
        fit_balanced_head(model, images, labels, fit_on="val", **{**options, "rows": lacking})


def test_weights_make_all_combinations_alike():
    labels = np.repeat([0, 0, 1, 1], [50, 8, 5, 200])
    subgroups = np.repeat(["a", "b", "a", "b"], [50, 8, 5, 200])
    cells, names = cells_of(labels, subgroups)
    assert names == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    weights = cell_weights(cells)
    sums = np.bincount(cells, weights=weights)
    np.testing.assert_allclose(sums, len(labels) / 4, rtol=1e-5)
    assert weights.mean() == pytest.approx(1)
    # A single image does not weigh as much as a class.
    few, _ = cells_of(np.array([0] * 20 + [1]), np.array(["a"] * 21))
    sums = np.bincount(few, weights=cell_weights(few))
    assert sums[1] / sums[0] == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance_groups": True}, "needs the column that says which group"),
        (
            {"group_by": "camera", "balance_groups": True, "imbalance": "balanced"},
            "makes classes count the same too",
        ),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(ConfigError, match=words):
        kerastl.FitConfig("photos", **options)


def test_groups_that_are_not_there(colour_folder, table, tmp_path):
    options = {"out": str(tmp_path / "run"), "image_size": 32, "recipe": "probe"}
    with pytest.raises(ConfigError, match="`group_by` does not go with a folder"):
        kerastl.run(kerastl.FitConfig(str(colour_folder), group_by="camera", **options))
    with pytest.raises(ConfigError, match="lens"):
        kerastl.run(kerastl.FitConfig(str(table), group_by="lens", **options))
    images, labels = np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2
    own = table_from_arrays(images, labels)
    with pytest.raises(ConfigError, match=r"Give them: table_from_arrays\(..., subgroups=...\)"):
        kerastl.run(kerastl.FitConfig("own", group_by="camera", **options), table=own)
    several = table_from_arrays(images, np.ones((8, 2), int), subgroups=["a", "b"] * 4)
    config = kerastl.FitConfig("own", group_by="camera", balance_groups=True, **options)
    with pytest.raises(ConfigError, match="needs one class per image"):
        kerastl.run(config, table=several)
