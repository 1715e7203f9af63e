"""The benchmark: every stage is there, the numbers can be, nothing half-written is left."""

import dataclasses
import json
import re
import signal
import tempfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kerastl.benchmarking.growth
import kerastl.benchmarking.page
from kerastl.benchmark import main
from kerastl.benchmarking import measurement, stages
from kerastl.benchmarking.job_estimate import estimate_job
from kerastl.benchmarking.options import BenchmarkOptions, command_of
from kerastl.benchmarking.timing import Timing
from kerastl.data.sources import load_table

TINY = ("--backbone", "MobileNet", "--image-size", "32", "--images", "8", "--batch-size", "4")
STAGES = ["decode", "augment", "extract", "probe", "frozen", "train", "train_live"]
STAGES += ["export", "predict"]


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for all temporary files, beside the working directory's others."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture
def grown(monkeypatch):
    """Jobs take 5 s and 10 ms for each image, and are not run."""

    def run(job, _options, _place):
        return 5 + job.images / 100, 2**30

    monkeypatch.setattr(kerastl.benchmarking.growth, "_run", run)


def test_the_whole_benchmark(capsys, tmp_path, temporary, grown, monkeypatch):
    monkeypatch.setattr(measurement, "bfloat16_is_fast", lambda: False)
    out = tmp_path / "out"
    words = (*TINY, "--rounds", "1", "--growth", "images", "--growth-images", "16", "--out", out)
    code, text, err = run_main(capsys, *words)
    assert code == 0, err
    values = json.loads((out / "benchmark.json").read_text())
    assert [stage["stage"] for stage in values["stages"]] == STAGES
    for stage in values["stages"]:
        assert stage["title"] in text
        assert stage["images_per_second"] > 0
        assert stage["best_images_per_second"] >= stage["images_per_second"]
        assert len(stage["seconds_by_round"]) == stage["rounds"] == 1
        fraction = stage["limit_fraction"]
        assert (fraction is None) == (stage["gflop_per_image"] is None)
        assert fraction is None or 0 <= fraction < 2
    by_name = {stage["stage"]: stage for stage in values["stages"]}
    assert by_name["extract"]["gflop_per_image"] == pytest.approx(1.137 * (32 / 224) ** 2, rel=0.1)
    assert by_name["frozen"]["gflop_per_image"] < by_name["extract"]["gflop_per_image"]
    assert {limit["kind"] for limit in values["limits"]} == {"matrix product", "convolution"}
    assert all(limit["gflop_per_second"] > 0 for limit in values["limits"])
    parts = sum(part["seconds"] for part in values["job"]["parts"])
    assert values["job"]["seconds"] == pytest.approx(parts, abs=0.01)
    assert "A fit of 1,000 images with --export would take about" in text
    assert values["growth"][0]["seconds"]["each"] == pytest.approx(0.01)
    assert "5.0 s + 10 ms per image" in text
    assert values["machine"]["num_processors"] >= 1
    assert values["command"].endswith("--growth images --growth-images 16")

    pictures = [f"{name}.{kind}" for name in ("stages", "job", "growth_images") for kind in _KINDS]
    files = {"benchmark.json", "benchmark.html", "stages.csv", "growth.csv", *pictures}
    assert {path.name for path in out.iterdir()} == files
    assert pd.read_csv(out / "stages.csv")["stage"].tolist() == STAGES
    assert pd.read_csv(out / "growth.csv")["images"].tolist() == [16, 64, 256]
    with Image.open(out / "stages.png") as picture:
        assert picture.width > 800
    check_page((out / "benchmark.html").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"out", "temporary"}
    assert not any(temporary.glob("kerastl-*"))

    # It is there now, and stays as it is.
    before = (out / "benchmark.json").read_text()
    code, text, err = run_main(capsys, *TINY, "--out", out)
    assert (code, text) == (2, "")
    assert "is never overwritten by itself" in err
    assert (out / "benchmark.json").read_text() == before


_KINDS = ("png", "svg")


