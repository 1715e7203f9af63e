"""The check: it finds what was planted, says what to type, and leaves nothing half-written."""

import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kerastl
import kerastl.check_folder
from kerastl.check import EXIT_FINDINGS, main
from kerastl.config import FitConfig
from kerastl.data.sources import load_table, table_from_arrays
from kerastl.data.splits import split_rows
from kerastl.data_options import DataOptions
from kerastl.inspection import inspect_data
from kerastl.plan import read_table, split_table

FILES = {"check.html", "check.json", "images.csv"}


def scenes(folder, *, per_class=14, classes=("cat", "dog"), seed=0):
    """Make a folder per class of pictures that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
            coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return scenes(tmp_path_factory.mktemp("clean") / "photos")


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Copies under two labels and of one label, an unreadable file, a name that is HTML."""
    folder = scenes(tmp_path_factory.mktemp("dirty") / "my photos", seed=1)
    shutil.copy(folder / "cat" / "3.png", folder / "dog" / "<b>bold<&.png")
    for copy in range(6):
        shutil.copy(folder / "dog" / "5.png", folder / "dog" / f"copy {copy}.png")
    (folder / "cat" / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def inspected(dirty):
    return inspect_data(DataOptions(str(dirty)), features=False)


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def codes_of(values):
    return {finding["code"] for finding in values["findings"]}


def test_a_clean_folder(clean, capsys, tmp_path):
    code, out, _ = run_main(capsys, clean, "--quick", "--strict", "--out", tmp_path / "check")
    assert code == 0
    assert "photos: 28 images, 2 classes: 18 train, 4 val, 6 test." in out
    assert "PNG 28; all 64 \N{MULTIPLICATION SIGN} 64 pixels." in out
    assert "Nothing looks wrong" in out
    assert {path.name for path in (tmp_path / "check").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["check"]


def test_a_dirty_folder(dirty, capsys, tmp_path):
    words = (dirty, "--quick", "--out", tmp_path / "check")
    assert run_main(capsys, *words)[0] == 0
    code, out, _ = run_main(capsys, *words, "--strict", "--overwrite")
    assert code == EXIT_FINDINGS
    assert len(out.splitlines()) <= 20
    assert "error    2 images of 1 picture are exact copies but have different labels" in out
    assert f"Type: python -m kerastl.fit {tmp_path}/check/images.csv --group-column group" in out
    values = json.loads((tmp_path / "check" / "check.json").read_text())
    expected = {"unreadable-images", "duplicates-across-labels", "duplicates-across-splits"}
    assert expected <= codes_of(values)
    typed = f"python -m kerastl.check '{dirty}' --quick --out {tmp_path}/check --overwrite"
    assert values["made"]["command"] == typed
    assert f"Open {tmp_path}/check/check.html" in out
    assert "36 images, 2 classes: " in out
    assert ", 1 unreadable." in out
    counts = [int(word) for word in re.findall(r"(\d+) (?:train|val|test|unreadable)", out)]
    assert sum(counts) == 36


def test_json_and_nothing_else(dirty, capsys, tmp_path):
    code, out, err = run_main(capsys, dirty, "--quick", "--json", "--out", tmp_path / "check")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "check" / "check.json").read_text())
    assert "unreadable-images" in codes_of(json.loads(out))
    assert f"Open {tmp_path}/check/check.html" in err


def test_the_table_of_images_can_be_trained_on(dirty, inspected, tmp_path):
    kerastl.check_folder.write_check(tmp_path, inspected, command="")
    rows = pd.read_csv(tmp_path / "images.csv", dtype=str, keep_default_na=False)
    by_name = {os.path.basename(row.path): row for row in rows.itertuples()}
    assert by_name["broken.jpg"].findings == "unreadable-images"
    assert by_name["broken.jpg"].checked_split == ""
    assert "duplicates-across-labels" in by_name["<b>bold<&.png"].findings.split()
    assert (by_name["0.png"].format, by_name["0.png"].width) == ("PNG", "64")
    table = load_table(tmp_path / "images.csv", group_column="group")
    assert set(table.ids) == set(load_table(dirty).ids)
    copies = [row for row in by_name if row.startswith("copy") or row == "5.png"]
    assert len(copies) == 7
    splits = split_rows(
        table.labels,
        groups=table.groups,
        given=table.splits,
        val_fraction=0.2,
        test_fraction=0.2,
        seed=0,
    )
    pairs = set(zip(table.groups.tolist(), splits.tolist(), strict=True))
    assert len(pairs) == len(set(table.groups))
    names = [os.path.basename(path) for path in table.ids if os.sep + "dog" + os.sep in path]
    groups = table.groups[[os.sep + "dog" + os.sep in path for path in table.ids]]
    assert len({g for n, g in zip(names, groups, strict=True) if n in copies}) == 1


