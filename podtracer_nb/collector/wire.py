"""What travels: `DataEndpoint.ExportPodData(stream PodData) returns (stream Response)`, and the words beside it.

The original's client opens a stream for each piece that it reads and calls every pod by one name; its server appends to
a file of that name. Ours keeps one stream a capture, and says in the call's metadata which capture it is; a server that
does not know these words leaves them alone. The first message and the last are empty: the collector answers the first
with what it has already, and the last says that there is no more.
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = [
    "BYTES", "MESSAGE_BYTES", "METHOD", "RECEIVED", "SERVICE", "SESSION", "SHA256", "SUFFIX", "TOKEN",
    "messages",
]  # fmt: skip

SERVICE = "protobuf.DataEndpoint"
METHOD = "ExportPodData"
MESSAGE_BYTES = 4 << 20
"""The most that gRPC takes in one message by default; what we send is far less."""

SESSION = "podtracer-session"
"""From the sender: which capture this is; any word that no other capture has."""
SUFFIX = "podtracer-suffix"
"""From the sender: the ending of the file's name."""
TOKEN = "authorization"  # noqa: S105  the header's name
RECEIVED = "podtracer-received"
"""From the collector, before anything is sent: how many bytes of this capture it has on disk."""
BYTES, SHA256 = "podtracer-bytes", "podtracer-sha256"
"""From the collector, at the end: what it has on disk, synced."""

_STRING, _BYTES = 9, 12  # google.protobuf.FieldDescriptorProto.Type


@functools.cache
def messages() -> tuple[Any, Any]:
    """Return the message classes PodData(name, data) and Response(message)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="podtracer/collector.proto", package="protobuf", syntax="proto3")
    for name, members in {
        "PodData": (("name", 1, _STRING), ("data", 2, _BYTES)),
        "Response": (("message", 1, _STRING),),
    }.items():
        message = file.message_type.add(name=name)
        for member, number, kind in members:
            field: Any = message.field.add(name=member, number=number, label=1)
            field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"protobuf.{name}"))
        for name in ("PodData", "Response")
    ]
    return found[0], found[1]
