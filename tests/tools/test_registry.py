"""The registry of tools: what others bring, what a format makes of any program, and what goes wrong in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import podtracer_nb
from podtracer_nb import notebook
from podtracer_nb.errors import InputError, PackageMissing, ToolNotFound
from podtracer_nb.tools import registry
from tests.machine import needs
from tests.targets.namespaces import Holder, holder

BROUGHT = '''
"""A package of somebody else's, with a tool."""
import re
from podtracer_nb.tools.table import Column, Parsed, Table, Unreadable
from podtracer_nb.tools.tool import Change, Command, Tool, Variant

NUMBERS = Table("numbers", (Column("number", "Int64", "s", "one of them"),), key=("number",))
SUMS = Table("sums", (Column("sum", "Int64", "s", "all of them"),))

def prepare(arguments, options, unprivileged):
    return Command(("seq", *arguments), output="table", parse=parse)

def parse(text):
    if not re.fullmatch(r"(\\d+\\n)*", text.stdout):
        raise Unreadable("these are no numbers")
    rows = [{"number": line} for line in text.stdout.splitlines()]
    return Parsed(((NUMBERS, rows), (SUMS, [{"sum": sum(int(each["number"]) for each in rows)}])), {"count": len(rows)})

SEQ = Tool("seq", "coreutils", prepare, purpose="counts", variants=(Variant("", (NUMBERS, SUMS)),),
           change=lambda arguments: Change("counts too far") if arguments == ("99",) else None)
