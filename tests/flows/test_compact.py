"""Compact: old snapshots go, the ledger is merged, shards are made whole; killed anywhere, it is finished by the next run."""

from __future__ import annotations

import json
import shutil

import pytest

import engraph
from schemas.ids import bucket_of

NOW = "2027-01-10T00:00:00+00:00"
NEXT = "2027-01-12T00:00:00+00:00"


@pytest.fixture(scope="session")
def compact(cli):
    def run(store, keep=1, now=NOW, **more):
        ran = cli.upkeep("compact", store, now=now, keep=keep, **more)
        assert ran.code == 0, ran.err
        return ran.json

    return run


@pytest.fixture(scope="module")
def two_nights(built, ingest, corpus_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(built[1], folder / "store")
    corpus = corpus_in(folder / "notes")
    corpus.boat(colour="Its hull is painted blue.")
    ingest(corpus.folder, store=folder / "store", day="2026-01-06")
    return folder / "store"


@pytest.fixture
def store(two_nights, tmp_path):
    return shutil.copytree(two_nights, tmp_path / "store")


def runs(store) -> list[str]:
    """Rows of the ledger, without those of compacting itself."""
    with engraph.open(store) as opened:
        return sorted(repr(r) for r in opened.table("runs").to_pylist() if r["stage"] != "compact")


def answers(store) -> bool:
    with engraph.open(store) as opened:
        return "blue" in opened.recall("Which colour has the hull?", k=1, granularity="sentence")[0].text


def test_old_snapshots_go_and_the_ledger_becomes_one_file_a_month(store, compact):
    before, names = runs(store), len(list((store / "ledger/runs").glob("*.parquet")))
    first = compact(store)
    assert first["snapshots_kept"] == [2] and first["removed"] and first["bytes_after"] < first["bytes_before"]
    assert first["shards"] == [] and not first["published"]
    (merged,) = [m for m in first["ledger"] if m["table"] == "runs"]
    assert list(merged["months"].values()) == [names]
    second = compact(store, now=NEXT)
    assert [m["removed"] for m in second["ledger"]] == [names] and second["removed"] == []
    files = [f for f in (store / "ledger/runs").glob("*.parquet") if not f.name.startswith("merged-")]
    assert len(files) <= 2, "what the two compactions wrote themselves"
    assert runs(store) == before and answers(store)


def test_a_dry_run_says_the_same_and_changes_nothing(store, compact, listing):
    before = listing(store)
    planned = compact(store, dry_run=True)
    assert listing(store) == before
    done = compact(store)
    assert planned["removed"] == done["removed"] and planned["ledger"] == done["ledger"]
    assert planned["bytes_after"] == planned["bytes_before"]


def test_a_pinned_snapshot_stays(store, compact):
    with engraph.open(store, snapshot=1) as reader:
        assert compact(store)["snapshots_kept"] == [1, 2]
        assert "red" in reader.recall("Which colour has the hull?", k=1, granularity="sentence")[0].text


@pytest.mark.parametrize("harm", ["missing", "damaged", "version", "manifest"])
def test_a_shard_that_cannot_be_used_is_built_again(store, compact, cli, harm):
    with engraph.open(store) as opened:
        shard = opened.snapshot.index[str(bucket_of("notes", 4))]
    folder = store / "index" / shard
    if harm == "missing":
        shutil.rmtree(folder)
    elif harm == "damaged":
        file = folder / "vectors.npy"
        content = bytearray(file.read_bytes())
        content[-1] ^= 0xFF
        file.write_bytes(content)
    elif harm == "version":
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 1}))
    else:
        (folder / "manifest.json").write_text("{")
    told = compact(store, dry_run=True)["shards"]
    assert [(s["shard"], s["rebuilt"]) for s in told] == [(shard, False)]
    done = compact(store)
    assert [s["rebuilt"] for s in done["shards"]] == [True] and not done["published"]
    assert answers(store) and cli("doctor", "--store", store).code == 0
    assert compact(store)["shards"] == [] and not list((store / "index").glob(".*"))


def test_compacting_that_is_killed_anywhere_is_finished_by_the_next_run(two_nights, cli, compact, tmp_path):
    undisturbed, writes = tmp_path / "undisturbed", tmp_path / "writes.json"
    shutil.copytree(two_nights, undisturbed)
    assert cli.upkeep("compact", undisturbed, now=NOW, keep=1, listing=writes).code == 0
    wanted = {f.relative_to(undisturbed) for f in undisturbed.glob("lake/**/*.*")}
    before, seen = runs(two_nights), json.loads(writes.read_text())
    assert {"rmtree", "remove"} <= {operation for operation, _ in seen}
    for kill_at in sorted({1, *range(5, len(seen), len(seen) // 6)}):
        store = shutil.copytree(two_nights, tmp_path / "store")
        killed = cli.upkeep("compact", store, now=NOW, keep=1, kill_at=kill_at)
        assert killed.code == -9, killed.err
        assert runs(store) == before and answers(store), f"killed at {seen[kill_at - 1]}"
        half = [f for f in store.glob("lake/*/*/*/*/manifest.json") if not whole(f)]
        assert half == [], f"killed at {seen[kill_at - 1]}"
        compact(store)
        assert runs(store) == before and answers(store)
        assert {f.relative_to(store) for f in store.glob("lake/**/*.*")} == wanted
        shutil.rmtree(store)


def whole(manifest) -> bool:
    """Whether all files are there that a manifest promises."""
    promised = [s["file"] for s in json.loads(manifest.read_text())["shards"] if s["file"]]
    return all((manifest.parent / file).exists() for file in promised)
