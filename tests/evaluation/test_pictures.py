"""Figures show what they were given, and are files a page can hold."""

import base64
import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.figures import figure_data_uri, figure_svg, new_figure, save_figure, shorten
from kerastl.evaluation.pictures import (
    confusion_matrix_figure,
    contact_sheet_figure,
    learning_curves_figure,
    probe_path_figure,
)


def history(num_epochs=4, **changes):
    return [
        {
            "phase": "fine-tune",
            "epoch": epoch,
            "loss": 1 / epoch,
            "val_loss": abs(epoch - 3) / 10 + 0.3,
            "accuracy": 0.8,
            "val_accuracy": 0.7 + epoch / 100,
            "learning_rate": 1e-4,
        }
        | changes
        for epoch in range(1, num_epochs + 1)
    ]


def texts(figure):
    """What the reader sees, as the SVG holds it."""
    root = ElementTree.fromstring(figure_svg(figure))
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def random_confusion(size):
    return np.random.default_rng(size).poisson(2, size=(size, size)) + np.eye(size, dtype=int)


def test_confusion_shows_counts_and_shares_of_rows():
    shown = texts(confusion_matrix_figure(np.array([[8, 2], [0, 10]]), ["cat", "dog"]))
    assert {"8", "80%", "2", "20%", "10", "100%", "cat", "dog", "true class", "answered"} <= {
        *shown
    }
    assert "0%" not in shown
    by_count = texts(
        confusion_matrix_figure(np.array([[8, 2], [0, 10]]), ["cat", "dog"], normalise=False)
    )
    assert "80%" not in by_count


@pytest.mark.parametrize("size", [1, 2, 12, 30, 31, 100])
def test_confusion_of_any_size(size):
    figure = confusion_matrix_figure(random_confusion(size), [f"species {n}" for n in range(size)])
    assert bool(figure.axes[0].texts) == (size <= 30)
    assert max(figure.get_size_inches()) < 20
    assert len(figure_svg(figure)) < 400_000


def test_names_are_never_markup():
    names = ["$100 and $x^2", "<script>", "猫 🐈", "a\nb", "x" * 300]
    figure = confusion_matrix_figure(random_confusion(5), names)
    shown = texts(figure)
    assert {"$100 and $x^2", "<script>", "猫 🐈", "a b"} <= {*shown}
    assert "<script>" not in figure_svg(figure)
    assert max(map(len, shown)) <= 30
    # A PNG is drawn without a warning too.
    assert figure_data_uri(figure, "png").startswith("data:image/png;base64,")


def test_empty_class_is_drawn():
    assert "50%" in texts(confusion_matrix_figure(np.array([[1, 1], [0, 0]]), ["a", "b"]))


def test_wrong_confusion_is_named():
    with pytest.raises(DataError, match="Take both from the same metrics"):
        confusion_matrix_figure(np.eye(3, dtype=int), ["a", "b"])


def test_curves_mark_the_best_epoch_and_the_probe():
    figure = learning_curves_figure(history(), probe={"val_loss": 0.35, "val_accuracy": 0.71})
    shown = texts(figure)
    assert "best, epoch 3: 0.300" in shown
    assert "best, epoch 3: 73.0%" in shown
    assert "probe, validation" in shown
    loss, accuracy, rate = figure.axes
    heights = [set(line.get_ydata()) for line in (*loss.lines, *accuracy.lines)]
    assert {0.35} in heights
    assert {0.71} in heights
    assert list(rate.lines[0].get_ydata()) == [1e-4] * 4


def test_curves_show_what_was_measured_within_epochs():
    rows = history(2, phase="bn") + history()
    rows[4] |= {"checks": [{"epoch": 2.5, "val_loss": 0.25, "val_accuracy": 0.9}]}
    figure = learning_curves_figure(rows)
    assert {"best, epoch 4.5: 0.250", "best, epoch 4.5: 90.0%"} <= {*texts(figure)}
    for axes, height in zip(figure.axes, (0.25, 0.9), strict=False):
        points = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        assert ([4.5], [height]) in points


