"""The whole job: it learns, says how well, keeps the better model, and leaves nothing half-done."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

import kerastl
import kerastl.workflow
from kerastl import FitConfig
from kerastl.archive import write_record
from kerastl.data.image_reader import can_be_served
from kerastl.data.imbalance import IMBALANCES
from kerastl.data.sources import load_table, table_from_arrays
from kerastl.errors import ConfigError, DataError, ExportError, WeightsError
from kerastl.models.frozen import prove_frozen

from .data.corpus import BROKEN, write_corpus

SMALL = {"image_size": 32, "fine_tune_epochs": 1, "unfreeze_blocks": 1, "batch_size": 8}
FILES = {
    "check.json", "config.yaml", "environment.json", "history.csv", "labels.json", "metrics.json",
    "model.keras", "report.html", "split.csv", "test_predictions.csv", "held_out",
    "quarantine.csv", "label_candidates.csv", "README.md", "novelty.npz", "learning_curves.png",
    "learning_curves.svg", "reliability.png", "reliability.svg", "confusion_matrix.png",
    "confusion_matrix.svg", "ranking.png", "ranking.svg",
    "embedding_map.png", "embedding_map.svg",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(colour_folder, tmp_path_factory):
    """One run over coloured pictures, looked at by many tests."""
    out = tmp_path_factory.mktemp("runs") / "colours"
    config = FitConfig(
        str(colour_folder), **{**SMALL, "image_size": 64, "fine_tune_epochs": 3}, out=str(out)
    )
    return kerastl.run(config)


def test_it_learns_and_says_so(finished):
    metrics = json.loads((finished.path / "metrics.json").read_text())
    for name in ("probe", "fine-tuned"):
        accuracy = metrics[name]["test"]["accuracy"]
        assert accuracy["value"] >= 0.7, name
        assert accuracy["low"] < accuracy["value"] <= accuracy["high"]
    assert metrics["kept"] == finished.kept
    assert finished.class_names == ("1", "2", "10")
    assert 3 <= len(finished.summary_lines) <= 10


def test_the_run_folder_is_complete(finished):
    assert (finished.path / "quarantine.csv").read_text() == "path,reason\n"
    assert {path.name for path in finished.path.iterdir()} == FILES
    assert not [p for p in finished.path.parent.iterdir() if p.name.startswith(".")]
    split = pd.read_csv(finished.path / "split.csv", dtype=str)
    assert split.groupby("split")["label"].nunique().to_dict() == {"test": 3, "train": 3, "val": 3}
    assert kerastl.read_config(finished.path / "config.yaml").out == str(finished.path)


def test_the_saved_model_gives_what_was_measured(finished):
    model = keras.saving.load_model(finished.path / "model.keras", safe_mode=True)
    predictions = pd.read_csv(finished.path / "test_predictions.csv", dtype={"label": str})
    table = load_table(kerastl.read_config(finished.path / "config.yaml").data)
    pixels = kerastl.load_pixels(table, image_size=(64, 64)).images
    rows = [table.ids.index(path) for path in predictions["path"]]
    expected = predictions[[f"p({name})" for name in finished.class_names]].to_numpy()
    answers = model(pixels[rows].astype("float32"), training=False)
    np.testing.assert_allclose(answers, expected, atol=1e-3)


def test_the_config_of_a_run_makes_the_run_again(finished, tmp_path):
    config = kerastl.read_config(finished.path / "config.yaml")
    again = kerastl.run(
        FitConfig(
            config.data,
            **{**SMALL, "image_size": 64, "fine_tune_epochs": 0},
            out=str(tmp_path / "again"),
        )
    )
    first = json.loads((finished.path / "metrics.json").read_text())
    old, new = (pd.read_csv(p / "split.csv", dtype=str) for p in (finished.path, again.path))
    pd.testing.assert_frame_equal(old, new)
    assert again.kept == "probe"
    assert again.metrics["probe"]["test"]["accuracy"] == first["probe"]["test"]["accuracy"]
    assert not (again.path / "history.csv").exists()


def test_shuffled_labels_are_not_learnt(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (500, 32, 32, 3), np.uint8)
    table = table_from_arrays(images, rng.permutation(np.arange(500) % 2))
    result = kerastl.run(
        FitConfig("arrays", image_size=32, fine_tune_epochs=0, out=str(tmp_path / "run")),
        table=table,
    )
    accuracy = result.metrics["probe"]["test"]["accuracy"]
    assert accuracy["low"] < 0.5 < accuracy["high"], accuracy
    assert abs(result.metrics["probe"]["test"]["log_loss"]["value"] - np.log(2)) < 0.1


def test_sets_of_classes_promise_what_validation_can_keep(tmp_path):
    random = np.random.default_rng(0)
    labels = np.arange(600) % 3
    images = (80 * labels[:, None, None, None] + random.normal(0, 60, (600, 8, 8, 3))).clip(0, 255)
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.AveragePooling2D(8)(inputs), name="colour")
    found = []
    for name, val_fraction in (("many", 0.4), ("few", 0.2)):
        result = kerastl.run(
            FitConfig(
                "arrays",
                recipe="probe",
                val_fraction=val_fraction,
                test_fraction=0.4,
                out=str(tmp_path / name),
            ),
            table=table_from_arrays(images.astype(np.uint8), labels),
            backbone=backbone,
        )
        found.append((result.metrics["prediction_sets"], (result.path / "report.html").read_text()))
    (sets, page), (none, other_page) = found
    assert sets["rule"] == {
        "kind": "LAC", "coverage": 0.9, "threshold": sets["rule"]["threshold"], "num_images": 240
    }  # fmt: skip
    assert sets["coverage"]["low"] < 0.9 < sets["coverage"]["high"]
    assert sets["words"] in page
    points = result.metrics["operating_points"]
    assert [one["class_name"] for one in points] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert page.count(">recall 95 %<") == page.count(">precision 99 %<") == 3
    assert none is None
    assert "Answers as sets" not in other_page


@pytest.mark.parametrize(
    ("backbone", "image_size"), [("VGG16", 32), ("ResNet50", 32), ("InceptionV3", 75)]
)
def test_named_backbones_run_the_whole_command(colour_folder, tmp_path, backbone, image_size):
    command = [sys.executable, "-m", "kerastl.fit", str(colour_folder), "--backbone", backbone]
    command += ["--weights", "none", "--image-size", str(image_size), "--unfreeze-blocks", "1"]
    command += ["--fine-tune-epochs", "1", "--out", str(tmp_path / "run"), "--export"]
    command += ["--export-dir", str(tmp_path / "saved_models")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "saved_models" / "run" / "1" / "saved_model.pb").is_file()
    assert len(done.stdout.splitlines()) <= 10


def test_a_backbone_of_ones_own(colour_folder, tmp_path):
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    own = keras.Model(inputs, x, name="mine")
    result = kerastl.run(
        FitConfig(str(colour_folder), fine_tune_epochs=2, out=str(tmp_path / "run")),
        backbone=own,
        preprocessing="tf",
    )
    assert result.metrics["probe"]["test"]["accuracy"]["value"] >= 0.7
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").input_shape == (
        None,
        24,
        24,
        3,
    )


def test_a_hidden_layer(colour_folder, tmp_path):
    result = kerastl.run(
        FitConfig(
            str(colour_folder), **SMALL, hidden_units=16, dropout=0.1, out=str(tmp_path / "run")
        )
    )
    assert result.metrics["probe"]["test"]["accuracy"]["value"] >= 0.6


def test_several_labels(painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=16)
    lines = ["path,label"]
    for name, labels in {"1": "warm|red", "2": "green", "10": "cold|blue"}.items():
        lines += [f"{path},{labels}" for path in sorted((folder / name).iterdir())]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    result = kerastl.run(
        FitConfig(
            str(tmp_path / "table.csv"),
            **{**SMALL, "image_size": 64},
            label_separator="|",
            out=str(tmp_path / "run"),
        )
    )
    assert set(result.class_names) == {"warm", "red", "green", "cold", "blue"}
    assert result.metrics["probe"]["test"]["macro_f1"]["value"] > 0.6
    # The thresholds are those of the kept model's answers on validation, wherever they stand.
    thresholds = json.loads((result.path / "labels.json").read_text())["thresholds"]
    assert thresholds == list(result.metrics[result.kept]["test"]["thresholds"])
    assert thresholds == list(result.metrics[result.kept]["val"]["thresholds"])
    predictions = pd.read_csv(result.path / "test_predictions.csv", keep_default_na=False)
    scores = predictions[[f"p({name})" for name in result.class_names]].to_numpy()
    for row, answered in zip(scores >= thresholds, predictions["predicted"], strict=True):
        assert [n for n, there in zip(result.class_names, row, strict=True) if there] == [
            name for name in answered.split("|") if name
        ]


def test_remedies_for_uneven_classes_are_refused_for_several_labels(painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=1)
    lines = ["path,label", *(f"{path},a|b" for path in sorted(folder.rglob("*.png")))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    options = {"label_separator": "|", "imbalance": "sampling", "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match="rare labels get a threshold of their own"):
        kerastl.run(FitConfig(str(tmp_path / "table.csv"), **options))
    assert not (tmp_path / "run").exists()


def shades(sizes, *, seed):
    """Noisy pictures of two greys that overlap."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], sizes)
    greys = 100 + 25 * labels + rng.normal(0, 12, len(labels))
    images = greys[:, None, None, None] + rng.normal(0, 20, (len(labels), 24, 24, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("imbalance", IMBALANCES)
def test_every_remedy_for_uneven_classes_runs_to_its_end(tmp_path, imbalance):
    export = imbalance in ("sampling", "logit-adjust")  # weights export as any model does
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    result = kerastl.run(
        FitConfig(
            "arrays",
            imbalance=imbalance,
            fine_tune_epochs=1,
            interpolate=False,  # what is kept is a check, whose loss the history has
            out=str(tmp_path / "run"),
            export=export,
            export_dir=str(tmp_path / "saved_models"),
        ),
        table=table_from_arrays(*shades((150, 15), seed=0)),
        backbone=keras.Model(inputs, x, name="mine"),
        preprocessing="tf",
    )
    if export:  # the model of the run folder gives what was measured, shift and all
        assert result.export.parity.max_measured_difference < 1e-3
    facts = result.metrics["imbalance"]
    weighted = imbalance not in ("none", "logit-adjust")
    assert facts["class_ratio"] == 10
    assert (facts["class_weights"] is not None) == weighted
    assert ("class-weighted log-loss" in result.metrics["kept_because"]) == weighted
    history = pd.read_csv(result.path / "history.csv")
    assert set(history["val_loss_kind"]) == {"class-weighted" if weighted else "plain"}
    page = (result.path / "report.html").read_text()
    assert "10.0 times as many images" in page
    assert ("Classes of different sizes:" in page) == (imbalance != "none")
    checks = history.filter(regex=r"^val_tempered_loss($|_at_)").stack()
    row, column = checks.idxmin()
    middle = "val_tempered_loss_at_0.5"
    assert result.metrics["best_epoch"] == row + (0.5 if column == middle else 1)
    assert result.metrics["kept_epoch"] >= result.metrics["best_epoch"]
    row, is_middle = (
        int(np.ceil(result.metrics["kept_epoch"])) - 1,
        result.metrics["kept_epoch"] % 1,
    )
    kept = history.loc[row, middle if is_middle else "val_tempered_loss"]
    assert facts["validation_losses"]["fine-tuned"] == pytest.approx(kept, abs=1e-4)
    lines = "\n".join(result.summary_lines)
    assert ", balanced " in lines
    assert ("--imbalance logit-adjust" in lines) == (imbalance == "none")
    assert len(result.summary_lines) <= 10
    # On 400 new pictures of the rare class; the test split has 3. Measured: 0.68 with none, 0.76
    # with sqrt, 0.81 with the others.
    rare = np.asarray(result.model(shades((0, 400), seed=1)[0].astype("float32")))
    assert ((rare.argmax(axis=1) == 1).mean() > 0.72) == (imbalance != "none")


def test_whatever_the_bytes_are(tmp_path):
    """All kinds of files, readable and broken, in two classes: every broken one is named.

    They are more than a tenth: the run would stop if `unreadable_fraction` did not get through.
    """
    folder = tmp_path / "photos"
    broken = write_corpus(folder)
    config = FitConfig(
        str(folder),
        image_size=32,
        fine_tune_epochs=0,
        unreadable_fraction=0.5,
        out=str(tmp_path / "run"),
        export=True,
        export_dir=str(tmp_path / "saved_models"),
    )
    result = kerastl.run(config)
    named = pd.read_csv(result.path / "quarantine.csv").set_index("path")["reason"]
    assert sorted(Path(path).name for path in named.index) == broken
    for path, reason in named.items():
        assert BROKEN[Path(path).name][1] in reason
    held_out = list((result.path / "held_out").glob("0*"))
    assert held_out
    assert all(can_be_served(path.read_bytes()) for path in held_out)
    assert result.export.parity.max_difference < 1e-4


def test_every_cache_and_a_fold(colour_folder, tmp_path):
    """Wherever pixels are kept, the run is the same; the test split is the asked fold."""
    answers = []
    for cache in ("memory", "disk", "none"):
        config = FitConfig(
            str(colour_folder),
            image_size=32,
            fine_tune_epochs=1,
            fold="2/4",
            cache=cache,
            out=str(tmp_path / cache),
        )
        result = kerastl.run(config)
        assert result.metrics["probe"]["test"]["n"] == 9
        answers.append((result.path / "test_predictions.csv").read_text())
    assert answers[0] == answers[1] == answers[2]


def snapshot(folder):
    return sorted((p.name, p.stat().st_size) for p in Path(folder).rglob("*"))


@pytest.mark.parametrize(
    ("changes", "error", "advice"),
    [
        ({"backbone": "resnet-50"}, ConfigError, "Did you mean 'ResNet50'?"),
        ({"image_size": 8}, ConfigError, "32"),
        ({"unfreeze_blocks": 99}, ConfigError, "17"),
        ({"weights": "nowhere.weights.h5"}, WeightsError, "nowhere.weights.h5"),
    ],
)
def test_advice(colour_folder, tmp_path, changes, error, advice):
    out = tmp_path / "run"
    options = {**SMALL, **changes}
    with pytest.raises(error) as caught:
        kerastl.run(FitConfig(str(colour_folder), **options, out=str(out)))
    assert advice in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_lost(colour_folder, tmp_path, finished):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    for overwrite, advice in ((False, "never replaced"), (True, "is not a run folder")):
        config = FitConfig(
            str(colour_folder), **SMALL, out=str(tmp_path / "precious"), overwrite=overwrite
        )
        with pytest.raises(ConfigError, match=advice):
            kerastl.run(config)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_two_runs_at_a_time_both_survive(colour_folder, tmp_path, monkeypatch):
    """Another run takes the name while this one works: it moves on to the next."""
    monkeypatch.chdir(tmp_path)
    config = FitConfig(str(colour_folder), image_size=32, fine_tune_epochs=0)

    def write_and_be_overtaken(*arguments, **options):
        (tmp_path / "runs" / "photos").mkdir()
        (tmp_path / "runs" / "photos" / "thesis.txt").write_text("years")
        return write_record(*arguments, **options)

    monkeypatch.setattr(kerastl.workflow, "write_record", write_and_be_overtaken)
    assert kerastl.run(config).path.name == "photos-2"
    assert (tmp_path / "runs" / "photos" / "thesis.txt").read_text() == "years"


def test_a_failing_export_says_that_the_run_is_complete(colour_folder, tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    config = FitConfig(
        str(colour_folder),
        image_size=32,
        fine_tune_epochs=0,
        out=str(tmp_path / "run"),
        export=True,
        export_dir=str(tmp_path / "taken"),
    )
    with pytest.raises(ExportError, match="The run itself is complete"):
        kerastl.run(config)
    assert (tmp_path / "run" / "model.keras").is_file()


def test_a_failing_run_leaves_the_old_one(colour_folder, tmp_path, monkeypatch):
    config = FitConfig(
        str(colour_folder), image_size=32, fine_tune_epochs=0, out=str(tmp_path / "run")
    )
    kerastl.run(config)
    before = snapshot(tmp_path)

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device", "model.keras")

    monkeypatch.setattr(keras.Model, "save", full_disk)
    with pytest.raises(DataError, match="No space left on device"):
        kerastl.run(dataclasses.replace(config, overwrite=True))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_runs_leave_nothing_under_a_final_name(painter, tmp_path, stop):
    folder = painter(tmp_path / "photos", per_class=30)
    command = [sys.executable, "-m", "kerastl.fit", str(folder), "--image-size", "64"]
    command += ["--fine-tune-epochs", "500", "--patience-epochs", "500"]
    command += ["--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in process.stderr:
        if line.startswith("Fine-tuning"):
            break
    time.sleep(1)
    os.kill(process.pid, stop)
    _, err = process.communicate(timeout=120)
    assert not (tmp_path / "run").exists()
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in err
        left = {p.name for p in tmp_path.iterdir()} - {"photos"}
        assert left <= {".run.checkpoint.npz"}
        assert ("the same command with --resume goes on" in err) == bool(left)


def test_a_run_without_time_to_fine_tune_says_so(colour_folder, tmp_path):
    config = FitConfig(str(colour_folder), **SMALL, out=str(tmp_path / "run"), max_minutes=0)
    result = kerastl.run(config)
    assert result.kept == "probe"
    assert "no time was left to fine-tune" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_says_what_ran_in_which_precision(finished):
    around = json.loads((finished.path / "environment.json").read_text())
    assert around["precision"] == "float32"
    assert around["precision_of_training_features"] == "float32 (asked for)"
    assert around["xla"].startswith(("on (", "off ("))
    assert any(line.startswith("Computed in float32; XLA o") for line in finished.summary_lines)


def test_a_run_that_was_short_of_memory_says_so(colour_folder, tmp_path, monkeypatch):
    """In its report, environment and last lines; the options are what they were."""
    proofs = []

    def prove(model, **options):
        proofs.append(model)
        if len(proofs) == 1:
            raise MemoryError
        return prove_frozen(model, **options)

    monkeypatch.setattr("kerastl.training.phases.prove_frozen", prove)
    config = FitConfig(str(colour_folder), **{**SMALL, "batch_size": 8}, out=str(tmp_path / "run"))
    result = kerastl.run(config)
    around = json.loads((result.path / "environment.json").read_text())
    assert around["images_at_once"] == 4
    assert around["out_of_memory"].startswith("Out of memory with 8 images at once: fine-tuning")
    assert around["out_of_memory"] in (result.path / "report.html").read_text()
    assert any(around["out_of_memory"] in line for line in result.summary_lines)
    again = kerastl.read_config(result.path / "config.yaml")
    assert (again.batch_size, again.accumulate_steps) == (8, 1)
