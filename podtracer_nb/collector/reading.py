"""What a collector has received, as frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podtracer_nb.errors import CaptureError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Collected", "collected"]


class Collected(Mapping[str, "pd.DataFrame"]):
    """The captures of a collector by name, each read when it is asked for; made by `collected`.

    Attributes
    ----------
    captures
        A row a capture, oldest first: `name` (str; its key here: NAMESPACE/POD as its sender called it, and a number
        after it from the second of that name on), `started` (datetime64[ns, UTC]), `state` (category: receiving,
        complete, incomplete), `bytes` (Int64), `sha256`, `session`, `peer`, `path` (str).
    """

    def __init__(self, captures: pd.DataFrame) -> None:
        self.captures = captures
        self._paths: dict[str, str] = dict(zip(captures["name"], captures["path"], strict=True))

    def __getitem__(self, name: str) -> pd.DataFrame:
        from podtracer_nb.reading import read_pcap

        return read_pcap(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"<{len(self)} captures: {', '.join(list(self)[:5])}{', …' if len(self) > 5 else ''}>"  # noqa: PLR2004


def collected(directory: str | os.PathLike[str]) -> Collected:
    """Return what a collector has received: the packets of each capture by its name.

    Parameters
    ----------
    directory
        The collector's `--dir`.

    Returns
    -------
    Collected
        A mapping from names to packet frames, and the list of them all, `captures`.

    Raises
    ------
    CaptureError
        There is no such directory; of one capture, when it is read: it is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collected(folder)
    <0 captures: >
    """
    import pandas as pd

    folder = Path(directory)
    if not folder.is_dir():
        raise CaptureError(f"{folder} is no directory of a collector")
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for beside in sorted(folder.glob("*.json")):
        try:
            words = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # another's file, or one that is being replaced
        capture = beside.with_suffix("")
        if isinstance(words, dict) and "name" in words and capture.exists():
            number = seen[words["name"]] = seen.get(words["name"], 0) + 1
            name = words["name"] if number == 1 else f"{words['name']} #{number}"
            rows.append({**words, "name": name, "path": str(capture), "bytes": capture.stat().st_size})
    names = ("name", "started", "state", "bytes", "sha256", "session", "peer", "path")
    frame = pd.DataFrame([{name: row.get(name) for name in names} for row in rows], columns=list(names))
    frame["started"] = pd.to_datetime(frame["started"], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    frame["state"] = pd.Categorical(frame["state"], categories=["receiving", "complete", "incomplete"])
    text: Any = dict.fromkeys(("name", "sha256", "session", "peer", "path"), "str")
    return Collected(frame.astype({**text, "bytes": "Int64"}))
