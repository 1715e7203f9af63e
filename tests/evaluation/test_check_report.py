"""The page of a check: whole by itself, everything escaped, readable without pictures."""

import datetime
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kerastl.evaluation.check_report import CheckReport, render_check, verdict
from kerastl.evaluation.findings import (
    ShownFinding,
    Thumbnail,
    split_commands,
    thumbnail_data_uri,
)

EVIL = "<script>alert(\"1\")</script> & 'x'"
PICTURE = thumbnail_data_uri(np.full((300, 200, 3), 90, np.uint8))


def make_report(**changes):
    values = {
        "title": EVIL,
        "created": datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC),
        "version": "1.0",
        "command": f"python -m kerastl.check '{EVIL}'",
        "num_images": 70,
        "class_names": [EVIL, *(f"class {number}" for number in range(30))],
        "counts": {"train": [40] + [1] * 30, "val": [0] * 31, "test": [0] * 31},
        "formats": {EVIL: 70},
        "sizes": {"smallest": (8, 8), "median": (1200, 900), "largest": (4000, 3000)},
        "unreadable": [(f"{EVIL}/{number}.png", EVIL) for number in range(40)],
        "findings": [
            ShownFinding(
                severity=severity,
                title=EVIL,
                why=EVIL,
                advice=f"Type: python -m kerastl.fit {EVIL}; then look.",
                groups=[
                    [Thumbnail(PICTURE, f"a/{EVIL}.png", EVIL)] * 2,
                    [Thumbnail("", "a/gone.png", "cat · test")],
                ],
                num_hidden=[3, 0],
            )
            for severity in ("error", "warning", "note")
        ],
        "how": EVIL,
        "files": {"images.csv": EVIL},
        "seconds": 12.3,
    }
    return CheckReport(**values | changes)


class Elements(HTMLParser):
    """Start tags with their attributes, in order; open tags that were never closed."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return render_check(make_report())


def test_the_page_is_whole_by_itself(page):
    elements = Elements(page)
    assert elements.open == []
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "link", "iframe", "object", "base", "a"}
    for _, attributes in elements.found:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page


def test_everything_is_escaped(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; &#39;x&#39;" in page


def test_it_can_be_read_without_pictures_and_in_print(page):
    elements = Elements(page).found
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == 6
    assert all(attributes["alt"] for attributes in images)
    assert [tag for tag, _ in elements if tag in ("h1", "h2", "h3")][:3] == ["h1", "h2", "h3"]
    assert "No picture of a/gone.png" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_it_says_what_was_found(page):
    assert "1 error, 1 warning, 1 note" in page
    assert 'class="verdict error"' in page
    sizes = "smallest 8 x 8, median 1,200 x 900, largest 4,000 x 3,000 pixels"
    assert sizes.replace(" x ", " \N{MULTIPLICATION SIGN} ") in page
    assert "7 more classes" in page
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; &#39;x&#39;/") == 24
    assert "+3" in page
    bars = re.findall(r'class="train" style="width:([\d.]+)%"', page)
    assert (bars[0], bars[1]) == ("100.00", "2.50")


def test_nothing_found():
    page = render_check(make_report(findings=[], unreadable=[], counts={"all": [3] * 31}))
    assert "Nothing looks wrong" in page
    assert "no proof that every label is right" in page
    assert verdict([]) == "Nothing looks wrong"


def test_commands_stand_alone():
    advice = "Keep one of each. Type: python -m kerastl.fit ./a.csv --group-column group. Or `ls`"
    assert [text for text, command in split_commands(advice) if command] == [
        "python -m kerastl.fit ./a.csv --group-column group",
        "ls",
    ]
    assert split_commands("Keep one of each.") == [("Keep one of each.", False)]


def test_thumbnails_are_small():
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    assert len(thumbnail_data_uri(noise)) < 12_000
