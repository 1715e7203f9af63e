"""Backbones compared on real pictures: planted truths, what is shared, limits, misuse."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import kerastl
from kerastl.compare import main
from kerastl.comparing import measurement
from kerastl.comparing.material import read_material
from kerastl.comparing.measurement import compare_backbones
from kerastl.comparing.options import CompareOptions
from kerastl.data.sources import table_from_arrays
from kerastl.features import stored_features
from kerastl.models.backbones import build_backbone
from kerastl.plan import read_table, split_table

SIZE = 64
BACKBONE = f"EfficientNetLite0@{SIZE}"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """200 handwritten digits of 10 classes, as files."""
    place = tmp_path_factory.mktemp("digits") / "digits"
    found = load_digits()
    for label in range(10):
        (place / str(label)).mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(found.target == label)[:20]):
            picture = Image.fromarray((found.images[row] * 15.9).astype(np.uint8))
            picture.resize((SIZE, SIZE)).save(place / str(label) / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files with the backbone's own weights, and with the same ones in disorder."""
    place = tmp_path_factory.mktemp("weights")
    backbone = build_backbone("EfficientNetLite0", image_size=(SIZE, SIZE))
    backbone.save_weights(place / "copy.weights.h5")
    random = np.random.default_rng(0)
    for layer in backbone.layers:
        if "kernel" in {weight.name for weight in layer.weights}:
            values = layer.get_weights()
            layer.set_weights(
                [random.permutation(values[0].ravel()).reshape(values[0].shape), *values[1:]]
            )
    backbone.save_weights(place / "shuffled.weights.h5")
    return place


@pytest.fixture
def computed(monkeypatch):
    """How many images the frozen part was run over."""
    counts = []
    trace = stored_features.trace_forward

    def counting(*arguments):
        forward = trace(*arguments)

        def run(pixels):
            counts.append(len(pixels))
            return forward(pixels)

        return run

    monkeypatch.setattr(stored_features, "trace_forward", counting)
    return counts


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(measurement, "_ROUNDS", 1)


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_disorder_comes_last_a_copy_ties_and_a_fit_goes_on_from_there(
    capsys, digits, weights, computed, tmp_path
):
    candidates = (
        f"{BACKBONE}={weights}/shuffled.weights.h5,{BACKBONE}={weights}/copy.weights.h5,{BACKBONE}"
    )
    cache = tmp_path / "cache"
    words = (digits, "--backbones", candidates, "--feature-cache", cache, "--out")
    code, text, err = run_main(capsys, *words, tmp_path / "first")
    assert code == 0, err
    values = json.loads((tmp_path / "first" / "comparison.json").read_text())
    *both, last = values["ranked"]
    assert "shuffled" in last
    assert last not in values["tied"]
    assert sorted(both) == sorted(values["tied"])
    by_name = {one["candidate"]: one for one in values["candidates"]}
    first, second = (by_name[name] for name in both)
    assert first["accuracy"] == second["accuracy"] > by_name[last]["accuracy"] + 0.1
    assert first["log_evidence"] == pytest.approx(second["log_evidence"], abs=1e-4)
    assert first["log_evidence"] > by_name[last]["log_evidence"]
    # The same weights are the same features: computed once for both.
    assert sum(computed) == 2 * values["num_images"]
    assert values["num_images"] == 200 - values["num_test_images_held_back"] == 160
    assert f"Type: {by_name[values['advised']]['fit']}" in text
    assert values["advised"] in both

    computed.clear()
    code, _, err = run_main(capsys, *words, tmp_path / "second")
    assert code == 0, err
    assert computed == []
    again = json.loads((tmp_path / "second" / "comparison.json").read_text())
    assert again["ranked"] == values["ranked"]
    assert [one["accuracy"] for one in again["candidates"]] == [
        one["accuracy"] for one in values["candidates"]
    ]

    config = kerastl.FitConfig(
        str(digits), image_size=(SIZE, SIZE), feature_cache=str(cache), augment="none",
        fine_tune_epochs=0, out=str(tmp_path / "run"),
    )  # fmt: skip
    kerastl.run(config)
    assert sum(computed) == 40  # the test images alone


def test_no_test_image_is_looked_at(digits):
    options = CompareOptions(str(digits), backbones=BACKBONE, feature_cache="none")
    found = compare_backbones(options)
    table = read_table(options)
    tested = {
        id_
        for id_, split in zip(table.ids, split_table(table, options), strict=True)
        if split == "test"
    }
    answered = set(found.first.answers.ids)
    assert len(tested) == found.num_held_back == 40
    assert not answered & tested
    assert len(answered) == 160


def test_fewer_images_keep_every_class_and_the_same_ones_again(digits):
    options = CompareOptions(
        str(digits), backbones=BACKBONE, feature_cache="none", most_images=40, seed=1
    )
    found = compare_backbones(options)
    labels = found.first.answers.labels
    assert 50 == len(labels) == found.num_images  # five of each, where four would be drawn
    assert np.bincount(labels).min() >= 5
    assert compare_backbones(options).first.answers.ids == found.first.answers.ids


