"""`--job` and `--schedule` in the grammar, and a request turned back into its words."""

from __future__ import annotations

import shlex

import pytest

from podtracer_nb.errors import InputError
from podtracer_nb.options import RunRequest, parse, unattended_words, words


@pytest.mark.parametrize(
    "line",
    [
        "run tcpdump --pod web -n shop -- -i eth0 port 80",
        "run tcpdump --pod a --pod b/c -l app=web -t 1h2m --max-bytes 20M --filter 'tcp port 80' --ns net,uts",
        "run ss -A -c web --every 200ms --text --parse jc:ss --allow-change --context x --kubeconfig /y --via here",
        "run tcpdump --pod web -d host -p 5000 --engine ring --snaplen 96 --interface eth0 -a '-w -'",
        "run tcpdump --pod web --schedule '*/15 * * * *' -t 1m -f s3://captures/x --secret keys --dry-run -o yaml",
    ],
)
def test_the_words_of_a_request_make_the_same_request(line: str) -> None:
    request = parse(shlex.split(line))
    assert isinstance(request, RunRequest)
    assert parse(words(request)) == request


def test_a_job_s_words_say_neither_which_pods_nor_where_to() -> None:
    line = "run tcpdump --pod web -n shop --job -t 30s -f pvc://captures -o made -- -w -"
    request = parse(shlex.split(line), magic=True)
    assert isinstance(request, RunRequest)
    assert unattended_words(request) == ("run", "tcpdump", "-t", "30s", "--", "-w", "-")


def test_a_schedule_is_of_jobs() -> None:
    request = parse(["run", "ss", "--pod", "web", "--schedule", "@hourly", "-t", "10s"])
    assert isinstance(request, RunRequest)
    assert request.job


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("run ss --pod web --dry-run", "--dry-run and --secret belong to --job"),
        ("run ss --pod web -f pvc://x", "add --job"),
        ("run ss --pid 1 --job", "--pid means nothing"),
        ("run ss --pod web --job -s", "--stdout means nothing"),
        ("run ss --pod web --schedule @hourly", "--schedule needs -t"),
        ("run ss --pod web --job -f out.txt", "no file out.txt of yours"),
        ("run ss --pod web --job -f s3://x -d host", "give one of them"),
        ("run ss --pod web --job --secret x -f pvc://x", "--secret has the credentials"),
        ("run ss --pod web --job --dry-run -o toml", "yaml or json"),
    ],
)
def test_what_does_not_go_with_a_job_is_told(line: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse(shlex.split(line))
