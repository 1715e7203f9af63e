"""What `kerastl.search` leaves behind when asked to: numbers as JSON, and sheets of images."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastl.run_folder import (
    FolderKind,
    choose_run_folder,
    new_run_folder,
    publish,
    write_json,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULT = "search.json"
SEARCH_FOLDER = FolderKind("folder of a search", "searches", (RESULT,))


@dataclass
class Sheets:
    """What goes into a folder, if one was asked for.

    Attributes:
        partial: Where it is made; None for none.
        folder: Where it is, once it is complete.
        names: Files of pictures.
    """

    partial: Path | None
    folder: Path | None = None
    names: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """Whether pictures are wanted."""
        return self.partial is not None

    def add(self, name: str, figure: Figure | None) -> None:
        """Write a picture.

        Args:
            name: Of its file, without ".png".
            figure: None where there is nothing to see.
        """
        from kerastl.evaluation.figures import save_figure

        if self.partial is not None and figure is not None:
            (path,) = save_figure(figure, self.partial / name, ("png",))
            self.names.append(path.name)

    def write(self, result: dict[str, Any]) -> None:
        """Write the numbers.

        Args:
            result: Plain values.
        """
        if self.partial is not None:
            write_json(self.partial / RESULT, result)


@contextlib.contextmanager
def search_folder(out: str | None, *, overwrite: bool) -> Iterator[Sheets]:
    """Give what takes the results inside the block; its folder has its name when the block ends.

    Args:
        out: Folder to make; None for none.
        overwrite: Whether a folder of a search may be replaced.

    Raises:
        ConfigError: `out` exists and may not be replaced.
    """
    if out is None:
        yield Sheets(None)
        return
    folder = choose_run_folder(out, name="", overwrite=overwrite, kind=SEARCH_FOLDER)
    with new_run_folder(folder, kind=SEARCH_FOLDER) as partial:
        sheets = Sheets(partial)
        yield sheets
        sheets.folder = publish(partial, folder, overwrite=overwrite, kind=SEARCH_FOLDER)


def tell(result: dict[str, Any], sheets: Sheets, *, as_json: bool) -> None:
    """Print the numbers as JSON if that is wanted, and where the folder is.

    Args:
        result: Plain values.
        sheets: After the block of `search_folder`.
        as_json: Whether to print them.
    """
    if as_json:
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        sys.stdout.write(text + "\n")
    if sheets.folder is not None:
        first = sheets.folder / (sheets.names[0] if sheets.names else RESULT)
        (sys.stderr if as_json else sys.stdout).write(f"Open {first}\n")
