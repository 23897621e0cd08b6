"""Any tool that we do not know: its output lines, with the time at which each arrived and the stream it came from."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from podtracer_nb.errors import InputError
from podtracer_nb.tools.tool import Command, Options, Tool

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.execution import Output

__all__ = ["COLUMNS", "Lines", "any_tool"]

COLUMNS = ("time", "stream", "line")

# Debian's packages of the tools that people run in pods, for the line that says what to install.
_PACKAGES = {
    "ip": "iproute2", "ss": "iproute2", "tc": "iproute2", "bridge": "iproute2", "nstat": "iproute2",
    "ping": "iputils-ping", "tracepath": "iputils-tracepath", "dig": "bind9-dnsutils", "nslookup": "bind9-dnsutils",
    "host": "bind9-host", "nft": "nftables", "nc": "netcat-openbsd", "netstat": "net-tools", "arp": "net-tools",
    "route": "net-tools", "ifconfig": "net-tools", "ps": "procps", "sysctl": "procps", "mtr": "mtr-tiny",
}  # fmt: skip


def any_tool(name: str) -> Tool:
    """Return the tool `name`, of which we know nothing but its name."""

    def prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
        if options.given():
            words = ", ".join(f"--{each}" for each in options.given())
            raise InputError(f"{words} is for tcpdump; {name} takes its own options after --")
        return Command((name, *arguments))

    return Tool(name, _PACKAGES.get(name, ""), prepare)


class Lines:
    r"""Collects output into lines.

    A line carries the time at which its end arrived; bytes that are no UTF-8 become U+FFFD.

    Examples
    --------
    >>> from podtracer_nb.execution import Output
    >>> lines = Lines()
    >>> lines.add(Output(0, "stdout", b"one\ntwo"))
    >>> lines.frame().line.tolist()
    ['one', 'two']
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._streams: list[str] = []
        self._lines: list[str] = []
        self._rests: dict[str, tuple[str, int]] = {}
        self._decoders = {
            stream: codecs.getincrementaldecoder("utf-8")(errors="replace") for stream in ("stdout", "stderr")
        }

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, output: Output) -> None:
        """Take what one read of one stream brought."""
        text = self._rests.pop(output.stream, ("", 0))[0] + self._decoders[output.stream].decode(output.data)
        *whole, rest = text.split("\n")
        for line in whole:
            self._append(output.time_ns, output.stream, line)
        if rest:
            self._rests[output.stream] = (rest, output.time_ns)

    def _append(self, time_ns: int, stream: str, line: str) -> None:
        self._times.append(time_ns)
        self._streams.append(stream)
        self._lines.append(line.removesuffix("\r"))

    def frame(self) -> pd.DataFrame:
        """Return the lines so far: `time` (datetime64[ns, UTC]), `stream` (category), `line` (str)."""
        import pandas as pd

        for stream, (rest, time_ns) in self._rests.items():
            self._append(time_ns, stream, rest)
        self._rests.clear()
        return pd.DataFrame(
            {
                "time": pd.to_datetime(self._times, utc=True, unit="ns").astype("datetime64[ns, UTC]"),
                "stream": pd.Categorical(self._streams, categories=["stdout", "stderr"]),
                "line": pd.Series(self._lines, dtype="str"),
            }
        )
