"""`podtracer collect`: receive what other podtracers send, until it is interrupted."""

from __future__ import annotations

from podtracer_nb import options
from podtracer_nb.cli.saying import say

__all__ = ["collect"]


def collect(request: options.CollectRequest) -> None:
    """Collect, and first say where and from whom."""
    from podtracer_nb.collector import Collector, Limits, ServerTrust

    trust = None
    if not request.insecure:
        trust = ServerTrust(str(request.tls_cert), str(request.tls_key), str(request.client_ca), request.token_file)
    host = f"[{request.address}]" if ":" in request.address else request.address
    limits = Limits(request.max_bytes, request.max_total, request.max_clients, request.rotate)
    with Collector(
        request.dir, f"{host}:{request.port}", trust, limits=limits, metrics_port=request.metrics_port
    ) as collector:
        how = "with TLS" if trust else "UNENCRYPTED, from anybody"
        say(f"collecting on port {collector.port}, {how}, into {request.dir}")
        collector.wait()
