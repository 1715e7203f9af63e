"""TF Serving's REST API: https://www.tensorflow.org/tfx/serving/api_rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import tensorflow as tf
from google.protobuf import json_format
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kerastl.errors import UnreadableImageError
from kerastl.serving.limits import BodyReader, RefusedError, require_small_images
from kerastl.serving.measures import Measures
from kerastl.serving.micro_batches import MicroBatches, Outputs, OverloadedError
from kerastl.serving.model_versions import ModelVersions, NotServedError
from kerastl.serving.servable import CLASSIFY_SIGNATURE, DEFAULT_SIGNATURE, Servable
from kerastl.serving.tensor_json import (
    RequestError,
    TooLargeError,
    read_examples,
    read_predict,
    write_classify,
    write_predict,
)

logger = logging.getLogger(__name__)

# A body of this many bytes is parsed in a thread, so that others are heard meanwhile.
_PARSED_AT_ONCE = 2**20
_JSON = "application/json"
_NOT_FOR_CLIENTS = ("Graph execution", "Detected at", "<stack traces")
_STATUS: dict[type[Exception], int] = {
    OverloadedError: 503,
    TooLargeError: 413,
    NotServedError: 404,
    RequestError: 400,
    UnreadableImageError: 400,
    tf.errors.InvalidArgumentError: 400,
    tf.errors.UnimplementedError: 400,
    tf.errors.ResourceExhaustedError: 503,
    ClientDisconnect: 400,  # nobody reads this
}


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer of plain values.

    Args:
        value: What JSON can hold, NumPy's numbers too.
        status: Of HTTP.
    """
    headers = {"Retry-After": "1"} if status == 503 else {}
    if status == 408:  # what still comes is no request
        headers["Connection"] = "close"
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type=_JSON, headers=headers)


def error_words(error: Exception) -> str:
    """Return what a client should read of an error of TensorFlow's, without its graph.

    Args:
        error: Any.
    """
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [line for line in lines if not line.startswith(_NOT_FOR_CLIENTS)]
    return (known or lines or [type(error).__name__])[0].partition(" [[")[0][:500]


def error_response(error: Exception) -> Response:
    """Return an error as TF Serving writes errors; what is a fault of ours goes to the log too.

    Args:
        error: What went wrong with a request.
    """
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    words = str(error)
    if isinstance(error, RefusedError):
        status = error.status
    elif isinstance(error, OverloadedError):
        words = f"The server is overloaded: {error}."
    elif isinstance(error, UnreadableImageError):
        words = f"This picture cannot be read: {error.reason}."
    elif status == 500:
        logger.error("A request failed; this is a fault of kerastl's.", exc_info=error)
        words = "The server failed; its log says how."
    elif isinstance(error, tf.errors.OpError):
        words = error_words(error)
    return json_response({"error": words}, status)


