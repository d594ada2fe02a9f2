"""Forget: nothing of a namespace or a source is left in the new snapshot, nothing else is touched, and it does not come back."""

from __future__ import annotations

import json
import shutil

import pytest

import engraph
from jobs.store.lake import Lake
from schemas.ids import bucket_of
from schemas.tables import TABLES

NOW = "2026-03-01T00:00:00"
LAKE = [name for name, table in TABLES.items() if not table.ledger]


@pytest.fixture(scope="session")
def forget(cli):
    """`forget(store, "namespace", "ann")`: the receipt."""

    def run(store, what, name, *more):
        ran = cli("forget", what, name, "--yes", "--json", "--store", store, "--now", NOW, *more)
        assert ran.code == 0, ran.err
        return ran.json

    return run


@pytest.fixture(scope="module")
def without_ann(built, forget, tmp_path_factory):
    folder = tmp_path_factory.mktemp("without_ann")
    shutil.copytree(built[0], folder / "notes")
    shutil.copytree(built[1], folder / "store")
    return folder, forget(folder / "store", "namespace", "ann", "--reason", "asked to")


@pytest.fixture
def forgotten(without_ann, tmp_path, corpus_in):
    """The test's own corpus and store, after ann was forgotten."""
    shutil.copytree(without_ann[0], tmp_path, dirs_exist_ok=True)
    return corpus_in(tmp_path / "notes"), tmp_path / "store"


def everything(store) -> dict[str, list[dict]]:
    """All rows of all files that the newest snapshot names, every version."""
    lake = Lake(store)
    with engraph.open(store) as opened:
        return {t: lake.read(t, opened.catalogue.select(t)).to_pylist() for t in LAKE}


def mentions_of(store, name: str) -> list[str]:
    """Rows of any table in which a name stands as an id, a reference or a namespace."""
    found = []
    for table, rows in everything(store).items():
        for row in rows:
            values = [v for v in row.values() if isinstance(v, str)]
            if any(v == name or v.startswith((f"{name}/", f"{name}.", f"{name}#")) for v in values):
                found.append(f"{table}: {row}")
    return found


def test_nothing_of_a_forgotten_namespace_is_in_any_table_or_index(without_ann, built):
    store = without_ann[0] / "store"
    assert len(mentions_of(built[1], "ann")) > 200
    assert mentions_of(store, "ann") == []
    with engraph.open(built[1]) as old, engraph.open(store) as new:
        said = {u["content_hash"] for u in old.table("memory_units").to_pylist() if u["namespace"] == "ann"}
        others = {u["content_hash"] for u in old.table("memory_units").to_pylist() if u["namespace"] != "ann"}
        others |= {e["content_hash"] for e in old.table("entities").to_pylist() if e["namespace"] != "ann"}
        vectors = {v["content_hash"] for v in new.table("embeddings").to_pylist()}
        assert not vectors & (said - others) and others <= vectors
        assert new.namespaces() == old.namespaces() - {"ann"}
        assert str(bucket_of("ann", 4)) not in new.snapshot.index
        assert all(hit.namespace != "ann" for hit in new.recall("Who sold the wooden boat?", k=100))


def test_what_is_left_is_what_a_store_that_never_read_it_holds(without_ann, ingest, differences, tmp_path, corpus_in):
    clean = corpus_in(tmp_path / "notes").fill()
    (clean.folder / "ann.jsonl").unlink()
    ingest(clean.folder, store=tmp_path / "clean")
    assert differences(without_ann[0] / "store", tmp_path / "clean") == []


def test_other_namespaces_keep_their_filesets_and_index_shards(without_ann, built):
    with engraph.open(built[1]) as old, engraph.open(without_ann[0] / "store") as new:
        bucket = bucket_of("ann", 4)
        assert bucket not in (bucket_of("bo", 4), bucket_of("notes", 4)), "choose namespaces of different buckets"
        kept = {f for f in old.catalogue if f.table not in ("embeddings", "sources") and f.bucket != bucket}
        assert kept <= set(new.catalogue)
        assert new.snapshot.index == {b: s for b, s in old.snapshot.index.items() if b != str(bucket)}


