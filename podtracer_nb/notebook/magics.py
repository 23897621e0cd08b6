"""`%podtrace` and `%%podtrace`: a thin face on `podtracer_nb.run`, with a banner and a line of progress."""

from __future__ import annotations

import re
import shlex
import sys
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from podtracer_nb import options
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.notebook import display, expansion
from podtracer_nb.notebook.progress import ProgressLine

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from podtracer_nb.tools import LiveCapture

__all__ = ["PodtraceMagics", "RunInterrupted"]


class RunInterrupted(KeyboardInterrupt):
    """The user interrupted a run that would have ended by itself: what it had is kept, and the cells below stop."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of a traceback."""
        return [f"KeyboardInterrupt: {self}"]


@dataclass(frozen=True)
class _Line:
    """One command of a cell; its number is the editor's, in which the line of the magic is the first."""

    number: int
    text: str
    tool: str
    arguments: tuple[str, ...]


@magics_class
class PodtraceMagics(Magics):
    """The magic, and the defaults that `%podtrace use` set.

    Parameters
    ----------
    shell
        The IPython shell that it is registered with.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell = shell
        self.defaults: dict[str, object] = {}

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def podtrace(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run a network tool inside a pod's namespaces; its result is a DataFrame.

        ::

            %podtrace tcpdump --pod web -n demo -- -i eth0 -c 100      packets
            %podtrace tcpdump -a "-i eth0 -c 100" --pod web -n demo    the same
            %podtrace ss --pod web -n demo -- -tn                      lines
            %podtrace iperf3 --from client --to web -n demo -- -t 5    throughput from pod to pod
            df = %podtrace tcpdump --pod web -- -c 100                 as a value; or: -o df
            %podtrace pods                                             the pods that can be named
            %podtrace ip --pod web --allow-change --for 1m -- addr add 192.0.2.7/24 dev eth0     undone by itself
            %podtrace impair --pod web --delay 50ms --loss 1%          a bad link, until it is undone
            %podtrace changes                                          what is held now; --undo
            %podtrace doctor                                           what is missing here, and what mends it
            %podtrace read capture.pcap                                a capture file
            %podtrace tcpdump --pod web --bg -o live                   in the background: live.df, live.stop()
            %podtrace captures                                         those that run
            %podtrace use -n demo --pod web                            defaults of the lines below; --clear
            %podtrace --help, %podtrace tcpdump --help                 every option

            %podtrace ss --pod web --every 200ms -t 30s -- -ti         again and again: one table, with rates

            %%podtrace --pod web -n demo        each line of the cell a command, all at once; a dict of frames
            tcpdump -i eth0
            ping -c 3 api

            %%podtrace --pod web -n demo --shell       the cell as one shell script inside the target
            for i in 1 2 3; do ping -c 1 api; done

        What stands after ``--`` belongs to the tool. ``{name}`` is replaced by the notebook's variable, in one word
        however many spaces it holds; ``{{name}}`` stands for the braces. A shell script is left as it is. A line that
        ends with ``;`` shows no value. Interrupting a run ends it and keeps what it captured.
        """
        names: Mapping[str, Any] = ChainMap(dict(local_ns or {}), self._shell.user_ns)
        line, silent = _without_semicolon(line)
        words = expansion.split(line, names)
        # A `use` line must not inherit what it is about to change.
        inherited = {} if words[:1] == ["use"] else self.defaults
        request = options.parse(words if words or cell is None else ["run"], magic=True, defaults=inherited)
        value = self._carry_out(request) if cell is None else self._carry_out_cell(request, cell, names)
        return None if silent else value

    def _carry_out(self, request: options.Request) -> Any:
        import podtracer_nb  # loads what it hands on at the first use

        match request:
            case options.HelpRequest(text=text):
                print(text)
            case options.VersionRequest():
                print(_version())
            case options.UseRequest():
                self._use(request)
            case options.CollectRequest():
                raise InputError("collect runs until it is stopped: start it in a shell, podtracer collect")
            case options.DemoRequest(action=action):
                from podtracer_nb import demo  # few sessions need it

                print({"up": demo.up, "down": demo.down, "status": demo.status}[action]())
            case options.PodsRequest():
                pods = podtracer_nb.pods(**request.keywords())
                return self._hand_over(pods, request.out)
            case options.TracersRequest():
                if request.delete:
                    podtracer_nb.delete_tracers()
                return self._hand_over(podtracer_nb.tracers(), request.out)
            case options.ToolsRequest():
                return self._hand_over(podtracer_nb.list_tools(), request.out)
            case options.CapturesRequest():
                return self._hand_over(podtracer_nb.captures(), request.out)
            case options.DoctorRequest():
                return self._hand_over(podtracer_nb.doctor(**request.keywords()), request.out)
            case options.ReadRequest():
                if request.to is not None:
                    written = podtracer_nb.to_parquet(
                        request.path, request.to, overwrite=request.overwrite, **request.keywords()
                    )
                    self._show(display.of_writing(written))
                    return None
                frame = podtracer_nb.read_pcap(request.path, **request.keywords())
                self._show(display.of_reading(frame, request.path))
                return self._hand_over(frame, request.out)
            case options.ImpairRequest():
                return self._held(podtracer_nb.impair(**request.keywords()), request.out)
            case options.ChangesRequest():
                return self._changes(request)
            case options.RunRequest(job=True):
                return self._unattended(request)
            case options.RunRequest():
                return self._run(request) if request.for_ is None else self._hold(request)
        return None

    def _changes(self, request: options.ChangesRequest) -> Any:
        from podtracer_nb import tools  # few sessions need it

        if request.undo:
            number = tools.undo_all()
            self._show(display.Banner((display.Part(f"undone: {number} change{'' if number == 1 else 's'}"),)))
            return None
        return self._hand_over(tools.changes(), request.out)

    def _hold(self, request: options.RunRequest) -> Any:
        """Make a change and return what holds it; it is taken back in its time, while the notebook goes on."""
        import podtracer_nb  # loads what it hands on at the first use

        if request.tool is None:
            raise InputError("no tool named; write %podtrace TOOL --allow-change --for 30s --pod POD -- ARGS")
        held = podtracer_nb.hold(request.tool, request.arguments, **request.hold_keywords())
        return self._held(held, request.out)

    def _unattended(self, request: options.RunRequest) -> Any:
        """Make Jobs and return a table of them; or print them, and make none."""
        from podtracer_nb.tools import unattended  # few sessions need it

        if request.tool is None:
            raise InputError("no tool named; write %podtrace TOOL --job --pod POD -- ARGS")
        made = unattended.made(request.tool, options.unattended_words(request), **request.unattended_keywords())
        if request.dry_run:
            print(unattended.manifests(made, request.out or "yaml"))
            return None
        print("\n".join(line for each in made for line in each.lines()))
        return self._hand_over(unattended.table(made), request.out)

    def _held(self, held: Any, variable: str | None) -> Any:
        if held.notices:
            self._show(display.Banner((display.Part(" · ".join(held.notices)),)))
        return self._hand_over(held, variable)

    def _use(self, request: options.UseRequest) -> None:
        self.defaults = ({} if request.clear else self.defaults) | dict(request.values)
        shown = display.defaults_line(self.defaults)
        self._show(display.Banner((display.Part(f"defaults: {shown}" if shown else "no defaults"),)))

    def _run(self, request: options.RunRequest) -> Any:
        if request.tool is None:
            raise InputError("no tool named; write %podtrace TOOL --pod POD -- ARGS, or see %podtrace --help")
        if request.shell:
            raise InputError("--shell runs a cell's body: write it below %%podtrace --shell")
        if request.destination is not None:
            raise InputError("-d sends what a shell's podtracer captures; in a notebook the frame is the result")
        if request.bg:
            return self._hand_over(_started(request), request.out)
        _refuse_raw_output(request)
        frame = self._one(request, request.tool, request.arguments)
        if request.stdout:
            _print_lines(frame)
        value = self._hand_over(frame, request.out)
        self._stop_the_cells_below(request, cut_short=_interrupted(frame) and _bounded(request, request.arguments))
        return None if request.stdout else value

    def _carry_out_cell(
        self, request: options.Request, cell: str, names: Mapping[str, Any]
    ) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
        if isinstance(request, options.HelpRequest):
            print(request.text)
            return None
        if not isinstance(request, options.RunRequest):
            raise InputError("%%podtrace takes the options of a run; for other commands write a line: %podtrace pods")
        if request.job:
            raise InputError("--job makes a Job of one line: write %podtrace TOOL --job --pod POD -- ARGS")
        if request.for_ is not None:
            raise InputError(
                "--for holds one change: write it as a line, %podtrace TOOL --allow-change --for 30s -- ARGS"
            )
        if request.bg:
            raise InputError("--bg is for a line, which goes on while the cells below run: %podtrace tcpdump --bg")
        if request.tool is not None or request.arguments:
            given = shlex.join([*([request.tool] if request.tool else []), *request.arguments])
            raise InputError(f"the commands of %%podtrace stand in the lines below it: move {given!r} there")
        return self._script(request, cell) if request.shell else self._lines(request, cell, names)

    def _script(self, request: options.RunRequest, body: str) -> pd.DataFrame | None:
        frame = self._one(request, "sh", ("-c", body))
        if request.stdout:
            _print_lines(frame)
        value: pd.DataFrame | None = self._hand_over(frame, request.out)
        self._stop_the_cells_below(request, cut_short=_interrupted(frame) and _bounded(request, request.arguments))
        return None if request.stdout else value

    def _lines(
        self, request: options.RunRequest, cell: str, names: Mapping[str, Any]
    ) -> dict[str, pd.DataFrame] | None:
        # All lines are read before the first is run: a slip in the last must not cost the work of the others.
        lines = []
        for number, text in enumerate(map(str.strip, cell.splitlines()), 2):
            if not text or text.startswith("#"):
                continue
            try:
                lines.append(_command(number, text, names))
                _refuse_raw_output(replace(request, tool=lines[-1].tool))
            except InputError as error:
                _tell_line(error, number, text)
                raise
        if not lines:
            raise InputError("the cell names no command: write one a line below %%podtrace")
        frames = self._together(request, lines)
        if request.stdout:
            for frame in frames.values():
                _print_lines(frame)
        cut_short = any(_interrupted(frame) for frame in frames.values())
        value: dict[str, pd.DataFrame] | None = self._hand_over(frames, request.out)
        ends = any(_bounded(request, each.arguments) for each in lines)
        self._stop_the_cells_below(request, cut_short=cut_short and ends)
        return None if request.stdout else value

    def _together(self, request: options.RunRequest, lines: list[_Line]) -> dict[str, pd.DataFrame]:
        """Run all lines at the same time; where one fails, the results of the others are kept, and then it is told."""
        import podtracer_nb  # loads what it hands on at the first use

        bounded = all(_bounded(request, each.arguments) for each in lines)
        what = lines[0].tool if len(lines) == 1 else f"{len(lines)} commands"
        progress = ProgressLine(self._shell, what, bounded=bounded)
        frames: dict[str, pd.DataFrame] = {}
        banners: list[display.Banner] = []
        failures: list[tuple[_Line, PodtracerError]] = []
        try:
            results = podtracer_nb.run_together(
                [(each.tool, each.arguments) for each in lines], **request.keywords(), progress=progress
            )
            for each, result in zip(lines, results.values(), strict=True):
                if isinstance(result, PodtracerError):
                    failures.append((each, result))
                    continue
                frames[_unused(each.text, frames)] = result
                banners.append(display.of_run(result, self.defaults, each.text))
        except PodtracerError as error:  # nothing was started
            if error.command is None:
                raise
            line = lines[error.command]
            _tell_line(error, line.number, line.text)
            raise
        except KeyboardInterrupt:
            raise RunInterrupted("no table was made; what the tools had written stays in their recordings") from None
        finally:
            progress.close(banners[0] if banners else None)
        for banner in banners[1:]:
            self._show(banner)
        if failures:
            self._hand_over(frames, request.out)
            line, failure = failures[0]
            _tell_line(failure, line.number, line.text)
            raise failure
        return frames

    def _one(self, request: options.RunRequest, tool: str, arguments: tuple[str, ...]) -> pd.DataFrame:
        """Run one tool, with its progress and its banner."""
        import podtracer_nb  # loads what it hands on at the first use

        progress = ProgressLine(self._shell, tool, bounded=_bounded(request, arguments))
        banner = None
        try:
            frame: pd.DataFrame
            if request.from_pod is not None:
                frame = podtracer_nb.iperf3(arguments, **request.pair_keywords(), progress=progress)
            else:
                frame = podtracer_nb.run(tool, arguments, **request.keywords(), progress=progress)
            banner = display.of_run(frame, self.defaults)
        except KeyboardInterrupt:
            # `run` answers the first interrupt with what it has: this one came before the start, or was the second.
            raise RunInterrupted("no table was made; what the tool had written stays in its recording") from None
        finally:
            progress.close(banner)
        return frame

    def _hand_over(self, value: Any, variable: str | None) -> Any:
        """Put a value into the variable of `-o`, or return it as the cell's."""
        if variable is None:
            return value
        self._shell.push({variable: value})  # type: ignore[no-untyped-call]  # IPython's
        return None

    def _stop_the_cells_below(self, request: options.RunRequest, *, cut_short: bool) -> None:
        """Raise where a bounded run was cut short and its result is safe in a variable: Run All goes no further.

        Without `-o` the result is the cell's value, which an exception would throw away; and for a run without an end
        of its own an interrupt is how it ends.
        """
        if cut_short and request.out is not None:
            raise RunInterrupted(f"the run was cut short; what it had is in {request.out}")

    def _show(self, banner: display.Banner) -> None:
        ProgressLine(self._shell, "", bounded=True).close(banner)