class RestService:
    """The routes of one model.

    Args:
        versions: The model.
        batches: Where requests wait.
        bodies: Reads them.
        measures: Counts them.
        timeout_seconds: In which an answer must have been found.
    """

    def __init__(
        self,
        versions: ModelVersions,
        batches: MicroBatches,
        bodies: BodyReader,
        measures: Measures,
        *,
        timeout_seconds: float,
    ) -> None:
        self._versions, self._batches, self._bodies = versions, batches, bodies
        self._measures, self._timeout_seconds = measures, timeout_seconds

    def routes(self) -> list[Route]:
        """Return what Starlette needs."""
        model = "/v1/models/{name:str}"
        version = model + "/versions/{version:str}"
        routes = []
        for place in (version, model):
            for verb, answer in (("predict", self._predict), ("classify", self._classify)):
                endpoint = self._counted(verb, answer)
                routes.append(Route(f"{place}:{verb}", endpoint, methods=["POST"]))
            endpoint = self._counted("metadata", self._metadata)
            routes.append(Route(f"{place}/metadata", endpoint, methods=["GET"]))
            routes.append(Route(place, self._counted("status", self._status), methods=["GET"]))
        malformed = self._counted("malformed", self._malformed)
        routes.append(Route("/v1/{rest:path}", malformed, methods=["GET", "POST"]))
        return routes

    async def _answer(self, servable: Servable, signature: str, values: Any) -> Outputs:
        """Return the outputs, in the time that there is."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._batches.answer(servable, signature, values)
        except TimeoutError:
            raise RefusedError(504, f"No answer within {self._timeout_seconds:g} s.") from None

    async def _predict(self, request: Request, body: Any) -> Response:
        servable = self._servable(request)
        signature = body.get("signature_name") or DEFAULT_SIGNATURE
        if not isinstance(signature, str) or signature not in servable.signatures:
            raise RequestError(f'Serving signature name: "{signature}" not found in signature def')
        name, dtype, rank = servable.input_of(signature)
        most = self._batches.max_queued

        def read() -> tuple[NDArray[Any], bool]:
            found = read_predict(body, input_name=name, dtype=dtype, rank=rank, most_rows=most)
            require_small_images(found[0], signature, image_size=servable.image_size)
            return found

        values, by_row = await asyncio.to_thread(read)
        body.clear()  # lists take many times the room of their text
        answers = await self._answer(servable, signature, values)
        return json_response(write_predict(answers, by_row=by_row))

    async def _classify(self, request: Request, body: Any) -> Response:
        servable = self._servable(request)
        signature = body.get("signature_name") or CLASSIFY_SIGNATURE
        if signature != CLASSIFY_SIGNATURE or signature not in servable.signatures:
            raise RequestError(
                f'Classify takes "{CLASSIFY_SIGNATURE}" as `signature_name`; received "{signature}"'
            )

        def read() -> NDArray[Any]:
            found = read_examples(body, most_rows=self._batches.max_queued)
            require_small_images(found, signature, image_size=servable.image_size)
            return found

        examples = await asyncio.to_thread(read)
        answers = await self._answer(servable, signature, examples)
        if errors := [error.decode() for error in answers["error"] if error]:
            # A list of labels and scores has no place for it.
            raise RequestError(errors[0])
        return json_response(write_classify(answers))

    async def _status(self, request: Request, _body: Any) -> Response:
        servable = self._servable(request)
        state = {
            "version": str(servable.version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return json_response({"model_version_status": [state]})

    async def _metadata(self, request: Request, _body: Any) -> Response:
        servable = self._servable(request)
        shown = {
            name: json_format.MessageToDict(
                signature,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, signature in servable.signatures.items()
        }
        spec = {
            "name": self._versions.name,
            "signature_name": "",
            "version": str(servable.version),
        }
        metadata = {"signature_def": {"signature_def": shown}}
        return json_response({"model_spec": spec, "metadata": metadata})

    async def _malformed(self, request: Request, _body: Any) -> Response:
        raise RequestError(f"Malformed request: {request.method} {request.url.path}")

    def _servable(self, request: Request) -> Servable:
        """Return whom the path names."""
        number = request.path_params.get("version")
        if number is not None and not (number.isascii() and number.isdigit()):
            raise RequestError(f"Malformed request: {request.method} {request.url.path}")
        version = None if number is None else int(number[:18])
        return self._versions.find(request.path_params["name"], version)

    def _counted(
        self, method: str, answer: Callable[[Request, Any], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that reads, answers, and turns errors into what TF Serving says."""

        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            response = await self._guarded(request, answer)
            seconds = time.perf_counter() - started
            self._measures.count_request("rest", method, str(response.status_code), seconds)
            return response

        return endpoint

    async def _guarded(
        self, request: Request, answer: Callable[[Request, Any], Awaitable[Response]]
    ) -> Response:
        """Return the answer, or the error as TF Serving writes errors."""
        lease = None
        try:
            body: Any = {}
            if request.method == "POST":
                lease = await self._bodies.read(request)
                body = await _parsed(lease.body)
            return await answer(request, body)
        except Exception as error:
            return error_response(error)
        finally:
            if lease is not None:
                lease.give_back()


async def _parsed(content: bytes) -> dict[str, Any]:
    """Return the object of a body."""
    try:
        if len(content) < _PARSED_AT_ONCE:
            body = orjson.loads(content)
        else:
            body = await asyncio.to_thread(orjson.loads, content)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"JSON Parse error: {error}") from None
    if not isinstance(body, dict):
        raise RequestError("JSON Parse error: the body must be an object")
    return body
