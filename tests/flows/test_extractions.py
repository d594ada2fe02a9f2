"""`engraph ingest --extractions`: what others extracted becomes memory like the rules' own, with who made it."""

from __future__ import annotations

import json
import shutil

import pytest

import engraph
from tests.flows.talks import SUMMARIES, conversation, write_talks


@pytest.fixture(scope="module")
def given(tmp_path_factory, ingest):
    """(folder with talks.json, store): the talks with the file's own extractions, in one ingest."""
    folder = tmp_path_factory.mktemp("given")
    file = write_talks(folder / "talks.json")
    ran = ingest(file, "--extractions", file, store=folder / "store")
    assert ran.json["quarantined"] == 0
    return folder, folder / "store"


@pytest.fixture
def mine(given, tmp_path):
    """The test's own copy of the store."""
    shutil.copytree(given[1], tmp_path / "store")
    return given[0] / "talks.json", tmp_path / "store"


def units(store, sql: str) -> list[tuple]:
    with engraph.open(store) as opened:
        return opened.connect().execute(sql).fetchall()


def test_summaries_replace_the_rules_and_facts_and_notes_stand_beside_them(given):
    found = units(
        given[1], "SELECT unit_id, text, extractor FROM memory_units WHERE granularity = 'summary' ORDER BY 1"
    )
    assert {text for _, text, _ in found} == {t for texts in SUMMARIES.values() for t in texts}
    assert found[0][0] == "talk-1/session_1#summary" and found[0][2].startswith("import:locomo@")
    facts = units(given[1], "SELECT extractor, count(*) FROM memory_units WHERE granularity = 'fact' GROUP BY ALL")
    counts = {name.partition("@")[0]: n for name, n in facts}
    assert counts["import:locomo"] == 3 and counts["rules"] > 3
    notes = units(given[1], "SELECT text, session_id FROM memory_units WHERE granularity = 'note' ORDER BY 1")
    assert notes == [
        ("Ines adopts a parrot.", "talk-1/session_1"),
        ("Sam comes third in a rowing race.", "talk-2/session_2"),
    ]


def test_a_fact_carries_the_turns_it_rests_on_and_is_recalled(given):
    (fact,) = units(
        given[1],
        "SELECT parent_id, [s.ref for s in source_spans], trust FROM memory_units WHERE text LIKE '%sells walnut%'",
    )
    assert fact[0] == "talk-1/session_2/D2:3" and fact[1] == ["talk-1/D2:1", "talk-1/D2:3"]
    with engraph.open(given[1]) as store:
        hits = store.recall("Who sells walnut cake?", 2, namespace="talk-1", granularity="fact")
    assert any(h.text == "Ravi's brother sells walnut cake." for h in hits)


def test_what_a_fact_names_is_mentioned_by_its_turn(given):
    sql = """SELECT m.unit_id FROM mentions m JOIN entities e USING (entity_id)
             WHERE e.name = 'Ines' AND m.unit_id = 'talk-1/session_1/D1:3'"""
    assert units(given[1], sql)


def test_the_same_file_again_does_nothing(mine, ingest, listing):
    file, store = mine
    before = listing(store)
    again = ingest(file, "--extractions", file, store=store)
    assert again.worked() == [] and listing(store) == before


def test_a_later_import_gives_what_one_ingest_gives(given, tmp_path, ingest, differences):
    file = given[0] / "talks.json"
    ingest(file, store=tmp_path / "store")
    later = ingest("--extractions", file, store=tmp_path / "store", day="2026-01-09")
    assert later.json["snapshot"] == 2 and later.stage("read")["rows_out"] > 0
    assert differences(tmp_path / "store", given[1]) == []


