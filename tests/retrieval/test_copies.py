"""Copies that were planted are found, nothing else is, and `kerastl.check` finds the same."""

import io

import numpy as np
import pytest
from PIL import Image

from kerastl.data.copy_findings import copy_findings
from kerastl.data.duplicates import find_duplicates
from kerastl.data.scan import scan_images
from kerastl.data.sources import load_table
from kerastl.retrieval.copies import copies_table, find_copies
from kerastl.retrieval.index import open_index

from .conftest import build

COUNT = 24


def scene(seed):
    """A picture with shapes of many sizes, as photographs have them."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((120, 144, 3))
    for side in (3, 6, 12, 24):
        coarse = rng.uniform(0, 255, (side, side, 3)).astype("uint8")
        grown = Image.fromarray(coarse).resize((144, 120), Image.Resampling.BICUBIC)
        picture += np.asarray(grown) / 4
    return Image.fromarray(picture.astype("uint8"))


def recoded(image):
    held = io.BytesIO()
    image.save(held, "JPEG", quality=60)
    return Image.open(held)


def cropped(image):
    """5 % of the width and of the height are cut off."""
    width, height = image.size
    return image.crop((round(0.025 * width), round(0.025 * height),
                       round(0.975 * width), round(0.975 * height)))  # fmt: skip


CHANGES = {
    "recoded": recoded,
    "cropped": cropped,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory, embedder):
    """24 scenes of two classes, of which 18 have a copy, and an index of them all."""
    folder = tmp_path_factory.mktemp("copies")
    for name in "ab":
        (folder / "photos" / name).mkdir(parents=True)
    truth = {}
    for number in range(COUNT):
        image = scene(number)
        image.save(folder / "photos" / "ab"[number % 2] / f"{number}.png")
        if number < 18:
            kind = list(CHANGES)[number % 3]
            CHANGES[kind](image).save(folder / "photos" / "a" / f"{number} {kind}.png")
            truth[number] = kind
    original = folder / "photos" / "a" / "20.png"
    (folder / "photos" / "b" / "20 again.png").write_bytes(original.read_bytes())
    build(folder / "photos", folder / "index", embedder=embedder)
    return folder, truth


def numbers(names):
    return {int(name.rpartition("/")[2].split()[0].removesuffix(".png")) for name in names}


def test_planted_copies_are_found_and_nothing_else(planted):
    folder, truth = planted
    index = open_index(folder / "index")
    found = copies_table(index, find_copies(index))
    pairs = [numbers(one["images"]) for one in found["near"]]
    assert all(len(pair) == 1 for pair in pairs)  # precision 1: no pair of different scenes
    hit = {pair.pop() for pair in pairs}
    by_kind = {
        kind: np.mean([number in hit for number, one in truth.items() if one == kind])
        for kind in CHANGES
    }
    assert by_kind == {"recoded": 1.0, "cropped": 1.0, "mirrored": 1.0}
    mirrored = {numbers(one["images"]).pop() for one in found["near"] if one["mirrored"]}
    assert mirrored == {number for number, kind in truth.items() if kind == "mirrored"}
    assert [numbers(group) for group in found["exact"]] == [{20}]


def test_no_file_is_read_for_it(planted, tmp_path):
    folder, _ = planted
    index = open_index(folder / "index")
    before = copies_table(index, find_copies(index))
    (folder / "photos").rename(tmp_path / "gone")
    try:
        index = open_index(folder / "index")
        assert copies_table(index, find_copies(index)) == before
    finally:
        (tmp_path / "gone").rename(folder / "photos")


def test_check_finds_the_same(planted):
    folder, _ = planted
    index = open_index(folder / "index")
    table = load_table(str(folder / "photos"))
    facts = scan_images(table)
    for name in ("thumbnails", "colours", "hashes", "digests", "colour", "widths", "formats"):
        np.testing.assert_array_equal(getattr(index.facts, name), getattr(facts, name))
    ours, theirs = find_copies(index), find_duplicates(facts)
    assert {tuple(pair) for pair in theirs.near.tolist()} <= {
        tuple(pair) for pair in ours.near.tolist()
    }
    titles = [
        [finding.title for finding in copy_findings(found, table.labels, None, keep_together="")]
        for found in (ours, theirs)
    ]
    assert titles[0] == titles[1]
