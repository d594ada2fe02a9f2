"""Conversations in every layout become turns with the ids, texts and times that the interface promises."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.readers import ReadParams, Refused, TurnRecord, find_sources, read_source, reader_name


def test_locomo_turns_have_session_dates_captions_and_readable_ids(read_json, locomo_sample):
    first, second, third = read_json("talks.json", [locomo_sample])
    assert first == TurnRecord(
        turn_id="conv-1/session_1/D1:1",
        namespace="conv-1",
        conversation_id="conv-1",
        session_id="conv-1/session_1",
        turn_no=0,
        speaker="Ann",
        role="speaker",
        said_at=datetime(2023, 5, 8, 13, 56, tzinfo=UTC),
        zone=None,
        time_source="session",
        text="Ann: Hello!",
        source_ref="conv-1/D1:1",
    )
    assert second.text == "Bo: Look. [a dog]"
    assert third.text == "Ann: [a cat]" and third.said_at == datetime(2023, 6, 9, 0, 5, tzinfo=UTC)


def test_locomo_labels_are_never_read(read_json, locomo_sample):
    assert "SECRET" not in str(read_json("one.json", locomo_sample))


def test_a_given_namespace_overrides_the_sample_and_keeps_conversations_apart(read_json, locomo_sample):
    other = {**locomo_sample, "sample_id": "conv-2"}
    records = read_json("talks.json", [locomo_sample, other], namespace="team")
    assert {r.namespace for r in records} == {"team"}
    assert records[0].turn_id == "team/conv-1/session_1/D1:1" and records[0].source_ref == "team/conv-1/D1:1"
    assert len({r.source_ref for r in records}) == len(records) == 6


def test_locomo_dev_gives_all_2760_turns_of_five_namespaces():
    folder = os.environ.get("ENGRAPH_TEST_DATA")
    if not folder:
        pytest.skip("ENGRAPH_TEST_DATA is not set: it names the folder with locomo/locomo_dev.json")
    (source,) = find_sources([str(Path(folder, "locomo", "locomo_dev.json"))])
    records = list(read_source(source, ReadParams()))
    assert not [r for r in records if isinstance(r, Refused)]
    assert len(records) == 2760 and len({r.namespace for r in records}) == 5
    assert len({r.turn_id for r in records}) == len({r.source_ref for r in records}) == 2760
    assert reader_name(source, ReadParams()) == "locomo"


def question(**changes):
    return {
        "question_id": "q7",
        "question": "SECRET?",
        "answer": "SECRET",
        "answer_session_ids": ["answer_s1"],
        "haystack_session_ids": ["answer_s1", "s2", "s1"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00", "2023/05/22 (Mon) 00:01"],
        "haystack_sessions": [
            [{"role": "user", "content": "Hi", "has_answer": True}, {"role": "assistant", "content": "Hello"}],
            [{"role": "user", "content": "Again"}],
            [{"role": "user", "content": "Third"}],
        ],
        **changes,
    }


def test_longmemeval_ids_do_not_show_where_the_answer_is(read_json):
    records = read_json("lme.json", [question()])
    assert "answer" not in str(records) and "SECRET" not in str(records)
    assert [r.turn_id for r in records] == ["q7/s1/1", "q7/s1/2", "q7/s2/1", "q7/s1-2/1"]
    assert [r.source_ref for r in records] == ["q7/s1_1", "q7/s1_2", "q7/s2_1", "q7/s1-2_1"]
    assert records[0].said_at == datetime(2023, 5, 20, 2, 21, tzinfo=UTC) and records[1].role == "assistant"


def test_a_longmemeval_session_with_no_real_date_is_refused_turn_by_turn(read_json):
    records = read_json("lme.json", [question(haystack_dates=["soon", "2023/05/21 (Sun) 10:00"])])
    assert [type(r) for r in records] == [Refused, Refused, TurnRecord, TurnRecord]
    assert "'soon' is not a date" in records[0].reason and records[3].time_source == "arrival"


def test_chat_jsonl_takes_user_session_and_times_from_the_data(read_bytes):
    lines = [
        {"user": "alice", "session_id": "s1", "messages": [
            {"role": "user", "content": "Hi", "timestamp": "2024-03-01T10:00:00+02:00"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": "x"}],
             "created_at": 1709280060}]},
        {"messages": [{"role": "system", "content": "Be kind"}], "created_at": "2024-03-02T00:00:00Z"},
    ]  # fmt: skip
    a, b, c = read_bytes("chats.jsonl", "\n".join(map(json.dumps, lines)))
    assert (a.turn_id, a.namespace, a.conversation_id) == ("alice/s1/1", "alice", "alice/s1")
    assert (a.said_at, a.zone, a.time_source) == (datetime(2024, 3, 1, 8, tzinfo=UTC), "+02:00", "turn")
    assert (b.text, b.said_at, b.zone) == ("assistant: Hello", datetime(2024, 3, 1, 8, 1, tzinfo=UTC), None)
    assert (c.session_id, c.role, c.time_source, c.zone) == ("chats/chats.jsonl#2", "system", "session", "+00:00")


def test_a_single_chat_without_ids_is_named_by_its_file_and_arrives_without_a_date(read_json):
    (turn,) = read_json("talk.json", {"messages": [{"role": "user", "content": "Hi"}]})
    assert (turn.session_id, turn.turn_id) == ("talk/talk.json", "talk/talk.json/1")
    assert turn.said_at is None and turn.time_source == "arrival"


def test_sharegpt_roles_are_mapped(read_json):
    records = read_json("share.json", [{"id": "c1", "conversations": [
        {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]}])  # fmt: skip
    assert [(r.role, r.text) for r in records] == [("user", "user: Why?"), ("assistant", "assistant: Because.")]
    assert records[0].turn_id == "share/c1/1"


NAMES = ("text", "user", "session_id", "speaker", "timestamp", "turn_id")
ROWS = [
    dict(zip(NAMES, cells, strict=True))
    for cells in (
        ("Hi, all", "u1", "s1", "Ann", "2024-01-01 08:00:00", "a"),
        ('She said "no"', "u1", "s1", "Bo", "2024-01-01T08:01:00Z", "b"),
        ("Other\nline", "u2", "s1", "Cy", "", "a"),
    )
]


def as_csv(delimiter: str) -> bytes:
    rows = [list(ROWS[0]), *(list(r.values()) for r in ROWS)]
    quoted = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    return "\r\n".join(quoted).encode()


def as_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("m.csv", as_csv(",")),
        ("m.tsv", as_csv("\t")),
        ("m.csv", as_csv(";")),
        ("m.txt", as_csv(",")),
        ("m.jsonl", "\n".join(map(json.dumps, ROWS)).encode()),
        ("m.json", json.dumps(ROWS, indent=2).encode()),
        ("m", json.dumps(ROWS).encode()),
        ("m.parquet", as_parquet()),
        ("m.dat", as_parquet()),
    ],
)
def test_a_table_of_messages_reads_the_same_from_every_format(read_bytes, name, raw):
    a, b, c = read_bytes(name, raw)
    assert [r.turn_id for r in (a, b, c)] == ["u1/s1/a", "u1/s1/b", "u2/s1/a"]
    assert [r.source_ref for r in (a, b, c)] == ["u1/a", "u1/b", "u2/a"]
    assert [r.text for r in (a, b, c)] == ["Ann: Hi, all", 'Bo: She said "no"', "Cy: Other\nline"]
    assert [r.turn_no for r in (a, b, c)] == [0, 1, 0]
    assert (a.said_at, a.zone, b.zone) == (datetime(2024, 1, 1, 8, tzinfo=UTC), None, "+00:00")
    assert c.time_source == "arrival"


def test_rows_without_a_session_belong_to_their_file(read_json):
    records = read_json("log.json", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    assert [r.turn_id for r in records] == ["log/log.json/1", "log/log.json/2"]


def test_one_id_for_two_turns_in_two_sessions_gives_two_source_refs(read_json):
    rows = [{"text": "x", "role": "user", "session_id": s, "id": 1} for s in ("s1", "s2")]
    records = read_json("log.json", rows)
    assert [r.source_ref for r in records] == ["log/1", "log/s2/1"]


def test_kind_decides_for_rows_that_could_be_both(read_json):
    rows = [{"id": "a", "text": "words"}]
    assert Counter(
        type(r).__name__ for k in ("auto", "document", "conversation") for r in read_json("t.json", rows, kind=k)
    ) == {
        "DocumentRecord": 2,
        "TurnRecord": 1,
    }