@pytest.mark.parametrize("most", [100, 150, 159])
def test_so_many_images_as_may_be_are_drawn(digits, most):
    options = CompareOptions(str(digits), backbones=BACKBONE, most_images=most)
    table = read_table(options)
    material = read_material(table, options, image_size=(16, 16), directory=None)
    assert len(material.rows) == most
    counts = np.bincount(material.table.labels)
    assert counts.max() - counts.min() <= 1


def test_unreadable_files_are_written_down(capsys, digits, tmp_path):
    shutil.copytree(digits, tmp_path / "digits")
    (tmp_path / "digits" / "3" / "broken.png").write_bytes(b"no image")
    words = (
        tmp_path / "digits",
        "--backbones",
        f"{BACKBONE},{BACKBONE}",
        "--out",
        tmp_path / "out",
    )
    code, text, err = run_main(capsys, *words)
    assert code == 0, err
    assert "Left out: " in text
    assert "broken.png: " in " ".join(text.split())
    assert f"{BACKBONE} was named twice" in text
    (left_out,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["unreadable"]
    assert left_out["path"].endswith("broken.png")
    assert left_out["reason"]
    assert "broken.png" in (tmp_path / "out" / "comparison.html").read_text()


def test_whole_groups_are_held_out_and_drawn():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60, 32, 32, 3), np.uint8)
    labels = np.arange(60) % 2
    groups = [f"patient {number // 4}" for number in range(60)]
    table = table_from_arrays(pixels, labels.astype(str), groups=groups)
    options = CompareOptions("arrays", backbones="MobileNet@32=none", feature_cache="none")
    found = compare_backbones(options, table=table)
    assert found.num_groups == len(set(found.first.answers.groups))
    assert "bootstrap" in found.first.accuracy.method
    material = read_material(table, options, image_size=(32, 32), directory=None)
    groups, folds = material.table.groups, material.folds
    assert len(set(folds)) == 5
    assert all(len(set(folds[groups == one])) == 1 for one in set(groups))


def test_several_labels_per_image():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60, 32, 32, 3), np.uint8)
    labels = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)
    table = table_from_arrays(pixels, labels)
    options = CompareOptions("arrays", backbones="MobileNet@32=none", feature_cache="none")
    found = compare_backbones(options, table=table)
    assert found.first.answers.multi_label
    assert np.isfinite(found.first.log_evidence)


def test_what_cannot_be_had_is_named_with_the_reason(capsys, digits, tmp_path):
    candidates = f"{BACKBONE},{BACKBONE}={tmp_path}/no.weights.h5,VGG16@16=none"
    out = tmp_path / "out"
    code, text, err = run_main(capsys, digits, "--backbones", candidates, "--out", out)
    assert code == 0, err
    assert f"Not measured: {BACKBONE}={tmp_path}/no.weights.h5: " in text
    assert "no.weights.h5' does not exist" in " ".join(text.split())
    assert "Not measured: VGG16@16=none: " in text
    assert "alone was measured" in text
    with (out / "candidates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "", ""]
    assert all(row["refused"] for row in rows[1:])


def test_a_latency_that_none_keeps(capsys, digits, tmp_path):
    words = ("--backbones", BACKBONE, "--max-latency-ms", "0.001", "--out", tmp_path / "out")
    code, _, err = run_main(capsys, digits, *words)
    assert code == 2
    assert "more than 0.001 ms (--max-latency-ms)" in err
    assert "Type --max-latency-ms " in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_time_is_up(capsys, digits, tmp_path, monkeypatch):
    # The first candidate ends, by then the time is over.
    monkeypatch.setattr(measurement, "deadline_after", lambda _minutes: _Over(after=1))
    candidates = f"{BACKBONE},MobileNet@{SIZE}=none"
    words = ("--backbones", candidates, "--max-minutes", "9", "--out", tmp_path / "out")
    code, text, err = run_main(capsys, digits, *words)
    assert code == 0, err
    assert f"Not measured: MobileNet@{SIZE}=none: The time (--max-minutes 9) was over" in text


class _Over:
    """A deadline that passes after it was looked at so many times between candidates."""

    words = "--max-minutes 9"

    def __init__(self, after):
        self._left = after

    @property
    def passed(self):
        self._left -= 1
        return self._left < 0

    def check(self):
        pass


def test_json_and_nothing_else(capsys, digits, tmp_path):
    out = tmp_path / "out"
    words = (digits, "--backbones", BACKBONE, "--json", "--out", out)
    code, text, err = run_main(capsys, *words)
    assert code == 0, err
    assert json.loads(text)["ranked"] == [BACKBONE]
    code, text, err = run_main(capsys, *words)
    assert (code, text) == (2, "")
    assert "exists already" in err


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("nowhere",), "nowhere"),
        ((".", "--backbones", "ResNet5"), "Did you mean 'ResNet50'"),
        ((".", "--most-images", "1"), "most_images"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, words, advice):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(capsys, *words)
    assert code == 2
    assert advice in err
    assert len(err.strip().splitlines()) == 1


def test_downloads_are_told_on_standard_error(capsys):
    from kerastl.models.weights import fetch_imagenet

    def build():
        print("Downloading data from https://example.org")
        return keras.Sequential()

    fetch_imagenet(build, name="any")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Downloading data from https://example.org\n")
