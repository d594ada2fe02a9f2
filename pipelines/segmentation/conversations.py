"""Conversations -> units of granularity turn, round and session. Linear in the number of turns.

A round is a message and its reply. Between people every message that somebody else answers opens one, so rounds overlap by
one turn; with an assistant only the user's messages do, and all of the assistant's messages up to the next question belong to the
reply. A session is all its turns. Topic segments need vectors and come later (`surprise`).
"""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from pipelines.segmentation.units import CountTokens, draft_units, no_token_count, span
from schemas.ids import derived_id

EXTRACTOR = "structure@1"


def segment_conversations(turns: pa.Table, count_tokens: CountTokens = no_token_count) -> pa.Table:
    """Drafts of all turns, rounds and sessions of `turns`, which must hold whole sessions.

    Every turn is covered by exactly one session; `"\\n".join` of a unit's spans is its text.
    """
    rows: list[dict] = []
    ordered = in_order(turns).to_pylist()
    for _, group in groupby(ordered, key=lambda t: t["session_id"]):
        session = list(group)
        rows += (
            _turn_units(session)
            + _round_units(session)
            + [joined_unit(session, session[0]["session_id"], "session", 0)]
        )
    return draft_units(rows, count_tokens)


def in_order(turns: pa.Table) -> pa.Table:
    """Turns by session, inside it by time; the source's own order decides between equal times.

    A session whose later part is delivered on its own counts its turns from 0 again, so time and day come before number.
    """
    keys = ("session_id", "said_at", "day", "turn_no", "turn_id")
    return turns.sort_by([(key, "ascending") for key in keys])


def _turn_units(session: list[dict]) -> list[dict]:
    return [
        joined_unit([turn], turn["turn_id"], "turn", i, parent_id=turn["session_id"]) for i, turn in enumerate(session)
    ]


def _round_units(session: list[dict]) -> list[dict]:
    session_id = session[0]["session_id"]
    return [
        joined_unit(session[a:b], derived_id(session_id, "round", n), "round", n - 1, parent_id=session_id)
        for n, (a, b) in enumerate(round_intervals(session), 1)
    ]


def round_intervals(session: list[dict]) -> list[tuple[int, int]]:
    """[start, end) of each round, in turns."""
    with_assistant = any(t["role"] == "assistant" for t in session)
    starts = [
        i
        for i in range(len(session) - 1)
        if session[i]["speaker"] != session[i + 1]["speaker"]
        and (not with_assistant or (session[i]["role"] == "user" and session[i + 1]["role"] != "user"))
    ]
    if not with_assistant:
        return [(i, i + 2) for i in starts]
    ends = [_end_of_reply(session, i) for i in starts]
    return list(zip(starts, ends, strict=True))


def _end_of_reply(session: list[dict], start: int) -> int:
    end = start + 1
    while end < len(session) and session[end]["role"] != "user":
        end += 1
    return end


def joined_unit(
    turns: list[dict], unit_id: str, granularity: str, ordinal: int, *, parent_id: str | None = None
) -> dict:
    """The unit that quotes `turns`, one a line. Its time is that of its first turn."""
    first = turns[0]
    return {
        "unit_id": unit_id,
        "namespace": first["namespace"],
        "granularity": granularity,
        "text": "\n".join(t["text"] for t in turns),
        "parent_id": parent_id,
        "session_id": first["session_id"],
        "ordinal": ordinal,
        "source_spans": [span(t["source_ref"], 0, len(t["text"])) for t in turns],
        "event_time": first["said_at"],
        "zone": first["zone"],
        "time_source": first["time_source"],
        "extractor": EXTRACTOR,
    }
