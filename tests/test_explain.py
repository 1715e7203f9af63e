"""`kerastl.explain`: a page and pictures of the evidence, of feature maps and of filters."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl import FitConfig
from kerastl.deploy.runs import load_run
from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.explanation_pictures import evidence_over, filters_figure
from kerastl.explanation import Question, write_explanation
from kerastl.interpretation.filters import first_filters
from kerastl.models.backbones import build_backbone
from kerastl.models.classifier import build_classifier


@pytest.fixture(scope="module")
def place(painter, tmp_path_factory):
    """A run of two layers, and its images."""
    place = tmp_path_factory.mktemp("explain")
    folder = painter(place / "photos", per_class=12)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="top")(x)
    config = FitConfig(str(folder), fine_tune_epochs=0, tta=True, out=str(place / "run"))
    kerastl.run(config, backbone=keras.Model(inputs, x, name="mine"), preprocessing="tf")
    return place


def explain(*words):
    return subprocess.run(
        [sys.executable, "-m", "kerastl.explain", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_page_and_its_pictures(place, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    one = sorted((place / "photos").rglob("*.png"))[0]
    done = explain(
        place / "run", one, broken, place / "photos", "--most", "4", "--preferred",
        "--out", tmp_path / "page",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{broken}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "retracing" not in done.stderr
    assert "33 more images were found; --most 37 takes them too." in done.stdout
    names = {path.name for path in (tmp_path / "page").iterdir()}
    sheets = {"feature_maps.png", "preferred_pictures.png", "filters.png"}
    assert {"explanation.html", *sheets} < names
    assert len(names) == 1 + 3 + 3
    page = (tmp_path / "page" / "explanation.html").read_text()
    assert page.count("data:image/png;base64,") == 3 + 3
    assert "stem: 11 x 11 x 8, each sees 3 x 3 pixels" not in page  # it is in the picture
    assert "Grad-CAM weights the maps of top by" in page
    assert "Left out" in page
    assert "--preferred --most 4" in page
    with Image.open(tmp_path / "page" / f"001-{one.stem.replace(' ', '-')}.png") as picture:
        assert picture.width > 2 * picture.height


def test_another_class_and_other_layers(place, tmp_path):
    run, files = load_run(place / "run"), sorted((place / "photos").rglob("*.png"))[:2]
    (tmp_path / "page").mkdir()
    name = run.class_names[1]
    question = Question(class_name=name, layer="stem", layers=("stem",))
    assert write_explanation(tmp_path / "page", run, files, question, command="typed") == []
    page = (tmp_path / "page" / "explanation.html").read_text()
    assert f"what speaks for &#39;{name}&#39;" in page
    assert page.count(f"Evidence for {name}: ") == 2
    assert "maps of stem by" in page
    for wrong, message in (
        (Question(class_name="wombat"), "must be a class of the run"),
        (Question(layer="tops"), "Did you mean 'top'"),
        (Question(layers=("top", "stm")), "Did you mean 'stem'"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_explanation(tmp_path, run, files, wrong, command="")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the images can be read"):
        write_explanation(tmp_path, run, [tmp_path / "broken.png"], Question(), command="")


def test_mistakes_are_one_line(place, tmp_path):
    done = explain(place / "photos", place / "photos", "--out", tmp_path / "page")
    assert done.returncode == 2
    assert "is no run folder. A SavedModel cannot be taken apart" in done.stderr
    done = explain(place / "run", tmp_path / "nowhere.png")
    assert done.returncode == 2
    assert "nowhere.png" in done.stderr
    assert not (tmp_path / "page").exists()


def test_evidence_is_coloured_by_its_sign_and_size():
    grey = np.full((2, 3, 3), 100, np.uint8)
    found = evidence_over(grey, np.array([[2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])).astype(int)
    assert (found[:, 1] == 100).all()
    assert found[0, 0, 0] > found[1, 0, 0] > 100 > found[0, 0, 2]  # orange
    assert found[0, 2, 2] > found[1, 2, 2] > 100 > found[0, 2, 0]  # blue
    assert (evidence_over(grey, np.zeros((2, 3))) == 100).all()


@pytest.mark.parametrize(("name", "mode"), [("VGG16", "caffe"), ("EfficientNetLite0", "tf")])
def test_first_filters_are_red_green_and_blue(name, mode):
    backbone = build_backbone(name, image_size=(32, 32), weights="none")
    classifier = build_classifier(
        backbone, num_classes=2, image_size=(32, 32), preprocessing=mode, seed=0
    )
    layer, filters = first_filters(classifier)
    kernel = backbone.get_layer(layer).get_weights()[0]
    expected = kernel.transpose(3, 0, 1, 2)
    if mode == "caffe":  # is given blue first
        expected = expected[..., ::-1]
    np.testing.assert_array_equal(filters, expected)
    assert len(filters_figure(filters).axes) == len(filters)


def test_a_network_without_colour_filters_is_said():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.MaxPooling2D()(inputs))
    x = keras.layers.Conv2D(4, 1)(x)
    backbone = keras.Model(inputs, x)
    options = {"num_classes": 2, "image_size": (8, 8), "preprocessing": "identity"}
    assert first_filters(build_classifier(backbone, **options))[1].shape == (4, 3, 3, 3)
    grey = keras.Model(inputs, keras.layers.Conv2D(4, 1)(keras.ops.mean(inputs, -1, keepdims=True)))
    with pytest.raises(ConfigError, match="takes the three colours"):
        first_filters(build_classifier(grey, **options))
