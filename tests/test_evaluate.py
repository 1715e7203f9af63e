"""`kerastl.evaluate`: finished models on other images, and against each other."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

import kerastl
from kerastl import FitConfig
from kerastl.assessment import assess_images, assess_recorded
from kerastl.data.sources import load_table
from kerastl.errors import ConfigError, DataError
from kerastl.evaluate import split_paths, summary_lines
from kerastl.recorded_answers import recorded_answers


def two_layers():
    """A network that takes no time to trace."""
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, x, name="mine")


@pytest.fixture(scope="module")
def place(painter, tmp_path_factory):
    """Two runs that differ in their seed of weights alone, an export, and the images of both."""
    place = tmp_path_factory.mktemp("evaluate")
    folder = painter(place / "photos", per_class=20)
    for name, weights in (("first", 1), ("second", 2)):
        keras.utils.set_random_seed(weights)
        kerastl.run(
            FitConfig(
                str(folder),
                fine_tune_epochs=0,
                export=name == "first",
                export_dir=str(place / "exports"),
                out=str(place / name),
            ),
            backbone=two_layers(),
            preprocessing="tf",
        )
    return place


def evaluate(*words):
    return subprocess.run(
        [sys.executable, "-m", "kerastl.evaluate", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_on_its_own_images_gives_its_own_numbers(place):
    table = load_table(place / "photos")
    found = assess_images([place / "first"], table)
    kept = json.loads((place / "first" / "metrics.json").read_text())
    expected = kept[kept["kept"]]["test"]
    received = found.metrics["first"]
    assert received["n"] == expected["n"] < len(table.ids)
    for name in ("accuracy", "macro_f1", "auroc", "log_loss"):
        assert received[name]["value"] == pytest.approx(expected[name]["value"], abs=1e-5)
    assert received["confusion"] == expected["confusion"]
    assert "left out that the model was trained on or chosen by" in " ".join(found.notes)
    assert found.untouched == "that had no part in training or in any choice"
    # Asked about everything, it says so.
    whole = assess_images([place / "first"], table, all_images=True)
    assert whole.metrics["first"]["n"] == len(table.ids)
    assert "these numbers flatter it" in whole.notes[0]


def test_images_that_it_knows_are_found_under_other_names(place, tmp_path):
    split = pd.read_csv(place / "first" / "split.csv", dtype=str)
    for row, (path, label) in enumerate(zip(split["path"], split["label"], strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        with Image.open(path) as image:  # the same pixels in another format
            image.save(tmp_path / label / f"{row}.bmp")
    found = assess_images([place / "first"], load_table(tmp_path))
    assert found.metrics["first"]["n"] == (split["split"] == "test").sum()
    assert f"{(split['split'] != 'test').sum()} images left out" in found.notes[0]
    whole = assess_images([place / "first"], load_table(tmp_path), all_images=True)
    assert "these numbers flatter it" in whole.notes[0]


def test_models_of_other_classes_are_not_compared(place, painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=12)
    next(folder.iterdir()).rename(folder / "wombat")
    config = FitConfig(str(folder), fine_tune_epochs=0, out=str(tmp_path / "run"))
    other = kerastl.run(config, backbone=two_layers(), preprocessing="tf").path
    names = sorted(path.name for path in (place / "photos").iterdir())
    shared = next(name for name in names if (folder / name).is_dir())
    rows = [(path, shared) for path in (place / "photos" / shared).iterdir()]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "table.csv", index=False)
    table = load_table(tmp_path / "table.csv", to_learn=False)
    with pytest.raises(DataError, match="answer with other classes"):
        assess_images([place / "first", other], table)
    with pytest.raises(DataError, match="answer with other classes"):
        assess_recorded([place / "first", other])


def test_a_savedmodel_answers_as_its_run_and_two_models_are_compared(place, tmp_path):
    out = tmp_path / "evaluation"
    run, served = place / "first", place / "exports" / "first"
    done = evaluate(run, served, place / "second", place / "photos", "--out", out)
    assert done.returncode == 0, done.stderr
    values = json.loads((out / "metrics.json").read_text())
    first, export, second = values["metrics"]
    assert (first, export, second) == (f"{place.name}/first", "exports/first", "second")
    same = values["comparisons_with_the_first"][export]
    assert same["only_second_right"] == same["only_first_right"] == 0
    assert same["p_value"] == 1.0
    assert same["log_loss"]["value"] == pytest.approx(0, abs=1e-5)
    assert f"of which {export} may have seen some in training" in values["images"]
    answers = pd.read_csv(out / "answers.csv")
    assert answers["model"].nunique() == 3
    assert len(answers) == 3 * values["metrics"][first]["n"]
    page = (out / "report.html").read_text()
    assert "Are the differences real?" in page
    assert "Holm 1979" in page
    assert "Validation" not in page
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["answers.csv", "metrics.json", "quarantine.csv", "report.html"]
        + [
            f"{name}.{kind}"
            for name in ("confusion_matrix", "ranking", "reliability")
            for kind in ("png", "svg")
        ]
    )
    assert "within the noise" in done.stdout or "more than noise" in done.stdout


def test_runs_are_compared_by_what_they_recorded(place):
    found = assess_recorded([place / "first", place / "second"])
    kept = [json.loads((place / name / "metrics.json").read_text()) for name in ("first", "second")]
    for name, values in zip(("first", "second"), kept, strict=True):
        expected = values[values["kept"]]["test"]
        assert found.metrics[name]["accuracy"] == expected["accuracy"]
        assert found.metrics[name]["log_loss"]["value"] == pytest.approx(
            expected["log_loss"]["value"], rel=1e-3
        )
    one, two = (found.answered[name] for name in ("first", "second"))
    comparison = found.comparisons["second"]
    assert comparison.only_second_right == int(np.sum(two.right & ~one.right))
    assert comparison.accuracy.value == pytest.approx(two.right.mean() - one.right.mean())
    lines = summary_lines(found, Path("evaluations/x"))
    assert lines[-2].startswith("Accuracy of second less that of first: ")


def test_only_common_test_images_are_compared(place, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(place / "second", other)
    answers = pd.read_csv(other / "test_predictions.csv")
    answers[3:].to_csv(other / "test_predictions.csv", index=False)
    found = assess_recorded([place / "first", other])
    assert found.metrics["first"]["n"] == len(answers) - 3
    assert f"these are the {len(answers) - 3}" in found.notes[0]
    labels = answers["label"].copy()
    labels[4] = next(name for name in labels if name != labels[4])
    answers.assign(label=labels).to_csv(other / "test_predictions.csv", index=False)
    with pytest.raises(DataError, match="have other labels"):
        assess_recorded([place / "first", other])
    answers[:0].to_csv(other / "test_predictions.csv", index=False)
    with pytest.raises(DataError, match="No image is in the test split of all"):
        assess_recorded([place / "first", other])


def test_images_of_some_classes_broken_ones_and_strange_ones(place, painter, tmp_path):
    folder = painter(tmp_path / "new", per_class=4)
    names = sorted(path.name for path in folder.iterdir())
    for name in names[1:]:
        shutil.rmtree(folder / name)
    (folder / names[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    table = load_table(folder, to_learn=False)
    # They are painted by the same hand, and some are the same as in training.
    found = assess_images([place / "first"], table, all_images=True)
    assert found.metrics["first"]["n"] == 4
    assert found.metrics["first"]["auroc"] is None
    assert [Path(one.id).name for one in found.unreadable] == ["broken.png"]
    (folder / names[0]).rename(folder / "wombat")
    with pytest.raises(DataError, match="have the class 'wombat', which first does not know"):
        assess_images([place / "first"], load_table(folder, to_learn=False))


def test_several_labels(painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=16)
    paths = sorted(folder.rglob("*.png"))
    kinds = [path.parent.name for path in paths]
    words = [f"{kind}|other" if row % 2 else kind for row, kind in enumerate(kinds)]
    table = tmp_path / "table.csv"
    pd.DataFrame({"path": [str(path) for path in paths], "label": words}).to_csv(table, index=False)
    result = kerastl.run(
        FitConfig(str(table), label_separator="|", fine_tune_epochs=0, out=str(tmp_path / "run")),
        backbone=two_layers(),
        preprocessing="tf",
    )
    recorded = recorded_answers(result.path)
    expected = result.metrics[result.kept]["test"]
    assert recorded.right.mean() == pytest.approx(expected["accuracy"]["value"])
    found = assess_images([result.path], load_table(table, label_separator="|", to_learn=False))
    assert found.metrics["run"]["accuracy"]["value"] == pytest.approx(expected["accuracy"]["value"])
    with pytest.raises(DataError, match="gives an image several labels"):
        assess_images([result.path], load_table(folder))


def test_a_group_that_the_model_fails_is_named(place, tmp_path):
    # Pictures of the one camera are those that were trained on, of the other they are inverted.
    rows = []
    for path in sorted((place / "photos").rglob("*.png")):
        other = tmp_path / "inverted" / path.parent.name / path.name
        other.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.invert(image.convert("RGB")).save(other)
        label = path.parent.name
        rows += [(path, label, "plain"), (other, label, "inverted")]
    rows.append((tmp_path / "third.png", "1", "third"))
    Image.new("RGB", (24, 24)).save(tmp_path / "third.png")
    table = tmp_path / "table.csv"
    frame = pd.DataFrame(rows, columns=["path", "label", "camera"])
    frame.sample(frac=1, random_state=0).to_csv(table, index=False)
    out = tmp_path / "out"
    words = (table, "--group-by", "camera", "--all-images", "--out", out)
    done = evaluate(place / "first", *words)
    assert done.returncode == 0, done.stderr
    groups = json.loads((out / "metrics.json").read_text())["groups"]
    assert [one["name"] for one in groups["groups"]] == ["inverted", "plain", "third"]
    assert [one["n"] for one in groups["groups"]] == [60, 60, 1]
    assert groups["accuracy_gap"] > 0.3
    assert groups["accuracy_p_value"] < 0.01
    assert "worst for inverted" in done.stdout
    page = (out / "report.html").read_text()
    assert "Group by group" in page
    assert "not judged" in page
    assert "--group-by camera" in page
    done = evaluate(place / "first", place / "photos", "--group-by", "camera")
    assert done.returncode == 2
    assert "`group_by` does not go with a folder" in done.stderr


def test_a_model_that_is_too_sure_is_named_and_a_fit_cures_it(painter, tmp_path):
    """Colours that are plain to see, and a quarter of the labels of validation and test wrong."""
    random = np.random.default_rng(0)
    folder = painter(tmp_path / "photos", per_class=120, noise=20)
    rows = []
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        split, label = ("train", "val", "test")[number % 3], path.parent.name
        if split != "train" and random.random() < 0.25:
            label = random.choice([name for name in ("1", "2", "10") if name != label])
        rows.append((path, label, split))
    frame = pd.DataFrame(rows, columns=["path", "label", "split"])
    frame.to_csv(tmp_path / "all.csv", index=False)
    # Who learns from plain labels alone is as sure of the others.
    plain = frame[frame["split"] == "train"].drop(columns="split")
    plain.to_csv(tmp_path / "plain.csv", index=False)
    frame[frame["split"] == "test"].to_csv(tmp_path / "new.csv", index=False)
    options = {"fine_tune_epochs": 0}
    own = {"backbone": two_layers(), "preprocessing": "tf"}
    learnt = FitConfig(str(tmp_path / "plain.csv"), out=str(tmp_path / "run"), **options)
    kerastl.run(learnt, **own)
    out = tmp_path / "evaluated"
    done = evaluate(tmp_path / "run", tmp_path / "new.csv", "--out", out)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())["metrics"]["run"]
    gap = metrics["calibration"]["gap"]
    assert gap["low"] > 0.1
    named = f"Its answers are {100 * gap['value']:.1f} points surer than they are right"
    assert named in done.stdout
    assert named in (out / "report.html").read_text()
    assert "more than chance makes of a perfectly calibrated" in metrics["calibration"]["words"]
    # Where validation has such labels, its temperature takes the sureness back.
    every = FitConfig(str(tmp_path / "all.csv"), out=str(tmp_path / "all"), **options)
    cured = kerastl.run(every, **own)
    probe = cured.metrics["probe"]
    assert probe["temperature"]["value"] > 1.5
    assert abs(probe["test"]["calibration"]["gap"]["value"]) < gap["value"] / 2
    assert "surer than they are right" not in (cured.path / "report.html").read_text()


def test_pictures_of_something_else(place, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "else").mkdir()
    for number in range(30):
        noise = random.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "else" / f"{number}.png")
    (tmp_path / "else" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    words = (place / "photos", "--unknown", tmp_path / "else", "--out", out)
    done = evaluate(place / "first", *words)
    assert done.returncode == 0, done.stderr
    assert "broken.png is left out" in done.stderr
    unknown = json.loads((out / "metrics.json").read_text())["unknown"]
    assert unknown["num_unknown"] == 30
    far, sureness = unknown["doubts"][:2]
    assert far["name"] == "distance to what was trained on (kNN)"
    assert min(far["auroc"]["value"], sureness["auroc"]["value"]) >= 0.9
    # 12 validation images are too few to promise anything.
    assert unknown["called_unknown"] is unknown["false_alarms"] is None
    assert unknown["words"] in done.stdout
    page = (out / "report.html").read_text()
    assert "Pictures of something else" in page
    assert f"--unknown {tmp_path / 'else'}" in page


def test_mistakes_are_one_line(place, tmp_path):
    run, photos = str(place / "first"), str(place / "photos")
    for paths, message in (
        ([photos, run], "The models come first"),
        ([run], "or a second run to compare it with"),
        ([run, photos, "more"], "Name images once"),
        (["nowhere", photos], "'nowhere' is no run folder and no export"),
    ):
        with pytest.raises(ConfigError, match=message):
            split_paths(paths)
    assert split_paths([run, photos]) == ([Path(run)], photos)
    done = evaluate(run, run, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "named once" in done.stderr
    done = evaluate(run, place / "second", "--group-column", "scene")
    assert done.returncode == 2
    assert "--group-column is about images, and none are named" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
