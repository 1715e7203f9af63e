"""A class more for a finished run: what stays, what every other command makes of it, misuse."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

import kerastl
from kerastl import evaluate, known_classes, predict
from kerastl.add import main
from kerastl.data.preparation import prepare_pixels
from kerastl.exports import export_formats
from kerastl.recorded_answers import involved_images

YELLOW = {"yellow": (220, 210, 30)}
SHAPES = ("disc", "square", "cross", "ring")


def draw_shapes(folder, names, *, per_class, seed):
    """Figures in random colours on noise: what EfficientNetLite0 tells apart from 5 each."""
    random = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noise = random.integers(0, 60, (96, 96, 3)) + random.integers(0, 90, 3)
            image = Image.fromarray(noise.astype(np.uint8))
            pen, colour = ImageDraw.Draw(image), tuple(random.integers(150, 255, 3).tolist())
            size, (x, y) = int(random.integers(14, 34)), random.integers(36, 60, 2).tolist()
            box = (x - size, y - size, x + size, y + size)
            if name == "disc":
                pen.ellipse(box, fill=colour)
            elif name == "square":
                pen.rectangle(box, fill=colour)
            elif name == "ring":
                pen.ellipse(box, outline=colour, width=6)
            else:
                pen.line((x - size, y, x + size, y), fill=colour, width=8)
                pen.line((x, y - size, x, y + size), fill=colour, width=8)
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(painter, tmp_path_factory):
    """A probe of three colours."""
    place = tmp_path_factory.mktemp("added")
    data = painter(place / "photos", per_class=40)
    config = kerastl.FitConfig(
        str(data), image_size=(32, 32), val_fraction=0.2, fine_tune_epochs=0, out=str(place / "run")
    )
    return kerastl.run(config).path


@pytest.fixture(scope="module")
def yellow(painter, tmp_path_factory):
    """20 pictures of another colour."""
    return painter(tmp_path_factory.mktemp("new") / "new", per_class=20, colours=YELLOW) / "yellow"


@pytest.fixture(scope="module")
def larger(run, yellow, tmp_path_factory):
    out = tmp_path_factory.mktemp("larger") / "run"
    with pytest.raises(SystemExit) as caught:
        main([str(run), str(yellow), "--class", "yellow", "--out", str(out)])
    assert caught.value.code == 0
    return out


def run_main(capsys, *words, command=main):
    with pytest.raises(SystemExit) as caught:
        command([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def probabilities(path, images):
    model = keras.saving.load_model(path / "model.keras", compile=False)
    return np.asarray(model(images.astype(np.float32), training=False))


def test_odds_of_the_other_classes_stay(run, larger, yellow, tmp_path):
    files = [
        *sorted(yellow.glob("*.png"))[:4],
        *sorted((run.parent / "photos").rglob("*.png"))[:20],
    ]
    images = np.stack([prepare_pixels(one.read_bytes(), image_size=(32, 32)) for one in files])
    before, after = probabilities(run, images), probabilities(larger, images)
    assert after.shape == (24, 4)
    odds = [np.log(one[:, 1:3]) - np.log(one[:, :1]) for one in (before, after[:, :3])]
    assert odds[0] == pytest.approx(odds[1], abs=1e-3)
    assert (after[:4].argmax(axis=1) == 3).all()
    assert (after[4:].argmax(axis=1) != 3).all()
    # No other weight was touched.
    old, new = (
        keras.saving.load_model(one / "model.keras", compile=False) for one in (run, larger)
    )
    for one, other in zip(old.weights[:-2], new.weights[:-2], strict=True):
        assert np.array_equal(one, other)


def test_what_is_said_of_it(larger):
    added = json.loads((larger / "metrics.json").read_text())["added"]
    assert added["class"] == "yellow"
    assert added["num_images"] == 20
    assert added["left_out_recognised"]["value"] > 0.75
    assert added["left_out_recognised"]["low"] < 0.85
    assert added["num_test_images_asked"] == 24
    assert added["test_images_taken"]["value"] < 0.1
    card = (larger / "README.md").read_text()
    assert "the class 'yellow' added from 20 images" in card
    assert "Left out, " in card


def test_other_commands_take_it_like_any_run(capsys, larger, yellow, tmp_path):
    with pytest.raises(SystemExit) as caught:
        predict.main([str(larger), str(yellow), "--format", "jsonl"])
    assert caught.value.code == 0
    labels = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert labels.count("yellow") >= 18
    words = [larger, yellow.parent, "--all-images", "--out", tmp_path / "evaluated"]
    with pytest.raises(SystemExit) as caught:
        evaluate.main([str(word) for word in words])
    assert caught.value.code == 0
    exports = export_formats(larger, ["savedmodel"], export_dir=tmp_path / "saved")
    assert exports.results[0].refused == ""
    assert exports.num_images == 24


def test_the_new_images_are_known_now(larger, yellow):
    rows = pd.read_csv(larger / "split.csv", dtype=str)
    new = rows[rows["label"] == "yellow"]
    assert sorted(new["path"]) == sorted(map(str, yellow.glob("*.png")))
    assert set(new["split"]) == {"train"}
    novelty = np.load(larger / "novelty.npz")
    assert len(novelty["known"]) == (rows["split"] == "train").sum()


def test_one_more_on_top(capsys, larger, yellow, painter, tmp_path):
    purple = painter(tmp_path / "new", per_class=8, colours={"purple": (130, 20, 160)}) / "purple"
    code, text, err = run_main(
        capsys, larger, purple, "--class", "purple", "--out", tmp_path / "run"
    )
    assert code == 0, err
    labels = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert labels["class_names"] == ["1", "2", "10", "yellow", "purple"]
    assert "8 images" in text
    # The class that was added first has its images beside the data, and is not forgotten.
    assert "gone" not in err
    assert "'yellow' has no test images; of those that it was learnt from" in text
    taken = json.loads((tmp_path / "run" / "metrics.json").read_text())["added"]
    assert taken["taken_from_untested"]["yellow"]["value"] <= 0.1
    code, out, _ = run_main(capsys, *predict_words(tmp_path / "run", yellow), command=predict.main)
    labels = [json.loads(line)["label"] for line in out.splitlines()]
    assert labels.count("yellow") >= 18


def predict_words(model, images):
    return model, images, "--format", "jsonl"


def test_a_known_class_whose_images_are_gone_is_not_forgotten_silently(
    capsys, run, yellow, painter, tmp_path
):
    shutil.copytree(yellow, tmp_path / "yellow")
    run_main(capsys, run, tmp_path / "yellow", "--class", "yellow", "--out", tmp_path / "larger")
    shutil.rmtree(tmp_path / "yellow")
    purple = painter(tmp_path / "new", per_class=8, colours={"purple": (130, 20, 160)}) / "purple"
    code, _, err = run_main(
        capsys, tmp_path / "larger", purple, "--class", "purple", "--out", tmp_path / "run"
    )
    assert code == 2
    assert "of 'yellow' none can be read" in " ".join(err.split())


def test_the_first_run_is_left_alone(run, larger):
    assert json.loads((run / "labels.json").read_text())["class_names"] == ["1", "2", "10"]
    assert "added" not in json.loads((run / "metrics.json").read_text())


def test_a_broken_file_is_left_out_and_named(capsys, run, yellow, tmp_path):
    shutil.copytree(yellow, tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    shutil.copy(tmp_path / "new" / "picture 0.png", tmp_path / "new" / "again.png")
    code, text, err = run_main(
        capsys, run, tmp_path / "new", "--class", "yellow", "--out", tmp_path / "run"
    )
    assert code == 0
    assert "broken.png" in err
    assert "added from 20 images" in text  # a copy teaches nothing


@pytest.fixture
def places(run, yellow, tmp_path, monkeypatch):
    """Paths by name; the working directory is empty but for one picture."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "one.png")
    shutil.copy(tmp_path / "one.png", tmp_path / "same.png")
    own = run.parent / "photos" / "1"
    return {
        "same": "same.png",
        "run": run,
        "yellow": yellow,
        "own": own,
        "one": "one.png",
        "here": tmp_path,
    }


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("{run}", "{yellow}", "--class", "10"), "knows the class '10' already"),
        (("{run}", "{own}", "--class", "crimson"), "the run has the same image as '1'"),
        (("{run}", "{one}", "--class", "yellow"), "needs 2 different images at least; of 1 image"),
        (("{run}", "{one}", "{same}", "--class", "yellow"), "of 2 images received 1 that can be"),
        (("{run}", "{yellow}", "--class", "yellow", "--out", "{run}"), "which is left as it is"),
        (("{run}", "{yellow}", "--class", "yellow", "--out", "one.png"), "is not a run folder"),
        (("{run}", "nowhere", "--class", "yellow"), "nowhere"),
        (("{yellow}", "{yellow}", "--class", "yellow"), "not a finished run folder"),
        (("{run}", "{yellow}", "--class", "a|b"), "without '|'"),
        (("{run}", "{yellow}"), "class"),
    ],
)
def test_mistakes_are_one_line(capsys, places, words, advice):
    code, _, err = run_main(capsys, *(word.format(**places) for word in words))
    assert code == 2
    assert advice in err
    assert "Traceback" not in err
    assert not [path for path in places["here"].glob("runs/*") if path.is_dir()]


