"""iperf3 between two pods: its server in one for as long as its client runs in the other."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from podtracer_nb.errors import InputError, TargetError, ToolFailed
from podtracer_nb.tools.api import gather
from podtracer_nb.tools.job import describe, last_line
from podtracer_nb.tools.known import iperf3 as known
from podtracer_nb.tools.opening import open_session
from podtracer_nb.tools.progress import Progress
from podtracer_nb.tools.session import Session

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["iperf3", "open_pair"]

# Below what the kernel gives to outgoing connections (net.ipv4.ip_local_port_range), above what most servers use.
_PORTS = range(20_000, 32_768)
_TRIES = 5  # ports to try before giving up: each is taken only where something listens on it by chance
_LISTENS = "Server listening on"  # iperf_server_api.c, iperf_server_listen(): printed when listen(2) has succeeded


def iperf3(
    args: Sequence[str] = (),
    *,
    from_: str,
    to: str,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    timer: float | None = None,
    max_bytes: int | None = None,
    file: str | os.PathLike[str] | None = None,
    text: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Measure the throughput from one pod to another.

    iperf3's server is started in `to`, on a port of its own, and ended when the client in `from_` has ended, however
    that was.

    Parameters
    ----------
    args
        The client's words: `-t 5`, `-u -b 100M`, `-R` (from `to` to `from_`), `-6`, `-p 5201` for a port of your own.
    from_, to
        The two pods, each as `podtracer_nb.run` takes one; several behind a name are refused.
    namespace, context, kubeconfig
        Where both are.
    timer, max_bytes, file, text, progress
        As for `podtracer_nb.run`; of the client.

    Returns
    -------
    pandas.DataFrame
        A row an interval and stream: `time`, `stream`, `sender`, `start`, `end` (s), `bytes`, `bits_per_second`,
        `retransmits`, `rtt` (µs), `snd_cwnd` (bytes), for UDP `jitter_ms`, `lost_packets`, …; the sums are
        `df.podtrace.table("summary")`. `attrs["podtracer"]["server"]` says where the server was.

    Raises
    ------
    InputError, TargetError, ClusterError, PrivilegeError, ToolError
        As `podtracer_nb.run`; also where the server does not start.

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.iperf3(["-t", "2"], from_="client", to="web", namespace="demo")  # doctest: +SKIP
    """
    from podtracer_nb.tools import frames

    with open_pair(
        args,
        from_=from_,
        to=to,
        namespace=namespace,
        context=context,
        kubeconfig=kubeconfig,
        timer=timer,
        max_bytes=max_bytes,
        file=file,
        text=text,
    ) as (session, server):
        results = session.each(frames.read_job, progress)
    frame = gather(session.jobs, results)
    frame.attrs["podtracer"]["server"] = server
    return frame


@contextlib.contextmanager
def open_pair(
    args: Sequence[str],
    *,
    from_: str,
    to: str,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    **client: Any,
) -> Iterator[tuple[Session[Any], dict[str, Any]]]:
    """Start the server in `to` and, when it listens, the client in `from_`; give the client's session and the server.

    Leaving the block ends both.
    """
    if isinstance(args, str) or not all(isinstance(word, str) for word in args):
        raise InputError("args is a list of words: ['-t', '5'], not one string, and no numbers")
    given = known.given(args)
    if set(given) & {"-c", "-s", "-D", "-1", "--client", "--server"}:
        raise InputError("iperf3 between two pods is given -c and -s by us: leave them out")
    port = next((value for name, value in given.items() if name in ("-p", "--port")), None)
    place: dict[str, Any] = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    words = [word for word in args if word != "--"]
    with contextlib.ExitStack() as opened:
        server, listens = _listening(opened, to, place, port)
        address = _address(server, six=bool(set(given) & {"-6"}))
        if port is None:
            words += ["-p", listens]
        session = open_session([("iperf3", ["-c", address, *words])], pod=from_, **place, **client)
        opened.enter_context(session)
        if len(session.jobs) > 1:
            raise InputError(f"{from_!r} is {len(session.jobs)} pods: name one of them as --from")
        job = server.jobs[0]
        yield session, {
            "target": describe(job.target), "address": address, "port": int(listens), "recording": str(job.recording),
        }  # fmt: skip


def _listening(
    opened: contextlib.ExitStack, to: str, place: dict[str, Any], port: str | None
) -> tuple[Session[Any], str]:
    """Start a server and return when it listens; on another port where one is taken."""
    said = ""
    for _ in range(1 if port else _TRIES):
        tried = port or str(_PORTS[secrets.randbelow(len(_PORTS))])
        # Its own words on standard output, at once: they tell when it listens.
        server = open_session([("iperf3", ["-s", "-1", "--forceflush", "-p", tried])], pod=to, text=True, **place)
        with contextlib.ExitStack() as this:
            this.enter_context(server)
            if len(server.jobs) > 1:
                raise InputError(f"{to!r} is {len(server.jobs)} pods: name one of them as --to")
            said = ""
            for output in server.jobs[0].run.events():
                said += output.data.decode("utf-8", errors="replace")
                if _LISTENS in said:
                    opened.push(this.pop_all())
                    return server, tried
        if "in use" not in said:
            break
    raise ToolFailed(f"iperf3's server did not start in {to}: {last_line(_without_farewell(said))}")


def _without_farewell(said: str) -> str:
    return "\n".join(line for line in said.splitlines() if line.strip() and line.strip() != "iperf3: exiting")


def _address(server: Session[Any], *, six: bool) -> str:
    """Return the address of the server's pod that the client is to use: the IPv4 one, unless it says otherwise."""
    target = server.jobs[0].target
    ours = [each for each in target.ip if (":" in each) == six] or ([] if six else list(target.ip))
    if not ours:
        raise TargetError(f"{target.label} has no {'IPv6 ' if six else ''}address that is known: name another pod")
    return ours[0]
