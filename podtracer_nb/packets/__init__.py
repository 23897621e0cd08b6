"""Bytes to columns: packet captures, whole or still growing, as typed DataFrames.

`read` a file, `stream` a pipe, or hold the `Reader` under both. Stands alone: nothing else of this package is imported.
"""

from podtracer_nb.packets import schema
from podtracer_nb.packets.bpf import FilterError
from podtracer_nb.packets.capture_format import DamageWarning, FormatError, InterpretedWarning, LinktypeWarning
from podtracer_nb.packets.dns import dns_answers
from podtracer_nb.packets.provenance import undissected
from podtracer_nb.packets.reader import Reader, compiled, locate, raw, read, stream
from podtracer_nb.packets.selection import Choice, Selection

__all__ = [
    "Choice",
    "DamageWarning",
    "FilterError",
    "FormatError",
    "InterpretedWarning",
    "LinktypeWarning",
    "Reader",
    "Selection",
    "compiled",
    "dns_answers",
    "locate",
    "raw",
    "read",
    "schema",
    "stream",
    "undissected",
]
