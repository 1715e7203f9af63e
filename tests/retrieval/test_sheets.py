"""Sheets of a search: what they say, what is marked, and that nothing lies on anything else."""

import dataclasses
import shutil
from itertools import combinations

import pytest
from matplotlib.colors import to_hex
from PIL import Image, ImageOps

from kerastl.evaluation.figures import BLUE, ORANGE, save_figure
from kerastl.retrieval.answers import ask
from kerastl.retrieval.copies import find_copies
from kerastl.retrieval.copies_sheet import copies_figure
from kerastl.retrieval.index import open_index
from kerastl.retrieval.query_sheet import answer_figure, sheet_name

from .conftest import build, picture


def words_of(figure):
    return [text.get_text() for text in figure.texts]


def require_tidy(figure):
    """No two lines overlap, none leaves the sheet, none lies on a picture."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    pictures = [axes.get_window_extent() for axes in figure.axes]
    # Letters of one line reach into the next by a hair.
    shrunk = [box.padded(-1.5) for box in boxes]
    assert not any(one.overlaps(other) for one, other in combinations(shrunk, 2))
    assert not any(one.overlaps(other) for one in shrunk for other in pictures)
    assert all(
        figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= 0
        for box in boxes
    )


@pytest.fixture
def planted(photos, embedder, tmp_path):
    """Copies of four kinds: equal bytes in one class and in two, mirrored, stored anew."""
    shutil.copy(photos / "a" / "0.png", photos / "a" / "0 again.png")
    shutil.copy(photos / "a" / "2.png", photos / "b" / "2 again.png")
    texture = Image.effect_noise((64, 64), 90).resize((200, 200)).convert("RGB")
    texture.save(photos / "a" / "texture.png")
    texture.save(photos / "b" / "texture.jpg", quality=80)
    other = Image.effect_noise((64, 64), 90).resize((200, 200)).convert("RGB")
    other.save(photos / "a" / "other.png")
    ImageOps.mirror(other).save(photos / "a" / "mirrored.png")
    build(photos, tmp_path / "index", embedder=embedder)
    return open_index(tmp_path / "index")


def test_duplicates_say_what_they_are(planted):
    figure = copies_figure(planted, find_copies(planted))
    words = words_of(figure)
    assert {"Equal bytes: 2 groups", "Near copies: 2 pairs"} <= {*words}
    assert {"Group 1", "Group 2", "Pair 1", "Pair 2"} <= {*words}
    assert words.count("2 equal files") == 2
    kinds = sorted(word.split(",")[0] for word in words if ", similarity 0.9" in word or
                   ", similarity 1.0" in word)  # fmt: skip
    assert kinds == ["mirrored copy", "near copy"]
    # Two of the four are in both classes: marked, and before the others.
    assert words.count("labels differ: a / b") == 2
    assert words.count("label: a") == 2
    assert words.index("labels differ: a / b") < words.index("label: a")
    colours = [to_hex(box.get_edgecolor()) for box in figure.artists]
    assert colours.count(ORANGE) == 2
    assert {"a/", "b/", "2 again.png", "texture.jpg"} <= {*words}
    assert len(figure.axes) == 8
    require_tidy(figure)


def test_no_duplicates_no_sheet(photos, embedder, tmp_path):
    build(photos, tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    assert copies_figure(index, find_copies(index)) is None


def with_threshold(index, threshold):
    unknown = dataclasses.replace(index.state.unknown, threshold=threshold)
    return dataclasses.replace(index, state=dataclasses.replace(index.state, unknown=unknown))


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (2.0, "Of a known kind"),
        (-1.0, "Unlike what is indexed"),
        (None, "Known or unknown? The index has no threshold"),
    ],
)
def test_a_query_is_framed_and_judged(planted, photos, threshold, said):
    index = with_threshold(planted, threshold)
    path = photos / "a" / "0.png"
    content = path.read_bytes()
    answer = ask(index, content, query=str(path), num_hits=8)
    figure = answer_figure(index, answer, content)
    words = words_of(figure)
    assert {"a/0.png", said, "0 again.png", "a/", "b/"} <= {*words}
    assert words.count("same file") == 2
    assert len(figure.axes) == 1 + 8
    frames = [to_hex(axes.spines["left"].get_edgecolor()) == BLUE for axes in figure.axes]
    assert frames == [True] + [False] * 8
    query, first, second = (axes.get_position() for axes in figure.axes[:3])
    assert query.width * 0.9 > first.width
    inches = figure.get_size_inches()[0]
    assert 0 < (second.x0 - first.x1) * inches < 0.4  # portraits in squares
    require_tidy(figure)


def test_what_is_gone_and_any_name(planted, photos, tmp_path):
    picture(photos / "b" / f"{'very long ' * 12}猫.png", 99)
    build(photos, planted.path)
    (photos / "a" / "4.png").unlink()
    index = open_index(planted.path)
    path = photos / "b" / f"{'very long ' * 12}猫.png"
    content = path.read_bytes()
    answer = ask(index, content, query=str(path), num_hits=len(index))
    figure = answer_figure(index, answer, content)
    assert "4.png (gone)" in words_of(figure)
    save_figure(figure, tmp_path / "sheet", ("png",))


def test_the_name_of_a_sheet_is_that_of_its_query():
    assert sheet_name(1, "/photos/cat 3.jpeg") == "sheet-1-cat-3"
    assert sheet_name(3, "/photos/--.png") == "sheet-3"
    assert len(sheet_name(2, "x" * 300 + ".png")) < 80
