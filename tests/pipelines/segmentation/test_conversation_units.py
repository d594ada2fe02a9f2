"""Conversations cut into turns, rounds, sessions: nothing lost, nothing twice, and every quote is what its source says."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.segmentation import segment_conversations
from pipelines.segmentation.conversations import in_order, round_intervals
from schemas.ids import content_hash
from schemas.tables import TABLES

START = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)


def turn(session: str, i: int, speaker: str, text: str = "", role: str = "speaker", minutes: int | None = None) -> dict:
    text = text or f"{speaker}: message {i}"
    return {
        "turn_id": f"n/{session}/{i}",
        "namespace": "n",
        "conversation_id": "n/c",
        "session_id": f"n/{session}",
        "turn_no": i,
        "speaker": speaker,
        "role": role,
        "said_at": START + dt.timedelta(minutes=i if minutes is None else minutes),
        "zone": None,
        "time_source": "turn",
        "text": text,
        "source_ref": f"n/{session}:{i}",
        "content_hash": content_hash(text),
        "record_hash": content_hash(f"{session} {i} {text}"),
        "day": START.date(),
    }


def table(rows: list[dict]) -> pa.Table:
    return TABLES["turns"].from_rows(rows)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
sessions = st.dictionaries(
    st.sampled_from(["s1", "s2", "s3"]),
    st.lists(st.tuples(st.sampled_from(["Ann", "Bob", "Cy"]), texts, st.integers(0, 20)), min_size=1, max_size=12),
    min_size=1,
)


def build(by_session: dict) -> pa.Table:
    return table(
        [
            turn(session, i, speaker, text, minutes=minutes)
            for session, messages in by_session.items()
            for i, (speaker, text, minutes) in enumerate(messages)
        ]
    )


@given(sessions, st.randoms())
def test_every_turn_is_in_exactly_one_session_and_every_quote_is_the_sources(by_session, random):
    turns = build(by_session)
    units = segment_conversations(turns).to_pylist()
    text_of = {t["source_ref"]: t["text"] for t in turns.to_pylist()}
    covered = [s["ref"] for u in units if u["granularity"] == "session" for s in u["source_spans"]]
    assert sorted(covered) == sorted(text_of)
    assert sorted(u["unit_id"] for u in units if u["granularity"] == "turn") == sorted(turns["turn_id"].to_pylist())
    for unit in units:
        assert unit["text"] == "\n".join(text_of[s["ref"]][s["start"] : s["end"]] for s in unit["source_spans"])
        assert unit["content_hash"] == content_hash(unit["text"])
        assert unit["quotes"]
    assert len({u["unit_id"] for u in units}) == len(units)
    shuffled = turns.take(random.sample(range(turns.num_rows), turns.num_rows))
    assert segment_conversations(shuffled).to_pylist() == units


@given(sessions)
def test_ordinals_count_from_zero_and_parents_are_the_session(by_session):
    units = segment_conversations(build(by_session)).to_pylist()
    for session in {u["session_id"] for u in units}:
        for granularity in ("turn", "round", "session"):
            mine = [u for u in units if (u["session_id"], u["granularity"]) == (session, granularity)]
            assert [u["ordinal"] for u in mine] == list(range(len(mine)))
            assert all(u["parent_id"] == (None if granularity == "session" else session) for u in mine)


def test_drafts_count_tokens_with_what_they_are_given():
    units = segment_conversations(
        table([turn("s", 0, "Ann", "one two"), turn("s", 1, "Bob", "three")]),
        lambda texts: np.array([len(t.split()) for t in texts]),
    )
    counted = dict(zip(units["granularity"].to_pylist(), units["n_tokens"].to_pylist(), strict=True))
    assert counted == {"turn": 1, "round": 3, "session": 3}


def test_time_comes_before_number_and_number_before_arrival():
    rows = [turn("s", 0, "Ann", minutes=5), turn("s", 1, "Bob", minutes=2), turn("s", 2, "Cy", minutes=2)]
    assert in_order(table(rows))["speaker"].to_pylist() == ["Bob", "Cy", "Ann"]


def test_between_people_every_answered_message_opens_a_round():
    speakers = ["Ann", "Bob", "Bob", "Ann"]
    session = [turn("s", i, s) for i, s in enumerate(speakers)]
    assert round_intervals(session) == [(0, 2), (2, 4)]
    units = segment_conversations(table(session)).to_pylist()
    rounds = [u for u in units if u["granularity"] == "round"]
    assert [u["unit_id"] for u in rounds] == ["n/s#round-1", "n/s#round-2"]
    assert [[s["ref"] for s in u["source_spans"]] for u in rounds] == [["n/s:0", "n/s:1"], ["n/s:2", "n/s:3"]]


@pytest.mark.parametrize(
    ("roles", "rounds"),
    [
        ("uaua", [(0, 2), (2, 4)]),
        ("uatau", [(0, 4)]),  # a tool's message belongs to the reply; the last question has none
        ("auua", [(2, 4)]),  # of two questions in a row the second is the one that is answered
        ("aa", []),
        ("u", []),
        ("suaa", [(1, 4)]),
    ],
)
def test_with_an_assistant_the_users_messages_open_rounds(roles, rounds):
    names = {"u": "user", "a": "assistant", "t": "tool", "s": "system"}
    session = [turn("s", i, names[r], role=names[r]) for i, r in enumerate(roles)]
    assert round_intervals(session) == rounds


def test_among_several_users_a_round_with_the_assistant_always_has_a_reply():
    session = [
        turn("s", 0, "Ann", role="user"),
        turn("s", 1, "Bob", role="user"),
        turn("s", 2, "Bot", role="assistant"),
        turn("s", 3, "Ann", role="user"),
    ]
    assert round_intervals(session) == [(1, 3)]


def test_no_turns_give_no_units():
    units = segment_conversations(TABLES["turns"].empty())
    assert units.num_rows == 0
    assert units.schema == segment_conversations(table([turn("s", 0, "Ann")])).schema
