"""What can be read only once is copied first: a pipe loads like a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from alma_async.load import InputError, read_rows
from alma_async.load.readers import files

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")


def piped(path: Path, content: str) -> Path:
    """A named pipe that gives this once."""
    os.mkfifo(path)
    threading.Thread(target=path.write_text, args=(content,), daemon=True).start()
    return path


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """The rows come as often as they are asked for; the copy goes away with them."""
    source = read_rows(piped(tmp_path / "list", "mms_id,url\n991,https://x.example/1\n992,\n"))
    copy = source.path
    assert [len(list(source)) for _ in range(2)] == [2, 2]
    assert copy.stat().st_mode & 0o077 == 0 or copy.parent.stat().st_mode & 0o077 == 0
    del source
    assert not copy.exists()


def test_a_map_from_a_pipe(tmp_path: Path) -> None:
    """So is a map of MMS ids."""
    path = tmp_path / "list.txt"
    path.write_text("publication_title\tprint_identifier\ttitle_url\nAnnals\t1234-5679\thttps://x.example\n")
    (row,) = read_rows(path, mms_map=piped(tmp_path / "map", "1234-5679,991\n"))
    assert row.mms_id == "991"  # type: ignore[union-attr]


def test_a_pipe_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that gives too much is refused."""
    monkeypatch.setattr(files, "_MOST", 1000)
    monkeypatch.setattr(files, "_CHUNK", 100)
    with pytest.raises(InputError, match="more than 1 GiB"):
        read_rows(piped(tmp_path / "list", "mms_id\n" + "991\n" * 1000))
