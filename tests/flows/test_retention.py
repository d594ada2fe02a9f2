"""Retention: what is too old leaves the views and the index, stays in the history, and does not come back by itself."""

from __future__ import annotations

import shutil

import pytest

import engraph

S1, S2 = "ann/ann-talk/s1", "ann/ann-talk/s2"
RULE = [{"namespace": "ann", "granularity": ["turn", "round", "session"], "days": 30}]
NOW = "2026-02-02T06:00:00+00:00"  # session s1 is of 2 January, s2 of 3 January
LATER = "2026-02-03T06:00:00+00:00"


@pytest.fixture(scope="session")
def retain(cli):
    """`retain(store, rules, now=...)`: what it did."""

    def run(store, rules=RULE, now=NOW, **more):
        ran = cli.upkeep("retain", store, now=now, rules=rules, **more)
        assert ran.code == 0, ran.err
        return ran.json

    return run


@pytest.fixture(scope="module")
def retained(built, retain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("retained")
    shutil.copytree(built[0], folder / "notes")
    shutil.copytree(built[1], folder / "store")
    return folder, retain(folder / "store")


@pytest.fixture
def aged(retained, tmp_path, corpus_in):
    """The test's own corpus and store, after retention."""
    shutil.copytree(retained[0], tmp_path, dirs_exist_ok=True)
    return corpus_in(tmp_path / "notes"), tmp_path / "store"


def units(store, table="memory_units", **fields):
    with engraph.open(store) as opened:
        rows = opened.table(table).to_pylist()
    return [r for r in rows if all(r[k] == v for k, v in fields.items())]


def test_units_older_than_the_rule_allows_leave_the_view_and_the_index_and_stay_in_the_history(retained, built):
    folder, result = retained
    before = [u for u in units(built[1], namespace="ann", session_id=S1) if u["granularity"] in RULE[0]["granularity"]]
    assert result["published"] and result["snapshot"] == 2 and result["archived"] == len(before) > 7
    assert {(r["namespace"], r["granularity"]) for r in result["rules"][0]["of"]} == {
        ("ann", g) for g in RULE[0]["granularity"]
    }
    store = folder / "store"
    left = units(store, namespace="ann", session_id=S1)
    assert left and not {u["granularity"] for u in left} & set(RULE[0]["granularity"])
    assert len(units(store, namespace="ann", session_id=S2)) == len(units(built[1], namespace="ann", session_id=S2))
    assert len(units(store, namespace="bo")) == len(units(built[1], namespace="bo"))
    history = {(u["unit_id"], u["version"]): u for u in units(store, "memory_units_history")}
    assert all(history[u["unit_id"], u["version"]]["valid_to"] is not None for u in before)
    with engraph.open(store) as opened:
        for u in before:
            hits = opened.recall(u["text"], k=50, namespace="ann", granularity=u["granularity"])
            assert u["unit_id"] not in {h.unit_id for h in hits}
        assert opened.table("turns").num_rows == 27
        operations = [o for o in opened.table("operations").to_pylist() if o["policy"] == "retention@1"]
    assert {o["operation"] for o in operations} == {"ARCHIVE"} and len(operations) == len(before)
    assert all("namespace ann, granularity turn, round, session, 30 days" in o["reason"] for o in operations)


def test_other_buckets_keep_their_filesets_and_index_shards(retained):
    with engraph.open(retained[0] / "store", snapshot=1) as old, engraph.open(retained[0] / "store") as new:
        added = set(new.catalogue) - set(old.catalogue)
        assert {(f.table, f.stage) for f in added} == {("operations", "retention")} and len(added) == 1
        assert set(old.catalogue) < set(new.catalogue)
        changed = {b for b in old.snapshot.index if old.snapshot.index[b] != new.snapshot.index[b]}
        assert changed == {str(next(iter(added)).bucket)}
        gate = next(g for g in new.snapshot.gates if g.name == "counts add up")
        assert gate.passed and gate.detail == "7 turns and documents archived by retention@1"


def test_a_second_run_on_the_same_day_does_nothing(aged, retain, listing):
    store = aged[1]
    before = listing(store)
    again = retain(store, now="2026-02-02T23:59:00+00:00")
    assert not again["published"] and again["archived"] == 0 and again["snapshot"] == 2
    assert listing(store) == before


def test_a_dry_run_lists_what_would_go_by_rule_and_writes_nothing(copied, retain, listing):
    store = copied[1]
    before = listing(store)
    rules = [*RULE, {"namespace": "*", "granularity": ["sentence"], "days": 3000}]
    found = retain(store, rules, dry_run=True)
    assert [r["units"] > 0 for r in found["rules"]] == [True, False] and not found["published"]
    assert listing(store) == before


def test_ingesting_the_same_files_again_changes_nothing(aged, ingest):
    corpus, store = aged
    again = ingest(corpus.folder, store=store, day="2026-02-03")
    assert again.worked() == [] and again.json["snapshot"] == 2


@pytest.mark.parametrize("day", ["2026-02-03", "2026-01-05"])
def test_a_session_that_goes_on_does_not_bring_its_archived_units_back(aged, ingest, say, retain, day):
    corpus, store = aged
    archived = {u["unit_id"] for u in units(store, "memory_units_history", granularity="turn", session_id=S1)}
    corpus.chat("more.jsonl", say("ann", "s1", range(7, 9), day="2026-01-02"))
    ran = ingest(corpus.folder, store=store, day=day)
    assert ran.json["snapshot"] == 3
    turns = {u["unit_id"] for u in units(store, granularity="turn", session_id=S1)}
    assert len(turns) == 2 and not turns & archived
    (session,) = units(store, granularity="session", session_id=S1)  # changed content is a new version ...
    assert len(session["source_spans"]) == 9
    assert retain(store, now=LATER)["published"]
    assert not units(store, granularity="session", session_id=S1)  # ... and subject to the rule again
    assert not units(store, granularity="turn", session_id=S1)


def test_a_turn_that_only_moves_in_its_session_stays_archived(aged, ingest, say):
    corpus, store = aged
    late = say("ann", "s1", range(7, 8), day="2026-01-02")
    late[0]["said_at"] = "2026-01-02T09:02:30+01:00"  # between the third and the fourth
    corpus.chat("late.jsonl", late)
    ingest(corpus.folder, store=store, day="2026-02-03")
    (turn,) = units(store, granularity="turn", session_id=S1)
    assert turn["unit_id"] == f"{S1}/s1-7"
    moved = units(store, "memory_units_history", unit_id=f"{S1}/s1-5")
    assert sorted(u["version"] for u in moved) == [1, 2] and all(u["valid_to"] is not None for u in moved)


def test_an_edited_turn_is_a_new_version_until_the_rule_looks_at_it_again(aged, ingest, say, retain):
    corpus, store = aged
    rows = say("ann", "s1", range(7), day="2026-01-02")
    rows[3]["text"] = "Forget it: the submarine stays in Reykjavik until autumn."
    corpus.chat("edited.jsonl", rows)
    ingest(corpus.folder, store=store, day="2026-02-03")
    (turn,) = units(store, granularity="turn", session_id=S1)
    assert "submarine" in turn["text"] and turn["version"] == 2
    assert retain(store, now=LATER)["archived"] >= 1
    assert not units(store, granularity="turn", session_id=S1)


def test_what_is_edited_on_its_own_day_is_not_archived_for_what_it_was(aged, ingest, say):
    corpus, store = aged
    rows = say("ann", "s1", range(7), day="2026-01-02")
    rows[3]["text"], rows[3]["said_at"] = "The submarine stays in Reykjavik.", "2026-01-02T09:03:00+01:00"
    corpus.chat("edited.jsonl", rows)
    ingest(corpus.folder, store=store, day="2026-01-05")
    (turn,) = units(store, granularity="turn", session_id=S1)
    assert "submarine" in turn["text"] and turn["version"] == 1


def test_the_stages_compute_what_they_would_have_computed_without_retention(aged, ingest, say, tmp_path, built):
    corpus, store = aged
    shutil.copytree(built[1], tmp_path / "without")
    corpus.chat(
        "more.jsonl", say("ann", "s1", range(7, 9), day="2026-01-02") + say("ann", "s3", range(5), day="2026-02-03")
    )
    for one in (store, tmp_path / "without"):
        ingest(corpus.folder, store=one, day="2026-02-03")
    with engraph.open(store) as a, engraph.open(tmp_path / "without") as b:
        assert {f for f in a.catalogue if f.stage != "retention"} == set(b.catalogue)


@pytest.mark.soak
def test_nights_with_retention_end_the_same_every_time(corpus, say, ingest, retain, differences, tmp_path):
    rules = [{"days": 1}, {"namespace": "b*", "granularity": ["fact"], "days": 1}]
    for n, day in enumerate(("2026-03-01", "2026-03-02", "2026-03-03")):
        rows = say("ann", f"s{n}", range(4), day=day) + say("bo", f"s{n // 2}", range(4 * n, 4 * n + 4), day=day)
        corpus.chat(f"day={day}/talk.jsonl", rows)
        for store in (tmp_path / "one", tmp_path / "two"):
            ingest(corpus.folder / f"day={day}", store=store, day=day)
            retain(store, rules, now=f"{day}T22:00:00+00:00")
            if store.name == "two" and n == 1:
                ingest(corpus.folder, store=store, day=None)
                retain(store, rules, now=f"{day}T23:00:00+00:00")
    assert differences(tmp_path / "one", tmp_path / "two") == []
    left = {u["session_id"] for u in units(tmp_path / "one", namespace="ann", granularity="turn")}
    assert left == {f"ann/ann-talk/s{n}" for n in (1, 2)}


def test_a_namespace_may_be_archived_whole(copied, retain):
    store = copied[1]
    retain(store, [{"days": 1}], now="2027-02-01T00:00:00+00:00")
    with engraph.open(store) as opened:
        assert opened.table("memory_units").num_rows == 0 and opened.table("turns").num_rows == 27
        assert opened.recall("Where is the boat?", k=5) == []


def test_a_rule_that_could_never_apply_is_refused(copied, cli):
    ran = cli.upkeep("retain", copied[1], now=NOW, rules=[{"granularity": ["turns"], "days": 3}])
    assert ran.code == 1 and "names the granularity 'turns': there are turn, round" in ran.err
