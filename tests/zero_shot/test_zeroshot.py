"""`python -m kerastl.zeroshot`: real presets of random weights, answers, measures and mistakes."""

import csv
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

import kerastl.zero_shot.two_towers
from kerastl.data.sources import ImageTable
from kerastl.errors import DataError
from kerastl.evaluation.intervals import wilson_interval
from kerastl.zero_shot.answers import zero_shot_predictor
from kerastl.zero_shot.labels import labels_from_text
from kerastl.zero_shot.measures import require_labels_for
from kerastl.zero_shot.two_towers import TwoTowers
from kerastl.zeroshot import main

CLASSES = ["1", "2", "10"]


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture
def colours_known(monkeypatch):
    """A network that knows red, green and blue: its vectors are mean colours."""

    def embed_texts(sentences):
        words = ("red", "green", "blue")
        return np.array([[float(word in text) for word in words] for text in sentences], np.float32)

    towers = TwoTowers(
        prepare=lambda pixels: pixels.mean(axis=(0, 1), dtype=np.float32),
        embed_images=lambda images: images,
        embed_texts=embed_texts,
        logits=lambda images, texts: images @ texts.T,
        score_kind="sigmoid",
    )
    monkeypatch.setattr(kerastl.zero_shot.two_towers, "load_towers", lambda preset: towers)
    return towers


def test_a_fresh_process_prints_what_the_functions_give(presets, towers, colour_folder, tmp_path):
    files = [colour_folder / name / "picture 0.png" for name in CLASSES]
    (tmp_path / "broken.png").write_bytes(b"no image")
    words = [*files, tmp_path, "--labels", "cat,dog=green dog", "--preset", presets["siglip"]]
    command = [sys.executable, "-m", "kerastl.zeroshot", *words, "--top", "2"]
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=quiet
    )
    assert result.returncode == 1, result.stderr
    named, said = result.stderr.splitlines()
    assert named == f"{tmp_path / 'broken.png'}: text, not an image"
    assert said.startswith("Scores are of each label by itself")
    assert "weak on satellite" in said
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    predictor = zero_shot_predictor(towers["siglip"], labels_from_text("cat,dog=green dog"))
    answers = predictor.predict([path.read_bytes() for path in files])
    for row, path, answer in zip(rows, files, answers, strict=True):
        told = (row["path"], row["label"], row["score_kind"])
        assert told == (str(path), answer.classes[0], "sigmoid")
        assert [hit["label"] for hit in row["top"]] == list(answer.classes)
        assert [hit["score"] for hit in row["top"]] == pytest.approx(answer.scores, abs=1e-5)


def test_csv_with_labels_from_a_file(presets, colour_folder, capsys, tmp_path):
    (tmp_path / "labels.txt").write_text("red, warm\nblue\n")
    words = ["--labels-file", tmp_path / "labels.txt", "--template", "{}", "--format", "csv"]
    code, out, _ = run_main(
        capsys, colour_folder / "2", *words, "--preset", presets["clip"], "--top", 3
    )
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 12
    for row in rows:
        assert {row["label"], row["label2"]} == {"red, warm", "blue"}
        assert float(row["score"]) + float(row["score2"]) == pytest.approx(1, abs=1e-5)
        assert (row["label3"], row["score3"], row["score_kind"]) == ("", "", "softmax")


def test_labelled_images_are_measured(colours_known, painter, capsys, tmp_path):
    folder = painter(
        tmp_path / "photos", noise=5, colours={"red_1": (200, 40, 40), "blue": (40, 40, 200)}
    )
    (folder / "blue" / "picture 3.png").write_bytes(b"no image")
    code, out, _ = run_main(capsys, folder, "--labelled")
    assert code == 0
    low, high = (100 * end for end in wilson_interval(23, 23))
    assert out.splitlines()[:3] == [
        "23 images of photos, 2 labels.",
        "1 image could not be read and are left out.",
        f"Zero-shot accuracy 100.0 % ({low:.1f} to {high:.1f}), balanced 100.0 % "
        f"({low:.1f} to 100.0); answering 'red_1' to all would be right for 52.2 %.",
    ]
    assert f"python -m kerastl.fit {folder}" in out