def test_the_receipt_tells_what_went_and_is_kept_in_the_ledger_without_names(without_ann, built):
    folder, receipt = without_ann
    before, after = everything(built[1]), everything(folder / "store")
    lost = {t: len(before[t]) - len(after[t]) for t in LAKE if len(before[t]) > len(after[t])}
    assert receipt["removed"] == lost and lost["turns"] == 13 and lost["sources"] == 1
    assert (receipt["what"], receipt["name"], receipt["snapshot"], receipt["reason"], receipt["already"]) == (
        "namespace", "ann", 2, "asked to", False,
    )  # fmt: skip
    assert "still hold it, until" in receipt["note"]
    with engraph.open(folder / "store") as opened:
        (row,) = opened.table("erasures").to_pylist()
        assert (
            opened.snapshot.reason == "asked to"
            and opened.snapshot.erased.subject == row["subject"] == receipt["subject"]
        )
    assert {r["table"]: r["rows"] for r in row["removed"]} == lost
    assert row["snapshot"] == 2 and "ann" not in json.dumps(row, default=str).replace("namespace", "")


def test_the_suppression_list_tells_no_names(forgotten):
    files = list((forgotten[1] / "suppression").iterdir())
    assert len(files) == 2
    assert not any(b"ann" in f.read_bytes().replace(b"namespace", b"") for f in files)


def test_older_snapshots_keep_it_until_gc_and_then_the_store_has_no_trace(forgotten, cli):
    store = forgotten[1]
    with engraph.open(store, snapshot=1) as opened:
        assert opened.recall("Who sold the boat?", k=1, namespace="ann")
    assert cli("snapshots", "gc", "--keep", 1, "--store", store).code == 0
    left = [f for f in store.rglob("*.json") if b"ann-talk" in f.read_bytes()]
    assert left == [] and cli("doctor", "--store", store).code == 0


def test_the_same_files_again_are_refused_with_an_empty_payload_and_bring_nothing_back(forgotten, ingest):
    corpus, store = forgotten
    before = everything(store)
    again = ingest(corpus.folder, store=store, day="2026-03-02", expect=3)
    assert again.json["quarantined"] == 13 and again.json["snapshot"] == 3
    after = everything(store)
    assert {t: after[t] for t in LAKE if t not in ("quarantine", "sources")} == {
        t: before[t] for t in LAKE if t not in ("quarantine", "sources")
    }
    assert mentions_of(store, "ann") == []
    refused = after["quarantine"]
    assert len(refused) == 13
    assert all(r["reason"].startswith("forgotten on 2026-03-01") and r["payload"] == b"" for r in refused)
    assert ingest(corpus.folder, store=store, day="2026-03-03", expect=3).json["snapshot"] == 3


def test_new_records_of_a_forgotten_namespace_are_refused_and_those_beside_them_are_taken(forgotten, ingest, say):
    corpus, store = forgotten
    corpus.chat(
        "mixed.jsonl", say("ann", "s9", range(3), day="2026-03-02") + say("carla", "s1", range(2), day="2026-03-02")
    )
    ran = ingest(corpus.folder / "mixed.jsonl", store=store, day="2026-03-02", expect=3)
    assert ran.json["quarantined"] == 3
    with engraph.open(store) as opened:
        assert {t["namespace"] for t in opened.table("turns").to_pylist()} == {"bo", "carla"}


def test_forgetting_twice_gives_the_first_receipt(forgotten, forget, without_ann, listing):
    store = forgotten[1]
    before = listing(store)
    again = forget(store, "namespace", "ann")
    assert again == without_ann[1] | {"already": True}
    assert listing(store) == before


