"""An undo that was cut off takes nothing back that a load since then has as it should be."""

from __future__ import annotations

from alma_async.load import Load, LoadOptions
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_loader import C, S, each_once, held, titles

__all__ = ["titles"]


def load_of(alma, tmp_path, name, **how):
    options = LoadOptions(quarantine=30.0, **how)
    return Load(alma, collection_id=C, service_id=S, journal=tmp_path / f"{name}.load", options=options)


async def test_rows_that_were_loaded_since_stay(titles, tmp_path):
    """Half of an undo, the same rows anew without ``since``, the rest of the undo: all rows are there, and the undo says why."""
    async with institution(latency=0.25) as (server, alma):
        await load_of(alma, tmp_path, "a").run(titles(40))
        first = load_of(alma, tmp_path, "a")
        stop = lambda progress: first.stop() if progress.deleted >= 10 else None  # noqa: E731
        half = await first.undo(on_progress=stop)
        assert half.pending
        assert half.deleted
        again = load_of(alma, tmp_path, "b")
        anew = await again.run(titles(40))
        assert (anew.created, anew.unchanged) == (half.deleted, half.pending)
        rest = await load_of(alma, tmp_path, "a", circuit_breaker=False).undo()
        assert (rest.deleted, rest.review) == (half.deleted, half.pending)
        assert held(server) == each_once(40)
        assert (await again.verify()).exit_code == 0
        with JournalFile(tmp_path / "a-undo.load", reading=True) as journal:
            messages = {entry.message for entry in journal.entries() if entry.reason == "changed-since"}
        (message,) = messages
        assert "b.load" in message
        # taken back, the later load vouches for nothing any more
        assert (await again.undo()).review == 0
