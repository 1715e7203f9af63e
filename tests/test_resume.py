"""--resume: killed at any moment, the same command ends as if nothing had been."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import kerastl
from kerastl.errors import ConfigError
from kerastl.training import cut
from kerastl.training.checkpoint import Checkpoint, CheckpointFile
from kerastl.training.kept import Kept

JOB = """
import sys
import keras
import kerastl

keras.utils.set_random_seed(5)
inputs = keras.Input((24, 24, 3))
x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(inputs)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.Conv2D(16, 3, activation="relu")(x)
backbone = keras.Model(inputs, keras.layers.Conv2D(16, 3)(x), name="mine")
options = dict(
    image_size=(24, 24), fine_tune_epochs=40, patience_epochs=40, batch_size=8, dropout=0.2,
    learning_rate=1e-3, augment="light", soup=3, layer_decay=0.8,
)
options.update(eval(sys.argv[3]))
kerastl.run(
    kerastl.FitConfig(sys.argv[1], out=sys.argv[2], **options),
    backbone=backbone, preprocessing="tf",
)
"""


def start(folder, out, cache, **options):
    words = [sys.executable, "-c", JOB, str(folder), str(out), repr(options)]
    environment = {**os.environ, "KERASTL_CACHE": str(cache)}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(folder, out, cache, **options):
    process = start(folder, out, cache, **options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return ending(out)


def ending(out):
    """What a run ends with: its history, its measures, what it answers."""
    rows = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
    column = {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}
    metrics = json.loads((out / "metrics.json").read_text())
    numbers = [float(x) for name in ("loss", "val_loss", "learning_rate") for x in column[name]]
    numbers += [metrics[name]["test"]["log_loss"]["value"] for name in ("probe", "fine-tuned")]
    return metrics["kept"], np.array(numbers)


def assert_equal(one, other):
    assert one[0] == other[0]
    assert len(one[1]) == len(other[1])
    np.testing.assert_allclose(one[1], other[1], rtol=1e-3, atol=1e-5)


def kill_after(process, checkpoint, *, epochs=None, seconds=None):
    """Kill -9 as soon as so many epochs are written, or after some seconds."""
    deadline = time.monotonic() + (90 if seconds is None else seconds)
    seen, last = 0, None
    while process.poll() is None and time.monotonic() < deadline:
        try:
            stamp = checkpoint.stat().st_mtime_ns
        except FileNotFoundError:
            stamp = None
        if stamp is not None and stamp != last:
            seen, last = seen + 1, stamp
            if epochs is not None and seen >= epochs:
                break
        time.sleep(0.002)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def hard_folder(painter, tmp_path_factory):
    """Colours that can hardly be told apart: losses that stay far from 0, where all are equal."""
    colours = {"a": (120, 128, 128), "b": (128, 120, 128), "c": (128, 128, 120)}
    return painter(tmp_path_factory.mktemp("hard") / "photos", per_class=24, colours=colours)


@pytest.fixture(scope="module")
def undisturbed(hard_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed")
    return finish(hard_folder, place / "run", place / "cache")


def test_killed_twice_it_ends_as_an_undisturbed_run(hard_folder, tmp_path, undisturbed):
    out, cache = tmp_path / "run", tmp_path / "cache"
    checkpoint = tmp_path / ".run.checkpoint.npz"
    kill_after(start(hard_folder, out, cache), checkpoint, epochs=2)
    assert checkpoint.exists()
    assert not out.exists()
    kill_after(start(hard_folder, out, cache, resume=True), checkpoint, epochs=2)
    assert_equal(finish(hard_folder, out, cache, resume=True), undisturbed)
    assert not checkpoint.exists()  # the run is complete: nothing to resume


def test_another_command_is_refused_and_a_new_start_is_new(hard_folder, tmp_path, undisturbed):
    out, cache = tmp_path / "run", tmp_path / "cache"
    checkpoint = tmp_path / ".run.checkpoint.npz"
    kill_after(start(hard_folder, out, cache), checkpoint, epochs=1)
    process = start(hard_folder, out, cache, resume=True, learning_rate=2e-3)
    errors = process.communicate()[1].decode()
    assert process.returncode == 1
    assert "its learning_rate was 0.001, now it is 0.002" in errors
    assert checkpoint.exists()
    assert_equal(finish(hard_folder, out, cache), undisturbed)


def make(path, *, resume=True, **identity):
    return CheckpointFile(path, {"a": 1, "pair": (1, 2), **identity}, resume=resume)


BEST, SECOND = (
    Kept(3.5, np.full(2, 0.1), [np.ones(2)], np.zeros((2, 3), np.float32)),
    Kept(2, np.full(2, 0.2), [np.zeros(2)], np.ones((2, 3), np.float32)),
)
LATE = Kept(4, np.array([0.25, 0.35]), [np.full(2, 9)], np.full((2, 3), 0.5, np.float32))
CHECKPOINT = Checkpoint(
    epochs_done=3,
    finished=True,
    policy="float32",
    images_at_once=8,
    num_views=4,
    history=({"epoch": 1, "loss": 0.5},),
    best=(BEST, SECOND),
    late=LATE,
    variables=tuple(np.full(2, number, np.float32) for number in range(12)),
    optimizer=(np.arange(3),),
    callbacks={"0.best": 0.25, "0.wait": 1.0},
)


def test_everything_comes_back(tmp_path):
    make(tmp_path / "c.npz").save(CHECKPOINT)
    found = make(tmp_path / "c.npz").load()
    assert (found.epochs_done, found.finished, found.policy) == (3, True, "float32")
    assert (found.images_at_once, found.num_views) == (8, 4)
    assert found.history == CHECKPOINT.history
    assert found.callbacks == CHECKPOINT.callbacks
    assert [int(value[0]) for value in found.variables] == list(range(12))
    assert found.optimizer[0].dtype == np.arange(3).dtype
    for was, now in zip((BEST, SECOND, LATE), (*found.best, found.late), strict=True):
        assert (was.epoch, was.loss) == (now.epoch, now.loss)
        np.testing.assert_array_equal(was.weights, now.weights)
        np.testing.assert_array_equal(was.probabilities, now.probabilities)
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


@pytest.mark.parametrize("late", [BEST, SECOND], ids=["best", "second"])
def test_a_late_check_that_is_a_best_one_is_written_once(tmp_path, late):
    make(tmp_path / "c.npz").save(dataclasses.replace(CHECKPOINT, late=late))
    found = make(tmp_path / "c.npz").load()
    assert found.late is found.best[(BEST, SECOND).index(late)]


def test_a_damaged_or_foreign_file_is_no_checkpoint(tmp_path, caplog):
    path = tmp_path / "c.npz"
    assert make(path).load() is None
    make(path).save(CHECKPOINT)
    content = path.read_bytes()
    rng = random.Random(0)
    for size in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert make(path).load() is None
    directory = range(len(content) - 1000, len(content))  # of the archive: flags, names, places
    for place in (*directory, *(rng.randrange(len(content)) for _ in range(20))):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        make(path).load()  # nothing but None or what was written, no exception
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="its a was 1, now it is 2"):
        make(path, a=2).load()
    with caplog.at_level("INFO"):
        assert make(path, resume=False).load() is None
    assert "--resume would go on with it" in caplog.text
    assert make(path).load().epochs_done == 3  # who forgot the option has lost nothing


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch, caplog):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    make(tmp_path / "c.npz").save(CHECKPOINT)
    assert "This run could not be resumed: No space left on device." in caplog.text
    assert not list(Path(tmp_path).iterdir())


def tiny_backbone():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="low")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(8, 3, name="high")(x), name="mine")


def run_here(data, out, **options):
    options = {"learning_rate": 1e-3, "augment": "none", **options}
    config = kerastl.FitConfig(str(data), out=str(out), image_size=(24, 24), **options)
    return kerastl.run(config, backbone=tiny_backbone(), preprocessing="tf")


def interrupt(photos, out, **options):
    """Run until the first epoch is done."""
    save = CheckpointFile.save

    def save_and_die(self, checkpoint, *, last=False):
        save(self, checkpoint, last=True)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointFile, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_here(photos, out, fine_tune_epochs=2, **options)


@pytest.fixture
def interrupted_run(painter, tmp_path):
    """The folder of images and that of a run which was interrupted after its first epoch."""
    photos, out = painter(tmp_path / "photos"), tmp_path / "run"
    interrupt(photos, out)
    return photos, out


def test_more_room_than_before_changes_nothing(colour_folder, tmp_path, monkeypatch, caplog):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(cut, "room_for_views", lambda *_: {"budget_bytes": 0})
        interrupt(colour_folder, out, augment="light")
    with caplog.at_level("INFO"):
        run_here(colour_folder, out, augment="light", fine_tune_epochs=2, resume=True)
    assert "Fine-tuning goes on after epoch 1." in caplog.text
    assert "The frozen part runs in every epoch" in caplog.text


def test_a_folder_is_the_same_however_it_is_typed(interrupted_run, monkeypatch, caplog):
    photos, out = interrupted_run
    monkeypatch.chdir(photos.parent)
    with caplog.at_level("INFO"):
        run_here("./photos/", out, fine_tune_epochs=2, resume=True)
    assert "Fine-tuning goes on after epoch 1." in caplog.text


def test_images_that_changed_are_noticed(interrupted_run):
    photos, out = interrupted_run
    one, other = sorted(photos.glob("1/*"))[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match=r"its content of the images was .* for the same images"):
        run_here(photos, out, fine_tune_epochs=2, resume=True)


def test_without_time_to_go_on_the_best_so_far_is_the_run(interrupted_run):
    photos, out = interrupted_run
    result = run_here(photos, out, fine_tune_epochs=2, resume=True, max_minutes=0)
    assert "fine-tuned" in result.metrics
    assert len((out / "history.csv").read_text().splitlines()) == 2
    assert "no time was left to go on after epoch 1 of 2" in (out / "report.html").read_text()