def test_a_source_takes_with_it_what_it_brought_and_leaves_what_others_brought(
    copied, ingest, say, forget, differences, tmp_path
):
    corpus, store = copied
    corpus.chat(
        "more.jsonl", say("ann", "s2", range(6, 8), day="2026-01-03") + say("ann", "s3", range(4), day="2026-01-05")
    )
    shutil.copytree(store, tmp_path / "before")
    ingest(corpus.folder, store=store, day="2026-01-09")
    receipt = forget(store, "source", "more.jsonl")
    assert receipt["removed"]["turns"] == 6 and receipt["name"] == "notes/more.jsonl"
    assert differences(store, tmp_path / "before") == []
    assert mentions_of(store, "more") == []
    moved = corpus.text("copy/of-it.jsonl", (corpus.folder / "more.jsonl").read_text())
    grown = corpus.chat("other.jsonl", say("ann", "s3", range(5), day="2026-01-05"))  # one more than was forgotten
    assert ingest(moved, store=store, day="2026-03-02", expect=3).json["quarantined"] == 6
    assert ingest(grown, store=store, day="2026-03-02", expect=3).json["quarantined"] == 4
    with engraph.open(store) as opened:
        assert [t["turn_id"] for t in opened.table("turns").to_pylist() if "/s3/" in t["turn_id"]] == [
            "ann/ann-talk/s3/s3-4"
        ]


def test_a_document_may_be_forgotten_by_its_source_and_an_edited_one_stays_out(copied, ingest, forget):
    corpus, store = copied
    forget(store, "source", "boat.md")
    with engraph.open(store) as opened:
        assert [d["document_id"] for d in opened.table("documents").to_pylist()] == ["notes/garden.md"]
        assert all(
            "hull" not in h.text for h in opened.recall("Which colour has the hull?", k=20, granularity="sentence")
        )
    assert mentions_of(store, "notes/boat.md") == mentions_of(store, "boat.md") == []
    corpus.boat(colour="Its hull is painted violet.")
    assert ingest(corpus.folder, store=store, day="2026-03-02", expect=3).json["quarantined"] == 1
    assert mentions_of(store, "notes/boat.md") == mentions_of(store, "boat.md") == []


def test_payloads_of_refused_records_go_too(corpus, ingest, say, forget, tmp_path):
    store = tmp_path / "store"
    rows = say("ann", "s1", range(4), day="2026-01-02")
    corpus.chat("ann.jsonl", [*rows, {**rows[0], "message_id": "s1-9", "text": ""}])
    corpus.chat("bo.jsonl", say("bo", "s1", range(3), day="2026-01-02"))
    ingest(corpus.folder, store=store, expect=3)
    assert len(everything(store)["quarantine"]) == 1
    assert forget(store, "namespace", "ann")["removed"]["quarantine"] == 1
    assert everything(store)["quarantine"] == [] and mentions_of(store, "ann") == []


def test_archived_units_of_a_forgotten_namespace_are_forgotten_too(copied, cli, forget):
    store = copied[1]
    rules = [{"namespace": "*", "days": 30}]
    assert cli.upkeep("retain", store, now="2026-02-28T00:00:00+00:00", rules=rules).code == 0
    forget(store, "namespace", "ann")
    assert mentions_of(store, "ann") == []
    kept = {o["namespace"] for o in everything(store)["operations"]}
    assert kept == {"bo", "notes"}


def test_a_namespace_of_the_same_bucket_ends_as_if_it_had_been_alone(
    corpus, ingest, say, forget, differences, tmp_path
):
    """Also where the forgotten one came first, so that the bucket's first day is gone and its texts belong to a later day."""
    other = next(name for name in map("other-{}".format, range(99)) if bucket_of(name, 4) == bucket_of("ann", 4))
    nights = {
        "2026-01-05": {"ann": say("ann", "s1", range(4), day="2026-01-05")},
        "2026-01-06": {
            "ann": say("ann", "s1", range(4, 6), day="2026-01-05"),
            other: [row | {"namespace": other} for row in say("ann", "s1", range(3), day="2026-01-06")],
        },
        "2026-01-07": {other: say(other, "s2", range(3), day="2026-01-07")},
    }
    for day, night in nights.items():
        for store in ("both", "alone"):
            for name, rows in night.items():
                if store == "both" or name == other:
                    corpus.chat(f"{store}/day={day}/{name}.jsonl", rows)
    for store in ("both", "alone"):
        ingest(corpus.folder / store, store=tmp_path / store, day=None)
    forget(tmp_path / "both", "namespace", "ann")
    assert differences(tmp_path / "both", tmp_path / "alone") == []
    assert mentions_of(tmp_path / "both", "ann") == []


