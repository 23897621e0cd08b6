"""What the test cluster's image is made of: all that the Dockerfile copies, and nothing that was compiled here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.cluster import notebook_image
from tests.deploy.manifests import IMAGE, ROOT


def test_the_context_holds_all_that_the_dockerfile_copies() -> None:
    files = notebook_image.context_files()
    copied = re.findall(
        r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", (IMAGE / "Dockerfile").read_text(encoding="utf-8"), re.M
    )
    for pattern in " ".join(copied).split():
        assert any(file.match(pattern) or file.is_relative_to(pattern) for file in files), pattern


def test_the_context_holds_nothing_that_was_compiled_here() -> None:
    assert not {file.suffix for file in notebook_image.context_files()} & {".so", ".c", ".pyc"}


def test_the_key_is_that_of_the_content(tmp_path: Path) -> None:
    for file in notebook_image.context_files():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, tmp_path / file)
    key = notebook_image.key(tmp_path)
    assert key == notebook_image.key()
    (tmp_path / "podtracer_nb/packets/_dissect.so").write_bytes(b"")
    assert notebook_image.key(tmp_path) == key
    (tmp_path / "podtracer_nb/errors.py").write_text("", encoding="utf-8")
    assert notebook_image.key(tmp_path) != key
