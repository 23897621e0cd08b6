"""`%podtrace` as a user types it: in a real kernel, against real pods."""

from __future__ import annotations

import re

import pytest

from tests.machine import needs

pytestmark = [needs("netns", "iproute2", "dnsmasq", "tcpdump", "ping"), pytest.mark.usefixtures("demo_pods")]

SOME = r"tcpdump · [\d.]+ s · [1-9]\d* packets? ·"
"""The line of progress of a capture that has something already."""


class TestALine:
    def test_a_capture_is_the_cells_value_with_one_banner_above(self, kernel):
        cell = kernel.run("%podtrace tcpdump --pod web -n demo -- -i eth0 -c 5")
        assert cell.status == "ok", cell.error
        assert [each["kind"] for each in cell.outputs] == ["display_data", "execute_result"]
        assert re.match(r"demo/web on demo-node · 5 packets · \d.* · [\d.]+ s · ", cell.banner)
        assert "dropped" not in cell.banner
        assert "<table" in cell.outputs[1]["data"]["text/html"], "pandas' own HTML, untouched"

    def test_the_original_form_means_the_same(self, kernel):
        cell = kernel.run('df = %podtrace run tcpdump -a "-i eth0 -c 4" --pod web -n demo')
        assert cell.texts("execute_result") == []
        assert kernel.value("len(df), type(df).__name__") == "(4, 'DataFrame')"

    def test_out_puts_the_frame_into_a_variable_and_has_no_value(self, kernel):
        cell = kernel.run("%podtrace tcpdump --pod web -n demo -o taken -- -i eth0 -c 3")
        assert cell.texts("execute_result") == []
        assert kernel.value("len(taken)") == "3"

    def test_a_semicolon_keeps_the_value_from_being_shown(self, kernel):
        assert kernel.run("%podtrace pods -n demo;").outputs == []

    def test_a_file_named_with_w_is_said_to_be_on_this_machine(self, kernel, tmp_path):
        path = tmp_path / "kept.pcap"
        cell = kernel.run(f"%podtrace tcpdump --pod web -n demo -- -i eth0 -c 2 -w {path}")
        assert "is on the machine that runs tcpdump, not in the target" in cell.banner
        assert path.stat().st_size > 24
        read = kernel.run(f"again = %podtrace read {path}")
        assert read.banner.startswith(f"{path} · 2 packets")
        assert kernel.value("len(again)") == "2"

    def test_another_tool_gives_its_lines(self, kernel):
        cell = kernel.run("df = %podtrace cat --pod web -n demo -- /proc/net/fib_trie")
        assert re.search(r"· \d+ lines ·", cell.banner), cell.outputs
        assert "10.88." in kernel.value("df.line.str.cat()")

    def test_a_tool_that_is_known_gives_its_table(self, kernel):
        cell = kernel.run("df = %podtrace ip --pod web -n demo -- -4 addr show eth0")
        assert re.search(r"· 1 row ·", cell.banner), cell.outputs
        assert kernel.value("df.address[0]").startswith("'10.88.")

    def test_a_tool_is_sampled(self, kernel):
        kernel.run("df = %podtrace ip --pod web -n demo --every 20ms --count 3 -- -4 addr show eth0")
        assert kernel.value("df.sample_time.nunique(), df.address.nunique()") == "(3, 1)"

    def test_text_gives_what_tcpdump_prints(self, kernel):
        kernel.run("df = %podtrace tcpdump --text --pod web -n demo -- -i eth0 -n -c 2")
        assert kernel.value("list(df.columns)") == "['time', 'stream', 'line']"

    def test_stdout_prints_the_lines_and_has_no_value(self, kernel):
        cell = kernel.run("%podtrace cat -s --pod web -n demo -- /proc/net/dev")
        assert "eth0" in cell.printed
        assert cell.texts("execute_result") == []

    def test_variables_stand_for_their_values_and_json_is_left_alone(self, kernel):
        kernel.run("pod = 'web'; words = 'a  b'")
        kernel.run("""df = %podtrace echo --pod {pod} -n demo -- {words} '{"a": {"b": 1}}' '{{pod}}'""")
        assert kernel.value("df.line[0]") == repr('a  b {"a": {"b": 1}} {pod}')

    def test_a_variable_of_the_function_around_counts(self, kernel):
        kernel.run("def inside():\n    secret = 'local'\n    return get_ipython().run_line_magic('podtrace', '"
                   "echo --pod web -n demo -- {secret}')")  # fmt: skip
        assert kernel.run("got = inside()").status == "ok"
        assert kernel.value("got.line[0]") == "'local'"

    def test_pods_are_a_frame(self, kernel):
        kernel.run("df = %podtrace pods -n demo")
        assert kernel.value("sorted(df.pod)") == "['api', 'client', 'dns', 'web']"

    def test_sticky_defaults_serve_later_lines_and_are_told(self, defaults):
        assert defaults.run("%podtrace use -n demo --pod web").banner == "defaults: -n demo --pod web"
        cell = defaults.run("%podtrace tcpdump -- -i eth0 -c 1")
        assert cell.banner.startswith("demo/web ")
        assert cell.banner.endswith("defaults: -n demo --pod web")
        assert defaults.run("%podtrace use -t 5s").banner == "defaults: -n demo --pod web -t 5s"
        assert defaults.run("%podtrace use").banner == "defaults: -n demo --pod web -t 5s"
        assert defaults.run("%podtrace use --clear").banner == "no defaults"

    def test_help_is_printed(self, kernel):
        assert "%podtrace tcpdump" in kernel.run("%podtrace --help").printed
        assert "--namespace" in kernel.run("%podtrace tcpdump --help").printed

    def test_version_tells_which_dissector_is_in_use(self, kernel):
        assert re.search(
            r"podtracer [\d.]+ \(dissector (compiled|interpreted)", kernel.run("%podtrace version").printed
        )


