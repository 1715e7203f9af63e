"""A served model as one process: REST and page on one port, gRPC on another."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from kerastl.errors import ConfigError
from kerastl.serving.grpc_services import ModelService, PredictionService
from kerastl.serving.limits import ActiveRequests, BodyReader, ImpatientProtocol
from kerastl.serving.measures import Measures
from kerastl.serving.micro_batches import MicroBatches
from kerastl.serving.model_versions import ModelVersions
from kerastl.serving.page import PageService
from kerastl.serving.rest import RestService, json_response

logger = logging.getLogger(__name__)

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# For what runs when the server is told to stop.
_GRACE_SECONDS = 10.0
# Idle connections are closed then.
_KEEP_ALIVE_SECONDS = 20
_MOST_IDLE = 4096
_BODIES_TOGETHER = 16
# gRPC clients open another then, unseen by their callers.
_CONNECTION_SECONDS = 300.0
# Whole messages are in memory before anybody can refuse them.
_MOST_CALLS = 128


@dataclass(frozen=True)
class ServerOptions:
    """How a model is served.

    Attributes:
        host: Address to listen at.
        rest_port: For REST and the page; 0 for a free one.
        grpc_port: For gRPC; 0 for a free one, None for no gRPC.
        max_batch_size: Images that are answered together at most; 0 for no batching.
        max_queued: Images that may wait.
        max_request_bytes: Of one request.
        max_requests: That are read or answered at the same time.
        timeout_seconds: In which a request must be answered.
        poll_seconds: Between two looks for a newer version.
        workers: Batches that are answered at the same time.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int | None = 8500
    max_batch_size: int = 32
    max_queued: int = 256
    max_request_bytes: int = 32 * 2**20
    max_requests: int = 512
    timeout_seconds: float = 30.0
    poll_seconds: float = 2.0
    workers: int = 2


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        rest: For REST and the page.
        grpc: For gRPC; None for no gRPC.
    """

    rest: str
    grpc: str | None


class _State:
    """What the parts of a server share."""

    def __init__(self, versions: ModelVersions, options: ServerOptions) -> None:
        self.versions, self.options = versions, options
        self.is_ready = False
        self.measures = Measures(num_queued=lambda: self.batches.num_queued)
        self.batches = MicroBatches(
            max_batch_size=options.max_batch_size,
            max_queued=options.max_queued,
            workers=options.workers,
            observe=self.measures.count_batch,
        )
        self.bodies = BodyReader(
            max_bytes=options.max_request_bytes,
            max_bytes_together=_BODIES_TOGETHER * options.max_request_bytes,
            timeout_seconds=options.timeout_seconds,
        )


def build_application(state: Any) -> Starlette:
    """Return the ASGI application of one model.

    Args:
        state: From `serve`.
    """
    options = state.options
    rest = RestService(
        state.versions,
        state.batches,
        state.bodies,
        state.measures,
        timeout_seconds=options.timeout_seconds,
    )
    page = PageService(
        state.versions,
        state.bodies,
        # Base64 makes 4 bytes of 3, and something is around them.
        max_image_bytes=(options.max_request_bytes - 1024) * 3 // 4,
    )

    async def health(_request: Request) -> Response:
        ready = state.is_ready
        return json_response({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(state.measures.text(), media_type="text/plain; version=0.0.4")

    async def not_found(request: Request, _error: Exception) -> Response:
        return json_response({"error": f"Not found: {request.url.path}"}, 404)

    async def not_allowed(request: Request, _error: Exception) -> Response:
        words = f"{request.method} is not what {request.url.path} takes"
        return json_response({"error": words}, 405)

    routes = [
        Route("/healthz", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        # Where TF Serving has them.
        Route("/monitoring/prometheus/metrics", metrics, methods=["GET"]),
        *rest.routes(),
        *page.routes(),
    ]
    middleware = [Middleware(ActiveRequests, most=options.max_requests)]
    if _is_loopback(options.host):
        # A page of another site whose name points here (DNS rebinding) must not reach the model.
        hosts = [*_LOOPBACK_NAMES, options.host]
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
    handlers: dict[Any, Any] = {404: not_found, 405: not_allowed}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.asynccontextmanager
async def _grpc_server(state: _State) -> AsyncIterator[str | None]:
    """Run the gRPC services, and give their address."""
    options = state.options
    if options.grpc_port is None:
        yield None
        return
    size = ("grpc.max_receive_message_length", options.max_request_bytes)
    # A call counts from its headers, and has no clock until its message is there: who never sends
    # one is cut off with the connection.
    age = ("grpc.max_connection_age_ms", int(1000 * _CONNECTION_SECONDS))
    grace = ("grpc.max_connection_age_grace_ms", int(1000 * options.timeout_seconds))
    server = grpc.aio.server(
        # One port, one server: another must not take half of the calls.
        options=[size, age, grace, ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=min(options.max_requests, _MOST_CALLS),
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(
            state.versions,
            state.batches,
            state.measures,
            timeout_seconds=options.timeout_seconds,
        ),
        server,
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(state.versions, state.measures), server
    )
    try:
        port = server.add_insecure_port(f"{_in_url(options.host)}:{options.grpc_port}")
    except RuntimeError:
        raise _taken(options.host, options.grpc_port, "--grpc-port") from None
    await server.start()
    try:
        yield f"{_in_url(options.host)}:{port}"
    finally:
        await server.stop(_GRACE_SECONDS)


def _in_url(host: str) -> str:
    """Return an address as URLs have it."""
    return f"[{host}]" if ":" in host else host


def _taken(host: str, port: int, option: str) -> ConfigError:
    return ConfigError(
        f"Nothing can listen at {host}, port {port}: it is taken, not allowed, or not of this "
        f"machine. Choose another with {option}, 0 for any that is free, or another --host."
    )


def _listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens, before anything is said to anybody."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(2048)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError):  # the latter: of names that cannot be one
        raise _taken(host, port, "--rest-port") from None
    return listening


class _Server(uvicorn.Server):
    """Uvicorn's server, that ends without ending the process: who started it tidies up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop the server; a second SIGINT does not wait for answers."""
        loop = asyncio.get_running_loop()
        signals = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number, before in signals.items():
                loop.remove_signal_handler(number)
                # Not the system's own: a second signal must not end what tidies up.
                signal.signal(number, before)