def check_page(page):
    """The page loads nothing, and shows every picture."""
    assert page.startswith("<!doctype html>")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r"url\(|@import|<script|<link", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_ones_own_images_without_training(colour_folder, monkeypatch, tmp_path):
    """The stages that a network has; of one's own images those are taken that can be read."""
    (tmp_path / "photos").mkdir()
    for name in ("1", "2"):
        (tmp_path / "photos" / name).symlink_to(colour_folder / name)
    monkeypatch.setattr(stages, "_export_stages", lambda *_arguments, **_options: [])
    options = BenchmarkOptions(
        str(tmp_path / "photos"), backbone="MobileNet", image_size=32, images=10, augment="mirrors"
    )
    setting = stages.prepare(options, load_table(options.data))
    assert setting.images.shape == (10, 32, 32, 3)
    assert np.bincount(setting.labels).tolist() == [5, 5]
    assert len(setting.features) == 40  # mirrored both ways
    before = [np.array(weight) for weight in setting.classifier.get_weights()]
    built = stages.build_stages(setting, folder=tmp_path, bfloat16=True)
    assert [stage.name for stage in built if "train" not in stage.name] == [
        *("decode", "augment", "extract", "extract_bfloat16", "probe", "frozen")
    ]
    for stage in built:
        stage.run()
    # Every round does the same work: training leaves all weights as they are.
    for old, new in zip(before, setting.classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    frozen, train = (next(s for s in built if s.name == name) for name in ("frozen", "train"))
    assert frozen.operations + train.operations / 3 == pytest.approx(setting.operations)

    whole = dataclasses.replace(options, unfreeze_blocks="all")
    built = stages.build_stages(
        stages.prepare(whole, load_table(options.data)), folder=tmp_path, bfloat16=False
    )
    names = [stage.name for stage in built]
    assert names == ["decode", "augment", "extract", "probe", "train_live"]
    none = dataclasses.replace(options, unfreeze_blocks=0)
    built = stages.build_stages(
        stages.prepare(none, load_table(options.data)), folder=tmp_path, bfloat16=False
    )
    assert [stage.name for stage in built] == ["decode", "augment", "extract", "probe"]


def test_the_estimate_counts_what_a_fit_does():
    names = ("decode", "augment", "extract", "probe", "frozen", "train", "train_live", "export")
    timings = [Timing(name, name, 1, (1.0,), None, "float32", ()) for name in (*names, "predict")]
    config = BenchmarkOptions().fit_config()
    job = estimate_job(timings, config, images=1000, border=True, square=True)
    seconds = {part.title: part.seconds for part in job.parts}
    assert job.num_views == 4
    assert seconds["Read, decode, resize"] == 1000
    # Of training and validation images as they are, nothing below the border runs once more.
    assert seconds["Extract features"] == pytest.approx(650 + 200)
    assert seconds["Frozen part (4 views)"] == pytest.approx(4 * 650 + 150 + 3 * 650)
    assert seconds["Train (8 epochs)"] == pytest.approx(8 * (650 + 50))
    assert seconds["Test"] == pytest.approx(200)
    live = estimate_job(timings, config, images=1000, border=False, square=True)
    assert live.num_views == 0
    assert not any("Frozen" in part.title for part in live.parts)
    probe = BenchmarkOptions(job_epochs=0).fit_config()
    parts = estimate_job(timings, probe, images=1000, border=True, square=True).parts
    assert len(parts) == 4


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--backbone", "resnet-5O"], "Did you mean 'ResNet50'?"),
        (["nowhere"], "does not exist"),
        (["--augment", "lihgt"], "Did you mean 'light'?"),
        (["--growth", "image"], "image"),
        (["--images", "3"], "from 4 to 1,000,000"),
        (["--classes", "200"], "at least 3 times `classes`"),
        (["--image-size", "big"], "Write for example 300"),
        (["--image-size", "8"], "32"),
        (["--weights", "gone.weights.h5"], "gone.weights.h5"),
        (["--rounds", "0"], "from 1 to 1,000"),
        (["--out", "taken"], "never replaced"),
        (["--out", "taken", "--overwrite"], "is not a benchmark folder"),
        (["--out", "file/below"], "Nothing can be written"),
        (["--quik"], "--help"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, temporary, words, advice):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    code, out, err = run_main(capsys, *words)
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert advice in last
    assert last.startswith("kerastl.benchmark: ")
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]
    assert not any(temporary.glob("kerastl-*"))
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"taken", "file", "temporary", "timings"}
    assert not any((tmp_path / "timings").glob("**/*"))


def test_ctrl_c_leaves_nothing_half_written(capsys, tmp_path, temporary, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(measurement, "prepare", interrupt)  # the images are made by then
    code, out, err = run_main(capsys, *TINY, "--out", tmp_path / "out")
    assert (code, out) == (128 + signal.SIGINT, "")
    assert err.endswith("\nInterrupted; nothing half-written was left.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert not any(temporary.glob("kerastl-*"))


def test_the_command_can_be_typed_again():
    options = BenchmarkOptions(
        "my photos", image_size=(64, 96), unfreeze_blocks="all", growth=("all",)
    )
    assert command_of(options) == (
        "python -m kerastl.benchmark 'my photos' --image-size 64x96 --unfreeze-blocks all "
        "--growth images classes size"
    )
    assert command_of(BenchmarkOptions()) == "python -m kerastl.benchmark"
