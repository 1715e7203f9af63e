"""The labels to choose from: what each is called in answers, and its words in a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerastl.errors import ConfigError

_EXAMPLE = 'Write for example --labels "cat,dog" or --labels "n01=tabby cat,n02=dog".'


@dataclass(frozen=True)
class Label:
    """One label.

    Attributes:
        name: What answers call it.
        words: What a prompt says of it.
    """

    name: str
    words: str


def labels_from_text(text: str) -> tuple[Label, ...]:
    """Return labels that are written in one line.

    Args:
        text: Labels, with commas between them. What stands before "=" is the name of the label,
            what stands after it are its words in prompts; without "=" the name is both.

    Raises:
        ConfigError: There is none, one has no name or no words, or one is given twice.

    Example:
        >>> labels_from_text("cat, n02=a small dog")
        (Label(name='cat', words='cat'), Label(name='n02', words='a small dog'))
    """
    return _labels(text.split(","), option="labels", received=repr(text))


def labels_from_file(path: str | Path) -> tuple[Label, ...]:
    """Return labels that are written in a file, one a line; commas are part of them.

    Args:
        path: Text in UTF-8. Empty lines are passed over; "=" means what it means in
            `labels_from_text`.

    Raises:
        ConfigError: The file cannot be read, or its labels cannot be used.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise ConfigError(
            f"`labels_file` must be a text file with one label a line; {str(path)!r} cannot be "
            f"read: {reason}."
        ) from error
    return _labels(lines, option="labels_file", received=repr(str(path)))


def require_several(labels: Sequence[Label]) -> None:
    """Refuse one label alone, for networks whose scores are shares.

    Args:
        labels: What answers are chosen from.

    Raises:
        ConfigError: There is one.
    """
    if len(labels) == 1:
        name = labels[0].name
        raise ConfigError(
            f"One label alone would have the score 1 whatever an image shows; received {name!r}. "
            f'Give two or more, such as --labels "{name},something else".'
        )


def labels_of_classes(class_names: Iterable[str]) -> tuple[Label, ...]:
    """Return labels for the classes of a data set.

    Args:
        class_names: As folders or tables have them. "_" becomes a space in prompts.

    Example:
        >>> labels_of_classes(["golden_retriever"])
        (Label(name='golden_retriever', words='golden retriever'),)
    """
    return tuple(Label(name, name.replace("_", " ").strip() or name) for name in class_names)


def _labels(entries: Iterable[str], *, option: str, received: str) -> tuple[Label, ...]:
    """Return labels from what was written, or say what is wrong with it."""
    found: dict[str, Label] = {}
    for entry in map(str.strip, entries):
        if not entry:
            continue
        name, equals, words = (part.strip() for part in entry.partition("="))
        if not name or (equals and not words):
            raise ConfigError(
                f"Each of `{option}` must be a label, or NAME=WORDS; received {entry!r}. {_EXAMPLE}"
            )
        if name in found:
            raise ConfigError(
                f"Each of `{option}` must be there once; received {name!r} twice. Leave one out."
            )
        found[name] = Label(name, words or name)
    if not found:
        raise ConfigError(f"`{option}` must name labels; received {option}={received}. {_EXAMPLE}")
    return tuple(found.values())