def test_a_fine_tuned_model_is_refused(capsys, run, yellow, tmp_path):
    shutil.copytree(run, tmp_path / "tuned")
    metrics = json.loads((tmp_path / "tuned" / "metrics.json").read_text())
    (tmp_path / "tuned" / "metrics.json").write_text(json.dumps({**metrics, "kept": "fine-tuned"}))
    words = (tmp_path / "tuned", yellow, "--class", "yellow", "--out", tmp_path / "out")
    code, _, err = run_main(capsys, *words)
    assert code == 2
    assert "its kept model is the fine-tuned one" in err
    assert "--fine-tune-epochs 0" in err


def test_nothing_is_overwritten(capsys, run, larger, yellow):
    code, _, err = run_main(capsys, run, yellow, "--class", "yellow", "--out", larger)
    assert code == 2
    assert "exists already" in err
    assert "add --overwrite" in err


def test_another_run_folder_is_replaced_where_that_is_asked_for(capsys, run, yellow, tmp_path):
    words = (run, yellow, "--class", "Yellow", "--out", tmp_path / "run")
    assert run_main(capsys, *words)[0] == 0
    code, _, err = run_main(capsys, *words, "--overwrite")
    assert code == 0, err
    words = (tmp_path / "run", yellow, "--class", "yellow", "--out", tmp_path / "other")
    code, _, err = run_main(capsys, *words)
    assert code == 2
    assert "knows the class 'Yellow' already; received 'yellow'" in " ".join(err.split())


