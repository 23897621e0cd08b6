"""The grammar: one click tree for the shell and the notebook; it parses, and refuses in one line."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podtracer_nb.errors import InputError
from podtracer_nb.options import (
    ChangesRequest,
    DemoRequest,
    HelpRequest,
    ImpairRequest,
    PodsRequest,
    ReadRequest,
    RunRequest,
    UseRequest,
    VersionRequest,
    complete,
    parse,
)


def run(line: str, **keywords: object) -> RunRequest:
    request = parse(shlex.split(line), **keywords)  # type: ignore[arg-type]
    assert isinstance(request, RunRequest)
    return request


def refusal(line: str, **keywords: object) -> str:
    with pytest.raises(InputError) as caught:
        parse(shlex.split(line), **keywords)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_original_form_parses_to_the_letter() -> None:
    request = run('run tcpdump -a "-i eth0 -c 100 -w /tmp/test.pcap" --pod web -n demo')
    assert request.tool == "tcpdump"
    assert request.arguments == ("-i", "eth0", "-c", "100", "-w", "/tmp/test.pcap")
    assert request.pod == ("web",)
    assert request.namespace == "demo"


def test_a_value_of_a_may_begin_with_a_dash() -> None:
    assert run('run tcpdump --pod web -a "-w x.pcap"').arguments == ("-w", "x.pcap")


def test_everything_after_two_dashes_belongs_to_the_tool() -> None:
    assert run("run tcpdump --pod web -- -i eth0 --help -n").arguments == ("-i", "eth0", "--help", "-n")


def test_a_and_the_words_after_two_dashes_add_up() -> None:
    assert run('run tcpdump --pod web -a "-i eth0" -- port 80').arguments == ("-i", "eth0", "port", "80")


def test_run_may_be_left_out_in_a_notebook_only() -> None:
    assert run("tcpdump --pod web -- -c 1", magic=True) == run("run tcpdump --pod web -- -c 1")
    assert "run tcpdump" in refusal("tcpdump --pod web")


def test_pods_may_be_named_several_times() -> None:
    assert run("run ss --pod web --pod shop/api --pod 'web-*'").pod == ("web", "shop/api", "web-*")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("2m", 120), ("1h2m", 3720), ("1h2m3s", 3723), ("1.5s", 1.5), ("500ms", 0.5), ("7", 7)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert run(f"run tcpdump --pod web -t {text}").timer == seconds


@pytest.mark.parametrize("text", ["0", "0s", "-5s", "5x", "", "1m2h", "1e9s", "٣s", "nan", "9999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert "duration" in refusal(f"run tcpdump --pod web --timer={shlex.quote(text)}")


@pytest.mark.parametrize(
    ("text", "size"), [("500k", 500_000), ("20M", 20_000_000), ("1GiB", 1 << 30), ("7", 7), ("1KB", 1000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert run(f"run tcpdump --pod web --max-bytes {text}").max_bytes == size


@pytest.mark.parametrize("text", ["0", "-1", "1.5.2", "x", "1Q", "1i"])
def test_what_is_no_size_is_refused(text: str) -> None:
    assert "size" in refusal(f"run tcpdump --pod web --max-bytes={text}")


def test_namespaces_to_enter_are_a_list_of_known_kinds() -> None:
    assert run("run ps --pod web --ns pid,mnt").ns == ("pid", "mnt")
    assert run("run ps --pod web").ns == ("net",)
    assert "net,uts,ipc,pid,mnt" in refusal("run ps --pod web --ns net,user")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("tcpdump --pod web -i eth0 -c 100", "%podtrace tcpdump --pod web -- -i eth0 -c 100"),
        ("tcpdump -n -i eth0 --pod web", "%podtrace tcpdump --pod web -- -n -i eth0"),
        ("tcpdump --pod web port 80", "%podtrace tcpdump --pod web -- port 80"),
        ("ping --pod web 10.88.0.1", "%podtrace ping --pod web -- 10.88.0.1"),
        ("ss --pod web -nn", "%podtrace ss --pod web -- -nn"),
    ],
)
def test_a_tools_own_option_before_two_dashes_is_answered_with_the_right_form(line: str, form: str) -> None:
    assert form in refusal(line, magic=True)


def test_the_form_that_a_refusal_shows_is_accepted() -> None:
    form = refusal("tcpdump --pod web -i eth0 -c 100", magic=True).rpartition("%podtrace ")[2]
    assert run(form, magic=True).arguments == ("-i", "eth0", "-c", "100")


def test_a_place_and_a_pod_exclude_each_other() -> None:
    assert "--pid" in refusal("run ss --pid 1 --pod web")
    assert "--netns" in refusal("run ss --pid 1 --netns x")
    assert "-s" in refusal("run ss --pod web -f x -s")


@pytest.mark.parametrize(
    "name", ["--pod=--help", "--interface=-z", "--interface=a/b", "--interface=" + "x" * 16, "-n=-l", "-nn"]
)
def test_a_name_that_looks_like_an_option_is_refused(name: str) -> None:
    refusal(f"run tcpdump {name}")


def test_a_filter_is_a_value_whatever_it_begins_with() -> None:
    assert run("run tcpdump --pod web --filter '-z /evil.sh'").filter == "-z /evil.sh"


def test_help_shows_the_face_it_was_asked_in() -> None:
    for words, magic, face in (
        (["--help"], False, "podtracer"),
        (["--help"], True, "%podtrace"),
        (["run", "tcpdump", "--help"], False, "podtracer run"),
        (["tcpdump", "--help"], True, "%podtrace"),
    ):
        request = parse(words, magic=magic)
        assert isinstance(request, HelpRequest)
        assert request.text.startswith(f"Usage: {face} ")
    assert isinstance(parse([]), HelpRequest)


def test_the_other_commands() -> None:
    assert parse(["pods", "-n", "demo", "-l", "app=web"]) == PodsRequest("demo", "app=web")
    assert parse(["read", "x.pcap", "--count", "3"]) == ReadRequest("x.pcap", 3)
    assert parse(["demo", "up"]) == DemoRequest("up")
    assert parse(["version"]) == parse(["--version"]) == VersionRequest()
    assert "up" in refusal("demo sideways")
    assert "'run'" in refusal("rnu tcpdump")
    assert "'pods'" in refusal("pod", magic=True)


def test_defaults_of_a_notebook_hold_until_a_line_names_its_own() -> None:
    assert parse(["use", "-n", "demo", "--pod", "web"], magic=True) == UseRequest(
        {"namespace": "demo", "pod": ("web",)}
    )
    assert parse(["use", "--clear"], magic=True) == UseRequest({}, clear=True)
    defaults = {"namespace": "demo", "pod": ("web",)}
    assert run("ss", magic=True, defaults=defaults).pod == ("web",)
    assert run("ss --pod api", magic=True, defaults=defaults).pod == ("api",)
    assert run("ss -n shop", magic=True, defaults=defaults).namespace == "shop"
    assert run("ss --pid 7", magic=True, defaults=defaults).namespace is None
    assert refusal("use -n demo") == "no such command 'use' in a shell; in a notebook it is %podtrace use"


def test_keywords_are_those_of_the_python_face() -> None:
    import inspect

    import podtracer_nb

    accepted = set(inspect.signature(podtracer_nb.run).parameters)
    assert set(run("run ss --pod web").keywords()) == accepted - {"tool", "args", "progress"}
    accepted = set(inspect.signature(podtracer_nb.hold).parameters)
    assert set(run("run ip --for 3s").hold_keywords()) == accepted - {"tool", "args"}
    impaired = parse(["impair", "--pod", "web"])
    assert isinstance(impaired, ImpairRequest)
    assert set(impaired.keywords()) == set(inspect.signature(podtracer_nb.impair).parameters)


def test_a_change_is_held_for_a_time() -> None:
    held = run("run ip --pod web --allow-change --for 1m30s -- addr add 192.0.2.7/24 dev eth0")
    assert (held.for_, held.allow_change, held.arguments[:2]) == (90.0, True, ("addr", "add"))
    assert run("run ip --pod web").for_ is None


@pytest.mark.parametrize("option", ["-t 3s", "--max-bytes 1k", "--count 3", "--text", "--parse kv", "-s", "--shell"])
def test_what_is_held_has_no_output_to_shape(option: str) -> None:
    assert "--for holds what a tool alters" in refusal(f"run ip --for 30s {option} -- addr add 192.0.2.7/24 dev lo")


def test_a_link_is_made_bad() -> None:
    assert parse(shlex.split("impair --pod web -n demo --delay 50ms --loss 1% --for 30s")) == ImpairRequest(
        pod=("web",), namespace="demo", delay="50ms", loss="1%", for_=30.0
    )
    assert parse(shlex.split("impair --pid 7 --rate 1mbit --interface lo")) == ImpairRequest(
        pid=7, rate="1mbit", interface="lo"
    )
    defaults = {"namespace": "demo", "pod": ("web",), "timer": 3.0, "ns": ("net", "mnt")}
    assert parse(["impair", "--rate", "1mbit"], magic=True, defaults=defaults) == ImpairRequest(
        pod=("web",), namespace="demo", rate="1mbit"
    )
    assert "give one or the other" in refusal("impair --pod web --pid 7 --rate 1mbit")
    assert "is not an interface name" in refusal("impair --pod web --rate 1mbit --interface a/b")


def test_a_notebook_lists_and_undoes_its_changes() -> None:
    assert parse(["changes"], magic=True) == ChangesRequest()
    assert parse(["changes", "--undo"], magic=True) == ChangesRequest(undo=True)
    assert "no such command 'changes'" in refusal("changes")


def test_completion_knows_commands_options_and_values() -> None:
    def texts(words: list[str], incomplete: str, *, magic: bool = False) -> list[str]:
        return [each.text for each in complete(words, incomplete, magic=magic)]

    assert "pods" in texts([], "p")
    assert "use" in texts([], "u", magic=True)
    assert texts(["tcpdump"], "--sel", magic=True) == ["--selector"]
    assert texts(["demo"], "") != []
    assert texts(["tcpdump", "--ns"], "p", magic=True) == ["pid"]
    assert texts(["tcpdump", "--"], "-", magic=True) == []


@given(st.lists(st.text(max_size=12), max_size=6), st.booleans())
def test_any_words_give_a_request_or_one_line(words: list[str], magic: bool) -> None:
    try:
        parse(words, magic=magic)
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    "words", [["--pid", "-5"], ["--max-bytes", "-1"], ["--kubeconfig", "-x"], ["--context", "a\nb"]]
)
def test_a_wrong_value_of_a_long_option_is_told_as_that_option_s(words):
    with pytest.raises(InputError) as caught:
        parse(["run", "ip", *words])
    assert "not an option of podtracer" not in str(caught.value) and "\n" not in str(caught.value)


def test_kubectl_s_own_form_of_a_kind_is_understood():
    from podtracer_nb.targets.references import parse_reference

    assert (
        parse_reference("deployments.apps/web").kind == parse_reference("deployment.v1.apps/web").kind == "Deployment"
    )
    assert parse_reference("shop/job.batch/once").kind == "Job"


def test_a_negative_timer_is_told_for_what_it_is() -> None:
    with pytest.raises(InputError, match="'-5s' is not a duration"):
        parse(["run", "tcpdump", "--pod", "web", "-t", "-5s"])