async def serve(
    versions: ModelVersions,
    options: ServerOptions,
    *,
    on_ready: Callable[[Addresses], None] = lambda _addresses: None,
) -> None:
    """Serve a model until the process is told to stop (SIGTERM, SIGINT).

    What was asked before that is answered, for ten seconds of REST and ten of gRPC at most.

    Args:
        versions: The model.
        options: How.
        on_ready: Called once it answers.

    Raises:
        ConfigError: An address is taken or not of this machine.
    """
    state = _State(versions, options)
    listening = _listening_socket(options.host, options.rest_port)
    config = uvicorn.Config(
        build_application(state),
        log_level="warning",
        access_log=False,
        lifespan="off",
        http=ImpatientProtocol,
        # Idle connections count there: only so many that files do not run out.
        limit_concurrency=options.max_requests + _MOST_IDLE,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(_GRACE_SECONDS),
        server_header=False,
        # No proxy is trusted to say who a client is.
        proxy_headers=False,
    )
    server = _Server(config)
    # Closed in this order from the last: what gRPC still answers needs the batches.
    with contextlib.closing(listening), contextlib.closing(state.batches):
        async with _grpc_server(state) as grpc_address:
            watching = asyncio.create_task(versions.watch(every_seconds=options.poll_seconds))
            telling = asyncio.create_task(_tell(server, state, listening, grpc_address, on_ready))
            try:
                await server.serve(sockets=[listening])
            finally:
                state.is_ready = False
                watching.cancel()
                telling.cancel()


async def _tell(
    server: uvicorn.Server,
    state: _State,
    listening: socket.socket,
    grpc_address: str | None,
    on_ready: Callable[[Addresses], None],
) -> None:
    """Say where the server is, once it is there."""
    while not server.started:
        await asyncio.sleep(0.01)
    state.is_ready = True
    port = listening.getsockname()[1]
    on_ready(Addresses(f"http://{_in_url(state.options.host)}:{port}", grpc_address))
