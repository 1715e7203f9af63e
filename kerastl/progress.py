"""How long work says how far it is, without knowing who listens.

Leaf functions report to `track`; whoever owns the screen (a command, a notebook)
installs a listener. Without one nothing is shown: a library does not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


@contextmanager
def checking(check: Callable[[], None]) -> Iterator[None]:
    """Call a function at every step that is reported inside the `with` block.

    Args:
        check: Raises to end the work; what was reported is done.

    Example:
        >>> seen = []
        >>> with checking(lambda: seen.append("step")), track("Counting", total=2) as advance:
        ...     advance(1)
        ...     advance(1)
        >>> seen
        ['step', 'step']
    """
    listener = _listener.get()

    @contextmanager
    def checked(description: str, total: int) -> Iterator[Advance]:
        shown = nullcontext(_ignore) if listener is None else listener(description, total)
        with shown as advance:

            def step(steps: int) -> None:
                advance(steps)
                check()

            yield step

    with listen(checked):
        yield


def _ignore(_steps: int) -> None:
    """Show nothing."""
