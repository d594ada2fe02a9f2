"""What is known is not done again, and what changed is all that is done again."""

from __future__ import annotations

import pytest

import engraph
from jobs.store import snapshots
from jobs.store.lake import Lake
from schemas.ids import bucket_of

LATER = "2026-01-09"


def filesets(store, *, but: int | None = None) -> set:
    """What the newest snapshot names, but embeddings (bucketed by text) and one bucket."""
    catalogue = snapshots.current(Lake(store)).catalogue()
    return {f for f in catalogue if f.table not in ("embeddings", "sources") and f.bucket != but}


def hashes(store) -> set[str]:
    with engraph.open(store) as opened:
        return set(opened.table("embeddings")["content_hash"].to_pylist())


@pytest.mark.parametrize("day", ["2026-01-05", LATER])
def test_the_same_files_again_do_nothing_on_the_same_and_on_a_later_day(copied, ingest, listing, day):
    corpus, store = copied
    before = listing(store)
    again = ingest(corpus.folder, store=store, day=day)
    assert again.worked() == []
    assert again.json["snapshot"] == 1 and not again.json["published"]
    assert listing(store) == before


@pytest.mark.parametrize("day", ["2026-01-05", LATER])
def test_the_same_records_in_another_file_are_known(copied, ingest, day, rows_of):
    corpus, store = copied
    with engraph.open(store) as opened:
        before = {t: rows_of(opened.table(t)) for t in ("turns", "memory_units_history", "operations", "edges")}
    (corpus.folder / "ann.jsonl").rename(corpus.folder / "ann-again.jsonl")
    again = ingest(corpus.folder, store=store, day=day)
    assert set(again.worked()) <= {"read"} and again.json["snapshot"] == 1
    with engraph.open(store) as opened:
        assert {t: rows_of(opened.table(t)) for t in before} == before


@pytest.mark.parametrize("day", ["2026-01-05", LATER])
def test_one_more_session_redoes_only_what_depends_on_it(copied, ingest, say, day):
    corpus, store = copied
    bucket = bucket_of("ann", 4)
    assert bucket not in (bucket_of("bo", 4), bucket_of("notes", 4)), "choose namespaces of different buckets"
    others, texts = filesets(store, but=bucket), hashes(store)
    file = corpus.folder / "ann.jsonl"
    file.write_text(file.read_text() + corpus.chat("new", say("ann", "s3", range(9), day="2026-01-05")).read_text())
    (corpus.folder / "new").unlink()
    ran = ingest(corpus.folder, store=store, day=day)
    assert ran.json["snapshot"] == 2 and ran.json["published"]
    assert ran.stage("read")["rows_out"] == 9
    for stage in ("segment", "bound", "extract"):
        assert ran.stage(stage)["rows_in"] == 9, stage
    fresh = hashes(store) - texts
    assert texts <= hashes(store)
    assert ran.stage("embed")["rows_in"] + ran.stage("embed_derived")["rows_in"] == len(fresh) > 0
    assert filesets(store, but=bucket) == others


@pytest.mark.parametrize("day", ["2026-01-05", LATER])
def test_a_session_that_continues_redoes_itself_and_is_one_session(copied, ingest, say, day):
    corpus, store = copied
    corpus.chat("more.jsonl", say("ann", "s2", range(6, 8), day="2026-01-03"))
    ran = ingest(corpus.folder, store=store, day=day)
    assert ran.stage("read")["rows_out"] == 2
    assert ran.stage("segment")["rows_in"] == ran.stage("bound")["rows_in"] == 8
    with engraph.open(store) as opened:
        units, history = opened.table("memory_units").to_pylist(), opened.table("memory_units_history").to_pylist()
    (session,) = [
        u for u in units if u["granularity"] == "session" and u["session_id"].endswith("s2") and u["namespace"] == "ann"
    ]
    assert len(session["source_spans"]) == 8
    versions = sorted(u["version"] for u in history if u["unit_id"] == session["unit_id"])
    assert versions == ([1] if day == "2026-01-05" else [1, 2])
    assert max(u["version"] for u in history if u["granularity"] == "turn") == 1


