"""Sentences about labels, which a network that learnt from captions knows better than words."""

from __future__ import annotations

from collections.abc import Sequence

from kerastl.errors import ConfigError

# Of Radford et al. 2021, section 3.1.4 (https://arxiv.org/abs/2103.00020): the first by itself is
# worth 1.3 points on ImageNet over bare labels; the others are its examples of an ensemble.
TEMPLATES = ("a photo of a {}.", "a photo of a big {}.", "a photo of a small {}.")

_PLACE = "{}"


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return templates that can be used, each once.

    Args:
        templates: Sentences with {} where the label goes.

    Raises:
        ConfigError: There is none, or one has no place for the label.

    Example:
        >>> check_templates(["a satellite photo of {}."])
        ('a satellite photo of {}.',)
        >>> check_templates(["a photo"])
        Traceback (most recent call last):
        kerastl.errors.ConfigError: `template` must have {} where the label goes; received ...
    """
    if not templates:
        raise ConfigError(f'`template` must be given at least once, such as "{TEMPLATES[0]}".')
    for template in templates:
        if _PLACE not in template:
            raise ConfigError(
                "`template` must have {} where the label goes; received "
                f'template={template!r}. Write for example "{TEMPLATES[0]}".'
            )
    return tuple(dict.fromkeys(templates))


def prompts_for(words: str, templates: Sequence[str]) -> list[str]:
    """Return the sentences about one label.

    Args:
        words: Of the label.
        templates: Sentences with {} where they go; other braces are left alone.

    Example:
        >>> prompts_for("dog", ["a photo of a {}.", "{}"])
        ['a photo of a dog.', 'dog']
    """
    return [template.replace(_PLACE, words) for template in templates]
