"""What is stored comes back; what is damaged, dropped or too large is computed again."""

import errno
import gc
import hashlib
import logging
import os
import resource
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from kerastl.errors import ConfigError, DataError
from kerastl.features import room
from kerastl.features.collection import Collection
from kerastl.features.room import NotKeptError
from kerastl.features.segment import Segment, open_segment
from kerastl.features.store import default_directory, find_store, open_store

COUNT, WIDTH, BATCH_ROWS = 10, 3, 4
TRUTH = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
BATCHES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
RECORD_BYTES = 40


def names_of(count):
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


def ask(store, key="key", *, truth=TRUTH, batch_rows=BATCH_ROWS, places=None):
    """Return the rows at some places, and which of them were computed, batch by batch."""
    places = np.arange(len(truth)) if places is None else np.array(places)
    names = names_of(len(truth))
    made = []

    def make(wanted, _following):
        made.append(places[wanted].tolist())
        return truth[places[wanted]]

    rows = store.rows(
        key,
        [names[place] for place in places],
        row_shape=truth.shape[1:],
        dtype=truth.dtype,
        make=make,
        batch_rows=batch_rows,
    )
    assert rows.dtype == truth.dtype
    assert rows.shape == (len(places), *truth.shape[1:])
    assert not any(array.flags.writeable for array in rows.arrays)
    assert rows[:].tobytes() == truth[places].tobytes()
    return rows, made


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "cache", largest_bytes=2**20)


def entry_of(store):
    (entry,) = (store.directory / "rows").iterdir()
    return entry


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.uint8, np.int64, ml_dtypes.bfloat16, bool], ids=str
)
@pytest.mark.parametrize("shape", [(7,), (7, 5), (7, 2, 3, 4)], ids=str)
def test_comes_back_in_any_type(store, dtype, shape):
    truth = np.random.default_rng(0).normal(size=shape).astype(dtype)
    assert ask(store, truth=truth)[1] == [[0, 1, 2, 3], [4, 5, 6]]
    assert ask(store, truth=truth)[1] == []
    # Type and shape are part of what is asked for; the number of rows is not.
    assert ask(store, truth=truth[:6])[1] == []
    assert ask(store, truth=truth.astype(np.float64))[1] != []


def test_any_rows_in_any_order_and_twice(store, caplog):
    caplog.set_level(logging.INFO)
    assert ask(store, places=[7, 2, 7, 5, 2])[1] == [[7, 2, 5]]
    assert ask(store, places=[5, 7])[1] == []
    assert ask(store, places=[9, 7, 8, 5, 0])[1] == [[9, 8, 0]]
    assert ask(store)[1] == [[1, 3, 4, 6]]
    assert caplog.messages == [
        "Extracting features: kept by an earlier run.",
        "Extracting features: 2 of 5 rows are kept by earlier runs.",
        "Extracting features: 6 of 10 rows are kept by earlier runs.",
    ]
    assert len(list((store.directory / "rows").iterdir())) == 1
    rows, made = ask(store, places=[3, 9, 4, 1, 6])
    assert made == []
    np.testing.assert_array_equal(rows[1:3], TRUTH[[9, 4]])
    np.testing.assert_array_equal(rows[np.array([4, 0])], TRUTH[[6, 3]])
    assert rows[:0].shape == (0, WIDTH)
    assert rows.nbytes == 5 * WIDTH * 4


def test_other_images_of_the_same_network_have_a_folder_of_their_own(store):
    """So that each set of images can be dropped by itself."""
    ask(store, places=[0, 1, 2])
    ask(store, places=[5, 6])
    assert len(list((store.directory / "rows").iterdir())) == 2
    rows, made = ask(store)
    assert made == [[3, 4, 7, 8], [9]]
    assert len(rows.arrays) == 2
    np.testing.assert_array_equal(rows[np.array([6, 0, 9])], TRUTH[[6, 0, 9]])


def test_another_key_is_another_folder(store, caplog):
    caplog.set_level(logging.INFO)
    assert ask(store, "a")[1] == BATCHES
    assert ask(store, "b")[1] == BATCHES
    assert ask(store, "a", batch_rows=7)[1] == []
    assert warnings_in(caplog) == []
    assert caplog.messages == ["Extracting features: kept by an earlier run."]


