"""`python -m kerastl.search` as a user types it: tables, JSON, sheets, and mistakes of one line."""

import json

import pytest
from PIL import Image

import kerastl
from kerastl.retrieval.images import read_images
from kerastl.search import main


@pytest.fixture(scope="module")
def index(colour_folder, tmp_path_factory):
    """36 pictures of three colours."""
    path = tmp_path_factory.mktemp("search") / "index"
    with pytest.raises(SystemExit) as caught:
        main(["build", str(colour_folder), "--out", str(path), "--image-size", "32"])
    assert caught.value.code == 0
    return path


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_a_query_finds_its_colour(index, colour_folder, capsys, tmp_path):
    code, out, err = run_main(
        capsys, "query", index, colour_folder / "10" / "picture 3.png", "-k", "4", "--json",
        "--out", tmp_path / "found",
    )  # fmt: skip
    assert code == 0
    (answer,) = json.loads(out)["answers"]
    assert [hit["label"] for hit in answer["hits"]] == ["10"] * 4
    assert answer["hits"][0]["same_bytes"]
    assert answer["exact"]
    assert "sheet.png" in err
    with Image.open(tmp_path / "found" / "sheet.png") as sheet:
        assert sheet.width > 500
    assert json.loads((tmp_path / "found" / "search.json").read_text()) == json.loads(out)
    code, _, err = run_main(
        capsys, "query", index, colour_folder / "1", "--out", tmp_path / "found"
    )
    assert code == 2
    assert "never overwritten by itself" in err


def test_each_of_several_queries_has_a_sheet_of_its_name(index, colour_folder, capsys, tmp_path):
    queries = [colour_folder / name / "picture 3.png" for name in ("1", "10")]
    code, out, _ = run_main(capsys, "query", index, *queries, "--out", tmp_path / "found")
    assert code == 0
    assert "sheet-1-picture-3.png" in out
    found = sorted(path.name for path in (tmp_path / "found").glob("*.png"))
    assert found == ["sheet-1-picture-3.png", "sheet-2-picture-3.png"]