def test_wrong_words_are_wrong_answers(colours_known, painter, capsys, tmp_path):
    colours = {"a": (200, 40, 40), "b": (40, 40, 200)}
    folder = painter(tmp_path / "photos", noise=5, colours=colours)
    labels = "a=green,b=blue,c=red"
    code, out, _ = run_main(
        capsys, folder, "--labelled", "--labels", labels, "--format", "jsonl", "--preset", "mine"
    )
    assert code == 0
    found = json.loads(out)
    assert (found["preset"], found["class_names"]) == ("mine", ["a", "b", "c"])
    assert found["confusion"] == [[0, 0, 12], [0, 12, 0], [0, 0, 0]]
    assert found["accuracy"]["value"] == 0.5
    assert found["accuracy"]["low"] == pytest.approx(wilson_interval(12, 24)[0])
    code, out, _ = run_main(capsys, folder, "--labelled", "--labels", labels)
    assert "  a taken for c: 12 (100 % of a)" in out.splitlines()


def test_of_divided_images_only_the_test_split_is_asked(colours_known, painter, capsys, tmp_path):
    for part in ("train", "test"):
        painter(tmp_path / "photos" / part, colours={"red": (200, 40, 40), "blue": (40, 40, 200)})
    code, out, _ = run_main(capsys, tmp_path / "photos", "--labelled")
    assert code == 0
    assert out.splitlines()[:2] == [
        "24 images of photos, 2 labels.",
        "Only the test split of photos; 24 others were not asked.",
    ]


def test_no_network_is_one_line(no_network, colour_folder, capsys, caplog):
    with caplog.at_level(logging.INFO, "kerastl"):
        code, out, err = run_main(capsys, colour_folder, "--labels", "cat,dog")
    assert caplog.messages[0].startswith("Fetching clip_vit_base_patch32 (0.6 GB)")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "could not be downloaded: api.kaggle.com" in err


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--labels", "cat,dog", "--template", "a photo"], "must have {} where the label goes"),
        (["--labels", ""], "must name labels"),
        (["--labels", "cat,cat"], "'cat' twice"),
        (["--labels", "cat", "--labels-file", "x"], "received both"),
        (["--labels-file", "nowhere.txt"], "No such file"),
        ([], "Say what to choose from"),
        (["--labels", "cat"], "One label alone would have the score 1"),
        (["--labels", "cat,dog", "--top", "0"], "`top` must be 1 or more"),
        (["--labels", "cat,dog", "--label-column", "x"], "--label-column .* add --labelled"),
        (["--labelled", "--format", "csv"], "leave --labelled out"),
        (["other", "--labelled"], "name one source of images"),
        (["--labelled", "--labels", "1,2,ten"], "'10' is missing"),
        (["--labels", "cat,dog", "--preset", "clip_vit"], "The names are|Did you mean"),
    ],
)
def test_mistakes_are_one_line(colour_folder, capsys, words, advice):
    code, out, err = run_main(capsys, colour_folder, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    with pytest.raises(AssertionError, match=advice):
        raise AssertionError(err)


def test_images_that_are_not_there_are_said_before_anything_is_fetched(capsys, tmp_path):
    for words in ([tmp_path], [tmp_path / "nowhere.png"], [tmp_path / "no", "--labelled"]):
        code, out, err = run_main(capsys, *words, "--labels", "cat,dog")
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_what_is_not_installed_is_said_before_anything_is_loaded(
    monkeypatch, capsys, colour_folder
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "keras_hub" else find_spec(name)
    )
    code, out, err = run_main(capsys, colour_folder, "--labels", "cat,dog")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Type: pip install 'kerastl[zeroshot]'" in err


def test_images_of_several_labels_are_not_measured():
    labels = np.eye(2, dtype=np.int8)
    table = ImageTable("photos", ("a.png", "b.png"), labels, ("0", "1"))
    with pytest.raises(DataError, match="several labels each"):
        require_labels_for(table, labels_from_text("0,1"))
