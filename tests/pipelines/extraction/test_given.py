"""Extractions of others on the leaves they rest on; files of them in their three forms."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.extraction.given import extract_given
from pipelines.extraction.given_files import Given, Refusal, form_of, read_given
from schemas.errors import UsageError
from schemas.ids import content_hash
from schemas.tables import TABLES

SENTENCES = ("The keel was replaced in May.", "Dmitri bought the boat for 900 euros.", "The sail is red.")
SAID = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)


def leaves(kind: str = "sentence") -> pa.Table:
    rows, start = [], 0
    for i, text in enumerate(SENTENCES, 1):
        ref = "boat.md" if kind == "sentence" else f"ann/t{i}"
        rows.append(
            {
                "unit_id": f"n/boat#sentence-{i}", "namespace": "n", "group_id": "n/boat", "granularity": kind,
                "speaker": None, "role": None, "text": text, "source_ref": ref,
                "start": start if kind == "sentence" else 0, "event_time": SAID, "zone": "+01:00",
                "time_source": "document", "content_hash": f"{i}",
            }
        )  # fmt: skip
        start += len(text) + 1
    schema = {name: pa.string() for name in rows[0]} | {"start": pa.int32(), "event_time": pa.timestamp("us", "UTC")}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))


def given(granularity: str, text: str, refs=("boat.md",), **more) -> dict:
    row = {
        "extraction_id": content_hash(f"{granularity} {text}"), "namespace": "n", "group_id": "n/boat",
        "granularity": granularity, "text": text, "refs": list(refs), "made_from": "", "trust": 0.8,
        "extractor": "import:x@12345678", "source_ref": "x.json", "day": SAID.date(),
    }  # fmt: skip
    return row | more


def laid(*rows: dict, kind: str = "sentence"):
    return extract_given(leaves(kind), TABLES["given_extractions"].from_rows(list(rows)))


def triple(s: str, p: str, o: str) -> dict:
    return given("triple", f"{s} {p} {o}", subject=s, predicate=p, object=o)


def test_a_triple_lies_on_the_sentence_that_names_both_ends_and_is_a_fact_too():
    found = laid(triple("Dmitri", "bought", "boat"))
    (row,), (unit,) = found.triples, found.units
    assert (row["unit_id"], row["subject"], row["predicate"], row["object"]) == (
        "n/boat#sentence-2",
        "dmitri",
        "bought",
        "boat",
    )
    assert (
        unit["granularity"] == "fact" and unit["text"] == "Dmitri bought boat" and unit["parent_id"] == row["unit_id"]
    )
    assert row["triple_id"].startswith(unit["unit_id"])
    (span,) = unit["source_spans"]
    assert span == {"ref": "boat.md", "start": 30, "end": 30 + len(SENTENCES[1])}
    assert {(m["unit_id"], m["normal"], m["kind"]) for m in found.mentions} == {
        ("n/boat#sentence-2", "dmitri", "name"), ("n/boat#sentence-2", "boat", "term"),
    }  # fmt: skip
    assert found.replaced == {("n/boat", "triple")}


def test_entities_are_mentioned_wherever_they_stand_and_once_where_they_do_not():
    found = laid(given("entity", "the"), given("entity", "Oslo"), given("entity", "1962"))
    places = {(m["surface"], m["unit_id"][-1], m["kind"]) for m in found.mentions}
    assert ("Oslo", "1", "name") in places and ("1962", "1", "date") in places
    assert found.units == [] and found.replaced == set()


def test_a_fact_of_a_document_lies_on_its_characters_or_on_the_likeliest_sentence():
    by_place = laid(given("fact", "It is red.", start=68, end=84)).units[0]
    assert by_place["source_spans"] == [{"ref": "boat.md", "start": 68, "end": 84}]
    assert by_place["parent_id"] == "n/boat#sentence-3"
    by_words = laid(given("fact", "The keel is new since May")).units[0]
    assert by_words["parent_id"] == "n/boat#sentence-1"


def test_summaries_cover_the_whole_and_the_second_has_an_id_of_its_own():
    found = laid(given("summary", "A boat."), given("summary", "Repairs of a boat."), given("note", "Look again."))
    ids = [u["unit_id"] for u in found.units if u["granularity"] == "summary"]
    assert ids[0] == "n/boat#summary" and ids[1].startswith("n/boat#summary-given-")
    for unit in found.units:
        assert unit["source_spans"] == [{"ref": "boat.md", "start": 0, "end": 84}] and unit["parent_id"] == "n/boat"
        assert unit["event_time"] == SAID and unit["zone"] == "+01:00" and not unit["quotes"]
    assert found.replaced == {("n/boat", "summary")}


def test_a_fact_of_turns_spans_them_whole_and_names_what_it_names_there():
    found = laid(given("fact", "Dmitri owns a boat in Oslo.", refs=("ann/t1", "ann/t3")), kind="turn")
    (unit,) = found.units
    assert [(s["ref"], s["end"]) for s in unit["source_spans"]] == [("ann/t1", 29), ("ann/t3", 16)]
    assert unit["parent_id"] == "n/boat#sentence-3"
    assert {"dmitri", "oslo"} <= {m["normal"] for m in found.mentions if m["unit_id"] == "n/boat#sentence-3"}


def test_the_order_of_rows_does_not_matter():
    rows = [
        triple("Dmitri", "bought", "boat"),
        given("entity", "keel"),
        given("summary", "A boat."),
        given("fact", "Red sail."),
    ]
    assert laid(*rows) == laid(*rows[::-1])


def plain(tmp_path, *rows: object):
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_given(file, "team"))


def test_lines_are_read_with_their_time_and_maker_and_wrong_ones_are_refused_with_the_reason(tmp_path):
    good = {"ref": ["a/1", "a/2"], "granularity": "fact", "text": " x ", "event_time": "2026-01-02T03:00:00+02:00"}
    rows = plain(
        tmp_path, good, {"ref": "a", "granularity": "summary", "text": "s", "namespace": "own", "extractor": "me"},
        good | {"event_time": "soon"}, good | {"trust": 2}, good | {"subject": "s"}, good | {"start": 3}, ["no object"],
    )  # fmt: skip
    first, second = (row for row in rows if isinstance(row, Given))
    assert first.refs == ("a/1", "a/2") and first.text == "x" and first.namespace == "team" and first.made_by == "jsonl"
    assert first.event_time == dt.datetime(2026, 1, 2, 1, tzinfo=dt.UTC) and first.zone == "+0200"
    assert (second.namespace, second.made_by) == ("own", "me")
    reasons = [row.reason for row in rows if isinstance(row, Refusal)]
    assert len(reasons) == 5
    for reason, told in zip(
        reasons, ("event_time", "trust", "subject", "start and end", "not a JSON object"), strict=True
    ):
        assert told in reason


@pytest.mark.parametrize("content", ["", "[]", '{"docs": []}', "[1, 2]", '[{"sample_id": "a"}, 3]', "{"])
def test_other_files_are_refused_by_name(tmp_path, content):
    file = tmp_path / "odd.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"odd\.json is no file of extractions"):
        form_of(file)


def test_the_dialogue_ids_of_observations_are_read_as_they_are_written(tmp_path):
    file = tmp_path / "l.json"
    observed = {"Ann": [["one", "D1:2; D01:3"], ["two", ["D2:1", "D2:2"]], ["three", None], ["", "D1:1"]]}
    file.write_text(json.dumps([{"sample_id": "c", "observation": {"session_1_observation": observed}}]))
    *good, empty = read_given(file)
    assert [g.refs for g in good] == [("c/D1:2", "c/D1:3"), ("c/D2:1", "c/D2:2"), ("c/session_1",)]
    assert isinstance(empty, Refusal)


@pytest.fixture
def test_data() -> Path:
    folder = os.environ.get("ENGRAPH_TEST_DATA")
    if not folder:
        pytest.skip("ENGRAPH_TEST_DATA names no folder with real extractions")
    return Path(folder)


def test_real_files_are_read_whole(test_data):
    found = Counter(type(row).__name__ if isinstance(row, Refusal) else row.granularity
                    for row in read_given(test_data / "locomo/locomo_dev.json"))  # fmt: skip
    assert found["summary"] == 128 and found["fact"] > 1000 and found["note"] > 100 and found["Refusal"] == 1
    assert form_of(test_data / "musique/openie_gpt35.json") == "openie"
    openie = list(read_given(test_data / "musique/openie_gpt35.json"))
    refused = [row for row in openie if isinstance(row, Refusal)]
    assert len(openie) > 30_000 and {row.reason for row in refused} == {"a triple must be three texts"}
