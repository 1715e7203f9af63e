"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """The counters of one server.

    Args:
        num_queued: Gives how many images wait now.
    """

    def __init__(self, *, num_queued: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kerastl_requests",
            "Requests by protocol, what was asked and the answer's code.",
            ["protocol", "method", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "kerastl_request_seconds",
            "Time from the headers of a REST request, or a whole gRPC message, to the answer.",
            ["protocol", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "kerastl_batch_images",
            "Images that were answered together.",
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        queued = Gauge("kerastl_queued_images", "Images that wait.", registry=self._registry)
        queued.set_function(num_queued)

    def count_request(self, protocol: str, method: str, code: str, seconds: float) -> None:
        """Count one request.

        Args:
            protocol: "rest" or "grpc".
            method: What was asked, of a small number of words.
            code: Of the answer.
            seconds: How long it took.
        """
        self._requests.labels(protocol, method, code).inc()
        self._seconds.labels(protocol, method).observe(seconds)

    def count_batch(self, size: int) -> None:
        """Count one batch.

        Args:
            size: Its images.
        """
        self._batches.observe(size)

    def text(self) -> bytes:
        """Return everything in the form that Prometheus reads."""
        return generate_latest(self._registry)
