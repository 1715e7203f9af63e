"""Predict answers for runs and SavedModels alike, in every format; unreadable files are named."""

import csv
import io
import json

import pytest
from PIL import Image

import kerastl
from kerastl.predict import find_images, main


@pytest.fixture(scope="module")
def run(colour_folder, tmp_path_factory):
    """A probe of three colours, exported."""
    place = tmp_path_factory.mktemp("predict")
    return kerastl.run(
        kerastl.FitConfig(
            str(colour_folder),
            image_size=32,
            fine_tune_epochs=0,
            out=str(place / "run"),
            export=True,
            export_dir=str(place / "saved_models"),
        )
    )


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_run_and_savedmodel_answer_alike(run, colour_folder, capsys):
    answers = []
    for model in (run.path, run.export.path):
        code, out, _ = run_main(capsys, model, colour_folder / "10", "--top", "3")
        assert code == 0
        answers.append([json.loads(line) for line in out.splitlines()])
    assert len(answers[0]) == 12
    for one, other in zip(*answers, strict=True):
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["unknown_score"] == pytest.approx(other["unknown_score"], abs=1e-4)
        assert [top["label"] for top in one["top"]] == [top["label"] for top in other["top"]]
    assert sum(row["label"] == "10" for row in answers[0]) >= 9


def test_unreadable_files_are_named_and_skipped(run, colour_folder, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = colour_folder / "1" / "picture 0.png"
    code, out, err = run_main(
        capsys, run.export.path, tmp_path, good, "--format", "csv", "--top", "2"
    )
    assert code == 1
    assert err.startswith(f"{tmp_path / 'broken.png'}: ")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["path"] == str(good)
    assert float(row["score"]) >= float(row["score2"])


def test_what_the_savedmodel_cannot_decode_is_answered_alike(run, colour_folder, capsys, tmp_path):
    for index in range(3):
        picture = Image.open(colour_folder / "10" / f"picture {index}.png")
        picture.save(tmp_path / f"{index}.tif")
        picture.save(tmp_path / f"{index}.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    (tmp_path / "broken.tif").write_bytes((tmp_path / "0.tif").read_bytes()[:200])
    answers = []
    for model in (run.path, run.export.path):
        code, out, err = run_main(capsys, model, tmp_path, "--top", "3")
        assert code == 1
        assert err == f"{tmp_path / 'broken.tif'}: damaged or truncated TIFF\n"
        answers.append([json.loads(line) for line in out.splitlines()])
    assert len(answers[0]) == 6
    for one, other in zip(*answers, strict=True):
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_table_for_people(run, colour_folder, capsys, monkeypatch):
    monkeypatch.chdir(colour_folder)
    code, out, _ = run_main(capsys, run.path, "2", "--format", "table")
    assert code == 0
    assert "picture 0.png" in out


def test_mistakes_are_one_line(run, capsys, tmp_path):
    for words in (("nowhere", "x.png"), (run.path, tmp_path / "nowhere.png"), (run.path, tmp_path)):
        code, out, err = run_main(capsys, *words)
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_find_images_takes_globs_and_skips_hidden_files(colour_folder, tmp_path):
    assert len(find_images([str(colour_folder / "*" / "picture 1*.png")])) == 9
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "Thumbs.db").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "a.JPG").write_bytes(b"")
    (tmp_path / "b.tif").write_bytes(b"")
    (tmp_path / "photo.jpg.download").write_bytes(b"\xff\xd8\xff\xe0")
    names = ["a.JPG", "b.tif", "photo.jpg.download"]
    assert [path.name for path in find_images([str(tmp_path)])] == names


def test_several_labels_are_all_named(painter, capsys, tmp_path):
    folder = painter(tmp_path / "photos", per_class=16)
    rows = [
        {"path": str(path), "label": labels}
        for name, labels in {"1": ["warm", "red"], "2": [], "10": ["cold", "blue"]}.items()
        for path in sorted((folder / name).iterdir())
    ]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = kerastl.run(
        kerastl.FitConfig(
            str(tmp_path / "table.jsonl"),
            image_size=64,
            fine_tune_epochs=0,
            out=str(tmp_path / "run"),
            export=True,
            export_dir=str(tmp_path / "saved_models"),
        )
    )
    for model in (result.path, result.export.path):
        code, out, _ = run_main(capsys, model, folder / "1", folder / "2")
        assert code == 0
        labels = [json.loads(line)["label"] for line in out.splitlines()]
        assert sum(set(label.split("|")) == {"warm", "red"} for label in labels[:16]) >= 10
        assert sum(label == "" for label in labels[16:]) >= 8

    # The answered labels have a column of their own; the best ones follow whether answered or not.
    code, out, _ = run_main(capsys, result.path, folder / "2", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    novelty = ["unknown_score", "is_unknown"]
    assert list(rows[0]) == ["path", "labels", "label", "score", *novelty]
    assert sum(row["labels"] == "" for row in rows) >= 8
    assert all(row["label"] for row in rows)
    # Thresholds decide: where one asks for certainty, its label is answered no more.
    names = result.class_names
    thresholds = [1.0 if name == "warm" else 0.0 for name in names]
    settings = json.loads((result.path / "labels.json").read_text())
    assert len(settings["thresholds"]) == 4
    assets = result.export.path / "assets" / "thresholds.txt"
    assert [float(line) for line in assets.read_text().splitlines()] == settings["thresholds"]
    assets.write_text("".join(f"{t}\n" for t in thresholds))
    (result.path / "labels.json").write_text(json.dumps({**settings, "thresholds": thresholds}))
    for model in (result.path, result.export.path):
        _, out, _ = run_main(capsys, model, folder / "2" / "picture 0.png")
        assert set(json.loads(out)["label"].split("|")) == set(names) - {"warm"}
