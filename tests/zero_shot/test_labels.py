"""Labels as users write them."""

import pytest

from kerastl.errors import ConfigError
from kerastl.zero_shot.labels import Label, labels_from_file, labels_from_text


def test_names_and_words_may_differ():
    found = labels_from_text(" cat ,n02 = a small dog, ")
    assert found == (Label("cat", "cat"), Label("n02", "a small dog"))


def test_a_file_has_one_a_line_commas_and_all(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffred, yellow or green\n\nn02=cat, indoors\n", encoding="utf-8")
    assert labels_from_file(path) == (
        Label("red, yellow or green", "red, yellow or green"),
        Label("n02", "cat, indoors"),
    )


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "must name labels; received labels=''"),
        (" , ,", "must name labels"),
        ("cat,dog,cat", "'cat' twice. Leave one out"),
        ("cat=a,cat=b", "'cat' twice"),
        ("=dog", "a label, or NAME=WORDS; received '=dog'"),
        ("cat=", "received 'cat='"),
    ],
)
def test_mistakes(text, advice):
    with pytest.raises(ConfigError, match=advice):
        labels_from_text(text)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (None, "No such file or directory"),
        (b"\xff\xd8\xff\xe0", "it is not text in UTF-8"),
        (b"\n\n", "must name labels; received labels_file="),
        (b"cat\ncat\n", "'cat' twice"),
    ],
)
def test_mistakes_in_files(tmp_path, content, advice):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=advice):
        labels_from_file(path)
