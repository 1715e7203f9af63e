"""The version of a model that is served now, and newer ones as they come."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from kerastl.deploy.export_formats import newest_export
from kerastl.errors import ConfigError
from kerastl.serving.servable import Servable, load_servable

logger = logging.getLogger(__name__)


class NotServedError(Exception):
    """A model or version that nobody serves here."""


class ModelVersions:
    """One model, of which the highest version is served, as TF Serving does when nobody says more.

    Args:
        path: The folder of the versions, or one version, which then is the only one.
        name: What clients call the model.

    Raises:
        ConfigError: There is no version of a SavedModel that kerastl exported.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self.name = name
        self._path = path
        self._refused: tuple[Path, float] | None = None
        newest = self._newest()
        if newest is None:
            raise ConfigError(
                f"{str(path)!r} has no SavedModel. Give a run folder, or a folder such as "
                "saved_models/NAME that python -m kerastl.export made."
            )
        self.current = load_servable(newest)

    def find(self, name: str, version: int | None = None) -> Servable:
        """Return what is asked for.

        Args:
            name: Of the model.
            version: Of it; the one that is served if None.

        Raises:
            NotServedError: It is not here.
        """
        current = self.current
        if name != self.name or version not in (None, current.version):
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise NotServedError(f"Servable not found for request: {which}")
        return current

    def refresh(self) -> bool:
        """Load another version if another is the highest now; return whether one was taken.

        It answers its warm-up requests before it is given others. One that cannot be loaded is
        named in the log, and tried again when its files change, as they do while they are being
        copied; the one that is served stays.
        """
        newest = self._newest()
        if newest is None or newest == self.current.path:
            return False
        state = newest, _last_change(newest)
        if state == self._refused:
            return False
        try:
            servable = load_servable(newest)
            servable.warm_up()
        except Exception as error:
            self._refused = state
            logger.warning("Version %s is not served: %s", newest, " ".join(str(error).split()))
            return False
        self.current, self._refused = servable, None
        logger.info("Version %d of %s is served now.", servable.version, self.name)
        return True

    async def watch(self, *, every_seconds: float) -> None:
        """Look for versions for as long as the server lives.

        Args:
            every_seconds: Between two looks.
        """
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except OSError as error:  # a folder that vanished while it was looked at
                logger.warning("Newer versions could not be looked for: %s", error)

    def _newest(self) -> Path | None:
        try:
            found = newest_export(self._path)
        except OSError:  # gone for a moment
            return None
        return None if found is None else found[0]


def _last_change(path: Path) -> float:
    """Return when a file of a version came or changed, in seconds."""
    times = [0.0]
    for file in path.rglob("*"):
        try:
            # Not the time of its content, which is copied with it.
            times.append(file.stat().st_ctime)
        except OSError:  # gone meanwhile
            continue
    return max(times)
