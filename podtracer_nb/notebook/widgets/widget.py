"""What every widget is: a page whose files lie beside its Python, and a comm that its page always reaches."""

from __future__ import annotations

from pathlib import Path

import anywidget

__all__ = ["Widget", "source"]


def source(*names: str) -> str:
    """Return files of this folder as one text: a widget has one module and one style sheet."""
    return "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


class Widget(anywidget.AnyWidget):
    """A widget whose page is heard in the subshell that the page names."""

    def open(self) -> None:
        """Open the comm."""
        super().open()
        # ipykernel 7.4 gives what the page sends to the subshell of whatever request was current when we last sent
        # something, from a thread too. Once a tab was closed that one may be gone, and the page is heard no more.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda _, named: named