def test_the_new_class_is_not_called_unknown(capsys, run, yellow, tmp_path):
    """Three images have two of their own class beside them: the tenth nearest is of another."""
    before = np.load(run / "novelty.npz")
    assert before["num_neighbours"] == 10
    files = sorted(yellow.glob("*.png"))
    words = (run, *files[:3], "--class", "yellow", "--out", tmp_path / "run")
    assert run_main(capsys, *words)[0] == 0
    after = np.load(tmp_path / "run" / "novelty.npz")
    assert after["num_neighbours"] == 1
    assert after["num_validation"] == before["num_validation"]
    assert np.isfinite(after["threshold"])
    _, out, _ = run_main(capsys, *predict_words(tmp_path / "run", yellow), command=predict.main)
    rows = [json.loads(line) for line in out.splitlines()]
    assert np.mean([row["is_unknown"] for row in rows]) < 0.3


def test_test_images_that_were_not_asked_are_not_called_trained_on(
    capsys, run, yellow, tmp_path, monkeypatch
):
    monkeypatch.setattr(known_classes, "_MOST_ASKED", 20)
    words = (run, yellow, "--class", "yellow", "--out", tmp_path / "run")
    assert run_main(capsys, *words)[0] == 0
    splits = pd.read_csv(tmp_path / "run" / "split.csv")["split"].value_counts()
    assert (splits["test"], splits["unasked"]) == (20, 4)
    before, after = (involved_images(path) for path in (run, tmp_path / "run"))
    assert len(after.names) == len(before.names) + 20


def test_without_the_runs_own_images(capsys, run, yellow, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for name in ("config.yaml", "split.csv"):
        text = (run / name).read_text()
        gone = text.replace(str(run.parent / "photos"), str(tmp_path / "gone"))
        (tmp_path / "run" / name).write_text(gone)
    words = (tmp_path / "run", yellow, "--class", "yellow", "--out", tmp_path / "out")
    code, _, err = run_main(capsys, *words)
    assert code == 2
    assert "only 0 of them can be read" in " ".join(err.split())


def test_a_class_added_to_a_handful_of_images_leaves_the_others_right(capsys, tmp_path):
    few = draw_shapes(tmp_path / "few", SHAPES[:3], per_class=5, seed=0)
    rings = draw_shapes(tmp_path / "new", SHAPES[3:], per_class=20, seed=1)
    fresh = draw_shapes(tmp_path / "fresh", SHAPES, per_class=25, seed=2)
    config = kerastl.FitConfig(
        str(few), image_size=(96, 96), fine_tune_epochs=0, out=str(tmp_path / "run")
    )
    kerastl.run(config)
    files = [str(path) for path in sorted((rings / "ring").glob("*.png"))]
    words = [tmp_path / "run", "--class", "ring", "--out", tmp_path / "larger", *files]
    code, text, err = run_main(capsys, *words)  # as the README types it: files last
    assert code == 0, err
    assert "test images cannot tell what the new class takes" in text
    assert "fit anew" not in err
    right = {}
    for model in ("run", "larger"):
        words = predict_words(tmp_path / model, fresh)
        _, out, _ = run_main(capsys, *words, command=predict.main)
        rows = [json.loads(line) for line in out.splitlines()]
        right[model] = {
            name: np.mean([row["label"] == name for row in rows if f"/{name}/" in row["path"]])
            for name in SHAPES
        }
    for name in SHAPES[:3]:
        assert right["larger"][name] >= right["run"][name] - 0.08, right
    assert right["larger"]["ring"] >= 0.9