def test_the_last_namespace_may_be_forgotten(corpus, ingest, say, forget, tmp_path, cli):
    corpus.chat("ann.jsonl", say("ann", "s1", range(4), day="2026-01-02"))
    ingest(corpus.folder, store=tmp_path / "store")
    forget(tmp_path / "store", "namespace", "ann")
    assert not any(everything(tmp_path / "store").values())
    with engraph.open(tmp_path / "store") as opened:
        assert opened.recall("Where is the boat?", k=3) == []
    assert cli("status", "--store", tmp_path / "store").code == 0


def test_golden_questions_about_it_leave_the_golden_set(copied, forget):
    store = copied[1]
    golden = store / "golden.jsonl"
    ours = {"query": "Who moved?", "namespace": "ann", "refs": ["ann/s1-3"]}
    theirs = {"query": "Who bought the boat?", "namespace": "notes", "refs": ["boat.md"]}
    golden.write_text(json.dumps(ours) + "\n" + json.dumps(theirs) + "\n")
    forget(store, "namespace", "ann")
    assert [json.loads(line) for line in golden.read_text().splitlines()] == [theirs]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("namespace", "anne"), "no namespace 'anne' in the newest snapshot: did you mean ann?"),
        (("source", "boot.md"), "did you mean boat.md or notes/boat.md?"),
        (("unit", "ann/s1"), "forget unit is not in this version"),
        (("person", "Ann", "--within", "ann"), "forget person is not in this version"),
        (("everything", "x"), "cannot forget a 'everything'"),
    ],
)
def test_what_cannot_be_forgotten_is_refused_with_what_to_do(arguments, says, copied, cli, listing):
    before = listing(copied[1])
    ran = cli("forget", *arguments, "--yes", "--store", copied[1])
    assert ran.code == 2 and says in ran.err
    assert listing(copied[1]) == before


def test_without_yes_and_without_a_terminal_nothing_happens_and_a_dry_run_says_what_would(copied, cli, listing):
    store = copied[1]
    before = listing(store)
    ran = cli("forget", "namespace", "ann", "--store", store)
    assert ran.code == 2 and "13 turns" in ran.err and "say --yes, or look first with --dry-run" in ran.err
    dry = cli("forget", "namespace", "ann", "--dry-run", "--json", "--store", store)
    assert dry.code == 0 and dry.json["rows"]["turns"] == 13 and dry.json["rows"]["memory_units"] > 40
    assert cli("forget", "source", "boat.md", "--dry-run", "--json", "--store", store).json["rows"] == {"documents": 1}
    assert listing(store) == before


@pytest.mark.soak
def test_forgetting_that_is_killed_anywhere_ends_as_if_it_had_not_been(copied, cli, differences, tmp_path):
    store = copied[1]
    undisturbed, writes = tmp_path / "undisturbed", tmp_path / "writes.json"
    shutil.copytree(store, undisturbed)
    shutil.copytree(store, tmp_path / "start")
    assert cli("forget", "namespace", "ann", "--yes", "--store", undisturbed, "--now", NOW, listing=writes).code == 0
    paths = [path for _, path in json.loads(writes.read_text())]
    published = next(n for n, path in enumerate(paths, 1) if path == "snapshots/2.json")
    points = {1, 3, len(paths) // 3, published, published + 1, len(paths) - 1}
    for kill_at in sorted(points):
        shutil.rmtree(store)
        shutil.copytree(tmp_path / "start", store)
        killed = cli("forget", "namespace", "ann", "--yes", "--store", store, "--now", NOW, kill_at=kill_at)
        assert killed.code == -9, killed.err
        with engraph.open(store) as opened:
            there = any(t["namespace"] == "ann" for t in opened.table("turns").to_pylist())
            assert there == (opened.snapshot.number == 1)
        again = cli("forget", "namespace", "ann", "--yes", "--json", "--store", store, "--now", NOW)
        assert again.code == 0 and again.json["snapshot"] == 2 and again.json["removed"]["turns"] == 13, again.err
        assert differences(store, undisturbed) == [] and mentions_of(store, "ann") == []
        with engraph.open(store) as opened:
            assert opened.table("erasures").num_rows == 1