BOTH = (SEQ, Tool("podtracer-test-absent", "nobodys-package"))
'''


@pytest.fixture(scope="module")
def held() -> Iterator[Holder]:
    with holder("net") as made:
        yield made


Bring = Callable[..., Path]


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bring]:
    """Install a package as pip leaves it: modules and a dist-info, in a folder on the path."""

    def install(source: str = BROUGHT, entry: str = "seq = brought_tools:SEQ") -> Path:
        (tmp_path / "brought_tools.py").write_text(source, encoding="utf-8")
        info = tmp_path / "brought_tools-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-tools\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        # For `podtracer` as a process.
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        registry._brought.cache_clear()
        return tmp_path

    yield install
    monkeypatch.undo()
    sys.modules.pop("brought_tools", None)
    registry._brought.cache_clear()


def podtracer(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "podtracer_nb.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    made = InteractiveShell(ipython_dir=str(tmp_path), config=Config(HistoryManager={"enabled": False}))
    notebook.load(made)
    yield made
    notebook.unload(made)


class TestToolsOfOthers:
    @needs("netns", "iproute2")
    def test_an_entry_point_gives_a_tool_with_its_tables(self, held: Holder, bring: Bring) -> None:
        bring()
        frame = podtracer_nb.run("seq", ["4"], pid=held.pid)
        assert frame.number.tolist() == [1, 2, 3, 4]
        assert frame.dtypes.astype(str).to_dict() == {"number": "Int64"}
        described = frame.attrs["podtracer"]
        assert described["table"] == {"name": "numbers", "key": ["number"]}
        assert described["units"] == {"number": "s"}
        assert described["facts"] == {"count": 4}
        assert frame.podtrace.table("sums")["sum"].tolist() == [10]

    @needs("netns", "iproute2")
    def test_its_changes_are_refused_as_ours_are(self, held: Holder, bring: Bring) -> None:
        bring()
        with pytest.raises(InputError, match="counts too far"):
            podtracer_nb.run("seq", ["99"], pid=held.pid)
        assert len(podtracer_nb.run("seq", ["99"], pid=held.pid, allow_change=True)) == 99

    def test_one_entry_may_give_several(self, bring: Bring) -> None:
        bring(entry="all = brought_tools:BOTH")
        listed = podtracer_nb.list_tools().set_index("tool")
        assert listed.loc["seq", ["purpose", "available", "package", "gives"]].tolist() == [
            "counts", True, "coreutils", "numbers, sums",
        ]  # fmt: skip
        assert not listed.loc["podtracer-test-absent", "available"]

    def test_one_of_ours_can_be_replaced(self, bring: Bring) -> None:
        source = BROUGHT.replace('Tool("seq"', 'Tool("ss"')
        bring(source)
        assert registry.find("ss").purpose == "counts"

    def test_what_cannot_be_loaded_is_one_line(self, bring: Bring) -> None:
        bring("import nothing_of_this_name\n")
        with pytest.raises(PackageMissing, match="the tool seq of brought_tools:SEQ cannot be loaded"):
            registry.find("seq")

    def test_what_is_no_tool_is_one_line(self, bring: Bring) -> None:
        bring("SEQ = ('seq',)\n")
        with pytest.raises(InputError, match="gives no Tool but str"):
            registry.find("seq")

    def test_the_shell_lists_them(self, bring: Bring) -> None:
        bring()
        done = podtracer("tools")
        assert done.returncode == 0, done.stderr
        header, *lines = done.stdout.splitlines()
        assert header.split() == ["tool", "purpose", "available", "version", "package", "needs"]
        assert any(line.split()[:2] == ["seq", "counts"] for line in lines)
        assert any(line.split()[:1] == ["ss"] for line in lines)


class TestTheList:
    def test_it_has_a_row_a_tool(self) -> None:
        listed = podtracer_nb.list_tools()
        assert listed.columns.tolist() == [
            "tool", "purpose", "available", "version", "path", "package", "needs", "gives",
        ]  # fmt: skip
        assert listed.available.dtype == bool
        assert listed.tool.is_unique
        assert listed.tool.is_monotonic_increasing
        assert {"tcpdump", "ip", "ss", "nstat", "netstat", "arp", "route", "ifconfig", "lsof"} <= set(listed.tool)
        assert listed.purpose.str.len().gt(0).all()
        assert listed.path.notna().tolist() == listed.available.tolist()

    def test_the_magic_gives_the_same(self, shell: InteractiveShell) -> None:
        done = shell.run_cell("found = %podtrace tools", store_history=False)
        done.raise_error()
        pd.testing.assert_frame_equal(shell.user_ns["found"], podtracer_nb.list_tools())

    def test_every_table_describes_its_columns(self) -> None:
        for tool in registry.known():
            for variant in tool.variants:
                for table in variant.tables:
                    names = [column.name for column in table.columns]
                    assert len(names) == len(set(names)), (tool.name, table.name)
                    assert set(table.key) <= set(names), (tool.name, table.name)
                    assert all(column.meaning for column in table.columns), (tool.name, table.name)
                    # An empty frame has the types of a full one.
                    assert len(table.frame([])) == 0

    @needs("iproute2")
    def test_it_tells_the_version_that_is_here(self) -> None:
        listed = podtracer_nb.list_tools().set_index("tool")
        assert listed.loc["ss", "version"][0].isdigit()
        assert Path(listed.loc["ss", "path"]).name == "ss"


FORMATS = {
    "json": ('[{"a": 1, "b": "x"}, {"a": 2, "b": null}]', [[1, "x"], [2, None]]),
    "jsonl": ('{"a": 1, "b": "x"}\n\n{"a": 2}\n', [[1, "x"], [2, None]]),
    "csv": ('a,b\n1,"x, y"\n2,z\n', [["1", "x, y"], ["2", "z"]]),
    "tsv": ("a\tb\n1\tx y\n2\tz\n", [["1", "x y"], ["2", "z"]]),
    "kv": ("a=1\nb = x: y\n\na: 2\nb z\n", [["1", "x: y"], ["2", "z"]]),
}


@needs("netns", "iproute2")
class TestFormats:
    @pytest.mark.parametrize("form", FORMATS)
    def test_of_any_program_s_output(self, held: Holder, tmp_path: Path, form: str) -> None:
        text, rows = FORMATS[form]
        file = tmp_path / "text"
        file.write_text(text, encoding="utf-8")
        frame = podtracer_nb.run("cat", [str(file)], pid=held.pid, parse=form)
        assert frame.columns.tolist() == ["a", "b"]
        assert frame.astype(object).where(frame.notna(), None).to_numpy().tolist() == rows
        assert frame.attrs["podtracer"]["parse"] == form
        assert frame.attrs["podtracer"]["notes"] == []

    @pytest.mark.parametrize("form", FORMATS)
    def test_in_a_shell_the_table_is_printed(self, held: Holder, tmp_path: Path, form: str) -> None:
        file = tmp_path / "text"
        file.write_text(FORMATS[form][0], encoding="utf-8")
        done = podtracer("run", "cat", "--pid", str(held.pid), "--parse", form, "--", str(file))
        assert done.returncode == 0, done.stderr
        header, *lines = done.stdout.splitlines()
        assert header.split() == ["a", "b"]
        assert [line.split()[0] for line in lines] == ["1", "2"]

    def test_jc_s_parsers_by_name(self, held: Holder, tmp_path: Path) -> None:
        file = tmp_path / "hosts"
        file.write_text("127.0.0.1 localhost\n10.0.0.1 web web.shop\n", encoding="utf-8")
        frame = podtracer_nb.run("cat", [str(file)], pid=held.pid, parse="jc:hosts")
        assert frame.ip.tolist() == ["127.0.0.1", "10.0.0.1"]
        done = podtracer("run", "cat", "--pid", str(held.pid), "--parse", "jc:hosts", "--", str(file))
        assert done.stdout.splitlines()[0].split() == ["ip", "hostname"]

    def test_it_stands_in_place_of_what_we_know(self, held: Holder) -> None:
        frame = podtracer_nb.run("ip", ["-j", "link"], pid=held.pid, parse="json")
        assert "ifname" in frame.columns
        assert frame.attrs["podtracer"]["argv"] == ["ip", "-j", "link"]

    @pytest.mark.parametrize(("form", "why"), [("yaml", "none of json"), ("jc:nothing", "no parser 'nothing'")])
    def test_a_format_that_there_is_not_is_refused_first(self, held: Holder, form: str, why: str) -> None:
        with pytest.raises(InputError, match=why):
            podtracer_nb.run("echo", ["1"], pid=held.pid, parse=form)
        done = podtracer("run", "echo", "--pid", str(held.pid), "--parse", form, "--", "1")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)

    @pytest.mark.parametrize(("form", "text"), [("json", "no json"), ("kv", "x"), ("jc:ping", "no ping"), ("csv", "a")])
    def test_what_is_not_in_it_is_lines_with_a_note(self, held: Holder, form: str, text: str) -> None:
        frame = podtracer_nb.run("echo", [text], pid=held.pid, parse=form)
        assert frame.line.tolist() == [text]
        (note,) = frame.attrs["podtracer"]["notes"]
        assert note.startswith("echo's output is in no form that we know: ")
        done = podtracer("run", "echo", "--pid", str(held.pid), "--parse", form, "--", text)
        assert done.stdout == f"{text}\n"
        assert "in no form that we know" in done.stderr

    def test_nothing_is_an_empty_frame(self, held: Holder) -> None:
        for form in (*FORMATS, "jc:ping"):
            frame = podtracer_nb.run("true", pid=held.pid, parse=form)
            assert frame.shape == (0, 0)
            assert frame.attrs["podtracer"]["notes"] == []


@needs("netns", "iproute2")
class TestBadInput:
    def test_a_tool_that_is_missing_is_one_line(self, held: Holder) -> None:
        with pytest.raises(ToolNotFound, match="podtracer-test-absent is not installed") as caught:
            podtracer_nb.run("podtracer-test-absent", pid=held.pid)
        assert "\n" not in str(caught.value)
        done = podtracer("run", "podtracer-test-absent", "--pid", str(held.pid))
        assert done.returncode != 0
        assert done.stderr.count("\n") == 1

    def test_the_line_names_the_package_that_has_it(self, held: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("podtracer_nb.execution.search_path", lambda: "/nonexistent")
        with pytest.raises(ToolNotFound, match="apt-get install net-tools"):
            podtracer_nb.run("netstat", pid=held.pid)

    def test_what_was_written_before_a_failure_is_given_with_a_note(self, held: Holder) -> None:
        script = """echo '{"a": 1}'; echo 'it broke' >&2; exit 3"""
        frame = podtracer_nb.run("sh", ["-c", script], pid=held.pid, parse="jsonl")
        assert frame.a.tolist() == [1]
        described = frame.attrs["podtracer"]
        assert described["notes"] == ["sh ended with exit status 3: it broke"]
        assert described["exit_code"] == 3
        assert described["stderr"] == "it broke\n"
        done = podtracer("run", "sh", "--pid", str(held.pid), "--parse", "jsonl", "--", "-c", script)
        assert done.returncode == 3
        assert "it broke" in done.stderr

    def test_a_table_s_tool_that_is_killed_says_so(self, held: Holder) -> None:
        frame = podtracer_nb.run("sh", ["-c", "echo '{}'; kill -9 $$"], pid=held.pid, parse="jsonl")
        assert frame.attrs["podtracer"]["notes"] == ["sh was killed by signal 9"]

    def test_output_without_end_is_stopped_and_read(self, held: Holder) -> None:
        script = """while echo '{"a": 1}'; do :; done"""
        frame = podtracer_nb.run("sh", ["-c", script], pid=held.pid, parse="kv", max_bytes=100_000)
        assert frame.attrs["podtracer"]["reason"] == "bytes"
        assert len(frame) > 0

    def test_binary_output_is_no_table_and_loses_nothing(self, held: Holder, tmp_path: Path) -> None:
        file = tmp_path / "binary"
        data = bytes(range(256)) * 40
        file.write_bytes(data)
        for form in ("json", "jsonl", "kv", "jc:ping"):
            frame = podtracer_nb.run("cat", [str(file)], pid=held.pid, parse=form)
            assert "line" in frame, form
            assert "no form that we know" in frame.attrs["podtracer"]["notes"][0]
            assert Path(frame.attrs["podtracer"]["recordings"][0]).read_bytes() == data

    def test_names_that_are_no_utf_8_are_shown_as_such(self, held: Holder) -> None:
        frame = podtracer_nb.run("printf", [r"name=\377\n"], pid=held.pid, parse="kv")
        assert frame["name"].tolist() == ["\N{REPLACEMENT CHARACTER}"]

    def test_the_locale_is_always_c(self, held: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LANG", "de_DE.UTF-8")
        monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
        frame = podtracer_nb.run("env", pid=held.pid, parse="kv")
        assert frame.LC_ALL.tolist() == ["C"]

    @needs("iproute2")
    def test_the_terminal_s_width_changes_nothing(self, held: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "10")
        frame = podtracer_nb.run("ss", ["-a", "-f", "netlink"], pid=held.pid)
        assert {"rtnl"} <= set(frame.local_address)

    @pytest.mark.parametrize("name", ["", "-x", "a\0b"])
    def test_what_is_no_name_of_a_tool(self, name: str) -> None:
        with pytest.raises(InputError):
            registry.find(name)

    def test_a_tool_that_we_know_is_named_without_a_path(self) -> None:
        with pytest.raises(InputError, match="name the tool as ss"):
            registry.find("/usr/bin/ss")

    def test_what_we_do_not_know_is_lines(self, held: Holder) -> None:
        frame = podtracer_nb.run(os.fspath(Path("/bin/echo")), ["one two"], pid=held.pid)
        assert frame.line.tolist() == ["one two"]

    @pytest.mark.parametrize("tool", ["ss", "netstat", "sysctl", "nstat", "lsof", "arp", "route", "ifconfig"])
    def test_a_capture_s_options_are_for_captures(self, held: Holder, tool: str) -> None:
        with pytest.raises(InputError, match="--count is for tcpdump"):
            podtracer_nb.run(tool, pid=held.pid, count=5)


def test_text_gives_the_tool_s_own_lines_and_words() -> None:
    for tool in ("ss", "netstat", "nstat", "lsof", "arp", "route", "ifconfig", "sysctl"):
        from podtracer_nb.tools.tool import Options

        command = registry.find(tool).command(("-a",), Options(text=True), False)
        assert (command.argv, command.output) == ((tool, "-a"), "lines")