def test_an_edited_turn_supersedes_its_old_version(copied, ingest, say):
    corpus, store = copied
    rows = say("ann", "s1", range(7), day="2026-01-02")
    old = rows[3]["text"]
    rows[3]["text"] = "Forget it: the submarine stays in Reykjavik until autumn."
    corpus.chat("edited.jsonl", rows)
    ran = ingest(corpus.folder, store=store, day=LATER)
    assert ran.stage("read")["rows_out"] == 1
    with engraph.open(store) as opened:
        history = [
            u
            for u in opened.table("memory_units_history").to_pylist()
            if u["unit_id"].endswith("s1-3") and u["namespace"] == "ann"
        ]
        operations = opened.table("operations").to_pylist()
        texts = [u["text"] for u in opened.table("memory_units").to_pylist() if u["namespace"] == "ann"]
        for granularity in ("turn", "round", "session", "segment", "fact"):
            hits = opened.recall(old, k=50, namespace="ann", granularity=granularity)
            assert all(old not in hit.text for hit in hits), granularity
        assert "submarine" in opened.recall("Where is the submarine?", k=1, namespace="ann")[0].text
    first, second = sorted(history, key=lambda u: u["version"])
    assert (first["version"], second["version"]) == (1, 2)
    assert old in first["text"] and first["valid_to"] is not None
    assert "submarine" in second["text"] and second["valid_to"] is None
    assert [(o["operation"], o["version"]) for o in operations if o["unit_id"] == first["unit_id"]] == [
        ("SUPERSEDE", 1)
    ]
    assert not any(old in text for text in texts)


def test_a_turn_edited_on_its_own_day_is_replaced(copied, ingest, say):
    corpus, store = copied
    rows = say("ann", "s1", range(7), day="2026-01-02")
    old = rows[3]["text"]
    rows[3]["text"] = "Forget it: the submarine stays in Reykjavik until autumn."
    corpus.chat("ann.jsonl", rows)
    ingest(corpus.folder, store=store)
    with engraph.open(store) as opened:
        assert opened.table("turns").num_rows == 27
        units = [u for u in opened.table("memory_units").to_pylist() if u["namespace"] == "ann"]
        assert not any(old in u["text"] for u in units)
        assert "submarine" in opened.recall("Where is the submarine?", k=1, namespace="ann")[0].text


def test_an_edited_document_supersedes_and_archives(copied, ingest):
    corpus, store = copied
    corpus.boat(colour="Its hull is painted blue.")
    corpus.text("garden.md", "# The garden\n\nThe garden is closed.\n")
    ran = ingest(corpus.folder, store=store, day=LATER)
    assert ran.stage("segment")["rows_in"] == 2
    with engraph.open(store) as opened:
        history = opened.table("memory_units_history").to_pylist()
        operations = opened.table("operations").to_pylist()
        current = opened.table("memory_units").to_pylist()
        for granularity in ("sentence", "passage", "section", "document"):
            hits = opened.recall("Which colour has the hull of the boat?", k=30, granularity=granularity)
            assert any("painted blue" in hit.text for hit in hits), granularity
            assert not any("painted red" in hit.text or "hives" in hit.text for hit in hits), granularity
    document = sorted(
        (u for u in history if u["granularity"] == "document" and "boat" in u["unit_id"]), key=lambda u: u["version"]
    )
    assert [u["version"] for u in document] == [1, 2]
    assert document[0]["valid_to"] is not None and document[1]["valid_to"] is None
    assert {"SUPERSEDE", "ARCHIVE"} == {o["operation"] for o in operations}
    ended = {(o["unit_id"], o["version"]) for o in operations}
    assert all((u["valid_to"] is not None) == ((u["unit_id"], u["version"]) in ended) for u in history)
    assert not any("painted red" in u["text"] or "hives" in u["text"] for u in current)