def test_what_make_raises_goes_on_and_finished_batches_stay(store, caplog):
    def make(places, _following):
        if places[0]:
            raise FileNotFoundError(errno.ENOENT, "No such file", "photo.jpg")
        return TRUTH[places]

    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        store.rows("key", names_of(10), row_shape=(3,), dtype="f4", make=make, batch_rows=4)
    caplog.set_level(logging.INFO)
    assert ask(store)[1] == BATCHES[1:]
    assert caplog.messages == ["Extracting features: 4 of 10 rows are kept by earlier runs."]


def test_what_comes_next_is_announced(store):
    announced = []

    def make(places, following):
        announced.append((places.tolist(), following.tolist()))
        return TRUTH[places]

    store.rows("key", names_of(10), row_shape=(3,), dtype="f4", make=make, batch_rows=4)
    assert announced == [(BATCHES[0], BATCHES[1]), (BATCHES[1], BATCHES[2]), (BATCHES[2], [])]


@pytest.mark.parametrize("wrong", [np.zeros((4, 3)), np.zeros((3, 3), np.float32)], ids=str)
@pytest.mark.parametrize("largest_bytes", [0, 2**20])
def test_make_must_keep_its_promise(tmp_path, wrong, largest_bytes):
    store = open_store(tmp_path, largest_bytes=largest_bytes)
    with pytest.raises(ValueError, match="must return float32 of shape"):
        store.rows("k", names_of(4), row_shape=(3,), dtype="float32", make=lambda *_: wrong)


def test_nothing_is_for_others_to_read(store):
    ask(store)
    for path in [store.directory, *store.directory.rglob("*")]:
        if path.name != "CACHEDIR.TAG":
            assert path.stat().st_mode & 0o077 == 0, path


def test_no_rows_and_no_store(store):
    assert ask(store, truth=TRUTH[:0])[1] == []
    assert ask(open_store(None, largest_bytes=2**20))[1] == BATCHES
    assert list((store.directory / "rows").iterdir()) == []


# --- damage


def damaged(store, name, content):
    """Ask after one file has become something else; then all must be whole again."""
    entry = entry_of(store)
    before = {path: path.read_bytes() for path in (entry / "rows.bin", entry / "records")}
    (entry / name).write_bytes(content)
    _, made = ask(store)
    assert ask(store)[1] == []
    for path in (store.directory / "rows").iterdir():
        if path != entry:
            shutil.rmtree(path)
    for path, whole in before.items():
        path.write_bytes(whole)
    return [row for batch in made for row in batch]


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_any_flipped_bit_of_the_rows_costs_its_row(store):
    ask(store)
    content = (entry_of(store) / "rows.bin").read_bytes()
    assert len(content) == TRUTH.nbytes
    for bit in range(0, 8 * len(content), 7):
        assert damaged(store, "rows.bin", flipped(content, bit)) == [bit // (8 * WIDTH * 4)]


def test_any_truncation_of_the_rows_costs_what_is_gone(store):
    ask(store)
    content = (entry_of(store) / "rows.bin").read_bytes()
    for length in range(len(content)):
        gone = [row for row in range(COUNT) if (row + 1) * WIDTH * 4 > length]
        assert damaged(store, "rows.bin", content[:length]) == gone


def test_any_flipped_bit_of_the_records_costs_its_row(store, caplog):
    ask(store)
    content = (entry_of(store) / "records").read_bytes()
    assert len(content) == COUNT * RECORD_BYTES
    for bit in range(0, 8 * len(content), 7):
        caplog.clear()
        assert damaged(store, "records", flipped(content, bit)) == [bit // (8 * RECORD_BYTES)]
        assert len(warnings_in(caplog)) == 1


def test_any_truncation_of_the_records_costs_what_is_gone(store):
    ask(store)
    content = (entry_of(store) / "records").read_bytes()
    for length in range(0, len(content), 7):
        gone = [row for row in range(COUNT) if (row + 1) * RECORD_BYTES > length]
        assert damaged(store, "records", content[:length]) == gone


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\0" * len(content),
        lambda content: b"garbage\n" + content,
        lambda content: content[RECORD_BYTES:],
        lambda content: content[::-1],
    ],
)
def test_records_that_moved_are_no_records(store, caplog, change):
    ask(store)
    content = (entry_of(store) / "records").read_bytes()
    assert damaged(store, "records", change(content)) == list(range(COUNT))


