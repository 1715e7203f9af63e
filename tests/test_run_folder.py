"""What is left of a folder that nobody finished."""

import os
import time

import pytest

from kerastl.run_folder import new_run_folder, publish


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    yesterday = time.time() - 25 * 3600
    names = {
        ".photos.123.partial": (yesterday, False),
        ".photos.124.partial": (time.time(), True),  # another may be writing it
        ".photos-2.123.partial": (yesterday, True),
        ".photos.mine.partial": (yesterday, True),
        "photos.123.partial": (yesterday, True),
    }
    for name, (when, _) in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.keras").write_text("half")
        os.utime(tmp_path / name, (when, when))
    with new_run_folder(tmp_path / "photos") as partial:
        (partial / "config.yaml").write_text("new")
        publish(partial, tmp_path / "photos", overwrite=False)
    kept = {name for name, (_, stays) in names.items() if stays}
    assert {path.name for path in tmp_path.iterdir()} == kept | {"photos"}


def test_what_fails_leaves_nothing_and_the_old_as_it_was(tmp_path):
    (tmp_path / "photos").mkdir()

    def fail():
        with new_run_folder(tmp_path / "photos") as partial:
            (partial / "config.yaml").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert not list((tmp_path / "photos").iterdir())
