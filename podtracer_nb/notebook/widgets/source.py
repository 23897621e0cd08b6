"""The files of a widget's page, which lie beside its Python."""

from __future__ import annotations

from pathlib import Path

__all__ = ["source"]


def source(*names: str) -> str:
    """Return files of this folder as one text: a widget has one module and one style sheet."""
    return "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)