def test_records_that_changed_places_are_no_records(store):
    ask(store)
    content = (entry_of(store) / "records").read_bytes()
    one, two, rest = content[:40], content[40:80], content[80:]
    assert damaged(store, "records", two + one + rest) == [0, 1]


def test_garbage_behind_the_records_is_no_harm(store, caplog):
    ask(store)
    content = (entry_of(store) / "records").read_bytes()
    assert damaged(store, "records", content + b"\xff\x00half a record") == []
    # Nothing is appended where the end is not known.
    (entry_of(store) / "records").write_bytes(content[:-40] + b"half a record")
    assert ask(store)[1] == [[9]]
    assert len(list((store.directory / "rows").iterdir())) == 2
    assert ask(store)[1] == []


def test_a_missing_file_and_an_unknown_version_are_a_miss(store, monkeypatch):
    ask(store)
    for name in ("records", "rows.bin"):
        (entry_of(store) / name).unlink()
        assert ask(store)[1] == BATCHES
        assert ask(store)[1] == []
        gc.collect()
        shutil.rmtree(store.directory / "rows")
        (store.directory / "rows").mkdir()
        ask(store)
    monkeypatch.setattr("kerastl.features.store.VERSION", 99)
    assert ask(store)[1] == BATCHES


def test_a_damaged_row_is_made_anew_beside_the_old_one(store, caplog):
    rows, _ = ask(store)
    with open(entry_of(store) / "rows.bin", "r+b") as file:
        file.write(b"\xff" * 8)
    assert ask(store)[1] == [[0]]
    assert warnings_in(caplog) == [
        "Extracting features: some of what earlier runs kept is damaged; 1 of 10 rows are computed."
    ]
    assert ask(store)[1] == []
    np.testing.assert_array_equal(rows[1:], TRUTH[1:])


# --- room

ROWS = np.arange(8 * 4096, dtype=np.uint8).reshape(8, 4096)  # 32 KiB
ENTRY_BYTES = ROWS.nbytes + 4096  # and its records


def test_the_least_recently_used_goes_first(tmp_path, caplog):
    store = open_store(tmp_path, largest_bytes=6 * ENTRY_BYTES)
    folders = {}
    for key in "abcdef":
        ask(store, key, truth=ROWS)
        (folders[key],) = set((tmp_path / "rows").iterdir()) - set(folders.values())
        os.utime(folders[key] / "use.lock", (1, 1))
    order = "dbfaec"
    for number, key in enumerate(order):
        assert ask(store, key, truth=ROWS)[1] == []
        assert (folders[key] / "use.lock").stat().st_mtime > 1
        os.utime(folders[key] / "use.lock", (2 + number, 2 + number))
    caplog.set_level(logging.INFO)
    for number, new in enumerate("uvwxy"):
        gc.collect()
        assert ask(store, new, truth=ROWS)[1] != []
        assert caplog.messages[-1] == f"Dropped 1 of the arrays in {tmp_path} to make room."
        left = {key for key in order if folders[key].exists()}
        assert left == set(order[number + 1 :])
    assert ask(store, "c", truth=ROWS)[1] == []
    # A smaller bound counts from the next opening on.
    gc.collect()
    open_store(tmp_path, largest_bytes=ENTRY_BYTES)
    assert list((tmp_path / "rows").iterdir()) == [folders["c"]]


def test_a_file_that_goes_while_sizes_are_added_up(store):
    ask(store)
    (entry_of(store) / "gone.new").symlink_to("gone")
    assert open_store(store.directory, largest_bytes=2**20).directory is not None


