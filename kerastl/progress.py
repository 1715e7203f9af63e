"""How long work says how far it is, without knowing who listens.

Leaf functions report to `track`; whoever owns the screen (a command, a notebook)
installs a listener. Without one nothing is shown: a library does not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
Listener = Callable[[str, int], AbstractContextManager[Advance]]

_listener: ContextVar[Listener | None] = ContextVar("kerastl_progress_listener", default=None)


@contextmanager
def listen(listener: Listener | None) -> Iterator[None]:
    """Send all progress that is reported inside the `with` block to `listener`.

    Args:
        listener: Called with (description, total); gives a context manager whose
            value is called with the number of steps done since the last call. None for nobody:
            of work that is a step of other work.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def track(description: str, *, total: int) -> Iterator[Advance]:
    """Report work of `total` steps; the value is called with each number of steps done.

    Args:
        description: A few words for the person who waits.
        total: How many steps there are.

    Example:
        >>> with track("Counting", total=3) as advance:
        ...     advance(3)
    """
    listener = _listener.get()
    if listener is None:
        yield lambda _steps: None
        return
    with listener(description, total) as advance:
        yield advance
