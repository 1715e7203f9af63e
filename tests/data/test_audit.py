"""A clean set has no findings worth a warning; every planted fault is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kerastl.data.audit import audit_images
from kerastl.data.class_findings import class_findings
from kerastl.data.nearest import nearest_rows, unit_rows
from kerastl.data.scan import scan_images, scan_pixels
from kerastl.data.sources import load_table
from kerastl.data.table import subset, table_from_arrays
from kerastl.errors import DataError

CLASSES = ("cat", "dog", "owl")


def thirds(count, train=0.6, val=0.2):
    """Return splits in the order train, val, test, train, ..., by fractions of a class of ten."""
    kinds = ["train"] * int(10 * train) + ["val"] * int(10 * val)
    kinds += ["test"] * (10 - len(kinds))
    return np.array([kinds[row // 3 % 10] for row in range(count)])


def arrays(textures, count=120):
    return table_from_arrays(textures(count), [CLASSES[row % 3] for row in range(count)])


def codes(audit, severity=None):
    return {one.code for one in audit.findings if severity in (None, one.severity)}


def by_code(audit):
    return {one.code: one for one in audit.findings}


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_clean_set_has_no_findings(textures, divided, multi_label):
    table = arrays(textures)
    if multi_label:
        sets = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0]], np.int8)
        table = replace(table, labels=np.tile(sets, (30, 1)))
    audit = audit_images(table, scan_images(table), splits=thirds(120) if divided else None)
    assert audit.findings == ()
    assert (audit.suggested_groups, audit.suggested_groups_from) == (None, "")
    assert audit.sizes == dict.fromkeys(("smallest", "median", "largest"), (96, 72))
    assert list(audit.counts) == (["train", "val", "test"] if divided else ["all"])
    total = np.sum(list(audit.counts.values()), axis=0)
    assert total.tolist() == ([60, 60, 60] if multi_label else [40, 40, 40])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, textures):
    """A folder of generated images with one of every fault, its splits and the file numbers."""
    folder = tmp_path_factory.mktemp("faulty")
    pictures = textures(150)
    rng = np.random.default_rng(0)
    # Class "scans" comes in series of six whose members resemble each other.
    scenes = textures(25, seed=9).astype(float)
    for name in ("cat", "dog", "scans"):
        (folder / name).mkdir()
    for row in range(150):
        for name, picture in (("cat", pictures[row]), ("dog", 255 - pictures[row][::-1])):
            if (name == "cat" and row < 40) or (name == "dog" and row >= 75):
                image = Image.fromarray(picture)
                if name == "dog" and row % 3:
                    image = image.convert("L")
                image.save(folder / name / f"{name}{row:03}.png")
        scene = scenes[row // 6] + 0.25 * (textures(1, seed=100 + row)[0] - 128.0)
        noisy = np.clip(scene + rng.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "scans" / f"patient{row // 6:02}_{row % 6}.png")
    whole = (folder / "cat" / "cat000.png").read_bytes()
    (folder / "cat" / "copy in split.png").write_bytes(whole)
    (folder / "cat" / "copy across.png").write_bytes((folder / "cat" / "cat001.png").read_bytes())
    (folder / "dog" / "wrong label.png").write_bytes((folder / "cat" / "cat002.png").read_bytes())
    small = Image.open(folder / "cat" / "cat003.png").resize((48, 36))
    small.save(folder / "cat" / "small.jpg", quality=85)
    Image.new("RGB", (96, 72), (9, 9, 9)).save(folder / "cat" / "blank.png")
    (folder / "cat" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    table = load_table(folder)
    names = [name.rsplit("/", 1)[1] for name in table.ids]
    splits = np.where(rng.random(len(names)) < 0.35, "test", "train")
    for name, split in {
        "cat000.png": "train",
        "copy in split.png": "train",
        "cat001.png": "train",
        "copy across.png": "test",
        "cat003.png": "train",
        "small.jpg": "test",
    }.items():
        splits[names.index(name)] = split
    return table, names, splits


def test_every_planted_fault_is_found(faulty):
    table, names, splits = faulty
    facts = scan_images(table)
    audit = audit_images(table, facts, splits=splits, data="photos/")
    found = by_code(audit)

    def rows(*wanted):
        return tuple(sorted(names.index(name) for name in wanted))

    expected = {
        "unreadable-images": "error",
        "duplicates": "warning",
        "duplicates-across-splits": "error",
        "duplicates-across-labels": "error",
        "near-duplicates-across-splits": "warning",
        "blank-images": "warning",
        "colour-goes-with-class": "warning",
        "suspected-group-leakage": "warning",
        "class-imbalance": "note",
    }
    for code, severity in expected.items():
        assert found[code].severity == severity, code
        assert found[code].advice
    assert found["duplicates"].examples == (rows("cat000.png", "copy in split.png"),)
    assert rows("cat001.png", "copy across.png") in found["duplicates-across-splits"].examples
    assert found["duplicates-across-labels"].examples == (rows("cat002.png", "wrong label.png"),)
    near = found["near-duplicates-across-splits"]
    assert near.examples == (rows("cat003.png", "small.jpg"),)
    # Only equal bytes are certain; nobody is told to remove what merely looks alike.
    assert "look like copies of each other (perhaps 1 picture)" in near.title
    assert near.advice.startswith("Look at the pairs in check.html; if they are copies, divide")
    assert "emove" not in near.advice
    assert found["blank-images"].examples == (rows("blank.png"),)
    assert [fault.id for fault in audit.unreadable] == [table.ids[names.index("truncated.png")]]
    assert found["colour-goes-with-class"].values["class"] == "dog"
    leak = found["suspected-group-leakage"]
    assert leak.values["by"] == "file names"
    assert "chance would give" in leak.title
    assert leak.advice == "Type: python -m kerastl.fit photos/images.csv --group-column group"
    assert audit.suggested_groups_from == "file names"
    groups = audit.suggested_groups
    assert groups[names.index("patient03_0.png")] == groups[names.index("patient03_5.png")]
    assert groups[names.index("patient03_0.png")] != groups[names.index("patient04_0.png")]
    assert groups[names.index("cat002.png")] == groups[names.index("wrong label.png")]
    order = [("error", "warning", "note").index(one.severity) for one in audit.findings]
    assert order == sorted(order)
    assert audit.formats == {"PNG": len(names) - 2, "JPEG": 1}
    plain = json.loads(json.dumps(audit.to_dict()))
    assert plain["num_images"] == len(names)
    assert {one["code"] for one in plain["findings"]} == set(found)
    assert plain["suggested_groups"]["num_groups"] == len(np.unique(groups))


def test_without_splits_copies_are_warnings_and_groups_keep_them(textures):
    table = arrays(textures)
    table.contents[60] = table.contents[0]
    audit = audit_images(table, scan_images(table))
    assert codes(audit) == {"duplicates"}
    assert audit.findings[0].severity == "warning"
    assert audit.suggested_groups_from == "copies"
    groups = audit.suggested_groups
    assert groups[0] == groups[60]
    assert len(np.unique(groups)) == 119
    assert "table_from_arrays" in audit.findings[0].advice


def test_sequences_by_features_and_the_demo_advice(textures):
    table = arrays(textures, 240)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 16))[np.arange(240) // 12] + 0.3 * rng.normal(size=(240, 16))
    neighbours = nearest_rows(unit_rows(features), num_neighbours=20)
    facts = scan_images(table)
    assert audit_images(table, facts).findings == ()
    audit = audit_images(table, facts, neighbours=neighbours, data="demo:solar:P1")
    (leak,) = audit.findings
    assert leak.code == "suspected-group-leakage"
    assert leak.values["compared"] == "features"
    assert leak.advice == "Type: python -m kerastl.fit demo:solar:P2"
    # With the true groups in the table the split that is tried keeps them whole.
    grouped = replace(table, groups=(np.arange(240) // 12).astype(str))
    assert audit_images(grouped, facts, neighbours=neighbours).findings == ()


def test_formats_and_sizes_that_give_the_class_away(tmp_path, textures):
    pictures = textures(60)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for row, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        if row % 2:
            image.save(tmp_path / "a" / f"{row}.png")
        else:
            image.resize((128, 72)).save(tmp_path / "b" / f"{row}.jpg", quality=95)
    table = load_table(tmp_path)
    audit = audit_images(table, scan_images(table))
    assert codes(audit, "warning") == {"format-goes-with-class", "size-goes-with-class"}
    assert "100% of the images of 'a' are PNG, but 0% of the others" in {
        one.title for one in audit.findings
    }


def test_small_long_faint_and_mixed_images(tmp_path, textures):
    sizes = {"a": [(96, 72)] * 20, "b": [(96, 72)] * 20}
    sizes["a"][3], sizes["b"][5], sizes["b"][6] = (20, 24), (400, 60), (240, 180)
    picture = iter(textures(40))
    for name, wanted in sizes.items():
        (tmp_path / name).mkdir()
        for row, size in enumerate(wanted):
            image = Image.fromarray(next(picture)).resize(size)
            if (name, row) == ("a", 9):
                image = image.point(lambda value: 100 + value // 14)
            image.save(tmp_path / name / f"{row}.png")
    table = load_table(tmp_path)
    audit = audit_images(table, scan_images(table))
    assert codes(audit) == codes(audit, "note")
    assert codes(audit) == {
        "small-images",
        "extreme-aspect-ratios",
        "mixed-sizes",
        "almost-blank-images",
    }
    assert (audit.sizes["smallest"], audit.sizes["largest"]) == ((20, 24), (240, 180))


def test_numbers_of_images():
    found = {
        one.code: one
        for one in class_findings(
            {"train": (300, 8, 0), "val": (50, 0, 5), "test": (50, 1, 4)},
            class_names=CLASSES,
            data="photos/",
        )
    }
    assert found["class-imbalance"].severity == "warning"
    assert found["class-imbalance"].values["ratio"] == pytest.approx(400 / 9)
    assert "python -m kerastl.fit photos/ --imbalance balanced" in found["class-imbalance"].advice
    assert found["rare-classes"].num_rows == 18
    missing = [
        (one.severity, one.values["split"])
        for one in class_findings(
            {"train": (300, 8, 0), "val": (50, 0, 5)}, class_names=CLASSES, data="photos/"
        )
        if one.code == "classes-missing-in-split"
    ]
    assert missing == [("error", "train"), ("warning", "val")]
    mild = list(class_findings({"all": (100, 25)}, class_names=CLASSES[:2], data="photos/"))
    assert [one.severity for one in mild] == ["note"]
    assert not list(class_findings({"all": (100, 40)}, class_names=CLASSES[:2], data="photos/"))


def test_groups_of_the_table_that_a_given_split_tears(textures):
    table = replace(arrays(textures), groups=np.repeat(np.arange(40), 3).astype(str))
    splits = thirds(120)
    assert "groups-across-splits" not in codes(
        audit_images(table, scan_images(table), splits=splits)
    )
    splits[0] = "test"
    torn = by_code(audit_images(table, scan_images(table), splits=splits))["groups-across-splits"]
    assert (torn.severity, torn.num_rows, torn.examples) == ("error", 3, ((0, 1, 2),))


def test_rows_that_do_not_belong_to_the_table(textures):
    table = arrays(textures, 30)
    with pytest.raises(DataError, match=r"`facts` must have one row for each of the 30.*subset"):
        audit_images(table, scan_pixels(table.contents[:20]))
    quick = audit_images(subset(table, np.arange(20)), scan_pixels(table.contents[:20]))
    assert quick.num_images == 20


def test_nothing_is_readable():
    table = replace(
        arrays(lambda count: np.zeros((count, 8, 8, 3), np.uint8), 30), contents=(b"",) * 30
    )
    audit = audit_images(table, scan_images(table))
    assert codes(audit, "error") == {"unreadable-images"}
    assert audit.sizes == {}
