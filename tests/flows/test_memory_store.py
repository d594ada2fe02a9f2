"""The same store without a local folder: every path goes through fsspec."""

from __future__ import annotations

import datetime as dt
import uuid

import fsspec
import pytest

from flows.build import Surroundings
from flows.ingest import ingest
from jobs.store.reader import open_store
from pipelines.readers import ReadParams

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)


@pytest.fixture
def address():
    """A store of this test's own in memory."""
    name = f"memory://store-{uuid.uuid4().hex[:8]}"
    yield name
    fsspec.filesystem("memory").rm(name, recursive=True)


def bring_in(address: str, folder, day: dt.date):
    return ingest([str(folder)], Surroundings(address, NOW, buckets=4, lock_wait_s=5), read=ReadParams(), day=day)


def test_a_store_in_memory_is_written_recalled_and_asked_by_sql(built, corpus, say, address, tmp_path, rows_of):
    folder, local = built
    first = bring_in(address, folder, dt.date(2026, 1, 5))
    assert first.published and first.snapshot == 1 and first.quarantined == 0
    again = bring_in(address, folder, dt.date(2026, 1, 6))
    assert not again.published and all(stage["skipped"] for stage in again.stages)
    with open_store(address) as memory, open_store(local) as disk:
        for table in ("turns", "documents", "memory_units", "mentions", "triples", "entities", "edges", "embeddings"):
            assert rows_of(memory.table(table)) == rows_of(disk.table(table)), table
        question = "Which colour has the hull of the boat?"
        hits = memory.recall(question, k=3, granularity="sentence")
        assert "painted red" in hits[0].text
        assert [h.unit_id for h in hits] == [h.unit_id for h in disk.recall(question, k=3, granularity="sentence")]
        con = memory.connect()
        assert con.sql("SELECT count(*) FROM turns").fetchall() == [(27,)]
        sql = "SELECT text FROM recall('Which colour has the hull of the boat?', k := 1, granularity := 'sentence')"
        assert con.sql(sql).fetchall() == [(hits[0].text,)]
    assert not fsspec.filesystem("memory").exists(f"{address}/lock.json")

    corpus.chat("more.jsonl", say("ann", "s3", range(4), day="2026-01-07"))
    more = bring_in(address, corpus.folder, dt.date(2026, 1, 7))
    assert more.snapshot == 2
    with open_store(address) as memory, open_store(address, snapshot=1) as old:
        assert (memory.table("turns").num_rows, old.table("turns").num_rows) == (31, 27)