def test_curves_leave_out_what_is_missing():
    rows = history(val_loss=None, val_accuracy="", learning_rate=None)
    figure = learning_curves_figure(rows)
    assert len(figure.axes) == 2
    assert not any("best" in text for text in texts(figure))
    assert "probe, validation" not in texts(figure)
    learning_curves_figure(history(1))


def test_curves_count_epochs_through_phases():
    rows = history(2, phase="bn") + history(3)
    figure = learning_curves_figure(rows)
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3, 4, 5]
    assert {"bn", "fine-tune"} <= {*texts(figure)}
    with pytest.raises(DataError, match="the probe alone has none"):
        learning_curves_figure([])


def test_probe_path():
    figure = probe_path_figure([10.0, 0.1, 1.0], [0.6, 0.5, 0.4], [0.7, 0.8, 0.9], 1.0)
    assert list(figure.axes[0].lines[0].get_xdata()) == [0.1, 1, 10]
    assert list(figure.axes[1].lines[0].get_ydata()) == [0.8, 0.9, 0.7]
    assert {"chosen 1: 0.400", "chosen 1: 90.0%"} <= {*texts(figure)}
    assert len(probe_path_figure([1.0], [0.4], None, 1.0).axes) == 1
    with pytest.raises(DataError, match="Give the probe's own path"):
        probe_path_figure([1.0, 2.0], [0.4, 0.5], None, 5.0)
    with pytest.raises(DataError, match="one entry for each penalty"):
        probe_path_figure([1.0, 2.0], [0.4], None, 1.0)


def test_contact_sheet_takes_any_image():
    images = [
        np.zeros((300, 200, 3), np.uint8),
        np.zeros((5, 7), np.uint8),
        np.full((1000, 30, 3), 255, np.uint8)[::2, ::-1],
    ]
    figure = contact_sheet_figure(images, ["cat\nsaid dog, 90%", "<b>", ""], num_columns=2)
    assert len(figure.axes) == 3
    assert {"cat", "said dog, 90%", "<b>"} <= {*texts(figure)}
    assert max(figure.axes[0].images[0].get_array().shape) == 160
    with pytest.raises(DataError, match="one title for each"):
        contact_sheet_figure(images, ["cat"])


def test_drawing_leaves_no_trace():
    before = dict(mpl.rcParams)
    figure = learning_curves_figure(history())
    figure_svg(figure)
    assert dict(mpl.rcParams) == before

    code = "import sys, kerastl.evaluation.pictures; print('matplotlib.pyplot' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_svg_is_the_same_each_time_and_follows_dark_pages():
    first, second = (figure_svg(learning_curves_figure(history())) for _ in range(2))
    assert first == second
    rules, drawing = re.search(r"dark\)\{(.*?)\}</style>(.*)", first, re.DOTALL).groups()
    for style in ("stroke: #0072b2", "stroke: #d55e00", "fill: #24292f"):
        assert f'[style*="{style}"]' in rules
        assert style in drawing


def test_save_figure(tmp_path):
    paths = save_figure(learning_curves_figure(history()), tmp_path / "curves.v1")
    assert [path.name for path in paths] == ["curves.v1.png", "curves.v1.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    with Image.open(paths[0]) as image:
        assert image.width > 1000
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ConfigError, match="overwrite=True"):
        save_figure(new_figure(1, 1), tmp_path / "curves.v1")
    small = save_figure(new_figure(1, 1), tmp_path / "curves.v1", ["png"], overwrite=True)
    with Image.open(small[0]) as image:
        assert image.width < 1000
    with pytest.raises(ConfigError, match="Did you mean 'png'"):
        save_figure(new_figure(1, 1), tmp_path / "other", ["pnq"])
    assert len(list(tmp_path.iterdir())) == 2


def test_data_uri_holds_the_image():
    uri = figure_data_uri(contact_sheet_figure([np.zeros((8, 8), np.uint8)], ["x"]), "png")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.format == "PNG"


def test_shorten_keeps_both_ends():
    assert shorten("short", 10) == "short"
    assert shorten("alpha beta gamma delta 12", 12) == "alpha…lta 12"
    assert shorten("line\nbreak\tand  spaces", 40) == "line break and spaces"
    assert shorten("猫" * 20, 9) == "猫猫…猫猫"