def _without_semicolon(line: str) -> tuple[str, bool]:
    """Take off a `;` that ends the line, as IPython's own magics do; one with a backslash before it is the tool's."""
    text = line.rstrip()
    if text.endswith(";") and not text.endswith("\\;"):
        return text[:-1], True
    return line, False


def _tell_line(error: PodtracerError, number: int, text: str) -> None:
    """Have an error say in which line of the cell it is."""
    error.args = (f"{error} (line {number} of the cell: {text})",)


def _command(number: int, text: str, names: Mapping[str, Any]) -> _Line:
    """Read one line of a cell: all of its words are the tool's."""
    tool, *arguments = expansion.split(f"-- {text}", names)[1:]
    if arguments[:1] == ["--"]:  # a line that was copied from behind %podtrace
        del arguments[0]
    if tool.startswith("-"):
        raise InputError(f"{text!r} begins with an option; options of podtracer stand in the line of %%podtrace")
    return _Line(number, text, tool, tuple(arguments))


def _started(request: options.RunRequest) -> LiveCapture:
    """Start a capture in the background; of tcpdump's words, those that name and rotate files are ours."""
    import podtracer_nb  # loads what it hands on at the first use
    from podtracer_nb.tools.known.tcpdump import rotating

    if PurePath(request.tool or "").name != "tcpdump":
        raise InputError(f"--bg captures packets, and {request.tool} does not: leave --bg out")
    words, ours = rotating(request.arguments)
    given = request.live_keywords()
    if given["file"] is not None and "file" in ours:
        raise InputError("the file is given twice, by -f and by tcpdump's -w: give it once")
    return podtracer_nb.capture(**{**given, **ours}, args=words)