def test_given_extractions_outlive_a_backfill_without_the_file(mine, cli, rows_of):
    _, store = mine
    with engraph.open(store) as opened:
        before = rows_of(opened.table("memory_units").drop_columns(["recorded_at"]))
    day = "2026-01-05"
    ran = cli(
        "backfill", "run", "--from", day, "--to", day, "--stages", "extract", "--mode", "all", "--json", "--store", store,
        "--now", "2026-03-01T00:00:00",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    with engraph.open(store) as opened:
        assert rows_of(opened.table("memory_units").drop_columns(["recorded_at"])) == before


def test_a_file_delivered_again_with_other_content_replaces_what_it_gave(mine, tmp_path, ingest):
    _, store = mine
    sample = conversation("talk-2")
    sample["session_summary"]["session_1_summary"] = "Olga is learning a language."
    sample["observation"]["session_1_observation"] = {"Olga": [["Olga's tutor comes to the library.", "D1:3"]]}
    (tmp_path / "new").mkdir()
    file = tmp_path / "new" / "talks.json"
    file.write_text(json.dumps([sample]))
    ingest("--extractions", file, store=store)
    texts = {t for (t,) in units(store, "SELECT text FROM memory_units WHERE namespace = 'talk-2'")}
    assert "Olga is learning a language." in texts and "Olga takes language lessons." not in texts
    assert "Olga's tutor comes to the library." in texts and "Olga studies Portuguese on Tuesdays." not in texts
    assert "Sam's team won bronze." in texts, "what the new file says nothing of stays"


def test_a_session_that_grows_keeps_its_given_summary_and_a_corrected_turn_loses_its_fact(mine, tmp_path, ingest):
    _, store = mine
    sample = conversation("talk-2")
    sample["conversation"]["session_1"][2]["text"] = "Every Friday at eight in the library."
    sample["conversation"]["session_1"].append({"speaker": "Sam", "dia_id": "D1:4", "text": "Say hello to her."})
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([sample]))
    ingest(file, store=store, day="2026-01-07")
    texts = {t for (t,) in units(store, "SELECT text FROM memory_units WHERE session_id = 'talk-2/session_1'")}
    assert "Olga takes language lessons." in texts
    assert "Olga studies Portuguese on Tuesdays." not in texts, "its turn says something else now"


@pytest.mark.parametrize("subject", [("source", "talks.json#extractions"), ("namespace", "talk-2")])
def test_forgetting_takes_what_was_given_along_and_it_does_not_return(mine, tmp_path, cli, ingest, subject):
    file, store = mine
    ran = cli("forget", *subject, "--yes", "--json", "--store", store, "--now", "2026-02-02T00:00:00")
    assert ran.code == 0, ran.err
    extractors = units(store, "SELECT namespace, extractor FROM memory_units WHERE granularity = 'summary'")
    left = units(store, "SELECT DISTINCT namespace FROM given_extractions")
    if subject[0] == "source":
        assert left == [] and {e.partition("@")[0] for _, e in extractors} == {"rules"}
    else:
        assert left == [("talk-1",)] and {n for n, _ in extractors} == {"talk-1"}
    elsewhere = tmp_path / "copy.json"
    shutil.copy(file, elsewhere)
    again = ingest("--extractions", elsewhere, store=store, expect=3)
    assert again.json["quarantined"] > 0
    assert units(store, "SELECT DISTINCT namespace FROM given_extractions") == left
    payloads = units(store, "SELECT max(octet_length(payload)) FROM quarantine WHERE reason LIKE 'forgotten%'")
    assert payloads == [(0,)]


