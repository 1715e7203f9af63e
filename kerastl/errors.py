"""The errors that kerastl raises on purpose, and the words "did you mean".

Every message says what happened, what was expected, what was received and what
to do next. The command line prints such an error as one line and exits with 2;
anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KerasTLError(ValueError):
    """Base of every error that a user can mend."""


class ConfigError(KerasTLError):
    """An option or argument has a value that cannot work."""


class DataError(KerasTLError):
    """The images, labels or splits cannot be used as they are."""


class UnreadableImageError(DataError):
    """One file cannot be read as an image.

    Attributes:
        reason: Why, in a few words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The image cannot be read: {self.reason}."


class WeightsError(KerasTLError):
    """Pretrained weights are missing, unreadable or of another architecture."""


class FrozenPartError(KerasTLError):
    """A part that must stay frozen moved, or acted at random, during training."""


class ExportError(KerasTLError):
    """An exported model does not answer like the model that it was made from."""


def did_you_mean(received: object, known: Iterable[object]) -> str:
    """Return `` Did you mean 'X'?`` for the nearest known name, or an empty string.

    Args:
        received: What the user typed.
        known: The names that would have been right.

    Example:
        >>> did_you_mean("resnet-50", ["ResNet50", "VGG16"])
        " Did you mean 'ResNet50'?"
        >>> did_you_mean("zebra", ["ResNet50", "VGG16"])
        ''
    """
    by_key: dict[str, str] = {}
    for name in known:
        by_key.setdefault(_key(name), str(name))
    matches = difflib.get_close_matches(_key(received), list(by_key), n=1, cutoff=0.6)
    return f" Did you mean {by_key[matches[0]]!r}?" if matches else ""


def _key(name: object) -> str:
    return "".join(character for character in str(name).casefold() if character.isalnum())


class DivergedError(DataError):
    """Training has gone wrong: the loss is no number, or far above any sense.

    Attributes:
        what: What happened, without the advice that the whole message ends with.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        """Take what happened and what to try, whole sentences each."""
        super().__init__(f"{what} {advice}".strip())
        self.what = what