def _bounded(request: options.RunRequest, arguments: tuple[str, ...]) -> bool:
    """Tell whether the run was given an end: a timer, a size, a count (ours or the tool's own `-c`)."""
    ours = (request.timer, request.max_bytes, request.max_total, request.count, request.count_total)
    if any(limit is not None for limit in ours):
        return True
    return any(re.fullmatch(r"-c\d*|--count(=\d+)?", word) for word in arguments)


def _interrupted(frame: pd.DataFrame) -> bool:
    return bool(frame.attrs.get("podtracer", {}).get("interrupted"))


def _unused(text: str, frames: Mapping[str, object]) -> str:
    """Return a key for a line that stands in the cell more than once: its second result is `LINE #2`."""
    key, number = text, 1
    while key in frames:
        number += 1
        key = f"{text} #{number}"
    return key


def _refuse_raw_output(request: options.RunRequest) -> None:
    if request.stdout and request.tool and PurePath(request.tool).name == "tcpdump" and not request.text:
        raise InputError("-s would write a capture's bytes into the notebook; leave it out, or add --text for lines")


def _print_lines(frame: pd.DataFrame) -> None:
    for stream, line in zip(frame["stream"], frame["line"], strict=True):
        print(line, file=sys.stderr if stream == "stderr" else sys.stdout)


def _version() -> str:
    from importlib.metadata import version  # slow to import, rarely needed

    from podtracer_nb import packets  # rarely needed

    build = "compiled" if packets.compiled else "interpreted: slow; install a C compiler and podtracer-nb again"
    return f"podtracer {version('podtracer-nb')} (dissector {build})"
