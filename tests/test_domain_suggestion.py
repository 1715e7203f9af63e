"""check suggests a domain where it is sure, with what to type; else it is silent."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kerastl.check import main
from kerastl.data.scan import scan_images
from kerastl.data.sources import load_table, table_from_arrays
from kerastl.data_options import DataOptions
from kerastl.domain_suggestion import CODE, suggested_domain
from kerastl.features.orientation import FEWEST_IMAGES, Orientation
from kerastl.inspection import inspect_data

from .data.test_pages import cells, crop, page

WITHOUT_UP = Orientation(400, 0.5, 0.9, 0.5, (0.0, -0.01), (0.0, -0.01))
WITHOUT_SIDE = Orientation(400, 0.5, 0.9, 0.5, (0.0, -0.01), (-0.3, -0.33))
UPRIGHT = Orientation(400, 0.99, 0.9, 0.5, (-0.2, -0.25), (-0.3, -0.33))


def table_of(paint, *, num=20):
    images = [paint(np.random.default_rng(seed))[:480, :480] for seed in range(num)]
    smallest = min(image.shape[0] for image in images), min(image.shape[1] for image in images)
    pixels = np.stack([image[: smallest[0], : smallest[1]] for image in images])
    return table_from_arrays(pixels, ["a", "b"] * (num // 2))


def suggested(table, *, orientation=None):
    found = suggested_domain(table, scan_images(table), orientation=orientation, data="my/")
    assert all(one.severity == "note" and one.code == CODE for one in found)
    return [one.advice for one in found]


def test_pages_are_documents_whatever_their_way_up():
    for orientation in (None, WITHOUT_UP, UPRIGHT):
        assert suggested(table_of(page), orientation=orientation) == [
            "Type: python -m kerastl.fit my/ --domain document"
        ]


@pytest.mark.parametrize("paint", [cells, crop])
def test_others_are_not(paint):
    assert suggested(table_of(paint)) == []
    assert suggested(table_of(paint), orientation=UPRIGHT) == []


def test_few_or_mixed_pages_are_not_sure():
    assert suggested(table_of(page, num=8)) == []
    assert suggested(table_of(lambda rng: (page if rng.random() < 0.6 else cells)(rng))) == []


def test_without_an_up_the_policy_is_what_the_labels_survive():
    table = table_of(cells)
    assert suggested(table, orientation=WITHOUT_UP) == [
        "Type: python -m kerastl.fit my/ --domain dihedral-gray"
    ]
    assert suggested(table, orientation=WITHOUT_SIDE) == [
        "Type: python -m kerastl.fit my/ --domain dihedral-gray --augment mirrors"
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eurosat", True), ("Sentinel-2 tiles", True), ("my_aerial_views", True),
        ("materials", False), ("photos", False), ("burials", False),
    ],
)  # fmt: skip
def test_a_name_is_a_hint_where_there_is_colour(tmp_path, name, hint):
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        (tmp_path / name / kind).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / kind / f"{index}.png")
    advice = ["Type: python -m kerastl.fit my/ --domain satellite"] if hint else []
    assert suggested(load_table(str(tmp_path / name))) == advice


def blobs(rng, kind):
    """Few or many spots: nothing of it has a direction."""
    image = Image.new("L", (64, 64), int(rng.integers(90, 200)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 5) if kind else rng.integers(12, 20))):
        x, y, radius = rng.integers(0, 64), rng.integers(0, 64), rng.integers(2, 6)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(255)))
    return np.asarray(image)


def smiles(rng, kind):
    """A face with a mouth that upside down is that of the other class."""
    image = Image.new("L", (64, 64), int(rng.integers(20, 90)))
    draw, (x, y) = ImageDraw.Draw(image), rng.integers(-6, 6, 2)
    draw.ellipse((14 + x, 10 + y, 50 + x, 54 + y), fill=int(rng.integers(130, 230)))
    for side in (-7, 7):
        draw.ellipse((29 + x + side, 24 + y, 35 + x + side, 28 + y), fill=30)
    draw.arc(
        (24 + x, 36 + y, 40 + x, 48 + y), *((0, 180) if kind else (180, 360)), fill=40, width=2
    )
    return np.asarray(image)


def noisy(paint, *, tint=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(0)
    images = np.stack([paint(rng, kind) for kind in np.arange(FEWEST_IMAGES) % 2])
    grey = np.clip(images + rng.normal(0, 6, images.shape), 0, 255)[..., None]
    return (grey * tint).astype(np.uint8)


@pytest.mark.parametrize(
    ("paint", "tint", "expected"),
    [
        (blobs, (1, 1, 1), ["dihedral-gray"]),
        (smiles, (1, 1, 1), []),
        (blobs, (1, 0.9, 0.7), []),  # tinted alike, but how would one know that it is no signal?
    ],
)
def test_the_network_is_asked(paint, tint, expected):
    table = table_from_arrays(noisy(paint, tint=tint), ["a", "b"] * (FEWEST_IMAGES // 2))
    found = inspect_data(DataOptions("arrays"), table=table).audit.findings
    assert [one.values["domain"] for one in found if one.code == CODE] == expected


def test_it_is_on_the_terminal_and_in_the_file(tmp_path, capsys):
    for index in range(20):
        place = tmp_path / "forms" / ("a", "b")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(page(np.random.default_rng(index))).save(place / f"{index}.png")
    words = [str(tmp_path / "forms"), "--quick", "--strict", "--out", str(tmp_path / "check")]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0  # a note is no reason to fail
    out = capsys.readouterr().out
    assert "note     Images are pages: light paper, dark letters in lines\n" in out
    assert f"-> Type: python -m kerastl.fit {tmp_path}/forms --domain document\n" in out
    findings = json.loads((tmp_path / "check" / "check.json").read_text())["findings"]
    assert findings[-1]["values"] == {"domain": "document"}
