"""`python -m kerastl.serve RUN_OR_SAVEDMODEL`: a small server that is asked as TF Serving is."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.deploy.export_formats import SAVEDMODEL, newest_export, require_model_name
from kerastl.errors import ConfigError
from kerastl.option_values import WHOLE
from kerastl.run_folder import LABELS

if TYPE_CHECKING:
    from kerastl.serving.model_versions import ModelVersions
    from kerastl.serving.server import Addresses

_HELP = """Serve a model on this machine, with TF Serving's REST and gRPC interfaces and a page.

For development and small deployments; clients move to TF Serving unchanged. A run folder is
exported to a temporary folder first, with its proof. Of a folder of versions the highest is served,
and newer ones as they come. Ctrl-C ends it, once what was asked is answered."""
_EXAMPLES = (
    "python -m kerastl.serve runs/photos",
    "python -m kerastl.serve saved_models/photos --rest-port 8080 --no-grpc",
)

_ADDRESS = Group("Address", sort_key=1)
_LIMITS = Group("Limits", sort_key=2)
# gRPC counts bytes in 31 bits.
_MOST_REQUEST_MIB = 1024
# What the extra `serve` brings.
_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "orjson", "prometheus_client")


def serve(
    model: Path,
    /,
    *,
    name: str | None = None,
    host: Annotated[str, Parameter(group=_ADDRESS)] = "127.0.0.1",
    rest_port: Annotated[int, WHOLE, Parameter(group=_ADDRESS)] = 8501,
    grpc_port: Annotated[int, WHOLE, Parameter(group=_ADDRESS)] = 8500,
    grpc: Annotated[bool, Parameter(group=_ADDRESS)] = True,
    max_batch_size: Annotated[int, WHOLE, Parameter(group=_LIMITS)] = 32,
    batching: Annotated[bool, Parameter(group=_LIMITS)] = True,
    max_queued: Annotated[int, WHOLE, Parameter(group=_LIMITS)] = 256,
    max_request_mib: Annotated[int, WHOLE, Parameter(group=_LIMITS)] = 32,
    max_requests: Annotated[int, WHOLE, Parameter(group=_LIMITS)] = 512,
    timeout_seconds: Annotated[float, Parameter(group=_LIMITS)] = 30.0,
) -> None:
    """Serve one model.

    Args:
        model: A run folder, or a SavedModel: saved_models/NAME or one version in it.
        name: What clients call the model. Default: that of its folder.
        host: Address to listen at. Whoever reaches it can ask: there are no passwords.
        rest_port: For REST and the page; 0 for any that is free.
        grpc_port: For gRPC; 0 for any that is free.
        grpc: Whether there is gRPC.
        max_batch_size: Images that are answered together at most.
        batching: Answer what waits together. Without, each request by itself.
        max_queued: Images that may wait; more are told to come again (503).
        max_request_mib: Size of a request at most.
        max_requests: Requests that are read or answered at the same time at most; 128 of gRPC,
            whose messages are in memory before they can be refused.
        timeout_seconds: In which a REST request must have come, and in which any must be answered.
    """
    _check(
        {"max_batch_size": max_batch_size, "max_queued": max_queued}
        | {"max_request_mib": max_request_mib, "max_requests": max_requests},
        {"rest_port": rest_port, "grpc_port": grpc_port},
        timeout_seconds,
    )
    missing = [package for package in _PACKAGES if not importlib.util.find_spec(package)]
    if missing:
        raise ConfigError(
            f"The server needs packages that are not installed ({', '.join(missing)}). "
            "Type: pip install 'kerastl[serve]'"
        )
    terminal.import_tensorflow_quietly()
    from kerastl.serving.server import ServerOptions
    from kerastl.serving.server import serve as serve_versions

    options = ServerOptions(
        host=host,
        rest_port=rest_port,
        grpc_port=grpc_port if grpc else None,
        max_batch_size=max_batch_size if batching else 0,
        max_queued=max_queued,
        max_request_bytes=max_request_mib * 2**20,
        max_requests=max_requests,
        timeout_seconds=timeout_seconds,
    )
    if name is not None:
        require_model_name(name)
    # Until the server itself heeds it: what was made for it is tidied up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with _versions_of(model, name) as versions:
        import uvloop

        def say(addresses: Addresses) -> None:
            terminal.print_lines(_ready_lines(versions, addresses))

        uvloop.run(serve_versions(versions, options, on_ready=say))


def _check(counts: dict[str, int], ports: dict[str, int], timeout_seconds: float) -> None:
    """Refuse options that cannot work."""
    for option, count in counts.items():
        if count < 1:
            raise ConfigError(f"`{option}` must be 1 or more; received {option}={count}.")
    if counts["max_request_mib"] > _MOST_REQUEST_MIB:
        raise ConfigError(
            f"`max_request_mib` must be {_MOST_REQUEST_MIB} or less; received "
            f"max_request_mib={counts['max_request_mib']}."
        )
    for option, port in ports.items():
        if not 0 <= port < 2**16:
            raise ConfigError(f"`{option}` must be a port, 0 to 65535; received {option}={port}.")
    if not timeout_seconds > 0:
        raise ConfigError(
            f"`timeout_seconds` must be above 0; received timeout_seconds={timeout_seconds:g}."
        )


@contextlib.contextmanager
def _versions_of(model: Path, name: str | None) -> Iterator[ModelVersions]:
    """Give the loaded model, warm; what had to be exported for it is gone afterwards."""
    from kerastl.deploy.runs import export_run
    from kerastl.serving.model_versions import ModelVersions

    with contextlib.ExitStack() as stack:
        path = model
        if (model / LABELS).is_file():
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="kerastl-serve-"))
            sys.stderr.write("Exporting the run, and proving that it answers alike …\n")
            name = name or model.resolve().name
            path = export_run(model, export_dir=place, name="model").path.parent
        else:
            found = newest_export(model)
            if found is not None and found[1] != SAVEDMODEL:
                raise ConfigError(
                    f"{str(model)!r} is {found[1]}, which takes no image files. Serve the run "
                    "folder or its SavedModel."
                )
        versions = ModelVersions(path, name=name or _name_of(path))
        sys.stderr.write("Warming up …\n")
        versions.current.warm_up()
        yield versions


def _name_of(path: Path) -> str:
    """Return what TF Serving would call a model: the name of the folder of its versions."""
    path = path.resolve()
    return path.parent.name if path.name.isdigit() else path.name


def _ready_lines(versions: ModelVersions, addresses: Addresses) -> list[str]:
    """Return what a person needs to know."""
    lines = [
        f"{versions.name}, version {versions.current.version}: {addresses.rest}",
        f"REST: {addresses.rest}/v1/models/{urllib.parse.quote(versions.name)}:predict",
    ]
    if addresses.grpc is not None:
        lines.append(f"gRPC: {addresses.grpc}")
    return [*lines, "A server for development and small deployments. Ctrl-C ends it."]


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app("serve", help_text=_HELP, usage="MODEL [OPTIONS]", examples=_EXAMPLES)
    app.default(serve)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
