"""The collector's metrics, as Prometheus reads them."""

from __future__ import annotations

from podtracer_nb.errors import InputError, PackageMissing

__all__ = ["Metrics"]


class Metrics:
    """Counts what comes in.

    Parameters
    ----------
    port
        Where `/metrics` is served; None: nowhere.
    """

    def __init__(self, port: int | None) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
        except ImportError as error:
            raise PackageMissing("prometheus_client is not installed: pip install 'podtracer-nb[collector]'") from error
        registry = CollectorRegistry()
        self._bytes = Counter("podtracer_collector_bytes", "Bytes of captures received", registry=registry)
        self._streams = Counter("podtracer_collector_streams", "Streams ended", ["outcome"], registry=registry)
        self._active = Gauge("podtracer_collector_active", "Streams that are coming in", registry=registry)
        if port is not None:
            try:
                start_http_server(port, registry=registry)
            except OSError as error:
                raise InputError(f"port {port} for metrics cannot be listened at ({error.strerror})") from error

    def began(self) -> None:
        """Count a stream that begins."""
        self._active.inc()

    def ended(self, outcome: str) -> None:
        """Count a stream that has ended."""
        self._active.dec()
        self._streams.labels(outcome).inc()

    def received(self, count: int) -> None:
        """Count bytes."""
        self._bytes.inc(count)
