"""What an index finds is what brute force finds; what is unlike all of it is told."""

import os
from pathlib import Path

import numpy as np
import pytest

from kerastl.data.nearest import nearest_to, unit_rows
from kerastl.features.novelty import fit_novelty
from kerastl.retrieval import approximate
from kerastl.retrieval.answers import ask
from kerastl.retrieval.index import open_index
from kerastl.retrieval.unlikeness import calibrate

from .conftest import build, picture


def brute_force(queries, units, count):
    """Rows by cosine, in float64, the smaller row first where two are equal."""
    cosines = queries.astype(np.float64) @ units.astype(np.float64).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


@pytest.mark.parametrize("count", [1, 7, 500, 600])
def test_the_nearest_are_those_of_brute_force(count):
    rng = np.random.default_rng(0)
    units, queries = (unit_rows(rng.normal(size=(n, 20))) for n in (500, 11))
    found = nearest_to(queries, units, num_neighbours=count)
    rows, cosines = brute_force(queries, units, count)
    np.testing.assert_array_equal(found.rows[:, : rows.shape[1]], rows)
    np.testing.assert_allclose(found.cosines[:, : rows.shape[1]], cosines, atol=1e-6)
    assert np.all(found.rows[:, 500:] == -1)


def test_candidates_may_share_a_row_or_leave_one_out(monkeypatch):
    rng = np.random.default_rng(1)
    units, queries = (unit_rows(rng.normal(size=(n, 6))) for n in (40, 9))
    candidates = np.concatenate([np.arange(5, 40), np.arange(5, 15)])
    whole = nearest_to(queries, units, num_neighbours=12, candidates=candidates)
    rows, _ = brute_force(queries, units[candidates], 12)
    np.testing.assert_array_equal(whole.rows, rows)
    monkeypatch.setattr("kerastl.data.nearest._LARGEST_NUM_SIMILARITIES", 100)
    parts = nearest_to(queries, units, num_neighbours=12, candidates=candidates)
    np.testing.assert_array_equal(parts.rows, rows)


def test_no_candidates_find_nothing():
    units = unit_rows(np.eye(3))
    found = nearest_to(units, units, num_neighbours=2, candidates=np.empty(0, np.int64))
    assert found.rows.tolist() == [[-1, -1]] * 3


def test_a_file_finds_itself_its_copy_and_then_others(photos, tmp_path, embedder):
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "4.png").read_bytes())
    build(photos, tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    content = (photos / "a" / "4.png").read_bytes()
    answer = ask(index, content, query="4", num_hits=5)
    assert {Path(hit.id).name for hit in answer.hits[:2]} == {"4.png", "copy.png"}
    assert [hit.same_bytes for hit in answer.hits] == [True, True, False, False, False]
    vectors = index.vectors[index.images.rows]
    rows, cosines = brute_force(index.embed([content]), vectors, 5)
    assert [hit.image for hit in answer.hits] == rows[0].tolist()
    np.testing.assert_allclose([hit.cosine for hit in answer.hits], cosines[0], atol=1e-5)
    assert answer.exact


def test_more_than_there_are(photos, tmp_path, embedder):
    build(photos, tmp_path / "index", embedder=embedder)
    content = (photos / "a" / "4.png").read_bytes()
    assert len(ask(open_index(tmp_path / "index"), content, query="", num_hits=99).hits) == 30


def test_the_unknown_score_is_that_of_novelty(tmp_path, embedder):
    """One definition: `Novelty.scores` of the same known images, but for its float16."""
    for number in range(120):
        picture(tmp_path / "photos" / f"{number}.png", number)
    build(tmp_path / "photos", tmp_path / "index", embedder=embedder)
    index = open_index(tmp_path / "index")
    unknown = index.state.unknown
    assert (unknown.num_held_out, unknown.num_known, unknown.num_neighbours) == (24, 96, 10)

    order = np.random.default_rng(0).permutation(120)
    held_out, known = np.sort(order[:24]), np.sort(order[24:])
    novelty = fit_novelty(index.vectors[known], index.vectors[held_out], num_neighbours=10)
    assert unknown.threshold == pytest.approx(novelty.threshold, abs=2e-3)

    picture(tmp_path / "new.png", 999)
    content = (tmp_path / "new.png").read_bytes()
    whole = fit_novelty(index.vectors, index.vectors[held_out], num_neighbours=10)
    expected = whole.scores(index.embed([content]))[0]
    assert ask(index, content, query="").unknown_score == pytest.approx(expected, abs=2e-3)


def test_the_threshold_keeps_its_promise_and_finds_what_is_unlike():
    rng = np.random.default_rng(0)
    units, new = (unit_rows(rng.normal(2, 1, (n, 16))) for n in (2_000, 4_000))
    unknown = calibrate(units, np.arange(2_000), np.array([2_000]))
    kth = nearest_to(new, units, num_neighbours=unknown.num_neighbours).cosines[:, -1]
    assert 0.02 < np.mean(1 - kth > unknown.threshold) < 0.08
    other = unit_rows(rng.normal(0, 1, (500, 16)))
    kth = nearest_to(other, units, num_neighbours=unknown.num_neighbours).cosines[:, -1]
    assert np.mean(1 - kth > unknown.threshold) > 0.95


def test_a_file_that_is_indexed_is_not_known_by_itself(photos, tmp_path, embedder):
    build(photos, tmp_path / "index", embedder=embedder)
    answer = ask(open_index(tmp_path / "index"), (photos / "a" / "4.png").read_bytes(), query="")
    neighbours = open_index(tmp_path / "index").state.unknown.num_neighbours
    assert answer.unknown_score == pytest.approx(1 - answer.hits[neighbours].cosine)


def test_a_graph_finds_what_is_near_and_says_how_well(photos, tmp_path, embedder):
    pytest.importorskip("usearch")
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "4.png").read_bytes())
    path = tmp_path / "index"
    built = build(photos, path, embedder=embedder, largest_exact=10)
    assert built.state.approximate.num_contents == 30
    assert built.state.approximate.recall_at_10 > 0.95
    index = open_index(path)
    content = (photos / "a" / "4.png").read_bytes()
    near = ask(index, content, query="", num_hits=8)
    exact = ask(index, content, query="", num_hits=8, exact=True)
    assert (near.exact, exact.exact) == (False, True)
    assert [hit.image for hit in near.hits] == [hit.image for hit in exact.hits]
    cosines = [[hit.cosine for hit in answer.hits] for answer in (near, exact)]
    np.testing.assert_allclose(*cosines, atol=1e-6)
    assert len(ask(index, content, query="", num_hits=99).hits) == 31

    # A building that brings no new content keeps the graph, however often.
    for _ in range(3):
        (photos / "b" / "copy.png").rename(photos / "b" / "copy2.png")
        build(photos, path, largest_exact=10)
        (photos / "b" / "copy2.png").rename(photos / "b" / "copy.png")
    assert open_index(path).graph is not None

    # What was taken out is not found, though the graph has it; what is new is.
    (photos / "a" / "4.png").unlink()
    (photos / "b" / "copy.png").unlink()
    picture(photos / "a" / "new.png", 100)
    again = build(photos, path, largest_exact=10)
    assert (again.num_computed, again.state.approximate.num_contents) == (1, 31)
    index = open_index(path)
    hits = ask(index, content, query="", num_hits=99).hits
    assert len(hits) == 30
    assert not any(hit.same_bytes for hit in hits)
    new = ask(index, (photos / "a" / "new.png").read_bytes(), query="", num_hits=1)
    assert Path(new.hits[0].id).name == "new.png"


