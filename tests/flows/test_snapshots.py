"""Snapshots: pinned by readers, restored by rollback, cleaned up by gc, and nothing in a store knows where it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import engraph
from schemas.errors import StoreError

QUESTION = "What colour is the hull painted?"


@pytest.fixture(scope="module")
def three_nights(built, ingest, corpus_in, tmp_path_factory):
    """A store with three snapshots, made once: the hull is red, blue, green."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(built[1], folder / "store")
    corpus = corpus_in(shutil.copytree(built[0], folder / "notes"))
    for day, colour in (("2026-01-06", "blue"), ("2026-01-07", "green")):
        corpus.boat(colour=f"Its hull is painted {colour}.")
        ingest(corpus.folder, store=folder / "store", day=day)
    return folder


@pytest.fixture
def three(three_nights, corpus_in, tmp_path):
    """The test's own copies of that corpus and store."""
    shutil.copytree(three_nights, tmp_path, dirs_exist_ok=True)
    return corpus_in(tmp_path / "notes"), tmp_path / "store"


def colour(store: Path, snapshot: int | None = None) -> str:
    with engraph.open(store, snapshot=snapshot) as opened:
        return opened.recall(QUESTION, k=1, granularity="sentence")[0].text.split()[-1].rstrip(".")


def folders(store: Path) -> set[str]:
    return {str(f.parent.relative_to(store)) for f in store.glob("lake/*/*/*/*/manifest.json")} | {
        str(f.parent.relative_to(store)) for f in store.glob("index/*/*/manifest.json")
    }


def named(store: Path) -> set[str]:
    """Folders that some snapshot names."""
    found: set[str] = set()
    for file in store.glob("snapshots/*.json"):
        with engraph.open(store, snapshot=int(file.stem)) as opened:
            found |= {f.folder for f in opened.catalogue} | {f"index/{s}" for s in opened.snapshot.index.values()}
    return found


def test_every_snapshot_stays_readable(three):
    _, store = three
    assert [colour(store, n) for n in (1, 2, 3)] == ["red", "blue", "green"]


def test_gc_removes_what_no_snapshot_names_and_only_that(three, cli):
    _, store = three
    orphan = store / "lake/turns/day=2026-01-05/bucket=00/0123456789abcdef0123456789abcdef"
    orphan.mkdir(parents=True)
    (orphan / "part-00000-of-00001-11111111.parquet").write_bytes(b"what a killed run left")
    building = store / "index/.building-left"
    building.mkdir()
    one = next(store.glob("lake/turns/*/*/*/part-*.parquet"))
    left = one.with_name("part-00000-of-00001-22222222.parquet")
    left.write_bytes(b"a killed attempt")
    planned = cli("snapshots", "gc", "--keep", 1, "--dry-run", "--json", "--store", store)
    before = folders(store)
    assert folders(store) == before
    done = cli("snapshots", "gc", "--keep", 1, "--json", "--store", store)
    assert done.json["removed"] == planned.json["removed"] and done.json["kept"] == [3]
    assert not orphan.exists() and not building.exists() and not left.exists() and one.exists()
    assert folders(store) == named(store) < before
    assert cli("doctor", "--store", store).code == 0
    assert colour(store) == "green"
    with pytest.raises(StoreError, match="there is no snapshot 1"):
        engraph.open(store, snapshot=1)


def test_a_pinned_snapshot_survives_gc_and_an_unpinned_one_does_not(three, cli):
    _, store = three
    with engraph.open(store, snapshot=1) as reader:
        assert cli("snapshots", "gc", "--keep", 1, "--json", "--store", store).json["kept"] == [1, 3]
        assert "red" in reader.recall(QUESTION, k=1, granularity="sentence")[0].text
        assert reader.table("turns").num_rows == 27
    assert cli("snapshots", "gc", "--keep", 1, "--json", "--store", store).json["kept"] == [3]
    assert folders(store) == named(store)


def test_gc_after_a_rollback_and_an_ingest_on_top_keep_the_store_whole(three, cli, ingest):
    corpus, store = three
    back = cli("snapshots", "rollback", 1, "--json", "--store", store, "--now", "2026-02-02T00:00:00")
    assert back.code == 0 and back.json["snapshot"] == 4 and back.json["restored_from"] == 1
    assert colour(store) == "red"
    listed = cli("snapshots", "list", "--json", "--store", store).json
    assert [(s["number"], s["parent"], s["restored_from"]) for s in listed][-1] == (4, 3, 1)
    assert cli("snapshots", "gc", "--keep", 1, "--json", "--store", store).json["kept"] == [4]
    assert colour(store) == "red" and cli("doctor", "--store", store).code == 0
    corpus.boat(colour="Its hull is painted violet.")
    ran = ingest(corpus.folder, store=store, day="2026-01-08")
    assert ran.json["snapshot"] == 5 and colour(store) == "violet"
    assert cli("doctor", "--store", store).code == 0


def test_a_rollback_to_what_never_was_changes_nothing(three, cli, listing):
    _, store = three
    before = listing(store)
    ran = cli("snapshots", "rollback", 9, "--store", store)
    assert ran.code == 1 and "there is no snapshot 9; there are 1 to 3" in ran.err
    assert listing(store) == before


def test_a_store_may_be_copied_anywhere(three, cli, ingest, tmp_path):
    corpus, store = three
    elsewhere = tmp_path / "elsewhere" / "deeper" / "copy"
    shutil.copytree(store, elsewhere)
    shutil.rmtree(store)
    assert [colour(elsewhere, n) for n in (1, 3)] == ["red", "green"]
    assert cli("doctor", "--store", elsewhere).code == 0
    corpus.boat(colour="Its hull is painted violet.")
    ran = ingest(corpus.folder, store=elsewhere, day="2026-01-08")
    assert ran.json["snapshot"] == 4 and colour(elsewhere) == "violet"
    assert not store.exists()


def test_nothing_in_a_store_holds_an_absolute_path(three, tmp_path):
    corpus, store = three
    known = [str(p).encode() for p in (tmp_path, corpus.folder, store, Path.cwd(), Path.home(), tmp_path.parent)]
    files = [f for f in store.rglob("*") if f.is_file()]
    assert len(files) > 100
    for file in files:
        content = file.read_bytes()
        assert not any(path in content for path in known if len(path) > 6), file.relative_to(store)


def test_current_is_a_hint_that_may_be_lost(three, cli, ingest):
    corpus, store = three
    (store / "CURRENT").unlink()
    assert colour(store) == "green" and cli("doctor", "--store", store).code == 0
    assert ingest(corpus.folder, store=store, day="2026-01-08").json["snapshot"] == 3
    (store / "CURRENT").write_text("1\n")
    assert colour(store) == "green"
