"""`kerastl.export`: several formats beside the model, and gates that hold."""

import json
import logging
import os
import shutil

import numpy as np
import pytest

import kerastl
from kerastl import exports as exports_module
from kerastl.deploy import portable_export as portable_export_module
from kerastl.deploy.predictor import open_predictor
from kerastl.errors import ExportError
from kerastl.evaluate import main as evaluate_main
from kerastl.export import main
from kerastl.exports import export_formats
from kerastl.recorded_images import recorded_pixels


@pytest.fixture(scope="module")
def run(colour_folder, tmp_path_factory):
    """A probe of three colours."""
    folder = tmp_path_factory.mktemp("export")
    photos = shutil.copytree(colour_folder, folder / "photos")
    config = kerastl.FitConfig(
        str(photos), image_size=32, fine_tune_epochs=0, out=str(folder / "run")
    )
    return kerastl.run(config).path


def run_main(capsys, *words, command=main):
    with pytest.raises(SystemExit) as caught:
        command([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_table_files_and_what_was_measured(run, tmp_path, capsys):
    code, out, _ = run_main(
        capsys,
        run,
        "--export-dir",
        tmp_path,
        "--format",
        "savedmodel,onnx,litert-int8",
        "--min-agreement",
        "0.5",
        "--min-accuracy",
        "0.1",
    )
    assert code == 0, out
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == (
        "format same answer largest difference accuracy MB 1 image 32 images"
    )
    assert [line.split()[0] for line in lines[1:4]] == ["savedmodel", "onnx", "litert-int8"]
    assert lines[1].split()[1] == lines[2].split()[1] == "100.0"
    test = [row for row in (run / "split.csv").read_text().splitlines() if ",test," in row]
    assert f"Compared with the model on {len(test)} images of the test split" in out
    assert f"savedmodel: {tmp_path / 'run' / '1'}" in lines
    assert f"litert-int8: {tmp_path / 'run' / 'litert-int8' / '1'}" in lines
    parity = json.loads((tmp_path / "run/onnx/1/kerastl.json").read_text())["parity"]
    assert parity["num_images"] == len(test)
    assert parity["agreement"] == 1.0
    assert parity["largest_difference"] < 1e-4
    accuracy = json.loads((run / "metrics.json").read_text())["probe"]["test"]["accuracy"]["value"]
    assert parity["accuracy"] == pytest.approx(accuracy)
    sidecar = tmp_path / "run/1/assets.extra/kerastl.json"
    assert json.loads(sidecar.read_text())["parity"]["agreement"] == 1.0


def test_a_format_is_evaluated_and_predicts_as_any_model(run, tmp_path, capsys):
    export_formats(run, ["litert"], export_dir=tmp_path)
    photos = run.parent / "photos"
    code, out, _ = run_main(
        capsys,
        run,
        tmp_path / "run" / "litert",
        photos,
        "--all-images",
        "--out",
        tmp_path / "found",
        command=evaluate_main,
    )
    assert code == 0
    assert "litert less that of run: +0.0 points" in out


def with_changed_weights(model):
    """Return a copy whose last layer has forgotten which class is which."""
    changed = model.__class__.from_config(model.get_config())
    changed.set_weights([np.roll(one, 1, axis=-1) for one in model.get_weights()])
    return changed


@pytest.fixture
def sabotaged(monkeypatch):
    """Converters that are given another network than the one that was measured."""
    convert = portable_export_module.convert_network

    def sabotage(network, folder, **options):
        convert(with_changed_weights(network), folder, **options)

    monkeypatch.setattr(portable_export_module, "convert_network", sabotage)


@pytest.mark.usefixtures("sabotaged")
def test_a_sabotaged_export_is_refused(run, tmp_path, capsys):
    formats = ["openvino", "litert-float16"]
    code, out, _ = run_main(
        capsys, run, "--export-dir", tmp_path, "--format", ",".join([*formats, "savedmodel"])
    )
    assert code == 1
    assert "openvino: NOT EXPORTED. Probabilities differ by up to" in out
    assert "litert-float16: NOT EXPORTED. It gives the model's answer to" in out
    # The other format is not touched by it.
    assert os.listdir(tmp_path / "run").count("1") == 1
    assert not set(formats) & set(os.listdir(tmp_path / "run"))


def test_int8_whose_ranges_were_measured_on_darkness_is_refused(run, tmp_path, monkeypatch):
    read = exports_module.recorded_pixels

    def dark(path, split, *, most, seed=0):
        names, pixels = read(path, split, most=most, seed=seed)
        return names, np.zeros_like(pixels) if split == "train" else pixels

    monkeypatch.setattr(exports_module, "recorded_pixels", dark)
    (result,) = export_formats(run, ["litert-int8"], export_dir=tmp_path).results
    assert "gives the model's answer to" in result.refused
    assert result.path is None
    assert result.agreement < 0.95
    assert list(tmp_path.iterdir()) == []


def test_gates_that_are_given(run, tmp_path, capsys):
    accuracy = json.loads((run / "metrics.json").read_text())["probe"]["test"]["accuracy"]["value"]
    assert accuracy < 1
    code, out, _ = run_main(
        capsys, run, "--export-dir", tmp_path, "--format", "onnx", "--min-accuracy", "1"
    )
    assert code == 1
    assert "less than 100 % (--min-accuracy)" in out
    for option, value in (("--min-agreement", "95"), ("--most-images", "-1")):
        code, _, err = run_main(capsys, run, option, value)
        assert code == 2
        assert f"`{option[2:].replace('-', '_')}` must" in err
    code, _, err = run_main(capsys, run, "--format", "tflite")
    assert code == 2
    assert "received 'tflite'" in err


def test_images_that_are_gone_or_changed_are_not_measured_on(run, tmp_path, caplog):
    moved = shutil.copytree(run, tmp_path / "run")
    everything, pixels = recorded_pixels(moved, "test", most=100)
    some, _ = recorded_pixels(moved, "test", most=2)
    assert len(some) == 2
    assert set(some) < set(everything)
    # One is gone, one is another picture now.
    config = (moved / "config.yaml").read_text()
    photos = shutil.copytree(run.parent / "photos", tmp_path / "photos")
    for name in ("config.yaml", "split.csv", "test_predictions.csv"):
        text = (moved / name).read_text().replace(str(run.parent / "photos"), str(photos))
        (moved / name).write_text(text)
    names = [name.replace(str(run.parent / "photos"), str(photos)) for name in everything]
    shutil.copy(names[1], names[2])
    (photos / names[0]).unlink()
    with caplog.at_level(logging.WARNING):
        left, left_pixels = recorded_pixels(moved, "test", most=100)
    assert list(left) == [names[1], *names[3:]]
    np.testing.assert_array_equal(left_pixels, pixels[[1, *range(3, len(names))]])
    assert "2 test images of the run are gone or are other images now" in caplog.text
    # All are gone: what the run kept is left, without labels.
    shutil.rmtree(photos)
    exports = export_formats(moved, ["onnx"], export_dir=tmp_path / "saved_models")
    assert exports.accuracy is None
    assert exports.results[0].agreement == 1.0
    assert not exports.are_test
    assert "cannot be read as it read them" in caplog.text
    with pytest.raises(ExportError, match="No accuracy can be measured"):
        export_formats(moved, ["onnx"], export_dir=tmp_path / "others", min_accuracy=0.5)
    assert config != (moved / "config.yaml").read_text()


def test_predictor_of_each_format(run, tmp_path):
    content = next((run / "held_out").glob("*.png")).read_bytes()
    export_formats(run, ["openvino"], export_dir=tmp_path, name="colours")
    (expected,) = open_predictor(run).predict([content])
    (answer,) = open_predictor(tmp_path / "colours" / "openvino").predict([content])
    assert answer.classes == expected.classes
    assert answer.scores == pytest.approx(expected.scores, abs=1e-5)
    assert answer.unknown_score is None