class TestACell:
    def test_each_line_is_a_command_and_its_frame_is_found_by_it(self, kernel):
        kernel.run("pod = 'web'")
        body = '# addresses\nip -o addr show lo\n\nsh -c \'echo "$0" "{pod}"\' x\n'
        cell = kernel.run(f"%%podtrace --pod web -n demo -o frames\n{body}")
        assert cell.status == "ok", cell.error
        assert kernel.value("list(frames)") == repr(["ip -o addr show lo", 'sh -c \'echo "$0" "{pod}"\' x'])
        assert kernel.value("frames[list(frames)[1]].line[0]") == "'x web'"
        assert cell.texts("display_data")[0].split(" · ")[0] == "ip -o addr show lo"

    def test_a_line_that_stands_twice_loses_neither_result(self, kernel):
        kernel.run("%%podtrace --pod web -n demo -o frames\necho 1\necho 1")
        assert kernel.value("list(frames)") == "['echo 1', 'echo 1 #2']"

    def test_without_out_the_dict_is_the_value(self, kernel):
        [text] = kernel.run("%%podtrace --pod web -n demo\necho 1").texts("execute_result")
        assert text.startswith("{'echo 1': ")

    def test_with_shell_the_cell_is_one_script_in_the_namespace(self, kernel):
        kernel.run(
            "%%podtrace --pod web -n demo --shell -o df\nname=pod\nfor i in 1 2; do\n  echo ${name} {name} $i\ndone"
        )
        assert kernel.value("df.line.tolist()") == "['pod {name} 1', 'pod {name} 2']"
        kernel.run("%%podtrace --pod web -n demo --shell -o df\nip -o -4 addr show eth0")
        assert "10.88." in kernel.value("df.line[0]")

    def test_the_results_of_the_others_are_kept_when_a_line_fails(self, kernel):
        cell = kernel.run("%%podtrace --pod web -n demo -o kept\necho 1\ntcpdump -i nope0\necho 2")
        assert cell.status == "error"
        assert "nope0" in cell.error
        assert kernel.value("list(kept)") == "['echo 1', 'echo 2']"

    def test_a_missing_tool_is_told_before_any_line_is_run(self, kernel):
        cell = kernel.run("%%podtrace --pod web -n demo -o none\necho 1\nno-such-tool\necho 2")
        assert cell.error.startswith("ToolNotFound: no-such-tool")
        assert cell.texts("display_data") == []

    @pytest.mark.parametrize(
        ("third", "words"),
        [
            ("no-such-tool -x", "ToolNotFound: no-such-tool is not installed"),
            ("ip link del eth0", "InputError: this .* add --allow-change"),
            ("tcpdump -i eth0 prot 80", "InputError: .*filter"),
            ("tcpdump -i nope0", ".*Error: .*nope0"),
            ("tcpdump 'port 80", "InputError: no closing quotation"),
            ("echo {nobody}", "InputError: {nobody}: no variable"),
            ("--pod api", "InputError: '--pod api' begins with an option"),
        ],
    )
    def test_an_error_says_in_which_line_it_is(self, kernel, third, words):
        cell = kernel.run(f"%%podtrace --pod web -n demo\necho 1\n{third}\n\necho 2")
        assert re.match(words, cell.error), cell.error
        assert cell.error.endswith(f" (line 3 of the cell: {third})")
        assert "\n" not in cell.error

    def test_an_error_of_no_line_alone_names_none(self, kernel):
        assert "of the cell" not in kernel.run("%%podtrace --pod wbe -n demo\necho 1\necho 2").error

    def test_the_lines_run_together_and_a_capture_ends_with_the_last_of_the_others(self, kernel):
        kernel.run("%%podtrace --pod client -n demo -o frames\ntcpdump -i eth0 icmp\nping -c 2 -i 0.2 10.88.0.1")
        assert kernel.value("len(frames[list(frames)[0]]) >= 4, len(frames)") == "(True, 2)"

    def test_a_slip_in_the_last_line_is_found_before_the_first_is_run(self, kernel):
        cell = kernel.run("%%podtrace --pod web -n demo\necho 1\necho {not_defined}")
        assert cell.error.startswith("InputError: {not_defined}: no variable 'not_defined'")
        assert cell.texts("display_data") == []


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("%podtrace tcpdump --pod wbe -n demo -- -c 1", "TargetNotFound: .*web"),
            ("%podtrace tcpdump --pod web -n demo -- -c 1 'tcp prot 80'", "InputError: "),
            ("%podtrace tcpdump --pod web -n demo -- -i nope0 -c 1", "Error: .*nope0"),
            ("%podtrace no-such-tool --pod web -n demo", "ToolNotFound: .*no-such-tool"),
            ("%podtrace tcpdump --pod web -n demo -vv", "InputError: .*--.*-vv"),
            ("%podtrace tcpdump --pod {nobody}", "InputError: {nobody}"),
            ("%podtrace tcpdump --timer nonsense", "InputError: .*duration"),
            ("%podtrace tcpdump -s --pod web -n demo", "InputError: .*--text"),
            ("%podtrace read /nowhere/at/all.pcap", "Error: .*/nowhere/at/all.pcap"),
            ("%podtrace sh --shell --pod web", "InputError: .*%%podtrace --shell"),
            ("%podtrace --pod web", "InputError: .*%podtrace TOOL"),
            ("%%podtrace pods\nx", "InputError: .*%podtrace pods"),
            ("%%podtrace tcpdump --pod web\nx", "InputError: .*move 'tcpdump' there"),
            ("%%podtrace --pod web\n# nothing", "InputError: .*no command"),
        ],
    )
    def test_an_expected_failure_is_one_line(self, kernel, line, words):
        cell = kernel.run(line)
        assert cell.status == "error", cell.outputs
        assert re.match(words, cell.error) or re.search(words, cell.error), cell.error
        assert "\n" not in cell.error
        assert cell.texts("execute_result") == []