def test_without_groups_the_table_keeps_the_split(clean, tmp_path):
    inspection = inspect_data(DataOptions(str(clean), seed=5), features=False)
    kerastl.check_folder.write_check(tmp_path, inspection, command="")
    table = load_table(tmp_path / "images.csv")
    assert table.groups is None
    np.testing.assert_array_equal(table.splits, inspection.splits)


def test_given_groups_stay_whole_beside_suggested_ones(tmp_path):
    folder = scenes(tmp_path / "photos", per_class=12)
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    table = load_table(folder)
    patients = [f"patient {row // 3}" for row in range(len(table.ids))]
    rows = {"path": table.ids, "label": np.array(table.class_names)[table.labels]}
    pd.DataFrame(rows | {"patient": patients}).to_csv(tmp_path / "table.csv", index=False)
    options = DataOptions(str(tmp_path / "table.csv"), group_column="patient")
    inspection = inspect_data(options, features=False)
    groups = kerastl.check_folder.fitting_columns(inspection)["group"]
    by_patient = pd.Series(groups).groupby(patients).nunique()
    assert (by_patient == 1).all()
    one, other = (table.ids.index(str(folder / "cat" / n)) for n in ("0.png", "copy.png"))
    assert groups[one] == groups[other]


def test_several_labels(clean, tmp_path):
    labels = {"cat": ["warm", "a|b"], "dog": []}
    rows = [
        {"path": str(path), "label": labels[path.parent.name] + ["odd"] * (number % 2)}
        for number, path in enumerate(sorted(clean.rglob("*.png")))
    ]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    inspection = inspect_data(DataOptions(str(tmp_path / "table.jsonl")), features=False)
    (tmp_path / "check").mkdir()
    kerastl.check_folder.write_check(tmp_path / "check", inspection, command="")
    again = load_table(tmp_path / "check" / "images.jsonl")
    assert again.class_names == inspection.table.class_names
    np.testing.assert_array_equal(again.labels, inspection.table.labels)
    advice = kerastl.check_folder.keep_together(tmp_path, inspection.table, data="x")
    assert advice == f"Type: python -m kerastl.fit {tmp_path}/images.jsonl --group-column group"


def test_the_split_is_that_of_a_fit_and_features_find_more(dirty, tmp_path):
    options = FitConfig(str(dirty), seed=3)
    inspection = inspect_data(options, directory=tmp_path)
    assert inspection.features
    table = read_table(options)
    readable = np.array([not name.endswith("broken.jpg") for name in table.ids])
    pixels = kerastl.load_pixels(table, image_size=(8, 8))
    np.testing.assert_array_equal(pixels.rows, np.flatnonzero(readable))
    expected = split_table(kerastl.data.sources.subset(table, pixels.rows), options)
    np.testing.assert_array_equal(inspection.splits[readable], expected)
    assert (inspection.splits[~readable] == "").all()
    assert "duplicates-across-labels" in {f.code for f in inspection.audit.findings}


