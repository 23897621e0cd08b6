"""What lies at the top of the house, and what may not lie anywhere in it."""

from __future__ import annotations

import re

from tests.house.checkout import ROOT, files

TOP = {"pyproject.toml", "setup.py", "podtracer_nb", "notebooks", "deploy", "tests", "README.md"}
BESIDES = {"Makefile", "LICENSE", "CHANGELOG.md"}
DOTFILES = {".ci", ".gitignore"}


def test_nothing_else_lies_at_the_top() -> None:
    assert {file.parts[0] for file in files()} <= TOP | BESIDES | DOTFILES


def test_each_folder_of_the_package_says_what_lives_there() -> None:
    packages = [file for file in files() if file.parts[0] == "podtracer_nb" and file.name == "__init__.py"]
    assert packages
    silent = [str(file) for file in packages if not (ROOT / file).read_text(encoding="utf-8").startswith('"""')]
    assert silent == []


def test_no_file_is_named_after_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "manager", "core", "misc"}
    assert [str(file) for file in files() if {part.split(".")[0] for part in file.parts} & empty] == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
    marked = [
        str(file)
        for file in files()
        if file.suffix in (".py", ".ipynb", ".md", ".toml", "") and later.search(_text(file))
    ]
    assert marked == []


def test_installation_asks_the_registries_that_the_machine_is_set_up_for() -> None:
    for name in ("Makefile", ".ci/run", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(encoding="utf-8"), name


def _text(file: object) -> str:
    return (ROOT / str(file)).read_text(encoding="utf-8", errors="replace")
