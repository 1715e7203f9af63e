"""When training must end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


class TimeUpError(Exception):
    """The time is up before there is anything to keep. Never seen by users."""


@dataclass(frozen=True)
class Deadline:
    """A time on the clock that never goes backwards. Made by `deadline_after`.

    Attributes:
        at_seconds: On `time.monotonic`; infinite for none.
        words: The option that set it, for people.
    """

    at_seconds: float
    words: str

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.at_seconds

    def check(self) -> None:
        """Raise `TimeUpError` if it is over."""
        if self.passed:
            raise TimeUpError(self.words)

    def share(self, parts: int, *, words: str) -> Deadline:
        """Return when the first of several equal parts of the time that is left is over.

        Args:
            parts: How many.
            words: What set it, for people.

        Example:
            >>> 59 < deadline_after(3).share(3, words="a third").at_seconds - time.monotonic() <= 60
            True
        """
        if math.isinf(self.at_seconds):
            return self
        now = time.monotonic()
        return Deadline(now + max(0.0, self.at_seconds - now) / parts, words)


def deadline_after(minutes: float | None) -> Deadline:
    """Return the deadline that is so many minutes from now.

    Args:
        minutes: None for no deadline.

    Example:
        >>> deadline_after(None).passed, deadline_after(0).passed
        (False, True)
        >>> deadline_after(2.5).words
        '--max-minutes 2.5'
    """
    if minutes is None:
        return Deadline(math.inf, "")
    return Deadline(time.monotonic() + 60 * minutes, f"--max-minutes {minutes:g}")


NEVER = deadline_after(None)
