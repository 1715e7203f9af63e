"""Indexes are made once, go on after a kill, take what is new, and are never half of anything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kerastl.errors import ConfigError, DataError
from kerastl.features.locks import hold_alone
from kerastl.features.store import open_store
from kerastl.retrieval import building as building_module
from kerastl.retrieval.embedder import Embedder
from kerastl.retrieval.index import open_index
from kerastl.retrieval.index_folder import LOCK, PROGRESS, STATE, discard_empty, read_progress

from .conftest import build, picture, tiny_embedder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def computed(monkeypatch):
    """Counts the images that the network sees."""
    seen = []
    compute = Embedder.features

    def counting(self, pixels):
        seen.append(len(pixels))
        return compute(self, pixels)

    monkeypatch.setattr(Embedder, "features", counting)
    return seen


def by_name(index):
    """Vector of each image, by its name."""
    return {
        name: index.vectors[row]
        for name, row in zip(index.images.ids, index.images.rows, strict=True)
    }


def test_every_image_is_in_it_with_its_label(photos, tmp_path, embedder):
    built = build(photos, tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    assert (built.num_computed, len(index), built.num_removed) == (30, 30, 0)
    assert {Path(name).parent.name for name in index.images.ids} == {"a", "b"}
    for image, name in enumerate(index.images.ids):
        assert index.label_of(image) == Path(name).parent.name
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-6)


def test_a_plain_folder_has_no_labels(tmp_path, embedder):
    for number in range(4):
        picture(tmp_path / "flat" / f"{number}.png", number)
    picture(tmp_path / "flat" / "deep" / "er" / "5.png", 5)
    build(tmp_path / "flat", tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    assert len(index) == 5
    assert not index.labelled
    assert index.label_of(0) == ""


def test_killed_it_goes_on_behind_the_last_segment(photos, tmp_path, embedder, computed):
    path = tmp_path / "index"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.retrieval.build_worker", str(photos), str(path)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (path / PROGRESS).exists() or read_progress(path) < 6:
        assert child.poll() is None, "it was done before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    complete = read_progress(path)
    assert 6 <= complete < 30
    with pytest.raises(ConfigError, match="was not completed yet"):
        open_index(path)
    # What a kill between two writings leaves: rows of one file that the others do not have.
    with (path / "features.rows").open("ab") as file:
        file.write(b"half a row")

    built = build(photos, path, embedder=embedder)
    assert (built.num_found, built.num_computed) == (complete, 30 - complete)
    assert sum(computed) == 30 - complete
    build(photos, tmp_path / "at once", embedder=embedder)
    expected = by_name(open_index(tmp_path / "at once"))
    for name, vector in by_name(open_index(path)).items():
        np.testing.assert_allclose(vector, expected[name], atol=1e-6)


def test_only_what_is_new_or_changed_is_computed(photos, tmp_path, embedder, computed):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    before = by_name(open_index(path))
    computed.clear()
    assert build(photos, path).num_computed == 0

    picture(photos / "a" / "new.png", 100)
    picture(photos / "a" / "0.png", 101)
    (photos / "b" / "1.png").unlink()
    (photos / "b" / "3.png").rename(photos / "a" / "moved.png")
    shutil.copy(photos / "a" / "2.png", photos / "b" / "copy.png")
    built = build(photos, path)
    assert (built.num_computed, sum(computed)) == (2, 2)
    assert (built.num_removed, built.num_moved) == (1, 1)  # 1.png; 3.png
    index = open_index(path)
    after = by_name(index)
    assert len(index) == 31
    (photos / "b" / "copy.png").unlink()
    again = build(photos, path)
    assert (again.num_removed, again.num_moved) == (1, 0)  # what it was a copy of has not moved
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "2.png").read_bytes())
    build(photos, path)
    name = str(photos / "a" / "0.png")
    assert not np.allclose(after[name], before[name], atol=1e-3)
    for new, old in (("a/moved.png", "b/3.png"), ("b/copy.png", "a/2.png"), ("a/4.png", "a/4.png")):
        np.testing.assert_array_equal(after[str(photos / new)], before[str(photos / old)])
    labels = {Path(name).name: index.label_of(image) for image, name in enumerate(index.images.ids)}
    assert (labels["moved.png"], labels["copy.png"]) == ("a", "b")


def test_what_comes_back_is_remembered(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    (photos / "a" / "0.png").rename(tmp_path / "0.png")
    assert len(open_index(build(photos, path).path)) == 29
    (tmp_path / "0.png").rename(photos / "a" / "0.png")
    built = build(photos, path)
    assert (built.num_computed, built.state.num_images) == (0, 30)


def test_an_open_index_is_not_disturbed(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    index = open_index(path)
    query = np.array(index.vectors[3:4])
    before = index.nearest(query, num_neighbours=30)
    for number in range(3):
        picture(photos / "a" / f"more {number}.png", 200 + number)
        build(photos, path)
    after = index.nearest(query, num_neighbours=30)
    np.testing.assert_array_equal(after.rows, before.rows)
    assert len(open_index(path)) == 33
    # Files of states that nobody can be opening any more are gone.
    assert sorted(file.name for file in path.glob("images-*")) == [
        "images-3.jsonl",
        "images-4.jsonl",
    ]


def test_unreadable_files_are_named_and_left_out(photos, tmp_path, embedder, caplog):
    (photos / "a" / "broken.png").write_bytes(b"no image")
    (photos / "b" / "cut.png").write_bytes((photos / "b" / "1.png").read_bytes()[:300])
    built = build(photos, tmp_path / "index", embedder=embedder)
    assert built.state.num_images == 30
    assert {Path(name).name for name, _ in built.state.unreadable} == {"broken.png", "cut.png"}
    assert "broken.png" in caplog.text


def test_two_at_a_time_are_refused(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    lock = hold_alone(path / LOCK)
    try:
        with pytest.raises(ConfigError, match="Another process builds the index"):
            build(photos, path)
        assert len(open_index(path)) == 30
    finally:
        os.close(lock)


def test_another_network_is_refused(photos, tmp_path, embedder):
    build(photos, tmp_path / "index", embedder=embedder)
    with pytest.raises(ConfigError, match="was made with tiny 0; received tiny 1"):
        build(photos, tmp_path / "index", embedder=tiny_embedder(1))
    with pytest.raises(ConfigError, match="was made with whiten=0; received whiten=4"):
        build(photos, tmp_path / "index", whiten=4)
    build(photos, tmp_path / "index", embedder=tiny_embedder(0))


def test_other_images_do_not_drive_out_those_that_are_there(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    with pytest.raises(ConfigError, match="what is not there would be taken out"):
        build(photos / "a", path)
    shutil.copytree(photos, tmp_path / "elsewhere")
    built = build(tmp_path / "elsewhere", path, moved=True)
    assert (built.num_computed, built.state.num_images) == (0, 30)
    assert (built.num_removed, built.num_moved) == (0, 30)
    assert build(tmp_path / "elsewhere", path).num_computed == 0


def test_other_images_are_not_taken_for_moved_ones(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    for number in range(12):
        picture(tmp_path / "others" / "c" / f"{number}.png", 500 + number)
    shutil.copy(photos / "a" / "0.png", tmp_path / "others" / "c")
    with pytest.raises(ConfigError, match=r"Of the 30 images of the index .* 1 are in"):
        build(tmp_path / "others", path, moved=True)
    assert len(open_index(path)) == 30
    assert build(photos, path).num_computed == 0  # it is still of these


def test_a_folder_of_somebody_else_is_left_alone(photos, tmp_path, embedder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"not an index .* but 'letter.txt'"):
        build(photos, tmp_path / "mine", embedder=embedder)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        build(photos, tmp_path / "file", embedder=embedder)


def test_nothing_but_broken_files(tmp_path, embedder):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of 1 image can be read"):
        build(tmp_path / "flat", tmp_path / "index", embedder=embedder)
    assert not (tmp_path / "index").exists()


def test_a_building_that_failed_early_leaves_nothing(photos, tmp_path, embedder):
    path = tmp_path / "index"
    with pytest.raises(ConfigError, match="`whiten` must be at most"):
        build(photos, path, embedder=embedder, whiten=5000)
    assert not path.exists()
    # And nothing that others have put there is touched.
    (path / "mine").mkdir(parents=True)
    discard_empty(path)
    assert (path / "mine").is_dir()


def test_what_was_not_completed_may_become_an_index_of_something_else(
    photos, tmp_path, embedder, monkeypatch
):
    path = tmp_path / "index"

    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(building_module, "_publish", interrupted)
        with pytest.raises(KeyboardInterrupt, match="what was computed is kept"):
            build(photos, path, embedder=embedder)
    built = build(photos / "a", path)
    assert (built.num_computed, built.num_found, built.state.num_images) == (0, 30, 15)


def test_one_image_is_an_index(tmp_path, embedder):
    picture(tmp_path / "flat" / "0.png", 0)
    build(tmp_path / "flat", tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    found = index.nearest(np.array(index.vectors), num_neighbours=3)
    assert found.rows.tolist() == [[0, -1, -1]]


def test_features_are_shared_through_the_store(photos, tmp_path, embedder, computed):
    store = open_store(tmp_path / "store", largest_bytes=2**28)
    build(photos, tmp_path / "one", embedder=embedder, store=store)
    computed.clear()
    built = build(photos, tmp_path / "other", embedder=embedder, store=store)
    assert (built.num_computed, sum(computed)) == (30, 0)


def test_whitening_is_learnt_once_and_kept(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder, whiten=5)
    before = by_name(open_index(path))
    assert open_index(path).vectors.shape == (30, 5)
    picture(photos / "a" / "new.png", 100)
    build(photos, path)
    after = by_name(open_index(path))
    for name, vector in before.items():
        np.testing.assert_array_equal(after[name], vector)
    name = str(photos / "a" / "new.png")
    vector = open_index(path).embed([Path(name).read_bytes()])[0]
    np.testing.assert_allclose(after[name], vector, atol=1e-5)


def test_too_many_dimensions_can_be_corrected(photos, tmp_path, embedder):
    path = tmp_path / "index"
    with pytest.raises(ConfigError, match="`whiten` must be at most 24, the features of tiny 0"):
        build(photos, path, embedder=embedder, whiten=25)
    for image in (photos / "b").iterdir():
        image.unlink()
    with pytest.raises(ConfigError, match="`whiten` must be from 1 to 14 for 15 images"):
        build(photos, path, embedder=embedder, whiten=20)
    with pytest.raises(ConfigError, match="was not completed yet"):
        open_index(path)
    assert build(photos, path, whiten=5).num_found == 15


def test_damage_is_one_clear_line(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    for name in (STATE, "settings.json", "images-1.jsonl", "features.rows"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(b"{")
        with pytest.raises(ConfigError, match="damaged"):
            open_index(path)
        (path / name).write_bytes(whole)
    assert len(open_index(path)) == 30


def test_a_damaged_network_does_not_answer(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    with (path / "network.keras").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ConfigError, match="its bytes are not those that were written"):
        open_index(path).embed([(photos / "a" / "0.png").read_bytes()])


def test_another_version_is_told(photos, tmp_path, embedder):
    path = tmp_path / "index"
    build(photos, path, embedder=embedder)
    state = json.loads((path / STATE).read_text())
    (path / STATE).write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(ConfigError, match="of another version of kerastl"):
        open_index(path)