class TestInterrupt:
    def test_an_endless_capture_tells_how_it_is_getting_on_and_keeps_what_it_had(self, kernel):
        cell = kernel.run(
            "df = %podtrace tcpdump --pod web -n demo -- -i eth0",
            interrupt_when=rf"{SOME} .* interrupt to stop and keep",
        )
        assert cell.status == "ok", cell.error
        assert "⚠ interrupted" in cell.banner, "the banner takes the place of the progress"
        assert kernel.value("len(df) > 0, df.attrs['podtracer']['interrupted']") == "(True, True)"

    def test_a_run_that_would_have_ended_keeps_what_it_had_and_stops_the_cells_below(self, kernel):
        line = "%podtrace tcpdump --pod web -n demo -t 5m -o cut -- -i eth0"
        cell = kernel.run(line, interrupt_when=SOME)
        assert cell.status == "error"
        assert cell.error == "KeyboardInterrupt: the run was cut short; what it had is in cut"
        assert kernel.value("len(cut) > 0, cut.attrs['podtracer']['interrupted']") == "(True, True)"

    def test_an_interrupt_ends_all_lines_and_keeps_what_each_has(self, kernel):
        cell = kernel.run("%%podtrace --pod web -n demo -o frames\nsleep 600\necho 2", interrupt_when="2 commands · ")
        assert cell.status == "ok", cell.error
        assert kernel.value("[len(each) for each in frames.values()]") == "[0, 1]"

    def test_the_kernel_goes_on_as_before(self, kernel):
        kernel.run("df = %podtrace tcpdump --pod web -n demo -- -i eth0 -c 1")
        assert kernel.value("df.attrs['podtracer']['interrupted']") == "False"
