"""Values of options that may be written in more than one way, brought to one form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from cyclopts import Group, Parameter, Token, convert

from kerastl.errors import ConfigError

# Of the help page of `kerastl.fit`.
DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
TRAINING = Group("Training", sort_key=3)
OUTPUT = Group("Output", sort_key=4)

# Policies of `augment` that mirror nothing.
UNMIRRORED = ("none", "tilt")

# What `tune` calls parts of a network by.
THIRDS = ("first", "middle", "last")


def one_token(parse: Callable[[Any], Any], metavar: str) -> Parameter:
    """Return the parameter of an option whose one word is read with `parse`.

    Args:
        parse: From that word to the value; raises `ConfigError`.
        metavar: What stands for the word in the help.
    """
    return Parameter(
        converter=lambda _type, tokens: parse(tokens[0].value),
        n_tokens=1,
        accepts_keys=False,
        negative="",
        metavar=metavar,
    )


def _whole_number(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return the number of an option's word; cyclopts itself would make 2 of 2.5."""
    if any("." in token.value for token in tokens):
        raise ValueError(f"a whole number is wanted, not {tokens[0].value}.")
    return convert(kind, tokens)


# Of options that are counted.
WHOLE = Parameter(converter=_whole_number)


def parse_image_size(value: Any) -> tuple[int, int] | None:
    """Return (height, width) from 300, "300", "240x320", [240, 320] or None.

    Args:
        value: What a user wrote.

    Raises:
        ConfigError: It is not one or two positive whole numbers.

    Example:
        >>> parse_image_size("240x320")
        (240, 320)
        >>> parse_image_size(300)
        (300, 300)
    """
    if value is None:
        return None
    parts = (
        list(value)
        if isinstance(value, tuple | list)
        else re.split("[x\N{MULTIPLICATION SIGN}, ]+", str(value))
    )
    if len(parts) in (1, 2) and all(re.fullmatch(r"[1-9]\d*", str(part)) for part in parts):
        height, width = int(parts[0]), int(parts[-1])
        return height, width
    raise ConfigError(
        "`image_size` must be one positive whole number or two as HEIGHTxWIDTH; "
        f"received image_size={value!r}. Write for example 300 or 240x320."
    )


def parse_unfreeze_blocks(value: Any) -> int | Literal["all"] | None:
    """Return a whole number >= 0, "all" or None (the recipe decides).

    Args:
        value: What a user wrote.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> parse_unfreeze_blocks("4"), parse_unfreeze_blocks("all")
        (4, 'all')
    """
    if value is None:
        return None
    if str(value).casefold() == "all":
        return "all"
    if not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)):
        return int(value)
    raise ConfigError(
        "`unfreeze_blocks` must be a whole number of blocks, 0 or more, or 'all'; "
        f"received unfreeze_blocks={value!r}. Write 0 to keep the whole backbone frozen."
    )


def parse_tune(value: Any) -> str | None:
    """Return "first", "middle", "last", a block such as "5", a range such as "5-8", or None.

    Args:
        value: What a user wrote.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> parse_tune("first"), parse_tune("5-8"), parse_tune(5)
        ('first', '5-8', '5')
    """
    if value is None:
        return None
    text = str(value).casefold().strip()
    match = re.fullmatch(r"(\d+)(?: ?[-\N{EN DASH}] ?(\d+))?", text)
    if text in THIRDS:
        return text
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last:
            return str(first) if first == last else f"{first}-{last}"
    raise ConfigError(
        "`tune` must be first, middle or last, a block counted from the input, from 1, or a range "
        f"of them; received tune={value!r}. Write for example first, 5 or 5-8."
    )


def parse_views(value: Any) -> int | str:
    """Return a number of views from 1, "auto" or "live".

    Args:
        value: What a user wrote.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> parse_views("4"), parse_views("live")
        (4, 'live')
    """
    if str(value).casefold() in ("auto", "live"):
        return str(value).casefold()
    if not isinstance(value, bool) and re.fullmatch(r"[1-9]\d*", str(value)):
        return int(value)
    raise ConfigError(
        "`views` must be a whole number from 1, 'auto' or 'live'; "
        f"received views={value!r}. Write live to run the frozen part in every epoch."
    )


def parse_fold(value: Any) -> str | None:
    """Return "K/N" with K from 1 to N and N of 2 or more, or None.

    Args:
        value: What a user wrote.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> parse_fold("2/5")
        '2/5'
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d+) ?/ ?(\d+)", str(value))
    if match and 1 <= int(match[1]) <= int(match[2]) and int(match[2]) >= 2:
        return f"{int(match[1])}/{int(match[2])}"
    raise ConfigError(
        f"`fold` must be one of the folds as K/N, from 1/N to N/N; received fold={value!r}. "
        "Write for example 1/5 for the first of five."
    )
