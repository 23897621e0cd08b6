"""Impairments: what leaves a pod is delayed, lost, doubled, damaged, put out of order or slowed, for a while.

The kernel does it, by a queueing discipline at the root of one of the pod's interfaces: netem (tc-netem(8)), or, where
a rate alone is asked for, a token bucket (tc-tbf(8)), which every kernel has. It is held as any other change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from podtracer_nb.errors import InputError, PodtracerError, TargetError, ToolFailed
from podtracer_nb.tools.held import Held, checked_seconds, hold_session
from podtracer_nb.tools.job import Job
from podtracer_nb.tools.opening import open_session
from podtracer_nb.tools.tool import Change

__all__ = ["impair", "words"]

# A number of our own (below 8000:, which the kernel gives), so that no other discipline is taken for ours.
_HANDLE = "70d:"
_TIME = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)", re.ASCII)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)bit", re.ASCII | re.IGNORECASE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_WHOLE = 100.0
_FASTEST = 1e12
_LONGEST = 600.0  # seconds of delay: beyond it every protocol has given up
# Packets that netem keeps at the most; its own 1000 would lose some of a fast stream that is delayed by 50 ms.
_LIMIT = "100000"
# A bucket smaller than a packet would lose it. Jumbo frames have 9 KB, loopback's packets 64 KiB; ethernet(7), lo.
_SMALLEST_BUCKET = {"lo": 80_000}
_BUCKET = 16_000
_BUCKET_SECONDS = 0.004
_QUEUE = "400ms"  # how long a packet may wait for its turn
_ROOT = re.compile(r"^qdisc (\S+) (\S+) root(.*)$", re.MULTILINE)


def impair(
    pod: str | Iterable[str] | None = None,
    *,
    delay: str | None = None,
    jitter: str | None = None,
    loss: str | None = None,
    duplicate: str | None = None,
    corrupt: str | None = None,
    reorder: str | None = None,
    rate: str | None = None,
    interface: str = "eth0",
    for_: float | None = None,
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | os.PathLike[str] | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    via: str | None = None,
    image: str | None = None,
    tracer_namespace: str | None = None,
) -> Held:
    """Make a pod's link bad until the ``with`` block is left, `undo` is called, its time is over or this process ends.

    It concerns what leaves the pod (egress); for the other direction impair the other pod.

    Parameters
    ----------
    delay
        How much later each packet leaves: "50ms".
    jitter
        By how much the delay varies: "10ms"; packets may overtake each other then.
    loss, duplicate, corrupt
        How many packets are lost, sent twice, or get a bit turned over: "1%".
    reorder
        How many leave at once, before those that are delayed: "25%"; needs a delay.
    rate
        Bits a second at the most: "10mbit". Alone it needs no netem: what has to wait longer than 400 ms is lost.
    interface
        Whose packets.
    for_
        Seconds after which it ends by itself; None: when it is asked for.
    pod, selector, namespace, all_namespaces, container, pid, netns, context, kubeconfig
        Where, as for `run`. Several pods are all impaired.
    via, image, tracer_namespace
        As for `run`: by whom, for a pod of another node.

    Returns
    -------
    Held
        It is in force.

    Raises
    ------
    InputError
        A value that cannot be right; the interface has a queueing discipline at its root already, which would be lost.
    TargetError
        No such pod or interface.
    PrivilegeError
        CAP_NET_ADMIN is missing.
    ToolFailed
        The kernel lacks netem.

    Examples
    --------
    >>> import podtracer_nb
    >>> with podtracer_nb.impair("web", delay="50ms", loss="1%"):  # doctest: +SKIP
    ...     frame = podtracer_nb.run("ping", ["-c", "10", "web"], pod="api")
    """
    how = words(
        delay=delay, jitter=jitter, loss=loss, duplicate=duplicate, corrupt=corrupt, reorder=reorder, rate=rate,
        interface=interface,
    )  # fmt: skip
    seconds = checked_seconds(for_)
    place = ("dev", interface, "root", "handle", _HANDLE)
    undo = ("tc", "qdisc", "del", *place)

    def allowed(shown: str) -> tuple[str, ...]:
        _refuse_to_replace(shown, interface)
        return undo

    change = Change("makes a link bad", undo, before=("tc", "qdisc", "show", "dev", interface), undo_from=allowed)
    try:
        session = open_session(
            [("tc", ("qdisc", "add", *place, *how))],
            pod=pod,
            selector=selector,
            namespace=namespace,
            all_namespaces=all_namespaces,
            container=container,
            pid=pid,
            netns=netns,
            context=context,
            kubeconfig=kubeconfig,
            text=True,
            allow_change=True,
            via=via,
            image=image,
            tracer_namespace=tracer_namespace,
            hold=seconds,
            change=change,
        )
    except ToolFailed as error:
        raise _no_interface(error, interface) from None
    return hold_session(session, seconds, lambda job: _diagnose(job, interface))


def words(
    *,
    delay: str | None = None,
    jitter: str | None = None,
    loss: str | None = None,
    duplicate: str | None = None,
    corrupt: str | None = None,
    reorder: str | None = None,
    rate: str | None = None,
    interface: str = "eth0",
) -> tuple[str, ...]:
    """Return tc's words for an impairment: the queueing discipline and its parameters.

    Raises
    ------
    InputError
        A value that cannot be right.

    Examples
    --------
    >>> words(delay="50ms", loss="1%")
    ('netem', 'limit', '100000', 'delay', '50ms', 'loss', '1%')
    >>> words(rate="1mbit")
    ('tbf', 'rate', '1mbit', 'burst', '16000b', 'latency', '400ms')
    """
    # IFNAMSIZ is 16 with the final NUL; "/" and white space are refused by dev_valid_name (net/core/dev.c).
    if not isinstance(interface, str) or not re.fullmatch(r"[^\s/:-][^\s/:]{0,14}", interface):
        raise InputError(f"{interface!r} is not an interface name")
    times = {"delay": _time("delay", delay), "jitter": _time("jitter", jitter)}
    shares = [(name, _percent(name, value)) for name, value in
              (("loss", loss), ("duplicate", duplicate), ("corrupt", corrupt), ("reorder", reorder))]  # fmt: skip
    bits = _rate(rate)
    if jitter is not None and delay is None:
        raise InputError("jitter is how much a delay varies: give a delay, as delay=50ms jitter=10ms")
    if reorder is not None and delay is None:
        raise InputError("reorder lets packets overtake those that are delayed: give a delay, as delay=50ms")
    chosen = [word for name, value in shares if value is not None for word in (name, value)]
    if times["delay"] is None and not chosen:
        if rate is None:
            raise InputError("no impairment given: name a delay, loss, duplicate, corrupt, reorder or rate")
        bucket = max(_SMALLEST_BUCKET.get(interface, _BUCKET), int(bits / 8 * _BUCKET_SECONDS))
        return ("tbf", "rate", rate.lower(), "burst", f"{bucket}b", "latency", _QUEUE)
    delays = [word for word in (times["delay"], times["jitter"]) if word is not None]
    return (
        "netem", "limit", _LIMIT, *(["delay", *delays] if delays else []), *chosen,
        *(["rate", rate.lower()] if rate is not None else []),
    )  # fmt: skip


def _matched(name: str, value: object, form: re.Pattern[str], example: str) -> re.Match[str]:
    found = form.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InputError(f"{name}={value!r} cannot be read: write {example}")
    return found


def _time(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    number, unit = _matched(name, value, _TIME, "50ms, 200us or 1.5s").groups()
    if not 0 < float(number) * _SECONDS[unit] <= _LONGEST:
        raise InputError(f"{name}={value} has to be more than 0 and at most {_LONGEST:.0f}s")
    return value


def _percent(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not 0 < float(_matched(name, value, _PERCENT, "1% or 0.1%")[1]) <= _WHOLE:
        raise InputError(f"{name}={value} has to be more than 0% and at most 100%")
    return value


def _rate(value: str | None) -> float:
    """Return bits a second; 0 where no rate was given."""
    if value is None:
        return 0.0
    number, unit = _matched("rate", value, _RATE, "10mbit, 500kbit or 1gbit").groups()
    bits = float(number) * _BITS[unit.lower()]
    if not _BITS["k"] <= bits <= _FASTEST:
        raise InputError(f"rate={value} has to be at least 1kbit and at most 1000gbit")
    return bits


def _refuse_to_replace(shown: str, interface: str) -> None:
    """Refuse where the interface has a root discipline that somebody chose: ours would take its place.

    The kernel's own have the handle 0: and come back by themselves (qdisc_create_dflt in net/sched/sch_generic.c).
    """
    for kind, handle, rest in _ROOT.findall(shown):
        if handle == _HANDLE:
            raise InputError(
                f"{interface} is impaired already ({kind}{rest.rstrip()}): end that first, with its undo(), "
                f"or with podtracer run tc --allow-change -- qdisc del dev {interface} root"
            )
        if handle != "0:":
            raise InputError(
                f"{interface} has a queueing discipline at its root already, {kind} {handle}, which an impairment "
                "would replace: take it away first, or impair the pod at the other end"
            )


def _no_interface(error: ToolFailed, interface: str) -> PodtracerError:
    """Return a better error for tc's words about an interface that is not there."""
    if "Cannot find device" not in str(error):
        return error
    where = str(error).partition(" failed in ")[2].partition(":")[0]
    return TargetError(f"no interface {interface} in {where}: podtracer run ip -- addr shows which there are")


def _diagnose(job: Job, interface: str) -> PodtracerError | None:
    """Say in one line what tc means by its own words."""
    stderr = job.run.stderr
    label = job.target.label
    # The kernel's own words by extended acknowledgement, those of tc without, and of a tc that lacks the discipline.
    unknown = ("qdisc kind is unknown", "RTNETLINK answers: No such file or directory", "Unknown qdisc")
    if any(each in stderr for each in unknown) and "netem" in job.command.argv:
        return ToolFailed(
            f"this node's kernel lacks netem (sch_netem): {label} is not impaired; modprobe sch_netem on the node, or "
            "give a rate alone, which needs none"
        )
    if "NLM_F_REPLACE" in stderr or "Exclusivity flag" in stderr or "File exists" in stderr:
        return InputError(f"{label}: {interface} got another queueing discipline just now: try again")
    return None
