"""Reading a capture starts soon: nothing that reaches pods is loaded for it."""

from __future__ import annotations

import subprocess
import sys

READ = """
import sys, podtracer_nb
frame = podtracer_nb.read_pcap(bytes.fromhex("d4c3b2a1020004000000000000000000000004000100" + "0000"))
print(frame.podtrace.conversations().empty)
rooms = ("targets", "execution", "tools", "options", "notebook")
print([name for name in rooms if f"podtracer_nb.{name}" in sys.modules])
"""


def test_a_capture_is_read_without_what_reaches_pods():
    asked = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=False)
    assert (asked.stdout, asked.stderr) == ("True\n[]\n", "")
