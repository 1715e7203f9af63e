"""Numbers with their nouns, for messages and findings."""

from __future__ import annotations


def counted(count: int, noun: str = "image", plural: str = "") -> str:
    """Return a number with its noun.

    Args:
        count: How many.
        noun: In the singular.
        plural: Where an "s" does not make it.

    Example:
        >>> counted(1), counted(1200), counted(2, "class", "classes")
        ('1 image', '1,200 images', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
