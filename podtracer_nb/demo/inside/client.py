"""The demo's client: keeps asking for names, pages and echoes, a few times a second.

`client.py PING [4]`: says `ready` on stdout once every pod has answered it by name, over IPv4 and over IPv6; with `4`
it leaves IPv6 out, for a network that has none.
"""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import subprocess
import sys
import time

BOTH = (socket.AF_INET, socket.AF_INET6)
PATHS = ("/fast", "/api", "/slow", "/api", "/fail", "/fast", "/api", "/missing")
MISSING_NAME = "billing"  # nobody has it: NXDOMAIN, once for every search domain and address family
MISSING_EVERY, PING_EVERY = 7, 9  # rounds
ROUND_SECONDS = 0.25
ANSWER_SECONDS = 5.0


def ask(name: str, family: socket.AddressFamily, paths: tuple[str, ...]) -> list[int]:
    """Look `name` up, ask for `paths` on one connection, and return the status codes."""
    (_, _, _, _, address), *_ = socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)
    connection = http.client.HTTPConnection(name, timeout=ANSWER_SECONDS)
    connection.sock = socket.create_connection((str(address[0]), 80), timeout=ANSWER_SECONDS)
    try:
        codes = []
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            codes.append(answer.status)
        return codes
    finally:
        connection.close()


def wait_until_all_answer(families: tuple[socket.AddressFamily, ...]) -> None:
    """Return when web, and the API through it, answer over all families; the keeper sets the time limit."""
    for family in families:
        while True:
            try:
                codes = ask("web", family, ("/fast", "/api"))
            except (OSError, http.client.HTTPException) as error:
                why = str(error)
            else:
                if codes == [200, 200]:
                    break
                why = f"web answered {codes}"
            print(f"no answer yet: {why}", file=sys.stderr)
            time.sleep(0.02)


def main(ping: str, families: tuple[socket.AddressFamily, ...]) -> None:
    """Ask for ever."""
    wait_until_all_answer(families)
    os.write(1, b"ready\n")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(null, stream)
    pings = (("-4", "web"), ("-6", "api"), ("-4", "api"), ("-6", "web"))
    targets = itertools.cycle([each for each in pings if families == BOTH or each[0] == "-4"])
    due = time.monotonic()
    for number, path in enumerate(itertools.cycle(PATHS)):
        family = families[(number + number // len(PATHS)) % len(families)]  # each path over each family in turn
        try:
            # Some visits ask for two pages on one connection, as a browser would.
            ask("web", family, ("/fast", path) if path != "/fast" else (path,))
            if number % MISSING_EVERY == 0:
                socket.getaddrinfo(MISSING_NAME, 80, type=socket.SOCK_STREAM)
        except (OSError, http.client.HTTPException):
            pass  # a lost packet, a missing name: that is what this demo shows; ask again
        if number % PING_EVERY == 0:
            flag, name = next(targets)
            subprocess.run([ping, flag, "-q", "-c", "1", "-W", "1", name], stdout=null, stderr=null, check=False)
        due = max(due + ROUND_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], BOTH[:1] if sys.argv[2:] == ["4"] else BOTH)
