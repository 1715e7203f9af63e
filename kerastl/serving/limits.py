"""What keeps one client from taking a server from the others."""

from __future__ import annotations

import asyncio
from asyncio import Transport
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kerastl.deploy.signatures import EXAMPLE_KEY
from kerastl.serving.declared_size import declared_size
from kerastl.serving.servable import CLASSIFY_SIGNATURE

_MAX_HEADER_BYTES = 64 * 1024
# More than cameras make; 16 of them at once, in each of two batches, take 3 GB.
MOST_PIXELS = 32_000_000


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: Of HTTP.
        message: For the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def require_small_images(
    values: NDArray[Any], signature: str, *, image_size: tuple[int, int]
) -> None:
    """Refuse what a few bytes unpack to gigabytes: many images are unpacked at the same time.

    Args:
        values: Image files or serialized examples of shape (n,), or pixels of shape (n, height,
            width, channels).
        signature: That they are for.
        image_size: (height, width) in pixels that the model brings images to.

    Raises:
        RefusedError: An image has more pixels than any is allowed to, by what its header says, or
            would have on the way to its size: height is changed before width.
    """
    if values.dtype != object:
        _require_small(values.shape[1:3], image_size, number=0)
        return
    for number, content in enumerate(values):
        file = _image_of(content) if signature == CLASSIFY_SIGNATURE else content
        _require_small(declared_size(file), image_size, number=number)


def _require_small(
    size: tuple[int, ...] | None, image_size: tuple[int, int], *, number: int
) -> None:
    """Refuse one image by its (height, width)."""
    if size is None:
        raise RefusedError(413, f"Image {number} does not say how large it is in its header.")
    height, width = size
    pixels = height * width
    # Of 4 bytes, not of one: a quarter as many.
    if pixels > MOST_PIXELS or image_size[0] * width > MOST_PIXELS // 4:
        raise RefusedError(
            413,
            f"Image {number} is {width} x {height}, {pixels / 1e6:.0f} megapixels; this server "
            f"takes {MOST_PIXELS / 1e6:.0f}, and {MOST_PIXELS // 4 // image_size[0]:,} pixels in "
            "width. Make it smaller.",
        )


def _image_of(serialized: bytes) -> bytes:
    """Return the image file of a serialized example, or nothing."""
    try:
        values = tf.train.Example.FromString(serialized).features.feature[EXAMPLE_KEY].bytes_list
    except DecodeError:
        return b""
    return values.value[0] if values.value else b""


class BodyReader:
    """Reads the bodies of requests, no more than there is room for and no slower than may be.

    Args:
        max_bytes: Of one body.
        max_bytes_together: Of all bodies that are read or answered at the same time.
        timeout_seconds: In which a body must have come.
    """

    def __init__(self, *, max_bytes: int, max_bytes_together: int, timeout_seconds: float) -> None:
        self._max_bytes, self._left = max_bytes, max_bytes_together
        self._timeout_seconds = timeout_seconds

    async def read(self, request: Request) -> Lease:
        """Return the body, which holds its room until it is given back.

        Args:
            request: The request.

        Raises:
            RefusedError: It is too large, too slow, compressed, or there is no room now.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, "Compressed bodies are not read; send it as it is.")
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:18]) > self._max_bytes:
            raise self._too_large()
        lease = Lease(self)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async for chunk in request.stream():
                    lease.take(chunk)
        except TimeoutError:
            lease.give_back()
            raise RefusedError(
                408, f"The body did not come in {self._timeout_seconds:g} s."
            ) from None
        except (RefusedError, ClientDisconnect, asyncio.CancelledError):
            lease.give_back()
            raise
        return lease

    def reserve(self, size: int, total: int) -> None:
        """Take room for some bytes more.

        Args:
            size: Bytes that came.
            total: All of this body.

        Raises:
            RefusedError: It is too large, or there is no room.
        """
        if total > self._max_bytes:
            raise self._too_large()
        if size > self._left:
            raise RefusedError(
                503, "The server is reading as much as it can hold; come again later."
            )
        self._left -= size

    def release(self, size: int) -> None:
        """Give room back.

        Args:
            size: Bytes.
        """
        self._left += size

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413, f"A request may have {self._max_bytes / 2**20:g} MiB at most (--max-request-mib)."
        )


class ActiveRequests:
    """Middleware that answers so many requests at the same time, and tells others to come again.

    Connections that are idle do not count, nor does who looks whether the server is alive.

    Args:
        application: What answers.
        most: Requests at the same time.
    """

    _always = ("/healthz", "/metrics", "/monitoring/prometheus/metrics")

    def __init__(self, application: Any, *, most: int) -> None:
        self._application, self._most, self._active = application, most, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in self._always:
            await self._application(scope, receive, send)
            return
        if self._active >= self._most:
            words = {"error": f"{self._active} requests are being answered; come again later."}
            refusal = JSONResponse(words, 503, headers={"Retry-After": "1", "Connection": "close"})
            await refusal(scope, receive, send)
            return
        self._active += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._active -= 1


class Lease:
    """A body and its room.

    Args:
        reader: Where the room is from.
    """

    def __init__(self, reader: BodyReader) -> None:
        self._reader, self._size = reader, 0
        self._chunks: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        """Add what came.

        Args:
            chunk: Some bytes.
        """
        self._reader.reserve(len(chunk), self._size + len(chunk))
        self._size += len(chunk)
        self._chunks.append(chunk)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._chunks)

    def give_back(self) -> None:
        """End the lease; a second time does nothing."""
        self._reader.release(self._size)
        self._size, self._chunks = 0, []


class ImpatientProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, that closes connections whose request does not come.

    Uvicorn itself waits without end for headers, and keeps as many as come.

    Attributes:
        header_timeout_seconds: From the connection, and from the first byte of each later request,
            to the end of the headers; and from an answer that came before the end of the body to
            that end.
    """

    header_timeout_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _num_header_bytes = 0
    _has_headers = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start to wait."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers are complete."""
        if self._timer is None and not self._has_headers:
            self._expect_headers()
        super().data_received(data)
        if self._timer is not None:  # they are still not complete
            self._num_header_bytes += len(data)
            if self._num_header_bytes > _MAX_HEADER_BYTES:
                self._give_up()

    def on_headers_complete(self) -> None:
        """Wait no longer."""
        self._stop_waiting()
        self._has_headers = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Know that what comes next are headers."""
        self._has_headers, self._num_header_bytes = False, 0
        self._stop_waiting_for_the_rest()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was answered before it had come, but not for ever.

        Uvicorn reads on, so that the client can read the answer, and stops its own clock.
        """
        super().on_response_complete()
        if self._has_headers:
            self._stop_waiting_for_the_rest()
            self._rest_timer = self.loop.call_later(self.header_timeout_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        self._stop_waiting_for_the_rest()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_waiting_for_the_rest(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
