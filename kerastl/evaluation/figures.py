"""The look of a figure, and the files made from it: no pyplot, no window, no global style."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kerastl.errors import ConfigError, did_you_mean

# From the palette of Okabe and Ito (2008), told apart with any colour vision.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, YELLOW, SKY = "#b5628f", "#c79100", "#3d9fd6"
INK, FAINT, GRID = "#24292f", "#6e7781", "#d8dee4"
# What an SVG takes instead where the page around it is dark.
_DARK = {
    BLUE: "#5cb3e6",
    ORANGE: "#f0904a",
    GREEN: "#3fc79e",
    PURPLE: "#d998bd",
    YELLOW: "#e8b84a",
    SKY: "#8ccbee",
    INK: "#e6e9ed",
    FAINT: "#9aa4ae",
    GRID: "#3b424a",
}

_MEDIA_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
_PNG_DOTS_PER_INCH = 160

# For scripts that Matplotlib's own font lacks; of these, the installed ones are asked in turn.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)


def styled() -> Any:
    """Return a context in which figures take our look; Matplotlib's own settings come back."""
    return mpl.rc_context(
        {
            "font.family": list(_installed_fonts()),
            "font.size": 9.5,
            # A class may be called "$100".
            "text.parse_math": False,
            "text.color": INK,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "axes.facecolor": "none",
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.titlecolor": INK,
            "axes.axisbelow": True,
            "axes.formatter.use_mathtext": False,
            "grid.color": GRID,
            "grid.linewidth": 0.7,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "lines.linewidth": 1.7,
            "lines.markersize": 4.0,
            "legend.frameon": False,
        }
    )


@contextlib.contextmanager
def silent_about_glyphs() -> Iterator[None]:
    """Draw and measure letters that no font has here, without a warning for each.

    A browser finds the letter in another font; a PNG shows the mark for a missing one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


class _NotebookFigure(Figure):
    """A figure that notebooks show by themselves, whatever backend is set."""

    def _repr_png_(self) -> bytes:
        return _figure_bytes(self, "png")


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Return an empty figure that belongs to no window.

    Args:
        width_inches: Width.
        height_inches: Height.
    """
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = _NotebookFigure((width_inches, height_inches), layout=layout, facecolor="none")
    FigureCanvasAgg(figure)
    return figure


def shorten(text: str, width: int) -> str:
    """Return a text on one line, its middle left out where it is too long.

    Names of classes often differ at the end, so that end stays.

    Args:
        text: Any text.
        width: In columns; wide characters take two.

    Example:
        >>> shorten("Oxford Pets, British Shorthair 07", 20)
        'Oxford Pets…thair 07'
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if columns(text) <= width:
        return text
    head, tail = "", ""
    for character in text:
        if columns(head + character) > (width - 1) * 0.6:
            break
        head += character
    head = head.rstrip()
    for character in reversed(text):
        if columns(character + tail) > width - 1 - columns(head):
            break
        tail = character + tail
    return f"{head}…{tail.lstrip()}"


def columns(text: str) -> int:
    """Return how many columns a text takes; East Asian wide characters take two.

    Args:
        text: On one line.

    Example:
        >>> columns("cat"), columns("猫")
        (3, 2)
    """
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def save_figure(
    figure: Figure,
    path_without_suffix: str | os.PathLike[str],
    formats: Sequence[str] = ("png", "svg"),
    *,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write a figure in some formats; each file appears under its name when it is complete.

    Args:
        figure: Any figure of Matplotlib.
        path_without_suffix: Where to, without ".png"; the folder exists.
        formats: "png" (on white) and "svg" (without a ground).
        overwrite: Whether existing files may be replaced.

    Returns:
        The files, in the order of the formats.

    Raises:
        ConfigError: A format is unknown, or a file exists already.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in save_figure(new_figure(2, 2), f"{folder}/empty")]
        ['empty.png', 'empty.svg']
    """
    base = Path(path_without_suffix)
    paths = tuple(base.with_name(f"{base.name}.{suffix}") for suffix in formats)
    contents = [_figure_bytes(figure, suffix) for suffix in formats]
    for path in paths:
        if path.exists() and not overwrite:
            raise ConfigError(
                f"{str(path)!r} exists already and is never overwritten by itself. "
                "Choose another name, or give overwrite=True."
            )
    for path, content in zip(paths, contents, strict=True):
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return paths


def figure_svg(figure: Figure) -> str:
    """Return a figure as SVG text that follows the reader's light or dark page.

    Letters stay letters, so that the browser finds fonts for every script.

    Args:
        figure: Any figure of Matplotlib; only colours of ours follow.

    Example:
        >>> "prefers-color-scheme: dark" in figure_svg(new_figure(2, 2))
        True
    """
    return _figure_bytes(figure, "svg").decode()


def figure_data_uri(figure: Figure, image_format: str = "svg") -> str:
    """Return a figure as the source of an `<img>` that needs no file beside the page.

    Args:
        figure: Any figure of Matplotlib.
        image_format: "svg" or "png".

    Raises:
        ConfigError: The format is neither.

    Example:
        >>> figure_data_uri(new_figure(2, 2), "png")[:30]
        'data:image/png;base64,iVBORw0K'
    """
    return _data_uri(_figure_bytes(figure, image_format), image_format)


def file_data_uri(path: Path) -> str:
    """Return a picture that `save_figure` wrote as the source of an `<img>`, not drawn again.

    Args:
        path: A PNG or SVG file.

    Raises:
        OSError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     png, svg = save_figure(new_figure(2, 2), f"{folder}/empty")
        ...     file_data_uri(svg)[:26]
        'data:image/svg+xml;base64,'
    """
    return _data_uri(path.read_bytes(), path.suffix.removeprefix("."))


def _data_uri(content: bytes, image_format: str) -> str:
    """Return bytes as a source that needs no file."""
    return f"data:{_MEDIA_TYPES[image_format]};base64,{base64.b64encode(content).decode()}"


def _figure_bytes(figure: Figure, image_format: str) -> bytes:
    """Return the content of an image file: the same for the same figure."""
    if image_format not in _MEDIA_TYPES:
        raise ConfigError(
            f"`formats` must be of {list(_MEDIA_TYPES)}; received {image_format!r}."
            f"{did_you_mean(image_format, _MEDIA_TYPES)}"
        )
    buffer = io.BytesIO()
    svg = image_format == "svg"
    with (
        silent_about_glyphs(),
        mpl.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "kerastl", "svg.image_inline": True}
        ),
    ):
        figure.savefig(
            buffer,
            format=image_format,
            dpi=_PNG_DOTS_PER_INCH,
            facecolor="none" if svg else "white",
            bbox_inches="tight",
            pad_inches=0.06,
            metadata={"Date": None} if svg else None,
        )
    return _follow_dark_pages(buffer.getvalue()) if svg else buffer.getvalue()


def _follow_dark_pages(svg: bytes) -> bytes:
    """Return an SVG whose colours change with the page, by rules that stand above its styles."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark} !important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>"
    head, tag, rest = svg.partition(b"<defs>")
    return head + style.encode() + tag + rest


@functools.cache
def _installed_fonts() -> tuple[str, ...]:
    """Return the fonts of our list that this machine has."""
    installed = set(font_manager.get_font_names())
    return tuple(name for name in _FONTS if name in installed) or ("sans-serif",)