def test_a_graph_that_was_begun_is_gone_on_with(tmp_path, monkeypatch):
    pytest.importorskip("usearch")
    vectors = unit_rows(np.random.default_rng(0).normal(size=(60, 8)))
    monkeypatch.setattr(approximate, "_ROWS_AT_ONCE", 10)
    monkeypatch.setattr(approximate, "_ROWS_PER_SAVE", 10)
    saved, save = [], approximate._save

    def interrupted(graph, path):
        save(graph, path)
        saved.append(len(graph))
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(approximate, "_save", interrupted)
    options = {"old": None, "generation": 1, "rows": np.arange(60)}
    with pytest.raises(KeyboardInterrupt):
        approximate.grow_graph(tmp_path, vectors, **options)
    made = approximate.grow_graph(tmp_path, vectors, **options)
    assert saved[:4] == [10, 20, 30, 40]
    assert (made.num_contents, made.recall_at_10) == (60, 1.0)


def test_without_its_library_all_are_looked_at(photos, tmp_path, embedder, monkeypatch, caplog):
    monkeypatch.setattr(approximate, "is_installed", lambda: False)
    built = build(photos, tmp_path / "index", embedder=embedder, largest_exact=10)
    assert built.state.approximate is None
    assert "pip install 'kerastl[search]'" in caplog.text
    assert open_index(tmp_path / "index").graph is None


def test_a_graph_of_other_vectors_is_not_gone_on_with(tmp_path):
    pytest.importorskip("usearch")
    random = np.random.default_rng(0)
    options = {"old": None, "generation": 1, "rows": np.arange(60)}
    for width, count in ((5, 60), (8, 90)):  # whitened otherwise; of more images
        made = approximate.grow_graph(
            tmp_path, unit_rows(random.normal(size=(count, width))), **options
        )
        os.replace(tmp_path / made.file, tmp_path / "approximate.partial")
        made = approximate.grow_graph(tmp_path, unit_rows(random.normal(size=(60, 8))), **options)
        assert (made.num_contents, made.recall_at_10) == (60, 1.0)


def test_what_is_whitened_anew_gets_a_new_graph(photos, tmp_path, embedder, monkeypatch):
    pytest.importorskip("usearch")
    path = tmp_path / "index"

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(approximate, "_measured", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(photos, path, embedder=embedder, whiten=6, largest_exact=10)
    os.replace(next(path.glob("approximate-*.usearch")), path / "approximate.partial")
    for number in range(20):
        picture(photos / "a" / f"more {number}.png", 300 + number)
    built = build(photos, path, whiten=6, largest_exact=10)
    assert built.state.approximate.recall_at_10 > 0.95


def test_the_threshold_keeps_its_promise_over_groups():
    """Bursts of 20 pictures each: beside its siblings everything would look known."""
    random = np.random.default_rng(0)

    def bursts(count):
        centres = random.normal(2, 1, (count, 1, 64))
        return unit_rows((centres + 0.3 * random.normal(size=(count, 20, 64))).reshape(-1, 64))

    units, new = bursts(100), bursts(60)
    groups = np.repeat(np.arange(100), 20)
    shares = []
    for given in (groups, None):
        unknown = calibrate(units, np.arange(2_000), np.array([2_000]), groups=given)
        kth = nearest_to(new, units, num_neighbours=unknown.num_neighbours).cosines[:, -1]
        shares.append(float(np.mean(1 - kth > unknown.threshold)))
    assert unknown.by_group is False
    assert shares[0] < 0.15
    assert shares[1] > 0.5
    few = calibrate(units[:600], np.arange(600), np.array([600]), groups=groups[:600])
    assert (few.num_held_out, few.threshold, few.by_group) == (15, None, True)
