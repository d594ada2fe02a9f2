"""The DuckDB file of a snapshot: complete, self-contained, ranking as Python does, and never a mix of two snapshots."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import engraph
from pipelines import lexical
from pipelines.lexical import stem_terms, surface_words
from schemas.errors import StoreError
from schemas.tables import TABLES

QUESTIONS = (
    "Which colour has the hull of the boat?",
    "TOMATO plants, tomatoes & greenhouses",
    "Carla's bees in Grenoble",
    "xyzzy nobody said",
    "ﬁne Straße 東京都 naïve",
)


ASSIGNED = st.characters(exclude_categories=("Cn", "Co", "Cs"))


def file_of(store: Path, number: int = 1) -> Path:
    return store / "snapshots" / str(number) / "engraph.duckdb"


def bare(file: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(file), read_only=True)
    con.execute("SET TimeZone = 'UTC'")
    return con


@pytest.fixture(scope="module")
def con(built):
    with bare(file_of(built[1])) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(built):
    with engraph.open(built[1]) as store:
        yield store


def test_a_bare_duckdb_in_another_folder_answers_from_a_store_that_was_moved(built, tmp_path):
    shutil.copytree(built[1], tmp_path / "elsewhere")
    (tmp_path / "cwd").mkdir()
    asked = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
        "con.execute('SET enable_external_access = false'); "
        "print(con.execute(\"SELECT unit_id FROM lexical_search('tomato greenhouse', 3)\").fetchall())"
    )
    file = file_of(tmp_path / "elsewhere")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", asked, str(file)], cwd=tmp_path / "cwd", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert len(eval(ran.stdout)) == 3
    assert str(built[1].parent).encode() not in file.read_bytes()


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if not t.ledger] + ["memory_units_history"])
def test_the_file_holds_the_rows_of_every_table(con, opened, rows_of, name):
    made_here = ("embeddings", "lexicon", "lexical_postings", "index_shards", "clusters", "assignments")
    found = con.sql(f"SELECT * FROM {name}").to_arrow_table()
    if name in TABLES:
        assert found.column_names == TABLES[name].schema.names
    if name not in made_here:
        wanted = opened.table(name)
        assert rows_of(found.cast(wanted.schema)) == rows_of(wanted)
    elif name != "embeddings":
        assert found.num_rows > 0


def test_vectors_are_those_of_the_store_to_four_decimals(con, opened):
    wanted = {r["content_hash"]: r["vector"] for r in opened.table("embeddings").to_pylist()}
    found = con.execute("SELECT content_hash, vector FROM embeddings").fetchall()
    assert {h for h, _ in found} == set(wanted) and len(found) == len(wanted)
    assert max(np.abs(np.array(v) - np.array(wanted[h])).max() for h, v in found) < 5.1e-5


def test_every_table_and_column_and_macro_is_commented(con):
    silent = """
        SELECT table_name FROM duckdb_tables() WHERE comment IS NULL AND NOT internal
        UNION ALL SELECT view_name FROM duckdb_views() WHERE comment IS NULL AND NOT internal
        UNION ALL SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal
        UNION ALL SELECT function_name FROM duckdb_functions() WHERE comment IS NULL AND NOT internal
    """
    assert con.execute(silent).fetchall() == []


def scores_in_python(store, question: str, scope=None) -> dict[str, float]:
    """BM25 of every unit of a scope (granularity, namespace), or of all units as one collection."""
    parts = []
    for shard in store._shards:
        for granularity, spans in shard.ranges.items():
            for namespace, (a, b) in spans.items():
                if scope is None or scope == (granularity, namespace):
                    parts.append((shard, a, b))
    found = lexical.scores(question, [(shard.lexical, a, b) for shard, a, b in parts])
    ids = [shard.units["unit_id"][row].as_py() for shard, a, b in parts for row in range(a, b)]
    return {i: float(s) for i, s in zip(ids, np.concatenate(found), strict=True) if s > 0}


@pytest.mark.parametrize("question", QUESTIONS)
def test_lexical_search_ranks_as_python_does(con, opened, question):
    wanted = scores_in_python(opened, question)
    found = con.execute("SELECT unit_id, score FROM lexical_search(?, 1000)", [question]).fetchall()
    assert dict(found) == pytest.approx(wanted, rel=1e-4)
    assert [s for _, s in found] == sorted(wanted.values(), reverse=True)[:1000] or np.allclose(
        [s for _, s in found], sorted(wanted.values(), reverse=True), rtol=1e-4
    )


def test_lexical_search_in_a_namespace_counts_words_there_only(con, opened):
    scope = ("turn", sorted(opened.namespaces())[0])
    wanted = scores_in_python(opened, "the train to Lisbon", scope)
    sql = (
        "SELECT unit_id, score FROM lexical_search('the train to Lisbon', 1000, namespace := ?, granularity := 'turn')"
    )
    assert dict(con.execute(sql, [scope[1]]).fetchall()) == pytest.approx(wanted, rel=1e-4)
    assert wanted


@settings(max_examples=60)
@example("before\0after it")
@given(st.text(ASSIGNED, max_size=60) | st.text("aAéÉßſKﬁ’'_-. 東京都ひらABz\u0301०", max_size=40))
def test_a_question_falls_into_the_same_words_in_sql(con, text):
    composed = unicodedata.normalize("NFC", text)
    assume(unicodedata.normalize("NFKC", text) == "".join(unicodedata.normalize("NFKC", c) for c in composed))
    lexicon = dict(con.execute("SELECT surface, stem FROM lexicon").fetchall())
    wanted = Counter(lexicon.get(word, word) for word in surface_words(text))
    assert dict(con.execute("SELECT term, weight FROM query_terms(?)", [text]).fetchall()) == wanted


def test_the_lexicon_says_what_each_word_is_indexed_under(con, opened):
    units = opened.table("memory_units")["text"].to_pylist()
    wanted = {word: stem_terms(word)[0] for text in units for word in surface_words(text)}
    lexicon = dict(con.execute("SELECT surface, stem FROM lexicon").fetchall())
    assert lexicon.items() >= wanted.items()
    assert set(lexicon.values()) == set(wanted.values())  # common words are there where their stem is
    assert all(stem == stem_terms(word)[0] for word, stem in lexicon.items())


def test_ann_search_finds_the_nearest(con, opened):
    vectors = {r["content_hash"]: np.array(r["vector"]) for r in opened.table("embeddings").to_pylist()}
    units = opened.table("memory_units").select(["unit_id", "content_hash"]).to_pylist()
    matrix = np.stack([vectors[u["content_hash"]] for u in units])
    for question in QUESTIONS[:3]:
        (query,) = opened.embed([question])
        found = con.execute("SELECT unit_id, score FROM ann_search(?, k := 10)", [query.tolist()]).fetchall()
        assert [s for _, s in found] == pytest.approx(np.sort(matrix @ query)[::-1][:10], abs=1e-3)


def test_hybrid_search_adds_the_ranks_of_both(con, opened):
    question = QUESTIONS[0]
    (query,) = opened.embed([question])
    found = con.execute("FROM hybrid_search(?, ?, 5)", [question, query.tolist()]).fetchall()
    assert len(found) == 5
    for _, score, dense, said in found:
        assert score == pytest.approx((1 / (60 + dense) if dense else 0) + (1 / (60 + said) if said else 0))


def walked(edges: list[dict], start: str, hops: int) -> dict[str, int]:
    """Breadth first, in Python."""
    ends: dict[str, set[str]] = {}
    for e in edges:
        ends.setdefault(e["source"], set()).add(e["target"])
        ends.setdefault(e["target"], set()).add(e["source"])
    found, level = {start: 0}, {start}
    for hop in range(1, hops + 1):
        level = {n for node in level for n in ends.get(node, ())} - found.keys()
        found |= dict.fromkeys(level, hop)
    return {n: h for n, h in found.items() if h}


def test_neighbors_are_those_of_a_breadth_first_walk(con, opened):
    edges = opened.table("edges").to_pylist()
    for start in (edges[0]["source"], edges[len(edges) // 2]["target"]):
        for hops in (1, 2, 3):
            found = con.execute("SELECT unit_id, hop FROM neighbors(?, hops := ?)", [start, hops]).fetchall()
            assert dict(found) == walked(edges, start, hops) and len(found) == len(dict(found))
    with pytest.raises(duckdb.Error, match="at most 4 hops"):
        con.execute("FROM neighbors(?, 5)", [start]).fetchall()


def test_paths_follow_edges_and_begin_with_the_shortest(con, opened):
    edges = opened.table("edges").to_pylist()
    known = {frozenset((e["source"], e["target"])) for e in edges}
    start = edges[0]["source"]
    end = next(n for n, hop in walked(edges, start, 2).items() if hop == 2)
    found = con.execute("SELECT hops, nodes, relations FROM paths(?, ?, 3)", [start, end]).fetchall()
    assert found[0][0] == 2 and [f[0] for f in found] == sorted(f[0] for f in found)
    for hops, nodes, relations in found:
        assert (nodes[0], nodes[-1], len(nodes), len(relations)) == (start, end, hops + 1, hops)
        assert all(frozenset(pair) in known for pair in pairwise(nodes))


def test_provenance_quotes_the_source_and_names_its_file(con, opened):
    units = [u for u in opened.table("memory_units").to_pylist() if u["granularity"] in ("turn", "sentence", "fact")]
    for unit in units[::20]:
        rows = con.execute("SELECT ref, quote, file FROM provenance(?)", [unit["unit_id"]]).fetchall()
        assert {r[0] for r in rows} == {s["ref"] for s in unit["source_spans"]} and all(r[2] for r in rows)
        if unit["quotes"]:
            assert "\n".join(dict.fromkeys(r[1] for r in rows)) == unit["text"]


def test_lineage_and_blast_radius_see_both_ends_of_a_derivation(con, opened):
    fact = next(u for u in opened.table("memory_units").to_pylist() if u["granularity"] == "fact")
    ref = fact["source_spans"][0]["ref"]
    up = con.execute("SELECT depth, direction, kind, id FROM lineage(?)", [fact["unit_id"]]).fetchall()
    assert up[0] == (0, "self", "unit", fact["unit_id"])
    assert (1, "source", "record", ref) in up and (1, "source", "unit", fact["parent_id"]) in up
    down = con.execute("SELECT direction, id FROM lineage(?)", [fact["parent_id"]]).fetchall()
    assert ("derived", fact["unit_id"]) in down
    hit = con.execute("SELECT kind, id FROM blast_radius(?)", [ref]).fetchall()
    assert ("unit", fact["unit_id"]) in hit and any(kind == "record" for kind, _ in hit)


def test_timeline_and_validity(con, opened):
    name, namespace = con.execute("SELECT name, namespace FROM entities ORDER BY df DESC LIMIT 1").fetchall()[0]
    times = [r[0] for r in con.execute("FROM timeline(?, ?)", [namespace, name.upper()]).fetchall()]
    assert times and times == sorted(times)
    units = opened.table("memory_units").to_pylist()
    moment = sorted(u["event_time"] for u in units)[len(units) // 2]
    valid = {r[0] for r in con.execute("SELECT unit_id FROM units_valid_at(?)", [moment]).fetchall()}
    assert valid == {
        u["unit_id"] for u in units if u["event_time"] <= moment and not (u["valid_to"] and u["valid_to"] <= moment)
    }


def test_quality_tells_the_gates(con, opened):
    told = {
        name: passed
        for kind, name, passed in con.execute("SELECT kind, name, passed FROM quality()").fetchall()
        if kind == "gate"
    }
    assert told == {gate.name: gate.passed for gate in opened.snapshot.gates}


def test_clusters_and_assignments_cover_every_unit_once(con):
    units, distinct = con.execute("SELECT count(*), count(DISTINCT unit_id) FROM assignments").fetchall()[0]
    assert units == distinct == con.execute("SELECT count(*) FROM memory_units").fetchall()[0][0]
    assert con.execute("SELECT sum(size) FROM clusters").fetchall()[0][0] == units


def test_recall_over_a_table_of_questions_is_recall(opened):
    con = opened.connect()
    con.execute("CREATE TABLE questions(text VARCHAR)").fetchall()
    con.executemany("INSERT INTO questions VALUES (?)", [[q] for q in QUESTIONS])
    con.execute("CREATE TABLE answers AS SELECT q.text, r.* FROM questions q, recall(q.text, 5) r").fetchall()
    for question in QUESTIONS:
        sql = "SELECT unit_id, score FROM answers WHERE text = ? ORDER BY rank"
        wanted = [(h.unit_id, h.score) for h in opened.recall(question, k=5)]
        assert con.execute(sql, [question]).fetchall() == wanted
    found = con.execute("SELECT unit_id FROM ann_search(embed(?), 3)", [QUESTIONS[0]]).fetchall()
    assert len(found) == 3


HOSTILE = (
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/hostname'",
    "SELECT * FROM sniff_csv('/etc/hostname')",
    "COPY memory_units TO '/tmp/engraph-hostile.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/engraph-hostile.csv'",
    "EXPORT DATABASE '/tmp/engraph-hostile'",
    "ATTACH '/tmp/engraph-hostile.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA threads = 1",
    "SET threads = 1",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "INSERT INTO store.main.clusters SELECT * FROM clusters",
    "DELETE FROM store.main.turns",
    "EXPLAIN ANALYZE DELETE FROM store.main.turns",
    "UPDATE store.main.gates SET passed = true",
    "DROP TABLE store.main.turns",
    "CREATE TABLE store.main.mine AS SELECT 1",
    "CREATE PERSISTENT SECRET s (TYPE s3)",
)


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_refused_by_a_sealed_connection_and_by_the_command(opened, built, cli, sql):
    before = file_of(built[1]).read_bytes()
    con = opened.connect(read_only=True)
    with pytest.raises(duckdb.Error):
        con.execute(sql).fetchall()
    ran = cli("sql", sql, "--store", built[1])
    assert ran.code == 2 and ran.err.startswith("engraph: ") and len(ran.err.splitlines()) == 1
    assert file_of(built[1]).read_bytes() == before
    assert not list(Path("/tmp").glob("engraph-hostile*"))


def test_a_variable_of_the_caller_is_no_table(opened):
    secret = opened.table("turns")
    assert secret.num_rows
    with pytest.raises(duckdb.Error, match="secret"):
        opened.connect().execute("SELECT * FROM secret")


def test_the_ledger_in_a_connection_is_what_it_is_now(copied, cli):
    _, store = copied
    with engraph.open(store) as opened:
        before = opened.connect().execute("SELECT count(*) FROM runs").fetchall()
        assert cli("ingest", copied[0].folder, "--store", store).code == 0
        in_file = opened.connect().execute("SELECT count(*) FROM store.runs").fetchall()
        assert opened.connect().execute("SELECT count(*) FROM runs").fetchall() >= before > in_file


# -- life of the file ----------------------------------------------------------------------------------------------


def test_status_names_the_file_and_an_ingest_that_changes_nothing_leaves_it(copied, cli, listing):
    corpus, store = copied
    assert json.loads(cli("status", "--store", store, "--json").out)["duckdb"] == str(file_of(store))
    before = listing(store / "snapshots")
    assert cli("ingest", corpus.folder, "--store", store, "--day", "2026-01-05").code == 0
    assert listing(store / "snapshots") == before


def hull(file: Path) -> str:
    with bare(file) as con:
        sql = "SELECT text FROM memory_units WHERE granularity = 'sentence' AND text LIKE '%hull is painted%'"
        return con.execute(sql).fetchall()[0][0].split()[-1].rstrip(".")


@pytest.fixture
def two(copied, ingest):
    """A store with two snapshots: the hull is red, then blue."""
    corpus, store = copied
    shutil.rmtree(store / "pins", ignore_errors=True)  # of whoever reads the store that was copied
    corpus.boat(colour="Its hull is painted blue.")
    ingest(corpus.folder, store=store, day="2026-01-06")
    return corpus, store


def test_a_rolled_back_snapshot_has_a_file_with_its_rows_and_its_own_number(two, cli):
    _, store = two
    assert [hull(file_of(store, n)) for n in (1, 2)] == ["red", "blue"]
    assert cli("snapshots", "rollback", 1, "--store", store).code == 0
    assert hull(file_of(store, 3)) == "red"
    with bare(file_of(store, 3)) as con:
        assert con.execute("SELECT number, parent, restored_from FROM snapshot").fetchall() == [(3, 2, 1)]
    with engraph.open(store) as opened:
        assert opened.connect().execute("SELECT number FROM snapshot").fetchall() == [(3,)]


def test_gc_takes_the_files_of_collected_snapshots_and_readers_of_them_keep_their_rows(two, cli):
    _, store = two
    (store / "snapshots" / ".building-killed").mkdir()
    with bare(file_of(store, 1)) as con:
        assert cli("snapshots", "gc", "--keep", 1, "--store", store).code == 0
        assert con.execute("SELECT count(*) > 0 FROM memory_units WHERE text LIKE '%painted red%'").fetchall() == [
            (True,)
        ]
    assert sorted(f.name for f in (store / "snapshots").iterdir()) == ["2", "2.json"]


def test_a_file_that_is_not_the_one_that_was_published_is_an_error_until_the_next_ingest(two, cli):
    corpus, store = two
    shutil.copy(file_of(store, 1), file_of(store, 2))
    with engraph.open(store) as opened, pytest.raises(StoreError, match="not the file that was published"):
        opened.connect()
    file_of(store, 2).unlink()
    with engraph.open(store) as opened, pytest.raises(StoreError, match="run any ingest again"):
        opened.connect()
    assert cli("ingest", corpus.folder, "--store", store, "--day", "2026-01-06").code == 0
    with engraph.open(store) as opened:
        assert opened.snapshot.number == 3
        assert opened.connect().execute("SELECT number FROM snapshot").fetchall() == [(3,)]


def test_nothing_of_a_forgotten_namespace_is_in_the_next_file(copied, cli):
    _, store = copied
    with engraph.open(store) as opened:
        namespace = sorted(opened.namespaces())[0]
    assert cli("forget", "namespace", namespace, "--yes", "--store", store).code == 0
    with bare(file_of(store, 2)) as con:
        said = "data_type = 'VARCHAR' OR column_name = 'source_spans'"
        texts = con.execute(
            f"SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND ({said})"
        ).fetchall()
        held = [
            f"{table}.{column}"
            for table, column in texts
            if con.execute(
                f"SELECT count(*) FROM {table} WHERE \"{column}\"::VARCHAR LIKE ? || '/%'", [namespace]
            ).fetchall()[0][0]
        ]
    assert held == []


# -- writing back --------------------------------------------------------------------------------------------------


def test_what_is_written_back_is_taken_in_by_the_next_ingest_once(copied, ingest, cli):
    corpus, store = copied
    with engraph.open(store) as opened:
        con = opened.connect()
        turn, before = con.execute(
            "SELECT unit_id, text FROM memory_units WHERE granularity = 'turn' LIMIT 1"
        ).fetchall()[0]
        con.execute("INSERT INTO feedback (unit_id, query, verdict) VALUES (?, 'why?', 'wrong')", [turn])
        con.execute("INSERT INTO corrections (unit_id, text) VALUES (?, 'I keep seventeen otters in Antwerp.')", [turn])
        con.execute("INSERT INTO corrections (unit_id, text) VALUES ('nobody/1', 'x')")
        con.execute("INSERT INTO facts (namespace, text) VALUES ('zoo', 'The zebra is called Marzipan.')")
        con.close()
    for expected in (3, 0):
        ingest(corpus.folder, store=store, day="2026-01-06", expect=expected)
    assert not list((store / "written-back").iterdir())
    with engraph.open(store) as opened:
        con = opened.connect(read_only=True)
        assert con.execute("SELECT unit_id, query, verdict FROM feedback").fetchall() == [(turn, "why?", "wrong")]
        versions = con.execute(
            "SELECT text FROM memory_units_history WHERE unit_id = ? ORDER BY version", [turn]
        ).fetchall()
        assert [t for (t,) in versions] == [before, f"{before.split(': ')[0]}: I keep seventeen otters in Antwerp."]
        assert con.execute(
            "SELECT text FROM memory_units WHERE granularity = 'turn' AND namespace = 'zoo'"
        ).fetchall() == [("user: The zebra is called Marzipan.",)]
        (reason,) = con.execute("SELECT reason FROM quarantine WHERE source_ref LIKE 'written-back/%'").fetchall()
        assert "nobody/1" in reason[0]
        assert opened.recall("What is the zebra called?", k=1)[0].namespace == "zoo"
    assert cli("forget", "namespace", "zoo", "--yes", "--store", store).code == 0


def test_a_file_of_written_back_rows_that_cannot_be_read_is_counted_once_and_kept(copied, ingest, cli):
    corpus, store = copied
    shutil.rmtree(store / "written-back", ignore_errors=True)  # of connections to the store that this one is a copy of
    with engraph.open(store) as opened:
        con = opened.connect()
        con.execute("INSERT INTO facts (namespace, text) VALUES ('zoo', 'The zebra is called Marzipan.')")
        (written,) = (store / "written-back").glob("*.duckdb")
        con.close()
    whole = written.read_bytes()
    written.write_bytes(whole[: len(whole) // 2])
    (store / "written-back" / "0-killed-at-once.duckdb").touch()
    for expected in (3, 0):
        ingest(corpus.folder, store=store, day="2026-01-06", expect=expected)
    (kept,) = (store / "written-back").iterdir()
    assert kept.name == f"{written.stem}.unreadable.duckdb"
    assert kept.read_bytes() == whole[: len(whole) // 2]
    with engraph.open(store) as opened:
        reasons = "SELECT reason FROM quarantine WHERE source_ref LIKE 'written-back/%'"
        (told,) = opened.connect(read_only=True).execute(reasons).fetchall()
    assert f"written-back/{kept.name}" in told[0]


def test_feedback_on_what_is_forgotten_is_forgotten(copied, ingest, cli):
    corpus, store = copied
    with engraph.open(store) as opened:
        units = opened.connect(read_only=True).execute(
            "SELECT namespace, min(unit_id) FROM memory_units WHERE granularity = 'turn' GROUP BY ALL ORDER BY ALL"
        )
        told = units.fetchall()[:2]
    for _, unit in told:
        sql = f"INSERT INTO feedback (unit_id, verdict) VALUES ('{unit}', 'right')"
        assert cli("sql", sql, "--store", store).code == 0
    ingest(corpus.folder, store=store)
    assert cli("forget", "namespace", told[0][0], "--yes", "--store", store).code == 0
    left = json.loads(cli("sql", "SELECT unit_id FROM feedback", "--store", store, "--json").out)
    assert left == [{"unit_id": told[1][1]}]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO feedback (unit_id, verdict) VALUES ('a', 'silly')",
        "INSERT INTO facts (namespace, text) VALUES ('a', ' ')",
        "INSERT INTO feedback (verdict) VALUES ('right')",
        "INSERT INTO turns SELECT * FROM turns",
        "INSERT INTO feedback (unit_id, verdict) SELECT content, 'right' FROM read_text('/etc/hostname')",
        "DELETE FROM feedback",
        "INSERT INTO feedback (unit_id, verdict) VALUES ('a', 'right'); DROP TABLE facts",
    ],
)
def test_what_cannot_be_written_back_is_refused_and_nothing_stays(copied, cli, sql):
    _, store = copied
    shutil.rmtree(store / "written-back", ignore_errors=True)  # of connections to the store that was copied
    ran = cli("sql", sql, "--store", store)
    assert ran.code == 2 and ran.err.startswith("engraph: "), ran
    assert not list(store.glob("written-back/*"))
