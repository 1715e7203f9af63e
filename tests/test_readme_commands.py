"""Every command line of the README and of the help texts is one that its command understands."""

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    """Return what stands after `python -m kerastl.`, once each, patterns with two files."""
    texts = [README]
    for path in (ROOT / "kerastl").glob("*.py"):
        found = re.search(r"^_EXAMPLES = \((.*?)^\)", path.read_text(), flags=re.M | re.S)
        texts += (
            re.findall(r"""^    (?:"(.*)"|'(.*)'),$""", found.group(1), flags=re.M) if found else []
        )
    lines = {}
    for text in texts:
        for line in ("".join(text) if isinstance(text, tuple) else text).splitlines():
            if found := re.match(r" *(?:\$ )?python -m kerastl\.(\w+) (.*)$", line):
                lines[f"{found[1]} {found[2]}"] = None
    return list(lines)


def words_of(line):
    """Return the words as a shell hands them on."""
    words = shlex.split(line, comments=True)
    words = words[: next((n for n, word in enumerate(words) if word in (">", "|", "&")), None)]
    found = []
    for word in words:
        pattern = "*" in word and f'"{word}"' not in line and f"'{word}'" not in line
        found += [word.replace("*", name) for name in "ab"] if pattern else [word]
    return found


def test_there_are_commands():
    assert len(commands()) > 60
    assert words_of('add r --class "big cat" new/*.jpg  # five') == [
        "add", "r", "--class", "big cat", "new/a.jpg", "new/b.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("line", commands())
def test_it_is_understood(line):
    verb, *words = words_of(line)
    if "--config" in words:
        pytest.skip("its file is another test's")
    build_app = importlib.import_module(f"kerastl.{verb}").build_app
    app = build_app(words) if inspect.signature(build_app).parameters else build_app()
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "line",
    [
        "add r --class c a b",
        "add r a --class c b",
        "predict r --top 2 a b",
        "explain r --most 2 a b",
        "evaluate --seed 1 r s t",
        "zeroshot --labels c,d a b",
        "search query i -k 2 a b",
        "search pairs i --false-accept-rate 0.05 a b",
    ],
)
def test_files_may_stand_after_options(line):
    verb, *words = line.split()
    app = importlib.import_module(f"kerastl.{verb}").build_app()
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert set(bound.args[-2:]) <= {"a", "b", "s", "t"}
