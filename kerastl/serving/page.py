"""The page on which a person asks a served model, and what it asks the server."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import kerastl.evaluation
from kerastl.serving.evidence import evidence_picture
from kerastl.serving.limits import BodyReader, Lease, RefusedError, require_small_images
from kerastl.serving.model_versions import ModelVersions
from kerastl.serving.rest import error_response, json_response
from kerastl.serving.servable import DEFAULT_SIGNATURE

# Of a page that nothing from elsewhere may touch.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
# Evidence is asked for by people, and costs as much as 65 images.
_MOST_WAITING = 4


class PageService:
    """The routes of the page.

    Args:
        versions: The model.
        bodies: Reads pictures.
        max_image_bytes: Of a picture, so that its request is not refused.
    """

    def __init__(
        self, versions: ModelVersions, bodies: BodyReader, *, max_image_bytes: int
    ) -> None:
        self._versions, self._bodies = versions, bodies
        self._max_image_bytes = max_image_bytes
        self._one = asyncio.Semaphore(1)
        self._waiting = 0

    def routes(self) -> list[Route]:
        """Return what Starlette needs."""
        routes = [
            Route(f"/{name}", functools.partial(_file, name), methods=["GET"]) for name in _FILES
        ]
        about = Route("/about.json", self._about, methods=["GET"])
        return [*routes, about, Route("/evidence", self._evidence, methods=["POST"])]

    async def _about(self, _request: Request) -> Response:
        """Tell the page what is served."""
        servable = self._versions.current
        notes = servable.notes
        return json_response(
            {
                "name": self._versions.name,
                "version": servable.version,
                "class_names": servable.class_names,
                "image_size": notes["image_size"],
                "multi_label": notes["multi_label"],
                "thresholds": servable.thresholds,
                "unknown_threshold": (notes.get("unknown") or {}).get("threshold"),
                "false_alarms": (notes.get("unknown") or {}).get("false_alarms", 0.0),
                "exported_with": notes["exported_with"],
                "max_image_bytes": self._max_image_bytes,
            }
        )

    async def _evidence(self, request: Request) -> Response:
        """Answer a picture with where the evidence is."""
        lease: Lease | None = None
        try:
            lease = await self._bodies.read(request)
            require_small_images(
                np.array([lease.body], object),
                DEFAULT_SIGNATURE,
                image_size=self._versions.current.image_size,
            )
            if self._waiting >= _MOST_WAITING:
                raise RefusedError(503, "Others are waiting for evidence; come again later.")
            self._waiting += 1
            try:
                class_name = request.query_params.get("class")
                servable, content = self._versions.current, lease.body
                async with self._one:
                    picture = await asyncio.to_thread(
                        evidence_picture, servable, content, class_name
                    )
            finally:
                self._waiting -= 1
            return Response(picture, media_type="image/png")
        except Exception as error:
            return error_response(error)
        finally:
            if lease is not None:
                lease.give_back()


async def _file(name: str, _request: Request) -> Response:
    """Answer with one of the page's own files."""
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(_content(name), media_type=_FILES[name], headers=headers)


@functools.cache
def _content(name: str) -> str:
    """Return a file; the style is that of all pages, and what this one adds."""
    text = Path(__file__).with_name(name or "page.html").read_text(encoding="utf-8")
    if name != "page.css":
        return text
    package: Any = kerastl.evaluation
    shared = Path(package.__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"{shared}\n{text}"