def test_a_table_for_people_and_unreadable_files(index, colour_folder, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = colour_folder / "2" / "picture 0.png"
    code, out, err = run_main(capsys, "query", index, tmp_path, good, "-k", "99")
    assert code == 1
    assert "broken.png: " in err
    lines = out.splitlines()
    assert lines[0].endswith("ms)")
    assert "36 nearest of 36 images (exact" in lines[0]
    assert "(the same file)" in lines[1]
    assert len(lines) == 1 + 36 + 1
    assert "unknown score" in lines[-1]


def test_building_again_says_what_was_done(index, colour_folder, capsys):
    code, out, _ = run_main(capsys, "build", colour_folder, "--out", index)
    assert code == 0
    assert out.startswith("36 images of 3 classes: 0 computed now. EfficientNetLite0")
    code, out, _ = run_main(capsys, "build", colour_folder, "--out", index, "--json")
    assert json.loads(out)["state"]["num_images"] == 36


def test_recall_and_pairs(index, colour_folder, capsys, tmp_path):
    code, out, _ = run_main(capsys, "evaluate", index)
    assert code == 0
    assert "36 images asked, each about all other images" in out
    assert "by chance 31.4 %" in out
    found = json.loads(run_main(capsys, "evaluate", index, "--json")[1])
    assert found["recall_at"]["1"]["low"] > found["chance_at"]["1"]
    assert found["mean_average_precision"]["low"] > found["chance_precision"]
    pair = (colour_folder / "1" / "picture 1.png", colour_folder / "10" / "picture 1.png")
    rate = ("--false-accept-rate", "0.05")
    code, out, _ = run_main(capsys, "pairs", index, *pair, *rate, "--out", tmp_path / "pairs")
    assert code == 0
    assert "\nDifferent: cosine " in out
    assert (tmp_path / "pairs" / "roc.png").is_file()
    assert (tmp_path / "pairs" / "pair.png").is_file()
    code, out, _ = run_main(capsys, "pairs", index, pair[0], pair[0], *rate, "--json")
    found = json.loads(out)
    assert found["same"]
    assert found["cosine"] == pytest.approx(1, abs=1e-5)


def test_copies(index, colour_folder, capsys, tmp_path):
    code, out, _ = run_main(capsys, "duplicates", index)
    assert code == 0
    assert out.startswith("36 images: 0 groups of equal bytes, 0 pairs of near copies")
    for name in ("1", "2"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    picture = Image.effect_noise((64, 64), 90).resize((200, 200)).convert("RGB")
    picture.save(tmp_path / "photos" / "1" / "one.png")
    picture.save(tmp_path / "photos" / "2" / "one.jpg", quality=80)
    place = tmp_path / "index"
    assert (
        run_main(capsys, "build", tmp_path / "photos", "--out", place, "--image-size", 32)[0] == 0
    )
    code, out, _ = run_main(capsys, "duplicates", place, "--out", tmp_path / "copies")
    assert "1 pair of near copies" in out
    assert "pair 1  similarity 0.9" in out
    assert "(labels differ: 1 / 2)" in out
    assert (tmp_path / "copies" / "sheet.png").is_file()


def test_the_network_of_a_run(colour_folder, capsys, tmp_path):
    run = kerastl.run(
        kerastl.FitConfig(
            str(colour_folder), image_size=32, fine_tune_epochs=0, pooling="gem",
            out=str(tmp_path / "run"),
        )
    )  # fmt: skip
    words = ("build", colour_folder, "--out", tmp_path / "index", "--run", run.path)
    code, out, _ = run_main(capsys, *words)
    assert code == 0
    assert "the network of the run run" in out
    code, out, _ = run_main(capsys, "evaluate", tmp_path / "index")
    assert "The network was trained on labels" in out
    code, _, err = run_main(capsys, *words, "--pooling", "max")
    assert (code, "`run` brings its own network; leave out `pooling`" in err) == (2, True)


def test_images_without_labels(colour_folder, capsys, tmp_path):
    place = tmp_path / "index"
    words = ("build", colour_folder / "1", "--out", place, "--image-size", "32", "--whiten", "3")
    code, out, _ = run_main(capsys, *words)
    assert (code, out.startswith("12 images, no labels")) == (0, True)
    for command in ("evaluate", "pairs"):
        code, _, err = run_main(capsys, command, place)
        assert (code, "have no labels" in err) == (2, True)
    table, _ = read_images(str(colour_folder), unlabelled=True)
    assert (len(table.ids), table.class_names) == (36, ())


MISTAKES = (
    (("query", "INDEX", "PHOTO", "-k", "0"), "`num_hits` must be 1 or more; received"),
    (("query", "INDEX", "no/such.png"), "'no/such.png' is no file or folder"),
    (("query", "no/index", "PHOTO"), "The index 'no/index' does not exist"),
    (("query", "PHOTO", "PHOTO"), "is not an index but a file. Give a folder that was made with"),
    (("build", "PHOTOS", "--out", "OUT", "--whiten", "5000"), "`whiten` must be at most 1280"),
    (("query", "PHOTOS", "PHOTO"), "is not an index (it has no index.json)"),
    (("evaluate", "no/index"), "Type: python -m kerastl.search build DATA --out no/index"),
    (("duplicates", "no/index"), "does not exist"),
    (("pairs", "INDEX", "PHOTO"), "Name two images after the index, or none; received 1"),
    (("pairs", "INDEX", "PHOTO", "no.png"), "'no.png' cannot be read: No such file"),
    (("pairs", "INDEX", "--false-accept-rate", "2"), "must be above 0 and below 1"),
    (("pairs", "INDEX", "--false-accept-rate", "1e-9"), "or more: there are"),
    (("build", "no/photos", "--out", "OUT"), "'no/photos' does not exist"),
    (("build", "PHOTOS", "--out", "INDEX", "--pooling", "gem"), "received EfficientNetLite0"),
    (("build", "PHOTOS", "--out", "PHOTOS"), "is left alone. Name a new folder"),
    (("build", "PHOTOS", "--out", "OUT", "--whiten", "-1"), "`whiten` must be 0 or more"),
    (("build", "PHOTOS", "--out", "OUT", "--backbone", "ResNet5"), "Did you mean 'ResNet50'"),
    (("build", "PHOTO", "--out", "OUT"), "This is one image"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1])
def test_a_mistake_is_one_line(index, colour_folder, capsys, tmp_path, mistake):
    words, advice = mistake
    photo = colour_folder / "1" / "picture 0.png"
    named = {"INDEX": index, "PHOTO": photo, "PHOTOS": colour_folder, "OUT": tmp_path / "out"}
    code, out, err = run_main(capsys, *(named.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert advice in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("kerastl.search: ")