def test_arrays_have_no_command_to_type(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24, 3), np.uint8)
    images[1::2] = images[::2]
    table = table_from_arrays(images, np.arange(40) // 2 % 2)
    inspection = inspect_data(DataOptions("arrays"), table=table, features=False)
    kerastl.check_folder.write_check(tmp_path, inspection, command="")
    assert "images.csv --group-column" not in (tmp_path / "check.html").read_text()
    assert "these images are not files" in (tmp_path / "check.html").read_text()
    assert "table_from_arrays" in inspection.audit.findings[0].advice


def test_a_split_that_fit_refuses_is_a_finding(clean, tmp_path):
    folder = scenes(tmp_path / "photos", per_class=3)
    (folder / "cat" / "0.png").write_bytes(b"no image")
    inspection = inspect_data(DataOptions(str(folder)), features=False)
    assert inspection.splits is None
    assert inspection.audit.findings[0].code == "split-refused"
    assert "'cat' has 2 images" in inspection.audit.findings[0].why
    kerastl.check_folder.write_check(tmp_path, inspection, command="")
    assert "kerastl.fit would refuse these images" in (tmp_path / "check.html").read_text()


def test_show_augmentation(clean, capsys, tmp_path):
    words = (clean, "--quick", "--out", tmp_path / "check", "--show-augmentation", "light")
    assert run_main(capsys, *words)[0] == 0
    with Image.open(tmp_path / "check" / "augmentation.png") as sheet:
        assert sheet.width > 400
    assert "What light augmentation does" in (tmp_path / "check" / "check.html").read_text()


def test_as_tfds(dirty, capsys, caplog, tmp_path):
    pytest.importorskip("kerastl.data.tfds_writer")
    words = (dirty, "--quick", "--out", tmp_path / "check", "--as-tfds", tmp_path / "tfds")
    code, out, _ = run_main(capsys, *words)
    assert code == 0
    *_, written, left_out = out.splitlines()
    assert written.startswith(f"TFDS data set: {tmp_path}/tfds/my_photos/1.0.0")
    assert written.endswith(f"python -m kerastl.fit tfds:my_photos --data-dir {tmp_path}/tfds")
    assert left_out.startswith("It lacks 1 file that cannot be read: ")
    assert left_out.endswith("broken.jpg")
    table = load_table("tfds:my_photos", data_dir=tmp_path / "tfds")
    assert len(table.ids) == 35  # all but the broken one
    # Again: refused before the check, which leaves no folder.
    words = (dirty, "--quick", "--out", tmp_path / "again", "--as-tfds", tmp_path / "tfds")
    code, out, err = run_main(capsys, *words)
    assert (code, out) == (2, "")
    assert "Choose another folder (--as-tfds DIR)" in err
    assert "Checking images" not in err
    assert not (tmp_path / "again").exists()
    words = ("tfds:my_photos", "--data-dir", tmp_path / "tfds", "--quick", "--out", tmp_path / "b")
    code, out, err = run_main(capsys, *words)
    assert "--group-column FEATURE" in out
    assert "table_from_arrays" not in out
    assert "deprecated" not in err + caplog.text


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["nowhere"], "does not exist"),
        (["DATA", "--show-augmentation", "lihgt"], "Did you mean 'light'?"),
        (["DATA", "--val-fraction", "3"], "from 0.01 to 0.9"),
        (["DATA", "--quik"], "Did you mean --quick?"),
        (["DATA", "--out", "taken"], "never replaced"),
        (["DATA", "--out", "taken", "--overwrite"], "is not a check folder"),
        ([], "--help"),
    ],
)
def test_mistakes_are_one_line(clean, capsys, tmp_path, words, advice):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "check.json").write_text("{}")  # as in a run folder: no images.csv
    places = {"DATA": clean, "taken": tmp_path / "taken"}
    code, out, err = run_main(capsys, *(places.get(word, word) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert advice in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["check.json", "taken"]


def test_default_folders_are_counted(clean, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("checks/photos/check.html", "checks/photos-2/check.html"):
        out = run_main(capsys, clean, "--quick")[1]
        assert f"Open {expected}" in out
    assert "(checks/photos is an older check; --overwrite would replace it)" in out


@pytest.mark.parametrize("overwrite", [False, True])
def test_ctrl_c_leaves_nothing_half_written(clean, capsys, tmp_path, monkeypatch, overwrite):
    words = [clean, "--quick", "--out", tmp_path / "check"]
    if overwrite:
        run_main(capsys, *words)
        words.append("--overwrite")

    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    monkeypatch.setattr(kerastl.check_folder, "make_check_page", interrupt)
    code, _, err = run_main(capsys, *words)
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_help_is_quick_and_exit_codes_reach_the_shell(dirty, tmp_path):
    def seconds_of(*words):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "kerastl", "check", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Time on a processor, which other work on the machine does not lengthen.
    seconds = []
    for _ in range(3):
        done, taken = seconds_of("--help")
        assert done.returncode == 0
        seconds.append(taken)
    assert min(seconds) < 0.5
    done, _ = seconds_of(str(dirty), "--quick", "--strict", "--out", str(tmp_path / "check"))
    assert done.returncode == EXIT_FINDINGS, done.stderr
    assert "Traceback" not in done.stderr


def test_every_fit_checks_first(dirty, caplog, tmp_path):
    config = FitConfig(str(dirty), image_size=32, fine_tune_epochs=0, out=str(tmp_path / "run"))
    with caplog.at_level(logging.WARNING, logger="kerastl"):
        result = kerastl.run(config)
    lines = [r.getMessage() for r in caplog.records if r.name == "kerastl.workflow"]
    assert "Error in the data: 2 images of 1 picture are exact copies but have" in "".join(lines)
    assert 2 <= len(lines) <= 5
    values = json.loads((result.path / "check.json").read_text())
    assert "duplicates-across-labels" in codes_of(values)
    page = (result.path / "report.html").read_text()
    assert "are exact copies but have different labels" in page
    assert "&lt;b&gt;bold&lt;&amp;.png" in page
    assert "data:image/jpeg;base64," in page
    assert f"python -m kerastl.check &#39;{dirty}&#39;" in page
    assert "images.csv" not in page