def test_forgetting_the_conversation_takes_what_was_made_from_it(mine, cli):
    _, store = mine
    ran = cli("forget", "source", "talks.json", "--yes", "--json", "--store", store, "--now", "2026-02-02T00:00:00")
    assert ran.code == 0, ran.err
    assert units(store, "SELECT count(*) FROM given_extractions") == [(0,)]


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_plain_lines_of_any_source_and_what_matches_none_is_in_quarantine(mine, tmp_path, ingest):
    _, store = mine
    file = tmp_path / "ours.jsonl"
    file.write_text(
        lines(
            {
                "ref": "talk-1/D6:1",
                "granularity": "fact",
                "subject": "Ravi",
                "predicate": "bought",
                "object": "telescope",
                "event_time": "2025-03-07",
                "extractor": "ann",
                "trust": 1,
            },
            {"ref": "talk-2/session_2", "granularity": "keywords", "text": "rowing; Grenoble; Basel"},
            {"ref": "talk-9/D1:1", "granularity": "fact", "text": "Nobody said this."},
            {"ref": "talk-1/D1:1", "granularity": "fact"},
            {"ref": "talk-1/D1:1", "granularity": "song", "text": "la la"},
            {"ref": "talk-1/D1:1", "granularity": "fact", "text": "x", "colour": "red"},
        )
    )
    ran = ingest("--extractions", file, store=store, expect=3)
    assert ran.json["quarantined"] == 4
    (row,) = units(store, "SELECT rows_read, rows_new, rows_quarantined FROM sources WHERE source_ref LIKE 'ours%'")
    assert row == (6, 2, 4)
    reasons = " ".join(r for (r,) in units(store, "SELECT reason FROM quarantine"))
    for told in ("no source talk-9/D1:1", "text is missing", "granularity 'song'", "unknown fields ['colour']"):
        assert told in reasons
    (fact,) = units(
        store,
        "SELECT text, event_time::DATE::VARCHAR, trust, extractor FROM memory_units WHERE extractor LIKE 'import:ann%'",
    )
    assert fact[:3] == ("Ravi bought telescope", "2025-03-07", 1.0)
    triples = units(
        store,
        "SELECT subject_id, predicate, object_id, unit_id FROM triples WHERE extractor LIKE 'import:ann%'",
    )
    assert triples == [("talk-1/entity:ravi", "bought", "talk-1/entity:telescope", "talk-1/session_6/D6:1")]
    keywords = units(store, "SELECT text FROM memory_units WHERE unit_id = 'talk-2/session_2#keywords'")
    assert keywords == [("rowing; Grenoble; Basel",)]


def test_given_triples_of_documents_replace_the_rules_and_lie_on_the_sentence_that_names_them(copied, tmp_path, ingest):
    corpus, store = copied
    passage = (corpus.folder / "boat.md").read_text()
    file = tmp_path / "openie.json"
    doc = {
        "idx": 0,
        "passage": passage,
        "extracted_entities": ["Dmitri", "Oslo", "1962"],
        "extracted_triples": [
            ["wooden boat", "built in", "Oslo"],
            ["Dmitri", "bought", "wooden boat"],
            ["two", "parts"],
        ],
    }
    elsewhere = {
        "passage": "Nothing of the kind was ingested.",
        "extracted_entities": [],
        "extracted_triples": [["a", "b", "c"]],
    }
    file.write_text(json.dumps({"docs": [doc, elsewhere], "avg_ent_chars": float("nan")}))
    ran = ingest("--extractions", file, store=store, expect=3)
    assert ran.json["quarantined"] == 2
    triples = units(
        store,
        "SELECT predicate, unit_id, extractor FROM triples WHERE namespace = 'notes' AND unit_id LIKE '%boat.md%' ORDER BY 1",
    )
    assert [predicate for predicate, _, _ in triples] == ["bought", "built in"]
    assert {e.partition("@")[0] for _, _, e in triples} == {"import:openie"}
    said = dict(units(store, "SELECT unit_id, text FROM memory_units WHERE granularity = 'sentence'"))
    assert "bought" in said[triples[0][1]] and "built in Oslo" in said[triples[1][1]]
    facts = units(
        store, "SELECT text FROM memory_units WHERE granularity = 'fact' AND extractor LIKE 'import:openie%' ORDER BY 1"
    )
    assert facts == [("Dmitri bought wooden boat",), ("wooden boat built in Oslo",)]
    assert units(store, "SELECT 1 FROM triples WHERE unit_id LIKE '%garden.md%' LIMIT 1"), (
        "other documents keep the rules'"
    )


def test_a_file_in_no_known_form_is_one_clear_line_and_nothing_is_done(mine, tmp_path, cli, listing):
    _, store = mine
    before = listing(store)
    for name, content in (("a.json", '{"hello": 1}'), ("b.txt", "just words"), ("c.jsonl", '{"text": "x"}\n')):
        (tmp_path / name).write_text(content)
        ran = cli("ingest", "--extractions", tmp_path / name, "--store", store)
        assert ran.code == 2 and f"{name} is no file of extractions" in ran.err and "Traceback" not in ran.err
    missing = cli("ingest", "--extractions", tmp_path / "none.json", "--store", store)
    assert missing.code == 2 and "no such file" in missing.err
    nothing = cli("ingest", "--store", store)
    assert nothing.code == 2 and "SOURCE" in nothing.err
    assert listing(store) == before
