"""The sample corpus: its labels point at things that exist, and it has the shape that its README promises."""

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pipelines.evaluation import load_questions

CORPUS = Path(__file__).parents[2] / "sample_corpus"


def rows(name):
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def questions():
    return load_questions("jsonl", [CORPUS / "questions.jsonl"])


@pytest.fixture(scope="module")
def session_of_ref():
    """Every ref of the corpus -> its session, None for documents."""
    table = {f"team-chat/{r['message_id']}": f"team-chat/{r['session_id']}" for r in rows("team-chat.jsonl")}
    chats = {
        f"{r['user']}/{r['id']}/{n}": f"{r['user']}/{r['id']}"
        for r in rows("assistant-chats.jsonl")
        for n in range(1, len(r["messages"]) + 1)
    }
    documents = {path.relative_to(CORPUS / "handbook").as_posix(): None for path in (CORPUS / "handbook").iterdir()}
    return table | chats | documents


def test_every_label_points_at_a_message_or_document_and_its_session(questions, session_of_ref):
    for question in questions:
        assert set(question.gold_refs) <= set(session_of_ref), question.query_id
        sessions = {session_of_ref[ref] for ref in question.gold_refs} - {None}
        assert set(question.gold_sessions) == sessions, question.query_id
        in_namespace = [ref.startswith(f"{question.namespace}/") for ref in question.gold_refs]
        assert all(in_namespace) or question.namespace == "handbook", question.query_id


def test_no_question_is_asked_before_its_evidence_was_said(questions):
    said = {f"team-chat/{r['message_id']}": r["said_at"] for r in rows("team-chat.jsonl")}
    for chat in rows("assistant-chats.jsonl"):
        said |= {f"{chat['user']}/{chat['id']}/{n}": m["timestamp"] for n, m in enumerate(chat["messages"], 1)}
    for question in questions:
        asked = datetime.fromisoformat(question.asked_at)
        assert asked.tzinfo is not None
        assert all(datetime.fromisoformat(said[ref]) < asked for ref in question.gold_refs if ref in said)


def test_there_are_questions_of_every_kind(questions):
    kinds = Counter(question.category for question in questions)
    assert set(kinds) == {"single", "multi-evidence", "temporal", "update", "handbook"}
    assert len(questions) >= 40 and min(kinds.values()) >= 3
    assert all(len(q.gold_refs) > 1 for q in questions if q.category == "multi-evidence")


def test_the_team_chat_is_a_table_of_distinct_messages_in_order():
    table = rows("team-chat.jsonl")
    columns = {"conversation_id", "session_id", "speaker", "said_at", "text", "message_id"}
    assert all(set(row) == columns and row["text"].strip() for row in table)
    assert len({row["message_id"] for row in table}) == len(table) >= 300
    assert len({row["session_id"] for row in table}) >= 20
    assert {row["speaker"] for row in table} == {"Noor", "Matteo", "Birgit"}
    times = [datetime.fromisoformat(row["said_at"]) for row in table]
    assert times == sorted(times) and times[-1] - times[0] > timedelta(days=80)
    offsets = {(time.utcoffset(), time >= datetime.fromisoformat("2025-03-30T01:00:00+00:00")) for time in times}
    assert (timedelta(hours=1), True) not in offsets


def test_the_assistant_chats_alternate_and_belong_to_two_users():
    chats = rows("assistant-chats.jsonl")
    assert len({chat["id"] for chat in chats}) == len(chats) == 12
    assert {chat["user"] for chat in chats} == {"maya", "oskar"}
    for chat in chats:
        roles = [message["role"] for message in chat["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        times = [datetime.fromisoformat(message["timestamp"]) for message in chat["messages"]]
        assert times == sorted(times)


def test_the_demo_asks_one_question_of_each_kind_of_source():
    lines = (CORPUS / "demo.txt").read_text(encoding="utf-8").splitlines()
    asked = [line.split("\t") for line in lines]
    assert [(namespace, granularity) for namespace, granularity, _ in asked] == [
        ("team-chat", "turn"),
        ("maya", "turn"),
        ("handbook", "passage"),
    ]
    assert all(text.endswith("?") for _, _, text in asked)
