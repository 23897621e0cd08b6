"""Captures of many pods in one place: `serve` takes them in, `Sender` sends one, `collected` gives their frames.

The service is `protobuf.DataEndpoint` of snoopy-operator and of the original podtracer, the same on the wire, so that
either side can be theirs. Between ours it adds mutual TLS, a token, resumption and a digest.
"""

from podtracer_nb.collector.reading import collected
from podtracer_nb.collector.sender import Sender
from podtracer_nb.collector.server import Collector, Limits
from podtracer_nb.collector.trust import ClientTrust, ServerTrust

__all__ = ["ClientTrust", "Collector", "Limits", "Sender", "ServerTrust", "collected"]