def test_other_images_of_the_same_network_give_way(tmp_path):
    """What a run has no use for is not held by it, nor does it count as used."""
    store = open_store(tmp_path, largest_bytes=5 * ENTRY_BYTES // 2)
    first, second, third = range(0, 4), range(4, 8), range(8, 12)
    rows = np.tile(ROWS, (2, 2))  # 4 of them take what ROWS does
    for places in (first, second, third):
        assert ask(store, truth=rows, places=places)[1] != []
        for entry in (tmp_path / "rows").iterdir():
            if (entry / "use.lock").stat().st_mtime > 10:
                os.utime(entry / "use.lock", (places[0], places[0]))
        gc.collect()
    assert len(list((tmp_path / "rows").iterdir())) == 2
    assert ask(store, truth=rows, places=third)[1] == []
    assert ask(store, truth=rows, places=second)[1] == []
    assert ask(store, truth=rows, places=first)[1] != []


def test_the_room_counts_what_is_there_already(tmp_path, monkeypatch):
    store = open_store(tmp_path, largest_bytes=2**40)
    rows, _ = ask(store, truth=ROWS)
    monkeypatch.setattr("kerastl.features.store.disk_room", lambda _path: 1000)
    assert store.room_bytes >= 1000 + ROWS.nbytes
    del rows


def test_a_new_segment_is_nobody_elses_to_fill(store, monkeypatch):
    """Another process asks who fills it whenever it sees it: then it is taken already."""
    seen = []
    moved = Segment.moved

    def watched(segment, path):
        moved(segment, path)
        other = open_segment(path, row_bytes=WIDTH * 4)
        seen.append((other.is_filled_by_another(), other.fill()))
        other.close()

    monkeypatch.setattr(Segment, "moved", watched)
    ask(store)
    assert seen == [(True, False)]


def test_a_neighbour_without_room_does_no_harm(store, caplog):
    """Its empty folder comes and goes while this run is at work."""
    names = names_of(COUNT)

    def make(places, _following):
        if not places[0]:
            with pytest.raises(NotKeptError):
                refused.take_room(5, reserve=refuse)
        return TRUTH[places]

    def refuse(_bytes, _take):
        raise NotKeptError("no room")

    (_, key) = entry_name_and_key(store)
    refused = Collection(store.directory / "rows", key, row_bytes=WIDTH * 4)
    store.rows("other", names, row_shape=(3,), dtype="f4", make=make, batch_rows=4)
    refused.close()
    assert warnings_in(caplog) == []
    assert ask(store, "other")[1] == []


def entry_name_and_key(store):
    ask(store, "other", places=[9])
    name = entry_of(store).name
    return name, name.split("-")[0]


def test_an_array_in_use_is_not_dropped(tmp_path, caplog):
    store = open_store(tmp_path, largest_bytes=2 * ENTRY_BYTES - 8192)
    kept = ask(store, "a", truth=ROWS)[0][3:]  # a part of it is use, too
    assert ask(store, "b", truth=ROWS)[1] != []
    assert warnings_in(caplog) == [
        f"Extracting features: 32.0 KiB are not kept for later runs in {tmp_path}: it has no room "
        "(the rest of it is in use)."
    ]
    assert ask(store, "a", truth=ROWS)[1] == []
    np.testing.assert_array_equal(kept, ROWS[3:])
    del kept
    gc.collect()
    ask(store, "b", truth=ROWS)
    assert ask(store, "b", truth=ROWS)[1] == []
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_larger_than_the_bound(tmp_path, caplog):
    store = open_store(tmp_path, largest_bytes=100)
    assert ask(store)[1] == BATCHES
    assert ask(store)[1] == BATCHES
    assert len(warnings_in(caplog)) == 2
    assert "120 bytes are not kept" in caplog.messages[0]
    assert "it may take 100 bytes in all" in caplog.messages[0]
    assert list((tmp_path / "rows").iterdir()) == []


@pytest.fixture
def no_large_files():
    """A real limit of the system: no file may become larger than 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses(store, caplog, no_large_files):
    truth = np.ones((4, 2**15), np.uint8)
    for _ in range(2):
        assert ask(store, truth=truth)[1] == [[0, 1, 2, 3]]
    assert len(warnings_in(caplog)) == 2
    assert "File too large" in caplog.messages[0]
    assert list((store.directory / "rows").iterdir()) == []


def test_a_full_disk(store, caplog, monkeypatch):
    monkeypatch.setattr(room, "_DISK_FRACTION", 0.0)
    assert ask(store)[1] == BATCHES
    assert "the disk is full" in warnings_in(caplog)[0]


def test_a_disk_that_fails_while_it_is_written(store, caplog, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fail)
    assert ask(store)[1] == BATCHES  # and nothing twice
    assert "Input/output error" in warnings_in(caplog)[0]


def test_room_without_a_store(tmp_path, monkeypatch):
    what = (5, 2), np.dtype(ml_dtypes.bfloat16)
    assert type(room.room_for(*what, ())) is np.ndarray
    monkeypatch.setattr(room, "_MEMORY_FRACTION", 0.0)
    in_file = room.room_for(*what, (tmp_path / "missing", tmp_path))
    in_file[:] = 1.5
    assert in_file.shape == (5, 2)
    assert in_file.dtype == ml_dtypes.bfloat16
    assert isinstance(in_file, np.memmap)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(room, "_DISK_FRACTION", 0.0)
    with pytest.raises(DataError, match=r"20 bytes, and neither memory nor .* --feature-cache"):
        room.room_for(*what, (tmp_path,))


def test_a_folder_that_cannot_be_written_to(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    store = open_store(tmp_path / "file" / "cache", largest_bytes=2**20)
    assert ask(store)[1] == BATCHES
    assert len(warnings_in(caplog)) == 1
    assert "Nothing is kept for later runs" in caplog.messages[0]
    assert "Not a directory" in caplog.messages[0]


def test_a_folder_that_goes_during_the_run(store, caplog):
    rows, _ = ask(store)
    for path in sorted(store.directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.directory.rmdir()
    np.testing.assert_array_equal(rows[:], TRUTH)
    assert ask(store)[1] == BATCHES
    assert "No such file or directory" in warnings_in(caplog)[0]


def test_leftovers_of_a_process_that_was_killed_while_dropping(store):
    ask(store)
    entry_of(store).rename(store.directory / "rows" / ("dropped-" + "0" * 64))
    open_store(store.directory, largest_bytes=2**20)
    assert list((store.directory / "rows").iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"KERASTL_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"KERASTL_CACHE": "~/b", "HOME": "/home/me"}, "/home/me/b"),
        ({"KERASTL_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/kerastl"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/kerastl"),
        ({"HOME": "/home/me"}, "/home/me/.cache/kerastl"),
    ],
)
def test_default_directory(monkeypatch, variables, expected):
    for name in ("KERASTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_directory() == Path(expected)


@pytest.mark.parametrize("name", ["photo.jpg", "rows", "CACHEDIR.TAG"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).mkdir() if name == "rows" else (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ConfigError, match="must be new or empty"):
        open_store(tmp_path, largest_bytes=2**20)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_only_entries_are_ever_deleted(store):
    ask(store)
    rows = store.directory / "rows"
    for name in ("dropped-frames", "survey", "dropped-" + "a" * 63, "A" * 64):
        (rows / name).mkdir()
        (rows / name / "table.bin").write_bytes(bytes(10_000))
    left_by_a_killed_process = rows / ("dropped-" + "a" * 64)
    left_by_a_killed_process.mkdir()
    gc.collect()
    open_store(store.directory, largest_bytes=1)
    assert {path.name for path in rows.iterdir()} == {
        "dropped-frames", "survey", "dropped-" + "a" * 63, "A" * 64,
    }  # fmt: skip


def test_a_folder_that_is_deleted_meanwhile_has_no_room_and_keeps_nothing(store, caplog):
    shutil.rmtree(store.directory)
    assert store.room_bytes == 0
    assert ask(store)[1] == BATCHES
    assert "are not kept for later runs" in caplog.text


def test_what_a_user_names_must_work_and_what_nobody_named_need_not(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="must name a folder that can be written to"):
        find_store(str(tmp_path / "file"), largest_bytes=2**20)
    with pytest.raises(ConfigError, match="cannot be used"):
        find_store("~nobody-has-this-name/x", largest_bytes=2**20)
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path / "file"))
    assert find_store("auto", largest_bytes=2**20).directory is None
    assert "Nothing is kept for later runs" in caplog.text
    monkeypatch.setattr(
        "kerastl.features.store.default_directory", lambda: Path("~no-such-user/x").expanduser()
    )
    assert find_store("auto", largest_bytes=2**20).directory is None


def test_room_of_nothing_leaves_alone_what_there_is(store):
    ask(store)
    assert find_store(str(store.directory), largest_bytes=0).directory is None
    assert ask(store)[1] == []
